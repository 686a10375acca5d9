/* Ops in which the rows, or the values of a head, share their other operand; and the mean over rows. */
#define VERBS "graph/ops/broadcast.h"
#include "op.h"
#include "cpu/vec_math.h"

/* Adds rows [from,to) of x into their line of sums, some rows at a time. */
static void sum_rows(const struct args *a, const struct tensor *x, int64_t from, int64_t to)
{
    int64_t width = shape_last(x->shape), rows = shape_count(x->shape) / width, some = width >= 4096 ? 1 : 4096 / width;
    double *restrict line = parts_line(&a->work[0], from, rows, width);
    real buffer[some * width];
    for (int64_t r = from; r < to; r += some) {
        int64_t n = r + some < to ? some : to - r;
        const real *restrict row = row_read(x, r * width, n * width, buffer);
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = 0; i < width; i++) line[i] += row[j * width + i];
    }
}

/* ---- add_row: x[t,:] + row;  drow = sum over t of dy ---- */

static int add_row_infer(struct node *n, struct err *e)
{
    (void)e;
    struct shape s = n->in[0]->shape;
    node_value(n, n->in[0]->dtype, s);
    node_parts(n, shape_rows(s), shape_last(s));
    return 0;
}

static void add_row_block(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[0].shape);
    real x_buffer[d], y_buffer[d], row_buffer[d];
    const real *restrict row = row_read(&a->in[1], 0, d, row_buffer);
    for (int64_t t = from; t < to; t++) {
        const real *restrict x = row_read(&a->in[0], t * d, d, x_buffer);
        real *restrict y = row_write(&a->out[0], t * d, d, y_buffer);
        for (int64_t i = 0; i < d; i++) y[i] = x[i] + row[i];
        row_done(&a->out[0], t * d, d, y);
    }
}

static void add_row_gradient(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[0].shape);
    real dx_buffer[d], dy_buffer[d], beta = a->beta[0];
    for (int64_t t = from; t < to && a->din[0].data; t++) {
        const real *restrict dy = row_read(&a->dout[0], t * d, d, dy_buffer);
        real *restrict dx = row_open(&a->din[0], t * d, d, beta, dx_buffer);
        for (int64_t i = 0; i < d; i++) dx[i] = keep(beta, dx[i]) + dy[i];
        row_done(&a->din[0], t * d, d, dx);
    }
    if (a->din[1].data) sum_rows(a, &a->dout[0], from, to);
}

static void add_row_forward(const struct args *a)
{
    struct shape s = a->in[0].shape;
    each(a, shape_rows(s), rows_grain(shape_last(s)), add_row_block);
}

static void add_row_backward(const struct args *a)
{
    int64_t d = shape_last(a->in[0].shape), rows = shape_rows(a->in[0].shape);
    each(a, rows, parts_grain(rows, d), add_row_gradient);
    if (a->din[1].data) parts_give(a, 1, rows, d);
}

KERNELS(add_row) = { add_row_forward, add_row_backward, NULL };
OP(add_row, .inputs = "x[..,E] row[E]",
   .outputs = "y[..,E]",
   .about = "x plus the row",
   .infer = add_row_infer, .gradient = true);

VERB struct node *add_row(struct graph *g, struct node *x, struct node *row)
{
    return graph_emit(g, &op_add_row, NULL, x, row);
}

/* ---- mean_rows: the mean of each column, or of all values of a vector;  dx = dy / rows ---- */

/* A vector is one column. */
static struct shape as_columns(struct shape s)
{
    return s.rank == 1 ? SHAPE(s.dim[0], 1) : SHAPE(shape_rows(s), shape_last(s));
}

static int mean_rows_infer(struct node *n, struct err *e)
{
    (void)e;
    struct shape s = as_columns(n->in[0]->shape);
    node_value(n, DTYPE_REAL, SHAPE(s.dim[1]));
    node_parts(n, s.dim[0], s.dim[1]);
    return 0;
}

static void mean_rows_block(const struct args *a, int64_t from, int64_t to)
{
    struct tensor x = a->in[0];
    x.shape = as_columns(x.shape);
    sum_rows(a, &x, from, to);
}

static void mean_rows_gradient(const struct args *a, int64_t from, int64_t to)
{
    struct shape s = as_columns(a->in[0].shape);
    int64_t d = s.dim[1], n = (to - from) * d;
    real buffer[n], beta = a->beta[0], *restrict dx = row_open(&a->din[0], from * d, n, beta, buffer),
                    share = 1 / (real)s.dim[0];
    const real *restrict dy = reals(&a->dout[0]);
    for (int64_t t = 0; t < to - from; t++)
        for (int64_t i = 0; i < d; i++) dx[t * d + i] = keep(beta, dx[t * d + i]) + share * dy[i];
    row_done(&a->din[0], from * d, n, dx);
}

static void mean_rows_forward(const struct args *a)
{
    int64_t rows = as_columns(a->in[0].shape).dim[0], d = as_columns(a->in[0].shape).dim[1];
    each(a, rows, parts_grain(rows, d), mean_rows_block);
    const double *sum = parts_fold(&a->work[0], rows, d);
    for (int64_t i = 0; i < d; i++) reals(&a->out[0])[i] = (real)(sum[i] / (double)rows);
}

static void mean_rows_backward(const struct args *a)
{
    struct shape s = as_columns(a->in[0].shape);
    if (a->din[0].data) each(a, s.dim[0], rows_grain(s.dim[1]), mean_rows_gradient);
}

KERNELS(mean_rows) = { mean_rows_forward, mean_rows_backward, NULL };
OP(mean_rows, .inputs = "x[T|..,E]",
   .outputs = "y:REAL[_]",
   .about = "mean of each column, or of all values of a vector",
   .infer = mean_rows_infer, .gradient = true);

VERB struct node *mean_rows(struct graph *g, struct node *x) { return graph_emit(g, &op_mean_rows, NULL, x); }

/* ---- mul_heads: x[t,h,:] by[t,h];  dx = by dy, dby = sum over the head of x dy ---- */

static void mul_heads_block(const struct args *a, int64_t from, int64_t to)
{
    int64_t w = a->in[0].shape.dim[2];
    real x_buffer[w], y_buffer[w], by_buffer[to - from];
    const real *by = row_read(&a->in[1], from, to - from, by_buffer);
    for (int64_t h = from; h < to; h++) {
        const real *restrict x = row_read(&a->in[0], h * w, w, x_buffer);
        real *restrict y = row_write(&a->out[0], h * w, w, y_buffer);
        const real factor = by[h - from];
        for (int64_t i = 0; i < w; i++) y[i] = factor * x[i];
        row_done(&a->out[0], h * w, w, y);
    }
}

static void mul_heads_gradient(const struct args *a, int64_t from, int64_t to)
{
    int64_t w = a->in[0].shape.dim[2], n = to - from;
    real x_buffer[w], dy_buffer[w], dx_buffer[w], by_buffer[n], dby_buffer[n], *dby = NULL, beta = a->beta[0];
    const real *by = row_read(&a->in[1], from, n, by_buffer);
    if (a->din[1].data) dby = row_add(&a->din[1], from, n, a->beta[1], dby_buffer);
    for (int64_t h = from; h < to; h++) {
        const real *restrict x = row_read(&a->in[0], h * w, w, x_buffer), *restrict dy = row_read(&a->dout[0], h * w, w,
                                                                                                  dy_buffer);
        if (a->din[0].data) {
            real *restrict dx = row_open(&a->din[0], h * w, w, beta, dx_buffer), factor = by[h - from];
            for (int64_t i = 0; i < w; i++) dx[i] = keep(beta, dx[i]) + factor * dy[i];
            row_done(&a->din[0], h * w, w, dx);
        }
        if (dby) {
            double sum;
            ROW_SUM(sum, i, w, (double)x[i] * dy[i]);
            dby[h - from] += (real)sum;
        }
    }
    if (dby) row_done(&a->din[1], from, n, dby);
}

static void mul_heads_forward(const struct args *a)
{
    struct shape s = a->in[0].shape;
    each(a, s.dim[0] * s.dim[1], rows_grain(s.dim[2]), mul_heads_block);
}

static void mul_heads_backward(const struct args *a)
{
    struct shape s = a->in[0].shape;
    each(a, s.dim[0] * s.dim[1], rows_grain(s.dim[2]), mul_heads_gradient);
}

KERNELS(mul_heads) = { mul_heads_forward, mul_heads_backward, NULL };
OP(mul_heads, .inputs = "x[T,H,W] by[T,H]",
   .outputs = "y[T,H,W]",
   .about = "each head times its value",
   .infer = infer_same, .gradient = true, .cheap = true, .rows = 3, .rows_back = true,
   .reads_in = 3);

VERB struct node *mul_heads(struct graph *g, struct node *x, struct node *by)
{
    return graph_emit(g, &op_mul_heads, NULL, x, by);
}
