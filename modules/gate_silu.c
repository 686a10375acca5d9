/* SiLU gating: heads * silu(u W), one for each dimension of each head, before the output projection. RetNet (Sun 2023),
   GLA, Gated DeltaNet. */
#include "model/module.h"

static struct node *build(struct build *b, struct pick self, struct node *u, struct node *heads, struct node *v)
{
    (void)self; (void)v;
    int64_t width = shape_count(heads->shape) / b->tokens;
    heads = view(b->graph, heads, SHAPE(b->tokens, width));
    return mul(b->graph, heads, silu(b->graph, linear(b, "gate", ROLE_GATE, u, width)));        /* [T,H*W] */
}

const struct module gate_silu = {
    .slot = SLOT_GATE, .name = "silu", .about = "one SiLU gate per dimension", .gate = build,
};
