/* y = x - mean of x over the last dimension. What LayerNorm is before RMSNorm. */
#define VERBS "graph/ops/rows.h"
#include "op.h"
#include "cpu/vec_math.h"

VERB struct node *center(struct graph *g, struct node *x) { return graph_emit(g, &op_center, NULL, x); }

static int infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, n->in[0]->dtype, n->in[0]->shape);
    return 0;
}

static real mean_of(const real *x, int64_t d)
{
    double sum;
    ROW_SUM(sum, i, d, (double)x[i]);
    return (real)(sum / (double)d);
}

static void rows(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[0].shape);
    real x_buffer[d], y_buffer[d];
    for (int64_t t = from; t < to; t++) {
        const real *restrict x = row_read(&a->in[0], t * d, d, x_buffer);
        real *restrict y = row_write(&a->out[0], t * d, d, y_buffer), mean = mean_of(x, d);
        for (int64_t i = 0; i < d; i++) y[i] = x[i] - mean;
        row_done(&a->out[0], t * d, d, y);
    }
}

/* dx = dy - mean of dy. */
static void gradient(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[0].shape);
    real dy_buffer[d], dx_buffer[d], beta = a->beta[0];
    for (int64_t t = from; t < to; t++) {
        const real *restrict dy = row_read(&a->dout[0], t * d, d, dy_buffer);
        real *restrict dx = row_open(&a->din[0], t * d, d, beta, dx_buffer), mean = mean_of(dy, d);
        for (int64_t i = 0; i < d; i++) dx[i] = keep(beta, dx[i]) + (dy[i] - mean);
        row_done(&a->din[0], t * d, d, dx);
    }
}

static void each_row(const struct args *a, void (*body)(const struct args *, int64_t, int64_t))
{
    each(a, shape_rows(a->in[0].shape), rows_grain(shape_last(a->in[0].shape)), body);
}

static void forward(const struct args *a) { each_row(a, rows); }
static void backward(const struct args *a) { if (a->din[0].data) each_row(a, gradient); }

KERNELS(center) = { forward, backward, NULL };
OP(center, .inputs = "x[..,D]",
   .outputs = "y[..,D]",
   .about = "x - mean of x",
   .infer = infer, .gradient = true, .cheap = true, .rows = 1, .rows_back = true);
