/* PostNorm: norm(x + f(x)). Vaswani 2017. No path from embedding to logits escapes the norms: it wants warm-up. */
#include "module.h"

static struct node *build(struct build *b, const void *conf, struct node *x, struct sublayer f)
{
    (void)conf;
    return build_norm(b, "norm", add(b->graph, x, f.build(b, f.context, x)));
}

const struct module residual_post = {
    .slot = SLOT_RESIDUAL, .name = "post", .about = "norm after the sum", .branch_normed = true, .residual = build,
};
