/* PreNorm: x + scale f(norm(x)). The stream itself is never normalised before the end. by_depth: divided by sqrt(L) for
   L layers, so that the sum of all branches does not grow with them (MiniCPM: scale 1.4; Yang 2023). norm_by_depth:
   what the branches of layer l, from 1, read is divided by sqrt(l): LayerNorm scaling (Sun 2025, arXiv 2502.05795).
   Where either is, init.depth_scale does not narrow branches too. */
#include "model/module.h"
#include <math.h>

struct conf { double scale; int by_depth, norm_by_depth; };
static const struct param params[] = {
    REAL(struct conf, scale, 1, 0, 100, "", "factor on what a branch writes"),
    BOOL(struct conf, by_depth, false, "that factor over the root of the number of layers"),
    BOOL(struct conf, norm_by_depth, false, "what a branch reads over the root of its layer's number, from 1"),
    { 0 }
};

static struct node *scaled(struct build *b, struct node *x, double by) { return by == 1 ? x : scale(b->graph, x, by); }

static void build(struct build *b, struct pick self, struct stream *s, struct sublayer f)
{
    const struct conf *c = self.conf;
    double read = c->norm_by_depth ? 1 / sqrt(b->layer + 1) : 1, write = c->scale / (c->by_depth ? sqrt(b->layers) : 1);
    struct node *y = f.build(b, f.context, scaled(b, build_norm(b, "norm", s->x), read));
    s->x = add(b->graph, s->x, scaled(b, y, write));
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->branch_bounded = c->by_depth || c->norm_by_depth;
}

const struct module residual_pre = {
    .slot = SLOT_RESIDUAL, .name = "pre", .about = "norm on the branch's input",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .residual = build,
};
