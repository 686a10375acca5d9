/* SwiGLU: silu(g) u, g and u two projections of the input. Shazeer 2020. */
#include "model/module.h"

static struct node *build(struct build *b, struct pick self, struct node *up, struct node *gate)
{
    (void)self;
    return swiglu(b->graph, gate, up);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->gated = true; }

const struct module activation_swiglu = {
    .slot = SLOT_ACTIVATION, .name = "swiglu", .about = "silu of a gate, times a second projection",
    .traits = traits, .activation = build,
};
