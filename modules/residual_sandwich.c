/* Sandwich norm: x + norm(f(norm(x))). Ding 2021 (CogView); Gemma 2. A branch's output cannot grow with its weights. */
#include "model/module.h"

static struct node *build(struct build *b, const void *conf, struct node *x, struct sublayer f)
{
    (void)conf;
    struct node *y = f.build(b, f.context, build_norm(b, "norm", x));
    return add(b->graph, x, build_norm(b, "norm_out", y));
}

const struct module residual_sandwich = {
    .slot = SLOT_RESIDUAL,
    .name = "sandwich",
    .about = "norm on both sides of the branch",
    .branch_normed = true,
    .residual = build,
};
