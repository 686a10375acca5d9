/* Token choice: each token goes to the top_k experts with its largest keys; ties to the lower number. Shazeer 2017. */
#include "model/module.h"

static void build(struct build *b, struct pick self, struct routing *r)
{
    (void)self;
    r->index = topk(b->graph, r->key, r->k);                                                    /* [T,K] */
}

static void traits(struct pick self, struct traits *t) { (void)self; t->largest_keys = true; }

const struct module select_top_k = {
    .slot = SLOT_SELECT, .name = "top_k", .about = "each token its best experts", .traits = traits,
    .select = build,
};
