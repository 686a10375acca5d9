/* Hashed n-grams: the row of a table that a token and the order - 1 before it share (over-encoding, Huang 2025;
   Engram, DeepSeek 2026). What stands before the document or the sequence is token `pad`. As a number of base `vocab`
   the current token is the lowest digit; xor: the exclusive or of tokens times factors, without overflow. */
#define VERBS "graph/ops/tokens.h"
#include "op.h"
#include "cpu/sort.h"

enum { IDS, START, POS };                                   /* inputs of ngram */

VERB struct node *ngram(struct graph *g, struct node *ids, struct node *start, struct node *pos, struct ngram_attr a)
{
    return graph_emit(g, &op_ngram, &a, ids, start, pos);
}

static int infer(struct node *n, struct err *e)
{
    struct shape ids = n->in[IDS]->shape, start = n->in[START]->shape;
    if (n->in[POS] ? ids.dim[1] < start.dim[1] : ids.dim[1] != start.dim[1]) {
        char have[64], need[64];
        return err_set(e, "ids %s do not fit document starts %s", shape_text(ids, have), shape_text(start, need));
    }
    const struct ngram_attr *at = n->attr;
    const int64_t by[NGRAM_MOST] = { at->by0, at->by1, at->by2, at->by3 };
    if (at->hash == HASH_XOR && at->order > NGRAM_MOST)
        return err_set(e, "order = %lld: xor has factors for %d tokens", (long long)at->order, NGRAM_MOST);
    for (int i = 0; at->hash == HASH_XOR && i < at->order; i++)
        if (by[i] % 2 != 1 || by[i] < 0 || by[i] > INT64_MAX / at->vocab)
            return err_set(e, "by%d = %lld: must be odd, and at most 2^63 / %lld", i, (long long)by[i],
                           (long long)at->vocab);
    node_value(n, DTYPE_I32, start);
    return 0;
}

/* The token `back` before position p of a sequence whose document begins at `start`. */
static int32_t token_before(const int32_t *ids, int64_t p, int64_t back, int64_t start, int32_t pad)
{
    return p - back >= start ? ids[p - back] : pad;
}

static void tokens(const struct args *a, int64_t from, int64_t to)
{
    const struct ngram_attr *at = a->attr;
    const uint64_t by[NGRAM_MOST] = { (uint64_t)at->by0, (uint64_t)at->by1, (uint64_t)at->by2, (uint64_t)at->by3 };
    int64_t s = a->in[START].shape.dim[1], room = a->in[IDS].shape.dim[1],
            before = a->in[POS].data ? ints(&a->in[POS])[0] : 0;
    for (int64_t t = from; t < to; t++) {
        const int32_t *ids = ints(&a->in[IDS]) + t / s * room;
        int64_t p = before + t % s, start = ints(&a->in[START])[t];
        INVARIANT(p < room && start >= 0, "ngram: position %lld of %lld, document start %lld", (long long)p,
                  (long long)room, (long long)start);
        uint64_t gram = 0;
        for (int64_t back = at->order - 1; back >= 0; back--) {
            uint64_t token = (uint64_t)token_before(ids, p, back, start, (int32_t)at->pad);
            if (at->hash == HASH_XOR) gram ^= token * by[back];
            else gram = gram * (uint64_t)at->vocab + token;
            if (at->hash == HASH_MUL32) gram = (uint32_t)gram;
            if (at->hash == HASH_MOD) gram %= (uint64_t)at->rows;
        }
        if (at->hash == HASH_MUL32) gram = (uint32_t)(gram * 2654435761u);
        ints(&a->out[0])[t] = (int32_t)(gram % (uint64_t)at->rows);
    }
}

static void forward(const struct args *a) { each(a, shape_count(a->out[0].shape), 1024, tokens); }

KERNELS(ngram) = { forward, NULL, NULL };

#define FACTOR(name) INT(struct ngram_attr, name, 1, 0, HUGE_VAL, "", "of xor, a token's factor")
ATTRIBUTES(ngram, struct ngram_attr,
    INT(struct ngram_attr, order, NEEDED, 1, INT32_MAX, "tokens", "of an n-gram"),
    INT(struct ngram_attr, vocab, NEEDED, 1, INT32_MAX, "", "ids there are"),
    INT(struct ngram_attr, rows, NEEDED, 1, INT32_MAX, "", "of the table"),
    CHOICE(struct ngram_attr, hash, NEEDED, "mul32 mod xor", "how n-grams are hashed"),
    INT(struct ngram_attr, pad, 0, 0, INT32_MAX, "", "the token that stands before a document"),
    FACTOR(by0), FACTOR(by1), FACTOR(by2), FACTOR(by3));
OP(ngram, .inputs = "ids:I32[B,L] start:I32[B,S] pos?:I32[1]",
   .outputs = "rows:I32[B,S]",
   .about = "the row of a table that a token and the order - 1 before it share. mul32: of their number to base vocab, "
          "times 2654435761, in 32 bits; mod: of the number; xor: of the exclusive or of by0 times the token, by1 "
          "times the one before it, ..; each modulo rows. With pos, ids is a cache",
   ATTR(ngram), .infer = infer);

/* ---- collision_rate: of the distinct n-grams of a batch, the share that shares its row with another one ---- */

VERB struct node *collision_rate(struct graph *g, struct node *ids, struct node *start, struct node *index, int order)
{
    int64_t at = order;
    return graph_emit(g, &op_collision_rate, &at, ids, start, index);
}

static int collision_infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_REAL, SHAPE(1));
    /* tokens by row, then by gram; spare; one digit of the gram */
    node_work(n, DTYPE_I32, SHAPE(3, shape_count(n->in[0]->shape)));
    return 0;
}

static int32_t digit(const struct args *a, int64_t token, int64_t back)
{
    int64_t s = a->in[0].shape.dim[1];
    return token_before(ints(&a->in[0]) + token / s * s, token % s, back, ints(&a->in[1])[token], 0);
}

static bool same_gram(const struct args *a, int64_t t, int64_t u)
{
    for (int64_t back = 0; back < ((const struct collision_rate_attr *)a->attr)->order; back++)
        if (digit(a, t, back) != digit(a, u, back)) return false;
    return true;
}

static void collision_forward(const struct args *a)
{
    const int32_t *index = ints(&a->in[2]);
    int64_t n = shape_count(a->in[0].shape), below = (int64_t)INT32_MAX + 1, distinct = 0, sharing = 0;
    int32_t *order = ints(&a->work[0]), *spare = order + n, *key = spare + n;
    all_positions(order, n);
    for (int64_t back = 0; back < ((const struct collision_rate_attr *)a->attr)->order; back++) {
        for (int64_t t = 0; t < n; t++) key[t] = digit(a, t, back);
        sort_positions(order, spare, n, key, below);
    }
    sort_positions(order, spare, n, index, below);
    for (int64_t i = 0; i < n;) {
        int64_t row = index[order[i]], grams = 0;
        for (int64_t first = i; i < n && index[order[i]] == row; i++)
            grams += i == first || !same_gram(a, order[i], order[i - 1]);
        distinct += grams;
        if (grams > 1) sharing += grams;
    }
    reals(&a->out[0])[0] = (real)((double)sharing / (double)distinct);
}

KERNELS(collision_rate) = { collision_forward, NULL, NULL };

ATTRIBUTES(collision_rate, struct collision_rate_attr,
    INT(struct collision_rate_attr, order, NEEDED, 1, INT32_MAX, "tokens", "of an n-gram"));
OP(collision_rate, .inputs = "ids:I32[B,S] start:I32[B,S] index:I32[B,S]",
   .outputs = "rate:REAL[1]",
   .about = "share of the distinct n-grams that share their row with another",
   ATTR(collision_rate), .infer = collision_infer);
