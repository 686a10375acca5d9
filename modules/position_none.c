/* No position encoding (NoPE): order comes from the causal mask alone. Kazemnejad 2023 (arXiv 2305.19466). */
#include "model/module.h"

static struct node *build(struct build *b, struct pick self, struct node *x)
{
    (void)b; (void)self;
    return x;
}

const struct module position_none = {
    .slot = SLOT_POSITION, .name = "none", .about = "no position encoding", .position = build
};
