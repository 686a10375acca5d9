/* Expert choice: of each sequence each expert takes the C = ceil(S top_k / E) tokens with its largest keys, so that the
   load is even by construction and a token has any number of experts. Zhou 2022 (arXiv 2202.09368). Whether a token is
   taken depends on later ones: this is no causal model, and there is nothing to sample. */
#include "model/module.h"
#include <math.h>

static void build(struct build *b, struct pick self, struct routing *r)
{
    (void)self;
    struct graph *g = b->graph;
    int64_t each = (b->seq * r->k + r->experts - 1) / r->experts;
    r->index = topk_columns(g, build_present(b, r->key, -INFINITY), b->batch, each);            /* [T,E] */
    r->rows = b->batch * r->experts * each;
}

static void traits(struct pick self, struct traits *t)
{
    (void)self;
    t->looks_ahead = t->uneven = true;
}

const struct module select_expert_choice = {
    .slot = SLOT_SELECT, .name = "expert_choice", .about = "each expert its best tokens; not causal",
    .traits = traits, .select = build,
};
