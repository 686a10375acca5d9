/* Which keys a token attends to, by an indexer of its own (DeepSeek-AI 2025, V3.2): I[t,s] = sum over j of
   w[t,j] relu(q[t,j].k[s]) for the keys s that attention sees, of which the `chosen` largest are kept, with their
   scores. Products are made ROWS by STEP at a time, a row for each head of a token; the best keys so far of a token are
   a heap in its rows of the results, the worst of them first. */
#define VERBS "graph/ops/products.h"
#include "op.h"
#include "cpu/gemm.h"
#include "cpu/seen.h"
#include "cpu/vec_math.h"

enum { Q, K, W, START, POS, KEPT };
enum { SCORE, INDEX };                                      /* outputs */
enum { SUMS };                                              /* work */
/* STEP: keys; ROWS: of tokens and heads in a block; TASKS: of backward; WIDEST: a head; MOST: values of a token */
enum { STEP = 128, ROWS = 64, TASKS = 8, WIDEST = 512, MOST = 8192 };

VERB struct node *index_topk(struct graph *g, struct index_topk a)
{
    struct index_topk_attr at = { a.chosen, a.window, a.chunk, a.pool, a.relu };
    return graph_emit(g, &op_index_topk, &at, a.q, a.k, a.w, a.start, a.pos, a.count);
}

static int infer(struct node *n, struct err *e)
{
    const struct index_topk_attr *at = n->attr;
    char text[64], other[64];
    struct shape q = n->in[Q]->shape, k = n->in[K]->shape, start = n->in[START]->shape;
    bool cached = n->in[POS];
    if (k.rank != (cached || at->pool ? 3 : 2))
        return err_set(e, "keys %s must be %s", shape_text(k, text), cached || at->pool ? "[B,C,N]" : "[T,N]");
    if (at->pool && (at->window || at->chunk))
        return err_set(e, "keys of pool = %lld tokens have neither window nor chunk", (long long)at->pool);
    if (!at->pool && cached && k.dim[1] < start.dim[1])
        return err_set(e, "keys %s do not fit start %s", shape_text(k, text), shape_text(start, other));
    if (q.dim[1] > ROWS || q.dim[2] > WIDEST || q.dim[1] * q.dim[2] > MOST)
        return err_set(e, "queries %s: there are at most %d heads, %d wide, and %d values of a token",
                       shape_text(q, text), ROWS, WIDEST, MOST);
    int64_t keys = shape_rows(k), parts = blocks_of(TASKS, start.dim[0]);
    node_value(n, DTYPE_REAL, SHAPE(q.dim[0], at->chosen));
    node_output(n, DTYPE_I32, SHAPE(q.dim[0], at->chosen));
    node_work(n, DTYPE_REAL, SHAPE(parts < start.dim[1] ? parts : start.dim[1], keys, q.dim[2]));
    return 0;
}

/* Every key that is seen is scored: a product with each head. */
static void cost(const struct node *n, struct cost *c)
{
    const struct index_topk_attr *at = n->attr;
    struct shape q = n->in[Q]->shape, k = n->in[K]->shape;
    int64_t length = k.rank == 3 ? k.dim[1] : n->in[START]->shape.dim[1];    /* of the keys */
    c->flops = 2 * mean_keys(length, at->window, at->chunk) * (double)shape_count(q);
}

/* keep: of the `chosen` that there is room for */
struct sizes { int64_t batch, seq, heads, width, keys, pos, chosen, keep, window, chunk, pool, parts; bool relu; };

static int64_t kept_of(const struct args *a, int64_t chosen)
{
    real count = a->in[KEPT].data ? reals(&a->in[KEPT])[0] : (real)chosen;
    return count < 1 ? 1 : count < (real)chosen ? (int64_t)count : chosen;
}

static struct sizes sizes_of(const struct args *a)
{
    const struct index_topk_attr *at = a->attr;
    struct shape q = a->in[Q].shape, k = a->in[K].shape, start = a->in[START].shape;
    return (struct sizes){ .batch = start.dim[0], .seq = start.dim[1], .heads = q.dim[1], .width = q.dim[2],
                           .keys = k.rank == 3 ? k.dim[1] : start.dim[1],
                           .pos = a->in[POS].data ? ints(&a->in[POS])[0] : 0, .chosen = at->chosen,
                           .keep = kept_of(a, at->chosen), .window = at->window, .chunk = at->chunk, .pool = at->pool,
                           .parts = a->work[SUMS].shape.dim[0], .relu = at->relu };
}

/* ---- the best keys of a token: a heap whose root is the worst ---- */

struct best { int64_t n; int32_t *key; real *score; };

/* Whether one goes before another: a larger score, a number before none, the lower key. */
static bool goes_before(real score, int32_t key, real other, int32_t other_key)
{
    if (isnan(score) || isnan(other)) return isnan(score) == isnan(other) ? key < other_key : isnan(other);
    return score > other || (score == other && key < other_key);
}

static bool is_worse(const struct best *b, int64_t i, int64_t j)
{
    return goes_before(b->score[j], b->key[j], b->score[i], b->key[i]);
}

static void swap(const struct best *b, int64_t i, int64_t j)
{
    int32_t key = b->key[i];
    real score = b->score[i];
    b->key[i] = b->key[j], b->score[i] = b->score[j];
    b->key[j] = key, b->score[j] = score;
}

static void sink_down(const struct best *b, int64_t n)
{
    for (int64_t i = 0, child = 1; child < n; i = child, child = 2 * i + 1) {
        if (child + 1 < n && is_worse(b, child + 1, child)) child++;
        if (!is_worse(b, child, i)) return;
        swap(b, i, child);
    }
}

static void rise(const struct best *b, int64_t i)
{
    for (; i > 0 && is_worse(b, i, (i - 1) / 2); i = (i - 1) / 2) swap(b, i, (i - 1) / 2);
}

static void take(struct best *b, int64_t chosen, int32_t key, real score)
{
    if (b->n == chosen && !goes_before(score, key, b->score[0], b->key[0])) return;
    int64_t at = b->n < chosen ? b->n++ : 0;
    b->key[at] = key, b->score[at] = score;
    if (at) rise(b, at);
    else sink_down(b, b->n);
}

/* Best first, and no keys behind them. */
static void in_order(struct best *b, int64_t chosen)
{
    for (int64_t n = b->n - 1; n > 0; n--) {
        swap(b, 0, n);
        sink_down(b, n);
    }
    for (int64_t i = b->n; i < chosen; i++) b->key[i] = -1, b->score[i] = -INFINITY;
}

/* ---- forward ---- */

/* Scores of keys [from, from + n) for m tokens from `token` on, rows of STEP. */
static void score_keys(const struct args *a, const struct sizes *s, int64_t token, int64_t m, int64_t from, int64_t n,
                       real *score)
{
    _Alignas(64) real z[ROWS * STEP];
    struct matrix q = matrix_of(&a->in[Q], s->width), k = matrix_of(&a->in[K], s->width);
    gemm_here(&(struct gemm){
        .m = m * s->heads, .n = n, .k = s->width, .a = matrix_at(q, token * s->heads, 0),
        .b = matrix_transposed(matrix_at(k, token / s->seq * s->keys + from, 0)), .c = matrix_reals(z, STEP) });
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < s->heads; j++) {
            const real *product = z + (i * s->heads + j) * STEP;
            real *sum = score + i * STEP, weight = reals(&a->in[W])[(token + i) * s->heads + j];
            for (int64_t l = 0; l < n; l++)
                sum[l] = (j ? sum[l] : 0) + weight * (s->relu && product[l] < 0 ? 0 : product[l]);
        }
}

/* Keys [first, last) that a token sees. */
static struct seen seen_by(const struct args *a, const struct sizes *s, int64_t token)
{
    int64_t start = ints(&a->in[START])[token], here = s->pos + token % s->seq;
    if (s->pool) {
        struct seen windows = pooled_windows(here, start, s->pool);
        INVARIANT(start >= 0 && windows.last <= s->keys, "%lld windows of %lld", (long long)windows.last,
                  (long long)s->keys);
        return windows;
    }
    INVARIANT(start >= 0 && start <= s->keys && here < s->keys, "query at %lld of %lld in a document from %lld",
              (long long)here, (long long)s->keys, (long long)start);
    return (struct seen){ first_key(here, start, s->window, s->chunk), here + 1 };
}

/* Tokens [token, token + m) of one sequence. */
static void choose_keys(const struct args *a, const struct sizes *s, int64_t token, int64_t m)
{
    int64_t from = INT64_MAX, to = 0;
    struct seen seen[ROWS];
    struct best best[ROWS];
    for (int64_t i = 0; i < m; i++) {
        seen[i] = seen_by(a, s, token + i);
        from = seen[i].first < from ? seen[i].first : from;
        to = seen[i].last > to ? seen[i].last : to;
        best[i] = (struct best){ 0, ints(&a->out[INDEX]) + (token + i) * s->chosen,
                                 reals(&a->out[SCORE]) + (token + i) * s->chosen };
    }
    for (; from < to; from += STEP) {
        int64_t n = to - from < STEP ? to - from : STEP;
        real score[ROWS * STEP];
        score_keys(a, s, token, m, from, n, score);
        for (int64_t i = 0; i < m; i++)
            for (int64_t l = seen[i].first > from ? seen[i].first - from : 0; l < n && from + l < seen[i].last; l++)
                take(&best[i], s->keep, (int32_t)(from + l), score[i * STEP + l]);
    }
    for (int64_t i = 0; i < m; i++) in_order(&best[i], s->chosen);
}

static void blocks(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    int64_t tokens = ROWS / s.heads, of_sequence = blocks_of(s.seq, tokens);
    for (; from < to; from++) {
        int64_t at = from % of_sequence * tokens, rest = s.seq - at;
        choose_keys(a, &s, from / of_sequence * s.seq + at, rest < tokens ? rest : tokens);
    }
}

static void forward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    each(a, s.batch * blocks_of(s.seq, ROWS / s.heads), 1, blocks);
}

/* ---- backward: of g = dI[t,s] and z = q[t,j].k[s], where z > 0 or there is no relu:
        dw[t,j] += g z;  dz = g w[t,j];  dq[t,j] += dz k[s];  dk[s] += dz q[t,j] ---- */

/* dk: sums for the keys of the token's sequence. */
static void backward_head(const struct args *a, const struct sizes *s, int64_t t, int64_t j, real *dk)
{
    int64_t d = s->width, row = t * s->heads + j;
    real q_buffer[d], k_buffer[d], dq_buffer[d], dw = 0, weight = reals(&a->in[W])[row];
    const real *q = row_read(&a->in[Q], row * d, d, q_buffer);
    real *dq = a->din[Q].data ? row_add(&a->din[Q], row * d, d, a->beta[Q], dq_buffer) : NULL;
    for (int64_t i = t * s->chosen; i < (t + 1) * s->chosen; i++) {
        int64_t key = ints(&a->out[INDEX])[i];
        if (key < 0) continue;
        real g = reals(&a->dout[SCORE])[i];
        const real *k = row_read(&a->in[K], (t / s->seq * s->keys + key) * d, d, k_buffer);
        double z;
        ROW_SUM(z, c, d, q[c] * k[c]);
        if (s->relu && !(z > 0)) continue;
        dw += g * (real)z;
        for (int64_t c = 0; dq && c < d; c++) dq[c] += g * weight * k[c];
        for (int64_t c = 0; dk && c < d; c++) dk[key * d + c] += g * weight * q[c];
    }
    if (dq) row_done(&a->din[Q], row * d, d, dq);
    if (a->din[W].data) reals(&a->din[W])[row] = keep(a->beta[W], reals(&a->din[W])[row]) + dw;
}

static real *sums(const struct args *a, const struct sizes *s, int64_t part, int64_t sequence)
{
    return reals(&a->work[SUMS]) + (part * s->batch + sequence) * s->keys * s->width;
}

/* Of each sequence a part has every so many tokens, and sums of its own for their keys. */
static void parts(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    for (; from < to; from++) {
        int64_t sequence = from / s.parts, part = from % s.parts;
        real *dk = a->din[K].data ? sums(a, &s, part, sequence) : NULL;
        if (dk) memset(dk, 0, (size_t)(s.keys * s.width) * sizeof *dk);
        for (int64_t t = part; t < s.seq; t += s.parts)
            for (int64_t j = 0; j < s.heads; j++) backward_head(a, &s, sequence * s.seq + t, j, dk);
    }
}

static void fold(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    int64_t d = s.width;
    real buffer[d];
    for (int64_t key = from; key < to; key++) {
        real *dk = row_add(&a->din[K], key * d, d, a->beta[K], buffer);
        for (int64_t part = 0; part < s.parts; part++)
            for (int64_t c = 0; c < d; c++) dk[c] += sums(a, &s, part, 0)[key * d + c];
        row_done(&a->din[K], key * d, d, dk);
    }
}

static void backward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    each(a, s.batch * s.parts, 1, parts);
    if (a->din[K].data) each(a, s.batch * s.keys, rows_grain(s.width), fold);
}

KERNELS(index_topk) = { forward, backward, NULL };

ATTRIBUTES(index_topk, struct index_topk_attr,
    INT(struct index_topk_attr, chosen, NEEDED, 1, INDEX_MOST, "", "keys of a token"),
    INT(struct index_topk_attr, window, 0, 0, INT32_MAX, "tokens", "how far back a token sees; 0: all"),
    INT(struct index_topk_attr, chunk, 0, 0, INT32_MAX, "tokens", "length of the chunks of a document; 0: none"),
    INT(struct index_topk_attr, pool, 0, 0, INT32_MAX, "tokens", "keys are windows of so many; 0: tokens"),
    BOOL(struct index_topk_attr, relu, 0, "of each product, before it is weighed"));
OP(index_topk, .inputs = "q[T,J,N] k[T,N|B,C,N] w:REAL[T,J] start:I32[B,S] pos?:I32[1] count?:REAL[1]",
   .outputs = "score:REAL[T,X] index:I32[T,X]",
   .about = "which keys to attend to. index: of the keys s that attention sees, the `chosen` with the largest I[t,s] = "
          "sum over j of w[t,j] q[t,j].k[s], largest first, ties to the lower s, -1 where there are no more. score: "
          "these I, -infinity where there is none. k: of the sequence, or a cache; with pool, windows as pool_windows "
          "lays them, of which a token sees those of its document that end with it or before. count: how many of the "
          "`chosen` are kept, one at least",
   ATTR(index_topk), .infer = infer, .cost = cost, .gradient = true, .no_grad = 1u << KEPT,
   .reads_in = 1u << Q | 1u << K | 1u << W, .reads_out = 1u << INDEX);
