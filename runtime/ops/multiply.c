/* Ops in which rows, or all values, share the factor that they are multiplied by. */
#define VERBS "graph/ops/broadcast.h"
#include "op.h"
#include "cpu/values.h"

/* ---- mul_row: x[t,:] row;  dx = row dy, drow = sum over t of x dy ---- */

static int mul_row_infer(struct node *n, struct err *e)
{
    (void)e;
    struct shape s = n->in[0]->shape;
    node_value(n, n->in[0]->dtype, s);
    node_parts(n, shape_rows(s), shape_last(s));
    return 0;
}

static void mul_row_block(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[0].shape);
    real x_buffer[d], y_buffer[d], row_buffer[d];
    const real *restrict row = row_read(&a->in[1], 0, d, row_buffer);
    for (int64_t t = from; t < to; t++) {
        const real *restrict x = row_read(&a->in[0], t * d, d, x_buffer);
        real *restrict y = row_write(&a->out[0], t * d, d, y_buffer);
        for (int64_t i = 0; i < d; i++) y[i] = x[i] * row[i];
        row_done(&a->out[0], t * d, d, y);
    }
}

static void mul_row_gradient(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[0].shape), rows = shape_rows(a->in[0].shape);
    real x_buffer[d], dy_buffer[d], dx_buffer[d], row_buffer[d], beta = a->beta[0];
    const real *restrict row = row_read(&a->in[1], 0, d, row_buffer);
    double *restrict drow = a->din[1].data ? parts_line(&a->work[0], from, rows, d) : NULL;
    for (int64_t t = from; t < to; t++) {
        const real *restrict x = row_read(&a->in[0], t * d, d, x_buffer);
        const real *restrict dy = row_read(&a->dout[0], t * d, d, dy_buffer);
        if (a->din[0].data) {
            real *restrict dx = row_open(&a->din[0], t * d, d, beta, dx_buffer);
            for (int64_t i = 0; i < d; i++) dx[i] = keep(beta, dx[i]) + row[i] * dy[i];
            row_done(&a->din[0], t * d, d, dx);
        }
        for (int64_t i = 0; drow && i < d; i++) drow[i] += x[i] * dy[i];
    }
}

static void mul_row_forward(const struct args *a)
{
    struct shape s = a->in[0].shape;
    each(a, shape_rows(s), rows_grain(shape_last(s)), mul_row_block);
}

static void mul_row_backward(const struct args *a)
{
    int64_t d = shape_last(a->in[0].shape), rows = shape_rows(a->in[0].shape);
    each(a, rows, parts_grain(rows, d), mul_row_gradient);
    if (a->din[1].data) parts_give(a, 1, rows, d);
}

KERNELS(mul_row) = { mul_row_forward, mul_row_backward, NULL };
OP(mul_row, .inputs = "x[..,D] row[D]",
   .outputs = "y[..,D]",
   .about = "x times the row",
   .infer = mul_row_infer, .gradient = true, .cheap = true, .rows = 1, .reads_in = 3);

VERB struct node *mul_row(struct graph *g, struct node *x, struct node *row)
{
    return graph_emit(g, &op_mul_row, NULL, x, row);
}

/* ---- mul_scalar: s x;  dx = s dy, ds = sum of x dy ---- */

static int mul_scalar_infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, n->in[0]->dtype, n->in[0]->shape);
    node_parts(n, shape_count(n->in[0]->shape), 1);
    return 0;
}

static void mul_scalar_block(const struct args *a, int64_t from, int64_t to)
{
    const real s = reals(&a->in[1])[0];
    READ(x, a->in[0]);
    WRITE(y, a->out[0]);
    for (int64_t i = 0; i < to - from; i++) y[i] = s * x[i];
    DONE(y, a->out[0]);
}

/* Gives the block's part of ds. */
static double mul_scalar_gradient(const struct args *a, int64_t from, int64_t to)
{
    const real s = reals(&a->in[1])[0];
    double sum = 0;
    READ(dy, a->dout[0]);
    ADD_GRADIENT(0, s * dy[i]);
    if (!a->din[1].data) return 0;
    READ(x, a->in[0]);
    ROW_SUM(sum, i, to - from, (double)x[i] * dy[i]);
    return sum;
}

static void mul_scalar_part(const struct args *a, int64_t from, int64_t to)
{
    double sum = 0, *part = a->din[1].data ? parts_line(&a->work[0], from, shape_count(a->in[0].shape), 1) : &sum;
    for (; from < to; from += BLOCK) *part += mul_scalar_gradient(a, from, to - from < BLOCK ? to : from + BLOCK);
}

EACH_BLOCK(mul_scalar_forward, mul_scalar_block)

static void mul_scalar_backward(const struct args *a)
{
    int64_t n = shape_count(a->in[0].shape);
    each(a, n, parts_grain(n, 1), mul_scalar_part);
    if (!a->din[1].data) return;
    real *ds = reals(&a->din[1]);
    *ds = keep(a->beta[1], *ds) + (real)parts_fold(&a->work[0], n, 1)[0];
}

KERNELS(mul_scalar) = { mul_scalar_forward, mul_scalar_backward, NULL };
OP(mul_scalar, .inputs = "x[..] s:REAL[1|1,1]",
   .outputs = "y[..]",
   .about = "s x",
   .infer = mul_scalar_infer, .gradient = true, .cheap = true, .rows = 1, .reads_in = 3);

VERB struct node *mul_scalar(struct graph *g, struct node *x, struct node *s)
{
    return graph_emit(g, &op_mul_scalar, NULL, x, s);
}
