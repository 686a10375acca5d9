/* Engram: hashed n-grams inside the trunk, behind a gate that the stream sets. Before attention each stream x_i gets
       x_i += sigmoid(signed_root(d_i)) v,   d_i = sum_c g_ic norm(x_i)_c norm(k_i)_c / sqrt D,
       k_i = e K_i,  v = e V
   with e the rows, end to end, that the last 2, 3 .. `order` tokens have in `heads` tables each; signed_root(d) =
   sign(d) sqrt |d|. Hashes are exclusive ors of tokens times odd factors, of each layer its own, modulo primes that
   all tables have apart; history stops at the start of a document. Tokens are hashed as they are, without folding of
   case. With `conv` taps, 4 in the paper, what is added to a stream is instead
       y + silu(sum_j w_j norm(y at the token j order before)),   y = sigmoid(signed_root(d_i)) v,
   each channel with taps w of its own, over the tokens of the document; grams so far apart share no token. norm takes
   the gate out again, and its gain is in w. DeepSeek 2026 (arXiv 2601.07372); key and value without bias, as in
   NeMo's form, which has no convolution. Published models train tables at five times the rate: train.rates =
   { "roles", table = 5 }. */
#include "model/module.h"
#include <math.h>

enum { ORDERS = NGRAM_MOST - 1, HEADS = 16 };
struct conf { int order, heads, width, rows, conv, zero; double eps; };
static const struct param params[] = {
    INT(struct conf, order, 3, 2, NGRAM_MOST, "token", "the longest n-grams; there are tables of all from pairs on"),
    INT(struct conf, heads, 4, 1, HEADS, "", "tables of each order"),
    INT(struct conf, width, 16, 1, 8192, "", "width of a row"),
    INT(struct conf, rows, 4096, 2, 1 << 28, "row", "rows of the smallest table; each table takes the next prime"),
    INT(struct conf, conv, 0, 0, 16, "", "taps of a convolution of what is added, `order` tokens apart; 0: none"),
    BOOL(struct conf, zero, false, "V and the taps are 0 at first, so that nothing is added"),
    REAL(struct conf, eps, 1e-6, 1e-12, 1e-2, "", "added to mean squares"),
    { 0 }
};

/* How many layers before the current one have such a memory: of the trunk's, as they were configured. */
static int64_t others_before(const struct build *b, struct pick self)
{
    int like = b->layer < b->layers ? model_layer(b->conf, b->layer) : b->conf->layers - 1, n = 0;
    for (int i = 0; i < like; i++) n += b->conf->memory.pick[i].module == self.module;
    return n;
}

/* Odd, and so small that its product with a token has no more than 63 bits. */
static int64_t factor(struct build *b, int64_t layer, int back)
{
    uint64_t bits = hash_name(arena_text(b->arena, "engram.%lld.%d", (long long)layer, back));
    return (int64_t)(2 * (bits % ((1ull << 62) / (uint64_t)b->vocab)) + 1);
}

/* e, [T, orders heads width]. */
static struct node *looked_up(struct build *b, struct pick self)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    build_undivided(b, "memory = 'engram', whose convolution passes from token to token");
    int64_t layer = others_before(b, self), prime = build_prime(c->rows);
    struct node *history = build_cached(b, "ids", build_ids(b), 0), *row[ORDERS * HEADS], *rate[ORDERS];    /* [B,S] */
    struct ngram_attr gram = { .vocab = b->vocab, .hash = HASH_XOR, .by0 = factor(b, layer, 0),
                               .by1 = factor(b, layer, 1), .by2 = factor(b, layer, 2), .by3 = factor(b, layer, 3) };
    int n = 0, orders = c->order - 1;
    for (int64_t skip = layer * orders * c->heads; skip > 0; skip--) prime = build_prime(prime + 1);
    for (gram.order = 2; gram.order <= c->order; gram.order++)
        for (int head = 0; head < c->heads; head++, prime = build_prime(prime + 1)) {
            struct shape size = SHAPE(gram.rows = prime, c->width);
            struct node *index = ngram(g, history, b->start, b->pos, gram),                     /* [B,S] */
                        *table = build_weight(b, arena_text(b->arena, "table%d", n), ROLE_TABLE, size,
                                              build_init(b, ROLE_TABLE, size));
            row[n++] = embed(g, table, index);                                                  /* [T,width] */
            if (head == 0 && b->mode == MODE_TRAIN)
                rate[gram.order - 2] = view(g, collision_rate(g, history, b->start, index, (int)gram.order),
                                            SHAPE(1, 1));
        }
    if (b->mode == MODE_TRAIN)
        build_metric(b, "memory_collision_rate", view(g, concat(g, orders, rate), SHAPE(orders)), "", BETTER_LOWER,
                     "share of the distinct n-grams of a micro-batch that share a row of their first table, an order");
    return n > 1 ? concat(g, n, row) : row[0];
}

/* How much each of n streams x [T,D] or [T,n,D] takes, REAL [T,n]. */
static struct node *gate(struct build *b, const struct conf *c, struct node *x, struct node *key, int64_t n)
{
    struct graph *g = b->graph;
    struct shape rows = SHAPE(b->tokens * n, b->width), all = SHAPE(b->tokens, n * b->width);
    struct node *gain = build_weight(b, "gain", ROLE_GAIN, SHAPE(n * b->width), init_constant(1)),
                *both = mul(g, rmsnorm(g, view(g, x, rows), NULL, c->eps, false),
                            rmsnorm(g, view(g, key, rows), NULL, c->eps, false)),
                *near = matmul(g, view(g, mul_row(g, view(g, both, all), gain), rows),
                               build_ones(b, SHAPE(1, b->width)), DTYPE_REAL);                   /* [T n,1] */
    near = view(g, scale(g, near, 1 / sqrt((double)b->width)), SHAPE(b->tokens, n));
    return sigmoid(g, signed_root(g, near));
}

/* Of y, of T n rows, each channel of each stream over the tokens before. */
static struct node *convolved(struct build *b, const struct conf *c, struct node *y, int64_t n)
{
    struct graph *g = b->graph;
    int64_t width = n * b->width, back = (c->conv - 1) * c->order;
    double most = 1 / sqrt(c->conv);
    struct node *rows = rmsnorm(g, view(g, y, SHAPE(b->tokens * n, b->width)), NULL, c->eps, false),
                *taps = build_weight(b, "conv", ROLE_TAPS, SHAPE(width, c->conv),
                                     c->zero ? init_constant(0) : init_uniform(-most, most)),
                *state = build_state(b, "conv", SHAPE(width), back > 0 ? back : 1);
    rows = view(g, rows, SHAPE(b->tokens, width));
    return view(g, conv1d(g, rows, taps, b->start, b->pos, state, c->order, true), y->shape);
}

static struct node *build(struct build *b, struct pick self, const struct stream *s)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    int64_t n = s->x->shape.rank == 3 ? s->x->shape.dim[1] : 1;
    struct node *rows = looked_up(b, self), *key = linear_same(b, "key", ROLE_MIX, rows, n * b->width, false),
                *value = linear_same(b, "value", ROLE_MIX, rows, b->width, c->zero),
                *open = gate(b, c, s->x, key, n);
    build_row_metric(b, "layer_memory_gate", mean_rows(g, build_present(b, open, 0)), "", BETTER_NONE,
                     "mean share of what it looked up that each stream takes");
    struct node *y = s->x->shape.rank == 2 ? build_gated(b, value, open)
                                           : mul_heads(g, repeat(g, value, n), open);           /* [T,n,D] */
    return c->conv ? add(g, y, convolved(b, c, y, n)) : y;
}

const struct module memory_engram = {
    .slot = SLOT_MEMORY, .name = "engram", .about = "hashed n-grams behind a gate that the stream sets (Engram)",
    .conf_size = sizeof(struct conf), .params = params, .memory = build,
};
