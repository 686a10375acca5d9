/* DeepNorm: norm(alpha x + f(x)), alpha = (2 L)^(1/4) for L layers; values, what attention writes and feed-forwards
   begin (8 L)^(-1/4) times as wide. The sum is normalised as in PostNorm, but a step changes little of it, however many
   layers there are. Wang 2022 (arXiv 2203.00555), with norm = "layer". */
#include "model/module.h"
#include <math.h>

struct conf { int final_norm; };
static const struct param params[] = {
    BOOL(struct conf, final_norm, false, "norm once more between the last block and the head"),
    { 0 }
};

static void build(struct build *b, struct pick self, struct stream *s, struct sublayer f)
{
    (void)self;
    b->branch_std = pow(8.0 * b->layers, -0.25);
    struct node *y = f.build(b, f.context, s->x), *x = scale(b->graph, s->x, pow(2.0 * b->layers, 0.25));
    b->branch_std = 1;
    s->x = build_norm(b, "norm", add(b->graph, x, y));
}

static void traits(struct pick self, struct traits *t)
{
    t->branch_bounded = true;
    t->ends_normed = !((const struct conf *)self.conf)->final_norm;
}

const struct module residual_deepnorm = {
    .slot = SLOT_RESIDUAL, .name = "deepnorm", .about = "PostNorm for deep stacks: a larger stream, narrower branches",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .residual = build,
};
