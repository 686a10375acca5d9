/* GeGLU: gelu(g) u. Shazeer 2020; Gemma. */
#include "model/module.h"

static struct node *build(struct build *b, struct pick self, struct node *up, struct node *gate)
{
    (void)self;
    return geglu(b->graph, gate, up);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->gated = true; }

const struct module activation_geglu = {
    .slot = SLOT_ACTIVATION, .name = "geglu", .about = "gelu of a gate, times a second projection",
    .traits = traits, .activation = build,
};
