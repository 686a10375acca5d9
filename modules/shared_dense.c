/* n shared experts that every token uses, as one feed-forward of n times an expert's width. Dai 2024 (DeepSeekMoE). */
#include "model/module.h"

struct conf { int n; };
static const struct param params[] = {
    INT(struct conf, n, 1, 1, 64, "", "shared experts"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, struct node *u, struct hidden expert,
                          struct node *routed)
{
    int64_t width = ((const struct conf *)self.conf)->n * expert.width;
    struct pick act = expert.activation;
    struct node *gate = module_traits(act).gated ? linear(b, "shared.gate", ROLE_FFN_GATE, u, width) : NULL,
                *up = linear(b, "shared.up", ROLE_FFN_UP, u, width);    /* [T,nF] */
    struct node *hidden = act.module->activation(b, act, up, gate);
    return add(b->graph, routed, linear(b, "shared.down", ROLE_FFN_DOWN, hidden, b->width));
}

const struct module shared_dense = {
    .slot = SLOT_SHARED, .name = "dense", .about = "experts that every token uses",
    .conf_size = sizeof(struct conf), .params = params, .shared = build,
};
