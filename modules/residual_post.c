/* PostNorm: norm(x + f(x)). Vaswani 2017. No path from embedding to logits escapes the norms: it wants warm-up. What
   the last block gives is normed already, so no final norm follows unless asked for. */
#include "model/module.h"

struct conf { int final_norm; };
static const struct param params[] = {
    BOOL(struct conf, final_norm, false, "norm once more between the last block and the head"),
    { 0 }
};

static struct node *build(struct build *b, const void *conf, struct node *x, struct sublayer f)
{
    (void)conf;
    return build_norm(b, "norm", add(b->graph, x, f.build(b, f.context, x)));
}

static bool ends_normed(const void *conf) { return !((const struct conf *)conf)->final_norm; }

const struct module residual_post = {
    .slot = SLOT_RESIDUAL, .name = "post", .about = "norm after the sum", .branch_normed = true,
    .conf_size = sizeof(struct conf), .params = params, .residual = build, .ends_normed = ends_normed,
};
