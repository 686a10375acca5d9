/* PostNorm: norm(x + f(x)). Vaswani 2017. No path from embedding to logits escapes the norms: it wants warm-up. What
   the last block gives is normed already, so no final norm follows unless asked for. */
#include "model/module.h"

struct conf { int final_norm; };
static const struct param params[] = {
    BOOL(struct conf, final_norm, false, "norm once more between the last block and the head"),
    { 0 }
};

static void build(struct build *b, struct pick self, struct stream *s, struct sublayer f)
{
    (void)self;
    s->x = build_norm(b, "norm", add(b->graph, s->x, f.build(b, f.context, s->x)));
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
