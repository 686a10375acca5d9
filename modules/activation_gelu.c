/* GELU, u F(u), F the normal distribution: two matrices, no gate. Hendrycks 2016; GPT-2. */
#include "model/module.h"

static struct node *build(struct build *b, struct pick self, struct node *up, struct node *gate)
{
    (void)self; (void)gate;
    return gelu(b->graph, up);
}

const struct module activation_gelu = {
    .slot = SLOT_ACTIVATION, .name = "gelu", .about = "gelu, without a gate",
    .activation = build,
};
