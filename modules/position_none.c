/* No position encoding (NoPE): order comes from the causal mask alone. Kazemnejad 2023 (arXiv 2305.19466). */
#include "model/module.h"

static struct node *build(struct build *b, const void *conf, struct node *x)
{
    (void)b; (void)conf;
    return x;
}

const struct module position_none = {
    .slot = SLOT_POSITION, .name = "none", .about = "no position encoding", .position = build
};
