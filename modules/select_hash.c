/* Hash routing: a token's experts are a fixed function of its id, or of its id and the one before, and each expert has
   as many ids; the router's scores are gates alone. Roller 2021 (arXiv 2106.04426); with learned gates, the first
   layers of DeepSeek-V4. */
#include "model/module.h"

enum { SEED = 1, BIGRAMS = 16777213 };                      /* of the table, the same for all runs; a prime */
enum of { TOKEN, BIGRAM };
struct conf { int of, per_layer; };
static const struct param params[] = {
    CHOICE(struct conf, of, TOKEN, "token bigram", "whose experts: the token's, or those of it and the one before"),
    BOOL(struct conf, per_layer, false, "each layer has a table of its own"),
    { 0 }
};

/* I32 [B,S] */
static struct node *hashed(struct build *b, const struct conf *c)
{
    if (c->of == TOKEN) return build_ids(b);
    struct node *history = build_cached(b, "router.ids", build_ids(b), 0);
    struct ngram_attr pair = { .order = 2, .vocab = b->vocab, .rows = BIGRAMS, .hash = HASH_MUL32 };
    return ngram(b->graph, history, b->start, b->pos, pair);
}

static void build(struct build *b, struct pick self, struct routing *r)
{
    const struct conf *c = self.conf;
    uint64_t seed = SEED + (uint64_t)(c->per_layer ? 1 + b->layer : 0);
    r->index = hash_ids(b->graph, hashed(b, c), r->experts, r->k, seed);                        /* [T,K] */
}

static void traits(struct pick self, struct traits *t) { (void)self; t->keyless = true; }

const struct module select_hash = {
    .slot = SLOT_SELECT, .name = "hash", .about = "experts by the token's id",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .select = build,
};
