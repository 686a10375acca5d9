/* A table of hashed bigrams inside the trunk: before attention the stream of each layer that has one gets
   factor * E[hash(token, the one before)], with a table and a learned factor of its own. Jordan 2025 (modded-nanogpt);
   the plain case of Engram (DeepSeek 2026). History stops at the start of a document. */
#include "model/module.h"

struct conf { int rows; double factor; };
static const struct param params[] = {
    INT(struct conf, rows, 4096, 2, 1 << 28, "row", "rows of the table"),
    REAL(struct conf, factor, 0.1, -10, 10, "", "initial factor"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, const struct stream *s)
{
    (void)s;
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct shape size = SHAPE(c->rows, b->width);
    struct init begin = init_constant(c->factor);
    struct node *history = build_cached(b, "ids", build_ids(b), 0);                             /* [B,S], [B,C] */
    struct ngram_attr pair = { .order = 2, .vocab = b->vocab, .rows = c->rows, .hash = HASH_MUL32 };
    struct node *row = ngram(g, history, b->start, b->pos, pair);                               /* [B,S] */
    struct node *table = build_weight(b, "table", ROLE_TABLE, size, build_init(b, ROLE_TABLE, size));
    return mul_scalar(g, embed(g, table, row), build_weight(b, "factor", ROLE_SCALAR, SHAPE(1), begin));
}

const struct module memory_bigram = {
    .slot = SLOT_MEMORY, .name = "bigram", .about = "hashed bigrams, added to the stream before attention",
    .conf_size = sizeof(struct conf), .params = params, .memory = build,
};
