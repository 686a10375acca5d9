/* Over-Encoding: hashed n-grams that end in the token add to its vector. Huang 2025 (arXiv 2501.16975); WeLM.
       x = (E[id] + concat_i(E_i[hash_i]) W) / 2        welm; paper: / (1 + tables); normsum: norms, / sqrt 2
   Tables of one order share their hash and differ in their number of rows alone, so the rows are distinct primes:
   else a second table would say what the first says. History stops at the start of a document. */
#include "model/module.h"
#include <math.h>

enum { TABLES_MAX = 16 };
enum combine { WELM, PAPER, NORMSUM };
struct conf { struct ints grams; int rows, width, hash, combine; };
static const struct param params[] = {
    INTS(struct conf, grams, 2, 4, "tokens in the n-grams of each table; empty: 2 2 3 3"),
    INT(struct conf, rows, 4096, 2, 1 << 28, "row", "rows of the smallest table; each table takes the next prime"),
    INT(struct conf, width, 32, 1, 8192, "", "width of a row"),
    CHOICE(struct conf, hash, HASH_MUL32, "mul32 mod",
           "32-bit multiplicative hash, or the exact n-gram number modulo rows"),
    CHOICE(struct conf, combine, WELM, "welm paper normsum", "how token and n-grams are added"),
    { 0 }
};
static const struct ints usual = { 4, (int[]){ 2, 2, 3, 3 } };

static const struct ints *grams_of(const struct conf *c) { return c->grams.n ? &c->grams : &usual; }

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    if (c->grams.n > TABLES_MAX)
        module_problem(problems, path, "grams", "%d tables: at most %d", c->grams.n, TABLES_MAX);
}

static int64_t next_prime(int64_t from, int64_t vocab)      /* that does not divide the vocabulary */
{
    while (vocab % (from = build_prime(from)) == 0) from++;
    return from;
}

static struct node *joined(struct build *b, const struct conf *c, struct node *token, struct node *grams)
{
    struct graph *g = b->graph;
    if (c->combine == NORMSUM)
        return scale(g, add(g, build_norm(b, "norm_token", token), build_norm(b, "norm_grams", grams)), sqrt(0.5));
    return scale(g, add(g, token, grams), c->combine == WELM ? 0.5 : 1.0 / (1 + grams_of(c)->n));
}

static struct node *build(struct build *b, struct pick self, int ahead)
{
    const struct conf *c = self.conf;
    const struct ints *grams = grams_of(c);
    struct graph *g = b->graph;
    struct shape shape = SHAPE(b->vocab, b->width);
    /* later calls add no second copy of the metric */
    bool watch = !build_kept(b, -1, "embed.table") && b->mode == MODE_TRAIN;
    build_enter(b, "embed");
    struct node *table = build_weight(b, "weight", ROLE_EMBED, shape, build_init(b, ROLE_EMBED, shape));
    build_keep(b, -1, "embed.table", table);
    struct node *token = embed(g, table, ahead ? shift(g, b->ids, ahead) : b->ids);     /* [T,D] */

    struct node *history = build_cached(b, "ids", b->ids, 0);   /* [B,S], in decode [B,C] */
    struct node *ids = watch ? build_sequences(b, b->ids) : NULL, *start = watch ? build_sequences(b, b->start) : NULL;
    struct node *row[TABLES_MAX], *rate[TABLES_MAX];
    int64_t rows = c->rows - 1;
    for (int i = 0; i < grams->n; i++) {
        rows = next_prime(rows + 1, b->vocab);
        struct shape size = SHAPE(rows, c->width);
        struct node *rows_of = build_weight(b, arena_text(b->arena, "table%d", i), ROLE_TABLE, size,
                                          build_init(b, ROLE_TABLE, size));
        struct ngram_attr gram = { .order = grams->value[i], .vocab = b->vocab, .rows = rows, .hash = c->hash };
        struct node *index = ngram(g, history, b->start, b->pos, gram);                         /* [B,S] */
        row[i] = embed(g, rows_of, ahead ? shift(g, index, ahead) : index);    /* [T,width] */
        if (watch) rate[i] = view(g, collision_rate(g, ids, start, build_sequences(b, index), grams->value[i]),
                                  SHAPE(1, 1));
    }
    if (watch)
        build_metric(b, "oe_collision_rate", view(g, concat(g, grams->n, rate), SHAPE(grams->n)), "", BETTER_LOWER,
                     "share of the distinct n-grams of a micro-batch that share their row, a table");
    struct node *x = joined(b, c, token, linear_same(b, "mix", ROLE_MIX, concat(g, grams->n, row), b->width, false));
    build_leave(b);
    return x;
}

const struct module embed_over_encoding = {
    .slot = SLOT_EMBED, .name = "over_encoding", .about = "hashed n-gram tables beside the token's vector",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .embed = build,
};
