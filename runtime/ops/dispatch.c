/* Rows on their way to experts and back. dispatch sorts the T*K assignments by expert, ties in token order; gather
   copies tokens into that order, unpermute and combine sum a token's K rows again. Sums run in slot order, over the
   inverse map: no scatter, so the same inputs give the same bits. What goes to no expert has no row, and the rows
   that are left behind the last expert's are nobody's: gather makes them 0, and what others leave there reaches no
   token. */
#define VERBS "graph/ops/routing.h"
#include "op.h"
#include "cpu/vec_math.h"

/* of a block; rows of a sum at a time; rows prefetched */
enum { ASSIGNMENTS = 4096, TOKENS = 64, FOUR = 4, AHEAD = 4 };

/* ---- dispatch: a stable counting sort ---- */

struct attr { int64_t experts, rows; };

VERB struct node *dispatch(struct graph *g, struct node *index, int experts, int64_t rows)
{
    struct attr a = { experts, rows };
    return graph_emit(g, &op_dispatch, &a, index);
}

static int dispatch_infer(struct node *n, struct err *e)
{
    const struct attr *at = n->attr;
    int64_t pairs = shape_count(n->in[0]->shape), rows = at->rows > 0 && at->rows < pairs ? at->rows : pairs;
    if (pairs > INT32_MAX) return err_set(e, "%lld rows do not fit 32 bits", (long long)pairs);
    node_value(n, DTYPE_I32, SHAPE(at->experts + 1));       /* offsets */
    node_output(n, DTYPE_I32, SHAPE(rows));                 /* order */
    node_output(n, DTYPE_I32, n->in[0]->shape);             /* inverse */
    node_output(n, DTYPE_I32, SHAPE(at->experts));          /* counts */
    /* first: of each block and expert */
    node_work(n, DTYPE_I32, SHAPE(blocks_of(pairs, ASSIGNMENTS), at->experts));
    return 0;
}

/* The block's row of a [blocks, E] table. */
static int32_t *block_row(const struct args *a, int64_t from)
{
    return ints(&a->work[0]) + from / ASSIGNMENTS * a->work[0].shape.dim[1];
}

static void count_block(const struct args *a, int64_t from, int64_t to)
{
    int32_t experts = (int32_t)a->work[0].shape.dim[1], *count = block_row(a, from);
    const int32_t *index = ints(&a->in[0]);
    memset(count, 0, (size_t)experts * sizeof *count);
    for (int64_t i = from; i < to; i++) {
        INVARIANT(index[i] >= -1, "dispatch: expert %d of %d", index[i], experts);
        if (index[i] >= 0 && index[i] < experts) count[index[i]]++;
    }
}

/* From the counts of blocks, the first row of each expert in each block. Rows that are left are nobody's. */
static void scan(const struct args *a)
{
    int64_t blocks = a->work[0].shape.dim[0], experts = a->work[0].shape.dim[1], rows = a->out[1].shape.dim[0];
    int32_t *table = ints(&a->work[0]), *offsets = ints(&a->out[0]), *counts = ints(&a->out[3]), next = 0;
    for (int64_t e = 0; e < experts; e++) {
        offsets[e] = next;
        for (int64_t b = 0; b < blocks; b++) {
            int32_t count = table[b * experts + e];
            table[b * experts + e] = next;
            next += count;
        }
        counts[e] = next - offsets[e];
    }
    offsets[experts] = next;
    INVARIANT(next <= rows, "dispatch: %d pairs, there is room for %lld rows", next, (long long)rows);
    for (; next < rows; next++) ints(&a->out[1])[next] = -1;
}

static void scatter_block(const struct args *a, int64_t from, int64_t to)
{
    const int32_t *index = ints(&a->in[0]);
    int32_t *order = ints(&a->out[1]), *inverse = ints(&a->out[2]), *next = block_row(a, from),
            experts = (int32_t)a->work[0].shape.dim[1];
    for (int64_t i = from; i < to; i++) {
        inverse[i] = index[i] < 0 || index[i] >= experts ? -1 : next[index[i]]++;
        if (inverse[i] >= 0) order[inverse[i]] = (int32_t)i;
    }
}

static void dispatch_forward(const struct args *a)
{
    int64_t pairs = shape_count(a->in[0].shape);
    each(a, pairs, ASSIGNMENTS, count_block);
    scan(a);
    each(a, pairs, ASSIGNMENTS, scatter_block);
}

KERNELS(dispatch) = { dispatch_forward, NULL, NULL };

ATTRIBUTES(dispatch, struct attr,
    INT(struct attr, experts, NEEDED, 1, INT32_MAX, "", "there are"),
    INT(struct attr, rows, 0, 0, HUGE_VAL, "", "that are known to be enough; 0: T K"));
OP(dispatch, .inputs = "index:I32[T,K]",
   .outputs = "offsets:I32[E+1] order:I32[R] inverse:I32[T,K] counts:I32[E]",
   .about = "a stable sort by expert: where the rows of each begin; which pair t K + j a row is, -1 from the last "
          "offset on; the row of a pair, -1 for an index that is no expert, which has none; rows of each",
   ATTR(dispatch), .infer = dispatch_infer);

/* ---- gather: row r = x[order[r] / K], or 0 ---- */

VERB struct node *gather(struct graph *g, struct node *x, struct node *order, struct node *inverse)
{
    return graph_emit(g, &op_gather, NULL, x, order, inverse);
}

/* order [R] and inverse [T,K], inputs 1 and 2 of all three ops, are inverse to one another where neither is -1. So rows
   of experts go back to pairs by the same op, with the maps exchanged. */
static int gather_infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, n->in[0]->dtype, SHAPE(n->in[1]->shape.dim[0], shape_last(n->in[0]->shape)));
    return 0;
}

static void gather_rows(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = a->in[0].shape.dim[1], k = a->in[2].shape.dim[1];
    size_t bytes = (size_t)d * element_bytes(a->in[0].format);
    const int32_t *order = ints(&a->in[1]);
    const char *x = a->in[0].data;
    char *out = a->out[0].data;
    for (int64_t r = from; r < to; r++) {
        if (r + AHEAD < to && order[r + AHEAD] >= 0) row_prefetch(&a->in[0], order[r + AHEAD] / k * d, d);
        if (order[r] >= 0) memcpy(out + (size_t)r * bytes, x + (size_t)(order[r] / k) * bytes, bytes);
        else memset(out + (size_t)r * bytes, 0, bytes);
    }
}

static void gather_forward(const struct args *a)
{
    each(a, a->out[0].shape.dim[0], TOKENS, gather_rows);
}

/* to := beta to + sum_j by[j] y[inverse[j]] over the rows that there are, by NULL: all 1. */
static void sum_rows(const struct tensor *y, const int32_t *inverse, const real *by, int64_t k, int64_t d, real beta,
                     real *restrict to)
{
    real buffer[FOUR * d];
    for (int64_t j = 0; j < k; beta = 1) {
        int64_t n = 0, at[FOUR];
        const real *row[FOUR] = { NULL };
        real f[FOUR] = { 0 };
        for (; j < k && n < FOUR; j++) if (inverse[j] >= 0) f[n] = by ? by[j] : 1, at[n++] = inverse[j] * d;
        /* they are converted one by one */
        for (int64_t i = 0; i < n && y->format != FORMAT_REAL; i++) row_prefetch(y, at[i], d);
        for (int64_t i = 0; i < n; i++) row[i] = row_read(y, at[i], d, buffer + i * d);
        const real *restrict p = row[0], *restrict q = row[1], *restrict r = row[2], *restrict s = row[3];
        switch (n) {
        case 0: for (int64_t i = 0; i < d; i++) to[i] = keep(beta, to[i]); break;
        case 1: for (int64_t i = 0; i < d; i++) to[i] = keep(beta, to[i]) + f[0] * p[i]; break;
        case 2: for (int64_t i = 0; i < d; i++) to[i] = keep(beta, to[i]) + f[0] * p[i] + f[1] * q[i]; break;
        case 3:
            for (int64_t i = 0; i < d; i++) to[i] = keep(beta, to[i]) + f[0] * p[i] + f[1] * q[i] + f[2] * r[i];
            break;
        case 4:
            for (int64_t i = 0; i < d; i++)
                to[i] = keep(beta, to[i]) + f[0] * p[i] + f[1] * q[i] + f[2] * r[i] + f[3] * s[i];
            break;
        }
    }
}

/* Of tokens [from, end): to[t] = beta to[t] + sum_j by[t,j] y[inverse[t,j]], by NULL: 1. */
static void sum_slots(const struct args *a, const struct tensor *y, const real *by, const struct tensor *to, real beta,
                      int64_t from, int64_t end)
{
    int64_t d = shape_last(y->shape), k = a->in[2].shape.dim[1];
    real buffer[d];
    for (int64_t t = from; t < end; t++) {
        real *row = row_open(to, t * d, d, beta, buffer);
        sum_rows(y, ints(&a->in[2]) + t * k, by ? by + t * k : NULL, k, d, beta, row);
        row_done(to, t * d, d, row);
    }
}

static void gather_back(const struct args *a, int64_t from, int64_t to)
{
    sum_slots(a, &a->dout[0], NULL, &a->din[0], a->beta[0], from, to);
}

static void gather_backward(const struct args *a)
{
    if (a->din[0].data) each(a, a->in[0].shape.dim[0], TOKENS, gather_back);
}

KERNELS(gather) = { gather_forward, gather_backward, NULL };
OP(gather, .inputs = "x[T,D] order:I32[R] inverse:I32[T,K]",
   .outputs = "y[R,D]",
   .about = "row r is x[order[r] / K], 0 for -1",
   .infer = gather_infer, .gradient = true, .cheap = true, .rows = 2,
   .reads_in = 1u << 2);

/* ---- unpermute: out[t] = sum_j y[inverse[t,j]], gather's transpose ---- */

VERB struct node *unpermute(struct graph *g, struct node *y, struct node *order, struct node *inverse)
{
    return graph_emit(g, &op_unpermute, NULL, y, order, inverse);
}

static int unpermute_infer(struct node *n, struct err *e)
{
    char text[64];
    if (n->in[1]->shape.dim[0] > shape_count(n->in[2]->shape))
        return err_set(e, "order has %lld rows, inverse %s", (long long)n->in[1]->shape.dim[0],
                       shape_text(n->in[2]->shape, text));
    node_value(n, DTYPE_ACT, SHAPE(n->in[2]->shape.dim[0], shape_last(n->in[0]->shape)));
    return 0;
}

static void unpermute_tokens(const struct args *a, int64_t from, int64_t to)
{
    sum_slots(a, &a->in[0], NULL, &a->out[0], 0, from, to);
}

static void unpermute_forward(const struct args *a)
{
    each(a, a->out[0].shape.dim[0], TOKENS, unpermute_tokens);
}

/* dy[r] = dout[order[r] / K], or 0 */
static void unpermute_rows(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = a->in[0].shape.dim[1], k = a->in[2].shape.dim[1];
    const int32_t *order = ints(&a->in[1]);
    real wide[d], buffer[d], beta = a->beta[0];
    for (int64_t r = from; r < to; r++) {
        if (r + AHEAD < to && order[r + AHEAD] >= 0) row_prefetch(&a->dout[0], order[r + AHEAD] / k * d, d);
        const real *restrict dout = order[r] < 0 ? NULL : row_read(&a->dout[0], order[r] / k * d, d, wide);
        real *restrict dy = row_open(&a->din[0], r * d, d, beta, buffer);
        for (int64_t c = 0; c < d; c++) dy[c] = keep(beta, dy[c]) + (dout ? dout[c] : 0);
        row_done(&a->din[0], r * d, d, dy);
    }
}

static void unpermute_backward(const struct args *a)
{
    if (a->din[0].data) each(a, a->in[0].shape.dim[0], TOKENS, unpermute_rows);
}

KERNELS(unpermute) = { unpermute_forward, unpermute_backward, NULL };
OP(unpermute, .inputs = "y[R,D] order:I32[R] inverse:I32[T,K]",
   .outputs = "x[T,D]",
   .about = "sum over j of y[inverse[t,j]], less those of -1; rows of y that are nobody's are not read",
   .infer = unpermute_infer, .gradient = true,
   .reads_in = 1u << 1 | 1u << 2);

/* ---- combine: out[t] = sum_j gate[t,j] y[inverse[t,j]] over the rows that there are ---- */

VERB struct node *combine(struct graph *g, struct node *y, struct node *order, struct node *inverse, struct node *gate)
{
    return graph_emit(g, &op_combine, NULL, y, order, inverse, gate);
}

static void combine_tokens(const struct args *a, int64_t from, int64_t to)
{
    sum_slots(a, &a->in[0], reals(&a->in[3]), &a->out[0], 0, from, to);
}

static void combine_forward(const struct args *a)
{
    each(a, a->out[0].shape.dim[0], TOKENS, combine_tokens);
}

/* Adds 0 to the gradients of a slot without a row, and to those of a row without a slot. */
static void add_nothing(const struct args *a, int64_t i, bool slot, bool row)
{
    int64_t d = a->in[0].shape.dim[1];
    real buffer[d];
    if (slot && a->din[3].data) reals(&a->din[3])[i] = keep(a->beta[3], reals(&a->din[3])[i]);
    if (row && a->din[0].data) row_done(&a->din[0], i * d, d, row_add(&a->din[0], i * d, d, a->beta[0], buffer));
}

/* dy[inverse[t,j]] = gate[t,j] dout[t];  dgate[t,j] = <dout[t], y[inverse[t,j]]> */
static void combine_back(const struct args *a, int64_t from, int64_t to)
{
    int64_t rows = a->in[0].shape.dim[0], d = a->in[0].shape.dim[1], k = a->in[2].shape.dim[1];
    const struct tensor *dy = &a->din[0], *dgate = &a->din[3];
    const int32_t *order = ints(&a->in[1]), *inverse = ints(&a->in[2]);
    real wide[d], buffer[d], sum[d], beta = a->beta[0];
    for (int64_t t = from; t < to; t++) {
        for (int64_t i = (t + 1) * k; t + 1 < to && i < (t + 2) * k; i++) {
            if (inverse[i] < 0) continue;
            row_prefetch(&a->in[0], inverse[i] * d, d);
            if (dy->data) row_prefetch(dy, inverse[i] * d, d);
        }
        const real *restrict dout = row_read(&a->dout[0], t * d, d, wide);
        for (int64_t i = t * k; i < (t + 1) * k; i++) {
            bool nobodys = i < rows && order[i] < 0;        /* there are at least as many slots as rows */
            if (inverse[i] < 0 || nobodys) add_nothing(a, i, inverse[i] < 0, nobodys);
            if (inverse[i] < 0) continue;
            if (dgate->data) {
                const real *restrict y = row_read(&a->in[0], inverse[i] * d, d, buffer);
                double dot;
                ROW_SUM(dot, c, d, dout[c] * y[c]);
                reals(dgate)[i] = keep(a->beta[3], reals(dgate)[i]) + (real)dot;
            }
            if (dy->data) {
                real *restrict row = row_open(dy, inverse[i] * d, d, beta, sum), gate = reals(&a->in[3])[i];
                for (int64_t c = 0; c < d; c++) row[c] = keep(beta, row[c]) + gate * dout[c];
                row_done(dy, inverse[i] * d, d, row);
            }
        }
    }
}

static void combine_backward(const struct args *a)
{
    each(a, a->dout[0].shape.dim[0], TOKENS, combine_back);
}

KERNELS(combine) = { combine_forward, combine_backward, NULL };
OP(combine, .inputs = "y[R,D] order:I32[R] inverse:I32[T,K] gate:REAL[T,K]",
   .outputs = "x[T,D]",
   .about = "sum over j of gate[t,j] y[inverse[t,j]], less those of -1; rows of y that are nobody's are not read",
   .infer = unpermute_infer, .gradient = true,
   .reads_in = 1u << 0 | 1u << 1 | 1u << 2 | 1u << 3);
