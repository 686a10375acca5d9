/* ReGLU: relu(g) u: hidden values are zero where the gate is closed. Shazeer 2020. */
#include "model/module.h"

static struct node *build(struct build *b, struct pick self, struct node *up, struct node *gate)
{
    (void)self;
    return reglu(b->graph, gate, up);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->gated = true; }

const struct module activation_reglu = {
    .slot = SLOT_ACTIVATION, .name = "reglu", .about = "relu of a gate, times a second projection",
    .traits = traits, .activation = build,
};
