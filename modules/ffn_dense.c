/* Dense feed-forward: act(u Wg, u Wu) Wd, or act(u Wu) Wd where the activation has no gate. */
#include "model/module.h"

struct conf { int d_ff; struct pick activation; };
static const struct param params[] = {
    INT(struct conf, d_ff, 256, 1, 1 << 20, "", "hidden width"),
    SLOT(struct conf, activation, SLOT_ACTIVATION, "swiglu", "what makes hidden values of projections"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, struct node *u)
{
    const struct conf *c = self.conf;
    struct pick act = c->activation;
    struct node *gate = module_traits(act).gated ? linear(b, "gate", ROLE_FFN_GATE, u, c->d_ff) : NULL,
                *up = linear(b, "up", ROLE_FFN_UP, u, c->d_ff);    /* [T,F] */
    return linear(b, "down", ROLE_FFN_DOWN, act.module->activation(b, act, up, gate), b->width);
}

const struct module ffn_dense = {
    .slot = SLOT_FFN, .name = "dense", .about = "one feed-forward for all tokens",
    .conf_size = sizeof(struct conf), .params = params, .ffn = build,
};
