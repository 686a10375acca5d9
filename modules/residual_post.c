/* PostNorm: norm(x + f(x)). Vaswani 2017. No path from embedding to logits escapes the norms: it wants warm-up. What
   the last block gives is normed already, so no final norm follows unless asked for. deep: DeepNorm (Wang 2022, arXiv
   2203.00555, with norm = "layer"), norm(alpha x + f(x)), alpha = (2 L)^(1/4) for L layers, where values, what
   attention writes and feed-forwards begin (8 L)^(-1/4) times as wide: a step changes little of the sum, however many
   layers there are. */
#include "model/module.h"
#include <math.h>

struct conf { int deep, final_norm; };
static const struct param params[] = {
    BOOL(struct conf, deep, false, "a larger stream and narrower branches, by the number of layers: DeepNorm"),
    BOOL(struct conf, final_norm, false, "norm once more between the last block and the head"),
    { 0 }
};

static void build(struct build *b, struct pick self, struct stream *s, struct sublayer f)
{
    bool deep = ((const struct conf *)self.conf)->deep;
    if (deep) b->branch_std = pow(8.0 * b->layers, -0.25);
    struct node *y = f.build(b, f.context, s->x), *x = deep ? scale(b->graph, s->x, pow(2.0 * b->layers, 0.25)) : s->x;
    b->branch_std = 1;
    s->x = build_norm(b, "norm", add(b->graph, x, y));
}

static void traits(struct pick self, struct traits *t)
{
    t->branch_bounded = true;
    t->ends_normed = !((const struct conf *)self.conf)->final_norm;
}

const struct module residual_post = {
    .slot = SLOT_RESIDUAL, .name = "post", .about = "norm after the sum",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .residual = build,
};
