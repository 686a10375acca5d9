/* PreNorm: x + f(norm(x)). The stream itself is never normalised before the end. */
#include "model/module.h"

static struct node *build(struct build *b, const void *conf, struct node *x, struct sublayer f)
{
    (void)conf;
    return add(b->graph, x, f.build(b, f.context, build_norm(b, "norm", x)));
}

const struct module residual_pre = {
    .slot = SLOT_RESIDUAL, .name = "pre", .about = "norm on the branch's input", .residual = build
};
