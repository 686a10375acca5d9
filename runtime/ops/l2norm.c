/* y = x / sqrt(sum of x^2 + eps) over the last dimension. What rmsnorm is without a gain, but for a factor sqrt(D). */
#define VERBS "graph/ops/rows.h"
#include "op.h"
#include "cpu/vec_math.h"

VERB struct node *l2norm(struct graph *g, struct node *x, double eps)
{
    struct l2norm_attr at = { eps };
    return graph_emit(g, &op_l2norm, &at, x);
}

static real inverse_length(const real *x, int64_t d, double eps)
{
    double sum;
    ROW_SUM(sum, i, d, (double)x[i] * x[i]);
    return (real)(1 / sqrt(sum + eps));
}

static void rows(const struct args *a, int64_t from, int64_t to)
{
    const struct l2norm_attr *at = a->attr;
    int64_t d = shape_last(a->in[0].shape);
    real x_buffer[d], y_buffer[d];
    for (int64_t t = from; t < to; t++) {
        const real *restrict x = row_read(&a->in[0], t * d, d, x_buffer);
        real *restrict y = row_write(&a->out[0], t * d, d, y_buffer), r = inverse_length(x, d, at->eps);
        for (int64_t i = 0; i < d; i++) y[i] = x[i] * r;
        row_done(&a->out[0], t * d, d, y);
    }
}

/* dx = r dy - x r^3 sum(dy x). r is computed again: one pass over a row that is read anyway. */
static void gradient(const struct args *a, int64_t from, int64_t to)
{
    const struct l2norm_attr *at = a->attr;
    int64_t d = shape_last(a->in[0].shape);
    real x_buffer[d], dy_buffer[d], dx_buffer[d], beta = a->beta[0];
    double dot;
    for (int64_t t = from; t < to; t++) {
        const real *restrict x = row_read(&a->in[0], t * d, d, x_buffer);
        const real *restrict dy = row_read(&a->dout[0], t * d, d, dy_buffer);
        real *restrict dx = row_open(&a->din[0], t * d, d, beta, dx_buffer), r = inverse_length(x, d, at->eps);
        ROW_SUM(dot, i, d, (double)dy[i] * x[i]);
        real pull = (real)(dot * r * r * r);
        for (int64_t i = 0; i < d; i++) dx[i] = keep(beta, dx[i]) + (r * dy[i] - x[i] * pull);
        row_done(&a->din[0], t * d, d, dx);
    }
}

static void each_row(const struct args *a, void (*body)(const struct args *, int64_t, int64_t))
{
    each(a, shape_rows(a->in[0].shape), rows_grain(shape_last(a->in[0].shape)), body);
}

static void forward(const struct args *a) { each_row(a, rows); }
static void backward(const struct args *a) { if (a->din[0].data) each_row(a, gradient); }

KERNELS(l2norm) = { forward, backward, NULL };

ATTRIBUTES(l2norm, struct l2norm_attr,
    REAL(struct l2norm_attr, eps, NEEDED, 0, HUGE_VAL, "", "beside the sum of squares"));
OP(l2norm, .inputs = "x[..,D]",
   .outputs = "y[..,D]",
   .about = "x / sqrt(sum of x^2 + eps)",
   ATTR(l2norm), .infer = infer_same, .gradient = true, .cheap = true, .rows = 1, .rows_back = true, .reads_in = 1);
