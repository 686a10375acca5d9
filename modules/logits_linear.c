/* Logits u W^T: one vector an expert. Shazeer 2017. */
#include "model/module.h"

static struct node *build(struct build *b, struct pick self, struct node *u, int experts)
{
    (void)self;
    return readout(b, "router", ROLE_ROUTER, u, experts);                                        /* [T,E] */
}

const struct module logits_linear = {
    .slot = SLOT_LOGITS, .name = "linear", .about = "a vector of each expert times the token's", .logits = build,
};
