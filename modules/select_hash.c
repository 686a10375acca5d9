/* Hash routing: a token's experts are a fixed function of its id, each expert has as many ids; the router's scores are
   gates alone. Roller 2021 (arXiv 2106.04426); with learned gates, the first layers of DeepSeek-V4. */
#include "model/module.h"

enum { SEED = 1 };                                          /* of the table: the same for all runs */

static void build(struct build *b, struct pick self, struct routing *r)
{
    (void)self;
    r->index = hash_ids(b->graph, build_ids(b), r->experts, r->k, SEED);                        /* [T,K] */
}

static void traits(struct pick self, struct traits *t) { (void)self; t->keyless = true; }

const struct module select_hash = {
    .slot = SLOT_SELECT, .name = "hash", .about = "experts by the token's id", .traits = traits, .select = build,
};
