/* Reordered norm: x + norm(f(x)). A branch reads the stream as it is, and what it writes has one size: queries and keys
   want a norm of their own. Liu 2021 (Swin v2); OLMo 2. */
#include "model/module.h"

static void build(struct build *b, struct pick self, struct stream *s, struct sublayer f)
{
    (void)self;
    s->x = add(b->graph, s->x, build_norm(b, "norm_out", f.build(b, f.context, s->x)));
}

static void traits(struct pick self, struct traits *t) { (void)self; t->branch_bounded = true; }

const struct module residual_reordered = {
    .slot = SLOT_RESIDUAL, .name = "reordered", .about = "norm on what a branch writes (OLMo 2)",
    .traits = traits, .residual = build,
};
