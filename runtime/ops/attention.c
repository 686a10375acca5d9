/* Causal attention over blocks of queries and keys; scores live in a block only. o_i = sum_j p_ij v_j with
   p_i = softmax of scale q_i.k_j over the keys j with start_i <= j <= i and j > i - window. The maximum and the sum of
   a row are carried from block to block of keys (Milakov & Gimelshein 2018); backward makes p anew from the log-sum-exp
   (Dao 2022). Query head h reads key head h / (H/G). */
#include "cpu/gemm.h"
#include "vec_math.h"

#include <math.h>

enum { Q, K, V, START, POS };
enum { O, LOGIT_MAX };                                      /* outputs */
enum { LSE };                                               /* saved: REAL [T,H] */
enum { BLOCK_MAX, DK, DV };                                 /* work */
enum { QUERIES = 64, KEYS = 256, WIDEST = 1024 };

struct attr { double scale; int64_t window; };

struct node *attention(struct graph *g, struct node *q, struct node *k, struct node *v, struct node *start, struct node *pos,
                       double scale, int64_t window)
{
    struct attr at = { scale, window };
    return graph_emit(g, &op_attention, &at, sizeof at, q, k, v, start, pos);
}

static int infer(struct node *n, struct err *e)
{
    const struct attr *at = n->attr;
    char text[64], other[64];
    if (node_need(n, Q, 3, e) != 0 || node_need(n, START, 2, e) != 0) return -1;
    struct shape q = n->in[Q]->shape, k = n->in[K]->shape, v = n->in[V]->shape, start = n->in[START]->shape;
    bool cached = n->n_in > POS;
    for (int i = Q; i <= V; i++)
        if (n->in[i]->dtype != DTYPE_ACT && n->in[i]->dtype != DTYPE_REAL) return err_set(e, "input %d must be ACT or REAL", i);
    if (k.rank != (cached ? 4 : 3) || v.rank != k.rank)
        return err_set(e, "keys %s and values %s must be %s", shape_text(k, text), shape_text(v, other), cached ? "[B,C,G,W]" : "[T,G,W]");
    int64_t groups = k.dim[k.rank - 2], rows = shape_count(k) / (groups * shape_last(k));
    if (v.dim[v.rank - 2] != groups || shape_count(v) != rows * groups * shape_last(v))
        return err_set(e, "keys %s and values %s differ in more than their width", shape_text(k, text), shape_text(v, other));
    if (shape_last(k) != q.dim[2]) return err_set(e, "queries %s and keys %s differ in width", shape_text(q, text), shape_text(k, other));
    if (q.dim[1] % groups != 0)
        return err_set(e, "%lld query heads cannot share %lld key heads evenly", (long long)q.dim[1], (long long)groups);
    if (q.dim[2] > WIDEST || shape_last(v) > WIDEST) return err_set(e, "heads are at most %d wide", WIDEST);
    if (n->in[START]->dtype != DTYPE_I32 || shape_count(start) != q.dim[0])
        return err_set(e, "start %s must be I32, one for each of the %lld queries", shape_text(start, text), (long long)q.dim[0]);
    if (cached && (n->in[POS]->dtype != DTYPE_I32 || shape_count(n->in[POS]->shape) != 1)) return err_set(e, "pos must be I32 [1]");
    if (cached ? k.dim[0] != start.dim[0] || k.dim[1] < start.dim[1] : rows != q.dim[0])
        return err_set(e, "keys %s do not fit start %s", shape_text(k, text), shape_text(start, other));
    if (!(at->scale > 0)) return err_set(e, "scale = %g, it must be positive", at->scale);
    if (at->window < 0) return err_set(e, "window = %lld, it must be 0 (all of the past) or more", (long long)at->window);
    node_value(n, n->in[Q]->dtype, SHAPE(q.dim[0], q.dim[1], shape_last(v)));
    node_output(n, DTYPE_REAL, SHAPE(q.dim[1]));
    node_save(n, DTYPE_REAL, SHAPE(q.dim[0], q.dim[1]));
    node_work(n, DTYPE_REAL, SHAPE(start.dim[0] * blocks_of(start.dim[1], QUERIES), q.dim[1]));
    node_work(n, DTYPE_REAL, k);
    node_work(n, DTYPE_REAL, v);
    return 0;
}

/* A query sees S/2 keys on average, or window - window (window-1) / 2S; two products with each. */
static void cost(const struct node *n, struct cost *c)
{
    const struct attr *at = n->attr;
    struct shape k = n->in[K]->shape;
    double seq = (double)(k.rank == 4 ? k.dim[1] : n->in[START]->shape.dim[1]), window = (double)at->window, seen = seq / 2;
    if (window > 0 && window < seq) seen = window - window * (window - 1) / (2 * seq);
    c->flops = 2 * seen * (double)n->in[Q]->shape.dim[0] * (double)n->in[Q]->shape.dim[1] *
               (double)(shape_last(k) + shape_last(n->in[V]->shape));
}

struct sizes { int64_t batch, seq, keys, heads, share, groups, width, value_width, pos, window; real scale; };

static struct sizes sizes_of(const struct args *a)
{
    const struct attr *at = a->attr;
    struct shape q = a->in[Q].shape, k = a->in[K].shape, start = a->in[START].shape;
    struct sizes s = {
        .batch = start.dim[0], .seq = start.dim[1], .heads = q.dim[1], .groups = k.dim[k.rank - 2], .width = q.dim[2],
        .value_width = shape_last(a->in[V].shape), .pos = a->n_in > POS ? ints(&a->in[POS])[0] : 0, .window = at->window, .scale = (real)at->scale };
    s.keys = k.rank == 4 ? k.dim[1] : s.seq;
    s.share = s.heads / s.groups;
    return s;
}

/* Queries [row, row+n) of the batch's rows, and the keys [first, last) of their sequence that each may see. */
struct block { int64_t b, row, n, from, to, first[QUERIES], last[QUERIES]; };

static struct block block_of(const struct args *a, const struct sizes *s, int64_t b, int64_t number)
{
    int64_t at = number * QUERIES;
    struct block q = { .b = b, .row = b * s->seq + at, .n = s->seq - at < QUERIES ? s->seq - at : QUERIES };
    for (int64_t i = 0; i < q.n; i++) {
        int64_t here = s->pos + at + i, start = ints(&a->in[START])[q.row + i], edge = here - s->window + 1;
        INVARIANT(start >= 0 && start <= here && here < s->keys, "query at %lld of %lld in a document from %lld",
                  (long long)here, (long long)s->keys, (long long)start);
        q.first[i] = s->window && edge > start ? edge : start;
        q.last[i] = here + 1;
        if (i == 0 || q.first[i] < q.from) q.from = q.first[i];
        if (i == 0 || q.last[i] > q.to) q.to = q.last[i];
    }
    return q;
}

/* Rows from `row` of one head. */
static struct matrix head(const struct tensor *t, int64_t row, int64_t heads, int64_t at, int64_t width)
{
    return matrix_at(matrix_of(t, heads * width), row, at * width);
}
static struct matrix local(real *data, int64_t width) { return matrix_reals(data, width); }

static void product(int64_t m, int64_t n, int64_t k, struct matrix a, struct matrix b, struct matrix c, real beta)
{
    gemm_here(&(struct gemm){ .m = m, .n = n, .k = k, .a = a, .b = b, .c = c, .beta = beta });
}

/* Zeros where row i of the block may not look, among keys [j, j+n); gives what is left, [*from, *to) from j on. */
static void mask(const struct block *q, int64_t i, int64_t j, int64_t n, real *score, int64_t *from, int64_t *to)
{
    *from = q->first[i] > j ? q->first[i] - j : 0;
    *to = q->last[i] < j + n ? q->last[i] - j : n;
    if (*from > *to) *from = *to = 0;
    memset(score, 0, (size_t)*from * sizeof *score);
    memset(score + *to, 0, (size_t)(n - *to) * sizeof *score);
}

/* Takes keys [j, j+n) into the running softmax: score becomes e^(scale (s - most)), older sums are made to fit. */
static void advance(const struct sizes *s, const struct block *q, int64_t j, int64_t n, real *score, real *most, double *sum, real *o)
{
    for (int64_t i = 0; i < q->n; i++, score += KEYS) {
        int64_t from, to;
        mask(q, i, j, n, score, &from, &to);
        if (from == to) continue;
        real top = row_top(score + from, to - from);
        real now = most[i] > top ? most[i] : top, fade = (real)exp(s->scale * (double)(most[i] - now));
        sum[i] = sum[i] * fade + row_exp(score + from, to - from, s->scale, now, 1);
        most[i] = now;
        if (j > q->from && fade != 1)
            for (int64_t w = 0; w < s->value_width; w++) o[i * s->value_width + w] *= fade;
    }
}

static void forward_block(const struct args *a, const struct sizes *s, int64_t b, int64_t h, int64_t number)
{
    struct block q = block_of(a, s, b, number);
    real score[QUERIES * KEYS], o[QUERIES * s->value_width], most[QUERIES], block_max = -INFINITY, failed = 0;
    double sum[QUERIES] = { 0 };
    for (int64_t i = 0; i < q.n; i++) most[i] = -INFINITY;
    for (int64_t j = q.from; j < q.to; j += KEYS) {
        int64_t n = q.to - j < KEYS ? q.to - j : KEYS, row = b * s->keys + j, g = h / s->share;
        product(q.n, n, s->width, head(&a->in[Q], q.row, s->heads, h, s->width),
                matrix_turned(head(&a->in[K], row, s->groups, g, s->width)), local(score, KEYS), 0);
        advance(s, &q, j, n, score, most, sum, o);
        product(q.n, s->value_width, n, local(score, KEYS), head(&a->in[V], row, s->groups, g, s->value_width),
                local(o, s->value_width), j > q.from);
    }
    for (int64_t i = 0; i < q.n; i++) {
        real buffer[s->value_width], rescale = (real)(1 / sum[i]);
        int64_t at = (q.row + i) * s->heads + h;
        real *to = row_write(&a->out[O], at * s->value_width, s->value_width, buffer);
        for (int64_t w = 0; w < s->value_width; w++) to[w] = o[i * s->value_width + w] * rescale;
        row_done(&a->out[O], at * s->value_width, s->value_width, to);
        reals(&a->save[LSE])[at] = (real)(s->scale * (double)most[i] + log(sum[i]));
        if (most[i] > block_max) block_max = most[i];
        if (isnan(sum[i])) failed = NAN;
    }
    reals(&a->work[BLOCK_MAX])[(b * blocks_of(s->seq, QUERIES) + number) * s->heads + h] = s->scale * block_max + failed;
}

static void forward_blocks(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    int64_t blocks = blocks_of(s.seq, QUERIES);
    for (int64_t at = from; at < to; at++) forward_block(a, &s, at / blocks / s.heads, at / blocks % s.heads, at % blocks);
}

static void forward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    int64_t blocks = s.batch * blocks_of(s.seq, QUERIES);
    each(a, blocks * s.heads, 1, forward_blocks);
    for (int64_t h = 0; h < s.heads; h++) {
        real most = -INFINITY;
        for (int64_t i = 0; i < blocks; i++) {
            real here = reals(&a->work[BLOCK_MAX])[i * s.heads + h];
            if (here > most || isnan(here)) most = here;
        }
        reals(&a->out[LOGIT_MAX])[h] = most;
    }
}

/* mean_i = do_i . o_i, which is the sum over j of p_ij dp_ij. */
static void row_means(const struct args *a, const struct sizes *s, const struct block *q, int64_t h, real *mean)
{
    real left[s->value_width], right[s->value_width];
    for (int64_t i = 0; i < q->n; i++) {
        int64_t at = ((q->row + i) * s->heads + h) * s->value_width;
        const real *d = row_read(&a->dout[O], at, s->value_width, left), *o = row_read(&a->out[O], at, s->value_width, right);
        double sum = 0;
        for (int64_t w = 0; w < s->value_width; w++) sum += (double)d[w] * (double)o[w];
        mean[i] = (real)sum;
    }
}

/* p = e^(scale s - lse);  dv += p^T do;  dp = do v^T;  ds = scale p (dp - mean);  dk += ds^T q;  dq = ds k */
static void backward_block(const struct args *a, const struct sizes *s, int64_t b, int64_t h, int64_t number)
{
    struct block q = block_of(a, s, b, number);
    real p[QUERIES * KEYS], ds[QUERIES * KEYS], dq[QUERIES * s->width], mean[QUERIES];
    int64_t g = h / s->share;
    struct matrix queries = head(&a->in[Q], q.row, s->heads, h, s->width);
    struct matrix dout = head(&a->dout[O], q.row, s->heads, h, s->value_width);
    row_means(a, s, &q, h, mean);
    for (int64_t j = q.from; j < q.to; j += KEYS) {
        int64_t n = q.to - j < KEYS ? q.to - j : KEYS, row = b * s->keys + j, from, to;
        struct matrix keys = head(&a->in[K], row, s->groups, g, s->width);
        product(q.n, n, s->width, queries, matrix_turned(keys), local(p, KEYS), 0);
        product(q.n, n, s->value_width, dout, matrix_turned(head(&a->in[V], row, s->groups, g, s->value_width)), local(ds, KEYS), 0);
        for (int64_t i = 0; i < q.n; i++) {
            mask(&q, i, j, n, p + i * KEYS, &from, &to);
            real lse = reals(&a->save[LSE])[(q.row + i) * s->heads + h];
            row_exp(p + i * KEYS + from, to - from, s->scale, lse / s->scale, 1);
            for (int64_t w = 0; w < n; w++) ds[i * KEYS + w] = s->scale * p[i * KEYS + w] * (ds[i * KEYS + w] - mean[i]);
        }
        if (a->din[V].data)
            product(n, s->value_width, q.n, matrix_turned(local(p, KEYS)), dout, head(&a->work[DV], row, s->groups, g, s->value_width), 1);
        if (a->din[K].data)
            product(n, s->width, q.n, matrix_turned(local(ds, KEYS)), queries, head(&a->work[DK], row, s->groups, g, s->width), 1);
        if (a->din[Q].data) product(q.n, s->width, n, local(ds, KEYS), keys, local(dq, s->width), j > q.from);
    }
    for (int64_t i = 0; a->din[Q].data && i < q.n; i++) {
        real buffer[s->width];
        int64_t at = ((q.row + i) * s->heads + h) * s->width;
        real *to = row_add(&a->din[Q], at, s->width, a->beta[Q], buffer);
        for (int64_t w = 0; w < s->width; w++) to[w] += dq[i * s->width + w];
        row_done(&a->din[Q], at, s->width, to);
    }
}

/* din = beta din + sums, for head g of the keys of sequence b. */
static void add_sums(const struct tensor *din, real beta, const struct tensor *sums, const struct sizes *s, int64_t b, int64_t g, int64_t width)
{
    real buffer[width];
    for (int64_t r = b * s->keys; din->data && r < (b + 1) * s->keys; r++) {
        int64_t at = (r * s->groups + g) * width;
        real *to = row_add(din, at, width, beta, buffer);
        for (int64_t w = 0; w < width; w++) to[w] += reals(sums)[at + w];
        row_done(din, at, width, to);
    }
}

/* One key head of one sequence has all its queries on one thread: the order of the sums in dk and dv is fixed. */
static void backward_heads(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    for (int64_t at = from; at < to; at++) {
        int64_t b = at / s.groups, g = at % s.groups;
        for (int64_t h = g * s.share; h < (g + 1) * s.share; h++)
            for (int64_t block = 0; block < blocks_of(s.seq, QUERIES); block++) backward_block(a, &s, b, h, block);
        add_sums(&a->din[K], a->beta[K], &a->work[DK], &s, b, g, s.width);
        add_sums(&a->din[V], a->beta[V], &a->work[DV], &s, b, g, s.value_width);
    }
}

static void backward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    for (int i = DK; i <= DV; i++) memset(a->work[i].data, 0, (size_t)shape_count(a->work[i].shape) * sizeof(real));
    each(a, s.batch * s.groups, 1, backward_heads);
}

KERNELS(attention) = { forward, backward };
OP(attention) = {
    .name = "attention", .index = OP_attention, .infer = infer, .cost = cost, .gradient = true, .no_grad_out = 1u << LOGIT_MAX,
    .reads_in = 1u << Q | 1u << K | 1u << V | 1u << START | 1u << POS, .reads_out = 1u << O,
};
