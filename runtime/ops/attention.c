/* Causal attention over blocks of queries and keys; scores live in a block only. o_i = sum_j p_ij v_j with
   p_i = softmax of scale q_i.k_j over the keys j with start_i <= j <= i and j > i - window; a bias, a cap, a sink,
   chunks and an index change that as `about` says. The maximum and the sum of a row are carried from block to block of
   keys (Milakov & Gimelshein 2018); backward makes p anew from the log-sum-exp, of which a sink is part (Dao 2022).
   Query head h reads key head h / (H/G), and a block holds queries of all heads that share a key head. */
#define VERBS "graph/ops/products.h"
#include "op.h"
#include "cpu/isa/attend_entropy.h"
#include "cpu/isa/attend_narrow.h"
#include "cpu/isa/attend_sink.h"

enum { TASKS = 8 };

VERB struct node *attention(struct graph *g, struct attention a)
{
    struct attention_attr at = { a.scale, a.softcap, a.window, a.chunk, a.values, a.block };
    return graph_emit(g, &op_attention, &at, a.q, a.k, a.v, a.start, a.pos, a.sink, a.rel, a.index);
}

VERB struct attention attention_given(const struct node *n)
{
    const struct attention_attr *at = n->attr;
    struct node *const *in = n->in;
    if (!at) return (struct attention){ 0 };                /* what a graph that has failed gives instead */
    return (struct attention){ in[Q], in[K], in[V], in[START], in[POS], in[SINK], in[REL], in[INDEX], at->scale,
                               at->window, at->chunk, at->values, at->block, at->softcap };
}

VERB struct node *attention_entropy(struct graph *g, struct attention a)
{
    struct attention_attr at = { a.scale, a.softcap, a.window, a.chunk, 1, a.block };
    return graph_emit(g, &op_attention_entropy, &at, a.q, a.k, NULL, a.start, a.pos, NULL, a.rel, a.index);
}

/* Width of a value, which without v is a part of its key. */
static int64_t value_width(const struct node *n)
{
    return n->in[V] ? shape_last(n->in[V]->shape) : ((const struct attention_attr *)n->attr)->values;
}

/* What is there fits together. */
static int fits(const struct node *n, struct err *e)
{
    char text[64], other[64];
    struct shape q = n->in[Q]->shape, k = n->in[K]->shape, v = n->in[V] ? n->in[V]->shape : k,
                 start = n->in[START]->shape;
    const struct attention_attr *at = n->attr;
    int64_t values = at->values;
    bool cached = n->in[POS], named = n->in[INDEX], alone = named && !cached && k.rank == 4;
    if (n->in[V] ? values != 0 : values < 1 || values > shape_last(k))
        return err_set(e, n->in[V] ? "values = %lld: there is v" : "values = %lld, without v: must be 1 to %lld",
                       (long long)values, (long long)shape_last(k));
    if ((k.rank != (cached ? 4 : 3) && !alone) || v.rank != k.rank)
        return err_set(e, "keys %s and values %s must be %s", shape_text(k, text), shape_text(v, other),
                       cached ? "[B,C,G,W]" : "[T,G,W]");
    int64_t groups = k.dim[k.rank - 2];
    if (q.dim[1] % groups != 0)
        return err_set(e, "%lld query heads cannot share %lld key heads evenly", (long long)q.dim[1],
                       (long long)groups);
    if (q.dim[2] > HEAD_WIDEST || value_width(n) > HEAD_WIDEST)
        return err_set(e, "heads are at most %d wide", HEAD_WIDEST);
    if (named && shape_last(n->in[INDEX]->shape) * (at->block ? at->block : 1) > INDEX_MOST)
        return err_set(e, "index %s: of a token at most %d keys are named", shape_text(n->in[INDEX]->shape, text),
                       INDEX_MOST);
    if (at->block && !named) return err_set(e, "block = %lld: no index names blocks", (long long)at->block);
    if (alone && (at->window || at->chunk || at->block || n->in[REL]))
        return err_set(e, "keys %s are no positions: window, chunk, block and rel say nothing of them",
                       shape_text(k, text));
    if (cached && k.dim[1] < start.dim[1])
        return err_set(e, "keys %s have no room for start %s", shape_text(k, text), shape_text(start, other));
    return 0;
}

static int infer(struct node *n, struct err *e)
{
    if (fits(n, e)) return -1;
    struct shape q = n->in[Q]->shape, k = n->in[K]->shape, start = n->in[START]->shape;
    bool named = n->in[INDEX];
    int64_t wide_value = value_width(n), groups = k.dim[k.rank - 2],
            rows = shape_count(k) / (groups * shape_last(k));
    node_value(n, n->in[Q]->dtype, SHAPE(q.dim[0], q.dim[1], wide_value));
    node_output(n, DTYPE_REAL, SHAPE(q.dim[1]));
    if (n->in[SINK] || named) node_output(n, DTYPE_REAL, SHAPE(q.dim[1]));
    if (named) node_output(n, DTYPE_REAL, n->in[INDEX]->shape);
    node_save(n, DTYPE_REAL, SHAPE(q.dim[0], q.dim[1]));
    int64_t heads = start.dim[0] * groups, blocks = blocks_of(start.dim[1] * (q.dim[1] / groups), QUERIES),
            parts = blocks_of(TASKS, heads);
    int64_t keys = rows / start.dim[0], wide = padded(q.dim[2]), value_wide = padded(wide_value);
    int64_t most = named ? start.dim[1] : blocks;
    node_work(n, DTYPE_REAL, SHAPE(named ? blocks_of(q.dim[0], TOKENS) : start.dim[0] * blocks, q.dim[1]));
    node_work(n, DTYPE_REAL, SHAPE(parts < most ? parts : most, heads, keys, wide + value_wide));
    if (named) return 0;                                    /* keys and values are read where they lie */
    node_work(n, DTYPE_REAL, SHAPE(heads, keys, wide));
    node_work(n, DTYPE_REAL, SHAPE(heads, keys, value_wide));
    return 0;
}

/* Keys of blocks of which a query has its own, up to itself, and at most `most` before that. */
static double mean_block_keys(int64_t length, int64_t block, int64_t most)
{
    double sum = 0;
    for (int64_t i = 0; i * block < length; i++) {
        double here = (double)(length - i * block < block ? length - i * block : block);
        sum += here * (double)((i < most ? i : most) * block) + here * here / 2;
    }
    return sum / (double)length;
}

/* Of S keys that a query sees it has as many as an index names, where there are so many. */
static double keys_of_query(const struct node *n)
{
    const struct attention_attr *at = n->attr;
    struct shape k = n->in[K]->shape;
    int64_t all = k.rank == 4 ? k.dim[1] : n->in[START]->shape.dim[1], window = at->window;
    if (!n->in[INDEX]) return mean_keys(all, window, at->chunk);
    int64_t named = shape_last(n->in[INDEX]->shape);
    if (at->block) return mean_block_keys(all, at->block, named - 1);
    if (k.rank == 4 && !n->in[POS]) return (double)named;
    return mean_keys(all, window && window < named ? window : named, at->chunk);
}

/* Two products with each key. */
static void cost(const struct node *n, struct cost *c)
{
    struct shape k = n->in[K]->shape;
    double seen = keys_of_query(n);
    c->flops = 2 * seen * (double)n->in[Q]->shape.dim[0] * (double)n->in[Q]->shape.dim[1] *
               (double)(shape_last(k) + value_width(n));
}

static const real *packed(const struct args *a, const struct sizes *s, int which, int64_t head, int64_t j)
{
    return reals(&a->work[which]) + head * s->keys * (which == KEYS ? s->wide : s->value_wide) + j * SLICE;
}

/* The keys of a block are taken so many at a time, from here on. */
static int64_t first_of(const struct sizes *s, const struct block *q)
{
    return s->unit ? q->from / run_of(s) * run_of(s) : q->from;
}

/* A block's queries, or the gradients of what they got: [QUERIES, width] and turned; narrow, as dot products read them,
   across for scores and along for sums over queries. */
struct side { const real *rows, *turned; const uint16_t *across, *along; };

/* [n, QUERIES]: products of keys or values [j, j+n) with a side. */
static void side_scores(const struct args *a, const struct sizes *s, int which, int64_t head, int64_t j, int64_t n,
                        const struct side *y, real *score)
{
    if (s->unit) narrow_scores(a, s, which, head, j, n, y->across, score);
    else scores(n, which == K ? s->wide : s->value_wide, s->keys * SLICE,
                packed(a, s, which == K ? KEYS : VALUES, head, j), y->turned, score);
}

/* to [width, QUERIES] += keys or values [j, j+n), each times its weights [n, QUERIES]. */
static void side_collect(const struct args *a, const struct sizes *s, int which, int64_t head, int64_t j, int64_t n,
                         const real *weight, real *to)
{
    if (s->unit) narrow_collect(a, s, which, head, j, n, weight, to);
    else collect(n, which == K ? s->wide : s->value_wide, s->keys * SLICE,
                 packed(a, s, which == K ? KEYS : VALUES, head, j), weight, to);
}

/* to [n, width] += a side, of each query so much as its weights [n, QUERIES] say. */
static void side_spread(const struct sizes *s, int64_t n, int64_t width, const real *weight, const struct side *y,
                        real *to)
{
    if (s->unit) narrow_spread(s, n, width, weight, y->along, to);
    else spread(n, width, weight, y->rows, to);
}

/* Scores of keys [j, j+n) to base 2 before the cap, -infinity where a query may not look. */
static void block_scores(const struct args *a, const struct sizes *s, const struct block *q, int64_t j, int64_t n,
                         const struct side *queries, real *score)
{
    int64_t head = q->all_from - j, tail = q->all_to - j;
    side_scores(a, s, K, q->head, j, n, queries, score);
    if (s->unit) scaled(n * QUERIES, s->scale, score, score);
    if (s->extent) add_biases(a, s, q, j, n, score);
    head = head < 0 ? 0 : head < n ? head : n;
    tail = tail < head ? head : tail < n ? tail : n;
    hide(j, head, q->first, q->last, score);
    hide(j + tail, n - tail, q->first, q->last, score + tail * QUERIES);
}

static void pack_sides(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    if (!s.unit) pack_heads(a, from, to);
    for (; s.unit && from < to; from++)
        for (int which = K; which <= V; which++) pack_narrow(a, &s, which, from);
}

static void forward_block(const struct args *a, const struct sizes *s, int64_t head, int64_t number)
{
    struct block q = block_of(a, s, head, number);
    _Alignas(64) real rows[QUERIES * s->widest], queries[s->wide * QUERIES], o[s->value_wide * QUERIES],
        score[STEP * QUERIES], rescale[QUERIES];
    uint16_t across[s->unit ? s->width * QUERIES : 1];
    struct side side = { rows, queries, across, NULL };
    struct running r;
    read_rows(&a->in[Q], &q, s->width, s->unit ? 1 : s->scale, rows, queries);
    if (s->unit) narrow_side(s->width, rows, across, NULL);
    memset(o, 0, (size_t)(s->value_wide * QUERIES) * sizeof *o);
    begin(&r);
    for (int64_t j = first_of(s, &q), n; j < q.to; j += n) {
        n = q.to - j < STEP ? q.to - j : STEP;
        block_scores(a, s, &q, j, n, &side, score);
        if (s->cap) raise(n, score, r.top);
        if (s->cap) cap_scores(n * QUERIES, s->cap, score);
        advance(n, score, r.most, r.sum, s->value_wide, o);
        side_collect(a, s, V, head, j, n, score, o);
    }
    shares(a, s, &q, &r, rescale);
    for (int64_t w = 0; w < s->value_wide; w++)
        for (int i = 0; i < QUERIES; i++) o[w * QUERIES + i] *= rescale[i];
    transpose_matrix(s->value_wide, QUERIES, o, rows);
    finish(a, s, &q, rows, &r);
}

/* A key head's queries are divided among so many, which sum gradients of its keys apart. */
static struct sizes parted(const struct args *a)
{
    struct sizes s = sizes_of(a);
    s.parts = a->work[SUMS].shape.dim[0];
    return s;
}

/* Calls body for the parts of all key heads, [head][part], with keys and values packed: by the part itself where there
   is one only, so that they are still in cache. */
static void each_part(const struct args *a, const struct sizes *s,
                      void (*body)(const struct args *a, int64_t from, int64_t to))
{
    int64_t heads = s->batch * s->groups;
    if (s->parts > 1) each(a, heads, 1, pack_sides);
    each(a, heads * s->parts, 1, body);
}

static void forward_parts(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = parted(a);
    for (int64_t at = from; at < to; at++) {
        if (s.parts == 1) pack_sides(a, at, at + 1);
        for (int64_t number = at % s.parts; number < s.blocks; number += s.parts)
            forward_block(a, &s, at / s.parts, number);
    }
}

static void forward_heads(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    for (int64_t head = from; head < to; head++) forward_decode(a, &s, head);
}

static void forward(const struct args *a)
{
    struct sizes s = parted(a);
    if (a->in[INDEX].data) each(a, s.batch * s.seq, TOKENS, forward_tokens);
    else if (s.seq * s.share <= DECODE_QUERIES) each(a, s.batch * s.groups, 1, forward_heads);
    else each_part(a, &s, forward_parts);
    for (int64_t h = 0; h < s.heads; h++) {
        real most = -INFINITY;
        for (int64_t i = 0; i < a->work[TOPS].shape.dim[0]; i++)
            most = larger_number(most, reals(&a->work[TOPS])[i * s.heads + h]);
        reals(&a->out[LOGIT_MAX])[h] = most;
    }
    if (a->in[SINK].data) each(a, s.heads, 1, sink_masses);
    else if (a->in[INDEX].data) memset(a->out[SINK_MASS].data, 0, (size_t)s.heads * sizeof(real));
}

/* p = 2^(s - lse);  dv += p^T do;  dp = do v^T;  ds = p (dp - mean);  dk += ds^T q;  dq = ds k, where s is scale
   log2(e) q k: dq lacks a factor of scale, dk of ln 2, or of scale too. mean_i = do_i . o_i, which is the sum over j of
   p_ij dp_ij. A cap multiplies ds by its slope; the gradient of a bias is ds. */
static void backward_block(const struct args *a, const struct sizes *s, int64_t head, int64_t number, real *dk,
                           real *dv)
{
    struct block q = block_of(a, s, head, number);
    _Alignas(64) real rows[QUERIES * s->wide], queries[s->wide * QUERIES], dout_rows[QUERIES * s->value_wide],
        dout[s->value_wide * QUERIES], other[QUERIES * s->widest], dq[s->widest * QUERIES], p[STEP * QUERIES],
        ds[STEP * QUERIES], steep[STEP * QUERIES], lse[QUERIES] = { 0 }, mean[QUERIES] = { 0 };
    uint16_t narrow[s->unit ? 2 * (s->width + s->value_width) * QUERIES : 1], *across = narrow,
        *along = across + s->width * QUERIES, *dout_across = along + s->width * QUERIES,
        *dout_along = dout_across + s->value_width * QUERIES;
    struct side side = { rows, queries, across, along }, dside = { dout_rows, dout, dout_across, dout_along };
    read_rows(&a->in[Q], &q, s->width, s->unit ? 1 : s->scale, rows, queries);
    read_rows(&a->dout[O], &q, s->value_width, 1, dout_rows, dout);
    read_rows(&a->out[O], &q, s->value_width, 1, other, dq);
    for (int64_t w = 0; w < s->value_wide; w++)
        for (int i = 0; i < QUERIES; i++) mean[i] += dout[w * QUERIES + i] * dq[w * QUERIES + i];
    for (int64_t i = 0; i < q.n; i++) lse[i] = reals(&a->save[LSE])[q.row[i]];
    memset(dq, 0, (size_t)(s->wide * QUERIES) * sizeof *dq);
    if (s->unit) narrow_side(s->width, rows, across, along);
    if (s->unit) narrow_side(s->value_width, dout_rows, dout_across, dout_along);
    if (a->din[REL].data) begin_biases(a, s, &q);
    for (int64_t j = first_of(s, &q), n; j < q.to; j += n) {
        n = q.to - j < STEP ? q.to - j : STEP;
        block_scores(a, s, &q, j, n, &side, p);
        if (s->cap) cap_scores(n * QUERIES, s->cap, p);
        if (s->cap) steepness(n * QUERIES, s->cap, p, steep);
        side_scores(a, s, V, head, j, n, &dside, ds);
        slopes(n, lse, mean, p, ds);
        if (s->cap) multiply(n * QUERIES, steep, ds);
        if (a->din[REL].data) write_biases(a, s, &q, j, n, ds);
        if (a->din[s->values].data) side_spread(s, n, s->value_wide, p, &dside, dv + j * s->value_wide);
        if (a->din[K].data) side_spread(s, n, s->wide, ds, &side, dk + j * s->wide);
        if (a->din[Q].data) side_collect(a, s, K, head, j, n, ds, dq);
    }
    if (!a->din[Q].data) return;
    transpose_matrix(s->wide, QUERIES, dq, other);
    write_rows(&a->din[Q], &q, s->width, a->beta[Q], s->scale / LOG2E, other);
}

/* Sums of the gradients of a key head's keys, [keys, wide], then of its values, in one part of the blocks. */
static real *sums(const struct args *a, const struct sizes *s, int64_t part, int64_t head)
{
    return reals(&a->work[SUMS]) + (part * s->batch * s->groups + head) * s->keys * (s->wide + s->value_wide);
}

/* dk and dv of heads [from, to): the sums of their parts, added in order. Values within keys come second. */
static void fold_heads(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = parted(a);
    int64_t next = sums(a, &s, 1, 0) - sums(a, &s, 0, 0);
    real by = (s.unit ? s.scale : 1) / LOG2E;               /* narrow queries are as they were given */
    for (int64_t head = from; head < to; head++)
        for (int which = K; which <= V; which++) {
            bool within = which == V && s.values == K;
            const struct tensor *t = &a->din[which == V ? s.values : K];
            struct keys keys = keys_of(a, &s, which, head);
            const real *sum = sums(a, &s, 0, head) + (which == V ? s.keys * s.wide : 0), zero[HEAD_WIDEST] = { 0 };
            for (int64_t j = 0; t->data && j < s.keys; j++, keys.first += keys.step, sum += padded(keys.width)) {
                row_prefetch(t, keys.first + AHEAD * keys.step, keys.width);
                add_rows(t, keys.first, keys.width, within ? 1 : a->beta[which], which == V ? 1 : by,
                         j < s.seen ? sum : zero, next, j < s.seen ? s.parts : 1);
            }
        }
}

/* One part of the blocks of one key head has one thread: the order of the sums in dk and dv is fixed. */
static void backward_parts(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = parted(a);
    for (int64_t at = from; at < to; at++) {
        int64_t part = at % s.parts, head = at / s.parts;
        real *dk = sums(a, &s, part, head), *dv = dk + s.keys * s.wide;
        if (s.parts == 1) pack_sides(a, head, head + 1);
        memset(dk, 0, (size_t)(s.seen * s.wide) * sizeof *dk);
        memset(dv, 0, (size_t)(s.seen * s.value_wide) * sizeof *dv);
        for (int64_t number = part; number < s.blocks; number += s.parts) backward_block(a, &s, head, number, dk, dv);
        if (s.parts == 1) fold_heads(a, head, head + 1);
    }
}

/* The same with an index: a part has every so many tokens. */
static void backward_named_parts(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = parted(a);
    for (int64_t at = from; at < to; at++) {
        int64_t part = at % s.parts, head = at / s.parts, batch = head / s.groups;
        real *dk = sums(a, &s, part, head), *dv = dk + s.keys * s.wide;
        memset(dk, 0, (size_t)(s.seen * s.wide) * sizeof *dk);
        memset(dv, 0, (size_t)(s.seen * s.value_wide) * sizeof *dv);
        for (int64_t t = part; t < s.seq; t += s.parts) backward_token(a, &s, head, batch * s.seq + t, dk, dv);
        if (s.parts == 1) fold_heads(a, head, head + 1);
    }
}

static void backward(const struct args *a)
{
    struct sizes s = parted(a);
    if (a->in[INDEX].data) each(a, s.batch * s.groups * s.parts, 1, backward_named_parts);
    else each_part(a, &s, backward_parts);
    if (s.parts > 1) each(a, s.batch * s.groups, 1, fold_heads);
    if (a->din[SINK].data) sink_backward(a);
}

KERNELS(attention) = { forward, backward, NULL };

ATTRIBUTES(attention, struct attention_attr,
    REAL(struct attention_attr, scale, NEEDED, ABOVE_0, HUGE_VAL, "", "factor on q.k"),
    REAL(struct attention_attr, softcap, 0, 0, HUGE_VAL, "", "largest logit; 0: no cap"),
    INT(struct attention_attr, window, 0, 0, INT32_MAX, "tokens", "how far back a token sees, itself included; 0: all"),
    INT(struct attention_attr, chunk, 0, 0, INT32_MAX, "tokens", "length of the chunks of a document; 0: none"),
    INT(struct attention_attr, values, 0, 0, INT32_MAX, "", "columns of a key that are its value; 0: there is v"),
    INT(struct attention_attr, block, 0, 0, INDEX_MOST, "tokens",
        "an index names blocks of so many keys, counted from where the document begins; 0: keys"));
OP(attention, .inputs = "q[T,H,W] k[T,G,W|B,C,G,W] v?[T,G,V|B,C,G,V] start:I32[B,S] pos?:I32[1] "
             "sink?:REAL[H|T,H] rel?[T,H,R] index?:I32[T,X|T,H,X]",
   .outputs = "o[T,H,V] logit_max:REAL[H] sink_mass:REAL[H] mass:REAL[T,X|T,H,X]",
   .about = "softmax(z) v, with logits z = scale q.k + rel[t,h,d] where the distance d = t - s is below R, then "
          "softcap tanh(z / softcap), over the keys s that token t sees: 0 <= d < window, both of one document and "
          "there of one chunk, and index[t] names s; and over sink, which has no value. k and v: of the sequence, "
          "or caches; without v the first `values` columns of a key are its value; [B,C,G,W] without pos: keys that "
          "are no positions, of which index alone says which are seen. "
          "index: positions in the sequence, or blocks of them, of a token or of each of its heads; one that is not "
          "seen otherwise, as -1, is passed over, and a key that is named twice counts as two. logit_max: of z "
          "seen, before the cap. sink_mass, where there is a sink or an index: the sink's mean share. mass, where "
          "there is an index: the shares of its keys, summed over the heads that have it. Who sees nothing, as when "
          "its document begins after it, is 0",
   ATTR(attention), .infer = infer, .cost = cost, .gradient = true,
   .no_grad_out = 1u << LOGIT_MAX | 1u << SINK_MASS | 1u << MASS,
   .reads_in = 1u << Q | 1u << K | 1u << V | 1u << START | 1u << POS | 1u << SINK | 1u << REL | 1u << INDEX,
   .reads_out = 1u << O);

/* ---- attention_entropy: of each query the entropy of what it gives its keys ---- */

static int entropy_infer(struct node *n, struct err *e)
{
    if (fits(n, e)) return -1;
    struct shape q = n->in[Q]->shape;
    node_value(n, DTYPE_REAL, SHAPE(q.dim[0], q.dim[1]));
    return 0;
}

static void entropy_cost(const struct node *n, struct cost *c)
{
    c->flops = 2 * keys_of_query(n) * (double)shape_count(n->in[Q]->shape);
}

static void entropy_forward(const struct args *a) { each(a, shape_count(a->in[START].shape), 1, entropy_tokens); }

KERNELS(attention_entropy) = { entropy_forward, NULL, NULL };
OP(attention_entropy, .inputs = "q[T,H,W] k[T,G,W|B,C,G,W] v?[T,G,V|B,C,G,V] start:I32[B,S] pos?:I32[1] "
             "sink?:REAL[H|T,H] rel?[T,H,R] index?:I32[T,X|T,H,X]",
   .outputs = "entropy:REAL[T,H]",
   .about = "of the same attention, in nats, the entropy of the shares that a query gives its keys among each other: "
          "values and a sink have no say. Who sees nothing has 0",
   ATTR(attention), .infer = entropy_infer, .cost = entropy_cost);
