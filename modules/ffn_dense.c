/* Dense feed-forward: act(u Wg, u Wu) Wd, or act(u Wu) Wd where the activation has no gate. */
#include "model/module.h"

struct conf { int d_ff, bias; struct pick activation; };
static const struct param params[] = {
    INT(struct conf, d_ff, 256, 1, 1 << 20, "", "hidden width"),
    SLOT(struct conf, activation, SLOT_ACTIVATION, "swiglu", "what makes hidden values of projections"),
    BOOL(struct conf, bias, false, "biases on each product"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, struct node *u)
{
    const struct conf *c = self.conf;
    return feed_forward(b, (struct hidden){ c->d_ff, c->activation, c->bias }, u);
}

const struct module ffn_dense = {
    .slot = SLOT_FFN, .name = "dense", .about = "one feed-forward for all tokens",
    .conf_size = sizeof(struct conf), .params = params, .ffn = build,
};
