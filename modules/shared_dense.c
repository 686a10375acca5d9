/* n shared experts that every token uses, as one SwiGLU of n times an expert's width. Dai 2024 (DeepSeekMoE). */
#include "model/module.h"

struct conf { int n; };
static const struct param params[] = {
    INT(struct conf, n, 1, 1, 64, "", "shared experts"),
    { 0 }
};

static struct node *build(struct build *b, const void *conf, struct node *u, struct node *routed)
{
    int64_t width = ((const struct conf *)conf)->n * b->d_ff;
    struct graph *g = b->graph;
    struct node *gate = linear(b, "shared.gate", ROLE_FFN_GATE, u, width),
                *up = linear(b, "shared.up", ROLE_FFN_UP, u, width);    /* [T,nF] */
    return add(g, routed, linear(b, "shared.down", ROLE_FFN_DOWN, swiglu(g, gate, up), b->width));
}

const struct module shared_dense = {
    .slot = SLOT_SHARED, .name = "dense", .about = "experts that every token uses",
    .conf_size = sizeof(struct conf), .params = params, .shared = build,
};
