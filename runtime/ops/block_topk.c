/* Which blocks of keys a head looks at (Lu 2025, MoBA): of those before the query's own the `chosen` - 1 with the
   largest q.mean(keys of the block), and its own. Blocks begin where a document does. No gradient: the choice is no
   part of what is learned. Means are sums in REAL, made once for each document of a key head. Bound by reading keys
   once. */
#define VERBS "graph/ops/products.h"
#include "op.h"
#include "cpu/seen.h"
#include "cpu/vec_math.h"

enum { Q, K, START, POS };
enum { MEANS };                                             /* work */

VERB struct node *block_topk(struct graph *g, struct block_topk a)
{
    struct block_topk_attr at = { a.chosen, a.block, a.window, a.chunk };
    return graph_emit(g, &op_block_topk, &at, a.q, a.k, a.start, a.pos);
}

static int infer(struct node *n, struct err *e)
{
    const struct block_topk_attr *at = n->attr;
    char text[64];
    struct shape q = n->in[Q]->shape, k = n->in[K]->shape, start = n->in[START]->shape;
    bool cached = n->in[POS];
    if (k.rank != (cached ? 4 : 3))
        return err_set(e, "keys %s must be %s", shape_text(k, text), cached ? "[B,C,G,W]" : "[T,G,W]");
    int64_t groups = k.dim[k.rank - 2], keys = cached ? k.dim[1] : start.dim[1];
    if (q.dim[1] % groups != 0)
        return err_set(e, "%lld query heads cannot share %lld key heads evenly", (long long)q.dim[1],
                       (long long)groups);
    if (q.dim[2] > HEAD_WIDEST) return err_set(e, "heads are at most %d wide", HEAD_WIDEST);
    node_value(n, DTYPE_I32, SHAPE(q.dim[0], q.dim[1], at->chosen));
    node_work(n, DTYPE_REAL, SHAPE(start.dim[0], groups, blocks_of(keys, at->block), q.dim[2]));
    return 0;
}

/* A product with the mean of each block that is seen. */
static void cost(const struct node *n, struct cost *c)
{
    const struct block_topk_attr *at = n->attr;
    struct shape k = n->in[K]->shape;
    int64_t length = k.rank == 4 ? k.dim[1] : n->in[START]->shape.dim[1];
    c->flops = 2 * mean_keys(length, at->window, at->chunk) / (double)at->block * (double)shape_count(n->in[Q]->shape);
}

struct sizes { int64_t seq, heads, groups, width, keys, pos, chosen, block, window, chunk; };
static struct sizes sizes_of(const struct args *a)
{
    const struct block_topk_attr *at = a->attr;
    struct shape q = a->in[Q].shape, k = a->in[K].shape, start = a->in[START].shape;
    return (struct sizes){ .seq = start.dim[1], .heads = q.dim[1], .groups = k.dim[k.rank - 2], .width = q.dim[2],
                           .keys = k.rank == 4 ? k.dim[1] : start.dim[1],
                           .pos = a->in[POS].data ? ints(&a->in[POS])[0] : 0, .chosen = at->chosen, .block = at->block,
                           .window = at->window, .chunk = at->chunk };
}

/* Means of the `n` blocks from position `first` on, of one key head. */
static void means_of(const struct args *a, const struct sizes *s, int64_t head, int64_t first, int64_t n, real *mean)
{
    int64_t d = s->width;
    real buffer[d];
    for (int64_t i = 0; i < n; i++, mean += d) {
        memset(mean, 0, (size_t)d * sizeof *mean);
        for (int64_t j = first + i * s->block; j < first + (i + 1) * s->block; j++) {
            int64_t row = (head / s->groups * s->keys + j) * s->groups + head % s->groups;
            const real *key = row_read(&a->in[K], row * d, d, buffer);
            for (int64_t c = 0; c < d; c++) mean[c] += key[c];
        }
        for (int64_t c = 0; c < d; c++) mean[c] /= (real)s->block;
    }
}

/* The own block, then of those in [from, own) the best, ties to the lower, and no block behind them. */
static void choose(const struct sizes *s, const real *q, const real *mean, int64_t from, int64_t own, int32_t *index)
{
    real score[s->chosen];
    int64_t n = 1;
    index[0] = (int32_t)own;
    for (int64_t i = from; i < own; i++) {
        double z;
        ROW_SUM(z, c, s->width, q[c] * mean[i * s->width + c]);
        int64_t at = n;
        while (at > 1 && (real)z > score[at - 1]) at--;
        if (at == s->chosen) continue;
        n += n < s->chosen;
        for (int64_t k = n - 1; k > at; k--) score[k] = score[k - 1], index[k] = index[k - 1];
        score[at] = (real)z, index[at] = (int32_t)i;
    }
    for (; n < s->chosen; n++) index[n] = -1;
}

/* The queries of key heads [from, to), which count through all sequences. */
static void key_heads(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    int64_t share = s.heads / s.groups, d = s.width;
    real buffer[d];
    for (int64_t head = from; head < to; head++) {
        const int32_t *start = ints(&a->in[START]) + head / s.groups * s.seq;
        real *mean = reals(&a->work[MEANS]) + head * blocks_of(s.keys, s.block) * d;
        for (int64_t t = 0; t < s.seq; t++) {
            int64_t here = s.pos + t, last = t, first = first_key(here, start[t], s.window, s.chunk);
            INVARIANT(start[t] >= 0 && start[t] <= s.keys && here < s.keys,
                      "query at %lld of %lld in a document from %d", (long long)here, (long long)s.keys, start[t]);
            if (t == 0 || start[t] != start[t - 1]) {
                while (last + 1 < s.seq && start[last + 1] == start[t]) last++;
                if (s.pos + last >= start[t])
                    means_of(a, &s, head, start[t], (s.pos + last + 1 - start[t]) / s.block, mean);
            }
            for (int64_t h = 0; h < share; h++) {
                int64_t row = (head / s.groups * s.seq + t) * s.heads + head % s.groups * share + h;
                int32_t *index = ints(&a->out[0]) + row * s.chosen;
                for (int64_t i = 0; here < start[t] && i < s.chosen; i++) index[i] = -1;
                if (here >= start[t])
                    choose(&s, row_read(&a->in[Q], row * d, d, buffer), mean, (first - start[t]) / s.block,
                           (here - start[t]) / s.block, index);
            }
        }
    }
}

static void forward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    each(a, a->in[START].shape.dim[0] * s.groups, 1, key_heads);
}

KERNELS(block_topk) = { forward, NULL, NULL };

ATTRIBUTES(block_topk, struct block_topk_attr,
    INT(struct block_topk_attr, chosen, NEEDED, 1, INDEX_MOST, "", "blocks of a head, the own one among them"),
    INT(struct block_topk_attr, block, NEEDED, 1, INDEX_MOST, "tokens", "keys of a block"),
    INT(struct block_topk_attr, window, 0, 0, INT32_MAX, "tokens", "how far back a token sees; 0: all"),
    INT(struct block_topk_attr, chunk, 0, 0, INT32_MAX, "tokens", "length of the chunks of a document; 0: none"));
OP(block_topk, .inputs = "q[T,H,W] k[T,G,W|B,C,G,W] start:I32[B,S] pos?:I32[1]",
   .outputs = "index:I32[T,H,X]",
   .about = "which blocks of keys to attend to: a head's own block, in which the token is, and of the blocks before it "
          "of which any key is seen those with the largest q.m, m the mean of a block's keys, largest first, ties to "
          "the lower, -1 where there are no more. Blocks are counted from where the document begins. k: of the "
          "sequence, or a cache. No gradient",
   ATTR(block_topk), .infer = infer, .cost = cost);
