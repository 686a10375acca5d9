/* Hashed n-grams (over-encoding, Huang 2025): the row of a table that a token and the order - 1 before it share.
   History outside the document or the sequence is token 0; the current token is the lowest digit. */
#define VERBS "graph/ops/tokens.h"
#include "op.h"
#include "cpu/sort.h"

struct attr { int64_t order, vocab, rows, hash; };

enum { IDS, START, POS };                                   /* inputs of ngram */

VERB struct node *ngram(struct graph *g, struct node *ids, struct node *start, struct node *pos, int order,
                        int64_t vocab, int64_t rows, enum hash_kind hash)
{
    struct attr at = { order, vocab, rows, hash };
    return graph_emit(g, &op_ngram, &at, ids, start, pos);
}

static int infer(struct node *n, struct err *e)
{
    struct shape ids = n->in[IDS]->shape, start = n->in[START]->shape;
    if (n->in[POS] ? ids.dim[1] < start.dim[1] : ids.dim[1] != start.dim[1]) {
        char have[64], need[64];
        return err_set(e, "ids %s do not fit document starts %s", shape_text(ids, have), shape_text(start, need));
    }
    node_value(n, DTYPE_I32, start);
    return 0;
}

/* The token `back` before position p of a sequence whose document begins at `start`. */
static int32_t token_before(const int32_t *ids, int64_t p, int64_t back, int64_t start)
{
    return p - back >= start ? ids[p - back] : 0;
}

static void tokens(const struct args *a, int64_t from, int64_t to)
{
    const struct attr *at = a->attr;
    int64_t s = a->in[START].shape.dim[1], room = a->in[IDS].shape.dim[1],
            before = a->in[POS].data ? ints(&a->in[POS])[0] : 0;
    for (int64_t t = from; t < to; t++) {
        const int32_t *ids = ints(&a->in[IDS]) + t / s * room;
        int64_t p = before + t % s, start = ints(&a->in[START])[t];
        INVARIANT(p < room && start >= 0, "ngram: position %lld of %lld, document start %lld", (long long)p,
                  (long long)room, (long long)start);
        uint64_t gram = 0;
        for (int64_t back = at->order - 1; back >= 0; back--) {
            gram = gram * (uint64_t)at->vocab + (uint64_t)token_before(ids, p, back, start);
            gram = at->hash == HASH_MUL32 ? (uint32_t)gram : gram % (uint64_t)at->rows;
        }
        if (at->hash == HASH_MUL32) gram = (uint32_t)(gram * 2654435761u) % (uint64_t)at->rows;
        ints(&a->out[0])[t] = (int32_t)gram;
    }
}

static void forward(const struct args *a) { each(a, shape_count(a->out[0].shape), 1024, tokens); }

KERNELS(ngram) = { forward, NULL, NULL };

ATTRIBUTES(ngram, struct attr,
    INT(struct attr, order, NEEDED, 1, INT32_MAX, "tokens", "of an n-gram"),
    INT(struct attr, vocab, NEEDED, 1, INT32_MAX, "", "ids there are"),
    INT(struct attr, rows, NEEDED, 1, INT32_MAX, "", "of the table"),
    CHOICE(struct attr, hash, NEEDED, "mul32 mod", "how n-grams are hashed"));
OP(ngram, .inputs = "ids:I32[B,L] start:I32[B,S] pos?:I32[1]",
   .outputs = "rows:I32[B,S]",
   .about = "the row of a table that a token and the order - 1 before it share; what stands before the document is "
          "token 0. With pos, ids is a cache",
   ATTR(ngram), .infer = infer);

/* ---- collision_rate: of the distinct n-grams of a batch, the share that shares its row with another one ---- */

struct collision_attr { int64_t order; };

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
    return token_before(ints(&a->in[0]) + token / s * s, token % s, back, ints(&a->in[1])[token]);
}

static bool same_gram(const struct args *a, int64_t t, int64_t u)
{
    for (int64_t back = 0; back < *(const int64_t *)a->attr; back++)
        if (digit(a, t, back) != digit(a, u, back)) return false;
    return true;
}

static void collision_forward(const struct args *a)
{
    const int32_t *index = ints(&a->in[2]);
    int64_t n = shape_count(a->in[0].shape), below = (int64_t)INT32_MAX + 1, distinct = 0, sharing = 0;
    int32_t *order = ints(&a->work[0]), *spare = order + n, *key = spare + n;
    all_positions(order, n);
    for (int64_t back = 0; back < *(const int64_t *)a->attr; back++) {
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

ATTRIBUTES(collision_rate, struct collision_attr,
    INT(struct collision_attr, order, NEEDED, 1, INT32_MAX, "tokens", "of an n-gram"));
OP(collision_rate, .inputs = "ids:I32[B,S] start:I32[B,S] index:I32[B,S]",
   .outputs = "rate:REAL[1]",
   .about = "share of the distinct n-grams that share their row with another",
   ATTR(collision_rate), .infer = collision_infer);
