/* SiLU gating: heads * silu(u W), one for each dimension of each head, before the output projection. RetNet (Sun 2023),
   GLA, Gated DeltaNet. */
#include "model/module.h"

static struct node *build(struct build *b, struct pick self, enum gated at, struct node *u, struct node *x,
                          struct node *v)
{
    (void)self; (void)v;
    if (at != GATED_HEADS) return x;
    struct node *gate = silu(b->graph, linear(b, "gate", ROLE_GATE, u, shape_count(x->shape) / b->tokens));
    return mul(b->graph, x, view(b->graph, gate, x->shape));                                    /* [T,H,W] */
}

const struct module gate_silu = {
    .slot = SLOT_GATE, .name = "silu", .about = "one SiLU gate per dimension", .gate = build,
};
