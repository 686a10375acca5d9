/* Squared ReLU, max(u, 0)^2: two matrices, no gate. So 2021 (Primer); Nemotron-4. */
#include "model/module.h"

static struct node *build(struct build *b, struct pick self, struct node *up, struct node *gate)
{
    (void)self; (void)gate;
    return relu2(b->graph, up);
}

const struct module activation_relu2 = {
    .slot = SLOT_ACTIVATION, .name = "relu2", .about = "squared relu, without a gate",
    .activation = build,
};
