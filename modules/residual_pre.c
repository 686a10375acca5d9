/* PreNorm: x + f(norm(x)). The stream itself is never normalised before the end. */
#include "model/module.h"

static void build(struct build *b, struct pick self, struct stream *s, struct sublayer f)
{
    (void)self;
    s->x = add(b->graph, s->x, f.build(b, f.context, build_norm(b, "norm", s->x)));
}

const struct module residual_pre = {
    .slot = SLOT_RESIDUAL, .name = "pre", .about = "norm on the branch's input", .residual = build
};
