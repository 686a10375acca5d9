/* Sandwich norm: x + norm(f(norm(x))). Ding 2021 (CogView); Gemma 2. A branch's output cannot grow with its weights. */
#include "model/module.h"

static void build(struct build *b, struct pick self, struct stream *s, struct sublayer f)
{
    (void)self;
    struct node *y = f.build(b, f.context, build_norm(b, "norm", s->x));
    s->x = add(b->graph, s->x, build_norm(b, "norm_out", y));
}

static void traits(struct pick self, struct traits *t) { (void)self; t->branch_normed = true; }

const struct module residual_sandwich = {
    .slot = SLOT_RESIDUAL, .name = "sandwich", .about = "norm on both sides of the branch",
    .traits = traits, .residual = build,
};
