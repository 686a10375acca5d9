/* In training the tokens of each expert, of a micro-batch, become a multiple of `tile`: those with the smallest gates
   are left out, or those with the largest scores among the others are added, with these as gates, before any sum.
   Tensor cores compute whole tiles in any case. Guo 2025 (SonicMoE, arXiv 2512.14080). */
#include "model/module.h"

#include <math.h>

struct conf { int round, tile; };
static const struct param params[] = {
    CHOICE(struct conf, round, ROUND_NEAREST, "down up nearest",
           "to which multiple; of two that are as near, to the even one"),
    INT(struct conf, tile, 128, 2, 65536, "token", "of what an expert computes at once"),
    { 0 }
};

/* Choice, index and gates become [T,E], each expert in its column. Index: of its tokens by their gates, and after them
   all others by their scores, for -1 / score is below every gate and grows with the score, the first `want` [E]. */
static void fill(struct build *b, const struct conf *c, struct routing *r, struct node *want)
{
    struct graph *g = b->graph;
    int64_t tokens = r->index->shape.dim[0], pairs = shape_count(r->index->shape);
    struct node *goes = scatter(g, build_ones(b, r->index->shape), r->index, r->experts),        /* [T,E] */
                *gates = scatter(g, r->gate, r->index, r->experts),
                *after = mul(g, offset(g, goes, -1), reciprocal(g, offset(g, r->score, 1e-30))),
                *key = build_present(b, add(g, gates, after), -INFINITY), *all = topk_columns(g, key, 1, tokens);
    r->chosen = drop_zero(g, all, goes);
    r->index = drop_over_capacity(g, all, key, want, r->experts, 1, tokens, PRIORITY_GATE);
    r->gate = subtract(g, gates, mul(g, offset(g, goes, -1), r->score));
    r->rows = pairs + (int64_t)r->experts * (c->round == ROUND_UP ? c->tile - 1 : c->tile / 2);
}

static void build(struct build *b, struct pick self, struct routing *r)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    if (b->mode != MODE_TRAIN) return;
    r->index = build_present(b, r->index, -1);
    int64_t tokens = r->index->shape.dim[0];
    struct node *count = view(g, count_chosen(g, r->index, r->experts, r->experts, 1, false), SHAPE(r->experts)),
                *want = round_counts(g, count, c->tile, (enum rounding)c->round);              /* [E] */
    if (c->round == ROUND_DOWN)
        r->index = drop_over_capacity(g, r->index, r->gate, want, r->experts, 1, tokens, PRIORITY_GATE);
    else
        fill(b, c, r, want);
}

static void traits(struct pick self, struct traits *t)
{
    t->adds = ((const struct conf *)self.conf)->round != ROUND_DOWN;
    t->uneven = t->tiled = t->of_batch = true;
    looks_ahead(t, AHEAD_TRAINING);
}

const struct module revise_tiles = {
    .slot = SLOT_REVISE, .name = "tiles", .about = "the tokens of an expert fill whole tiles (SonicMoE)",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .revise = build,
};
