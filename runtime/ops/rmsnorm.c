/* y = gain x / sqrt(mean(x^2) + eps) over the last dimension; no gain: 1. zero_centred: (1 + gain) in place of gain.
   Zhang 2019. */
#define VERBS "graph/ops/rows.h"
#include "op.h"
#include "cpu/vec_math.h"

enum { SOME = 2 };                                          /* rows that backward takes at a time */

VERB struct node *rmsnorm(struct graph *g, struct node *x, struct node *gain, double eps, bool zero_centred)
{
    struct rmsnorm_attr at = { eps, zero_centred };
    return graph_emit(g, &op_rmsnorm, &at, x, gain);
}

static int infer(struct node *n, struct err *e)
{
    const struct rmsnorm_attr *at = n->attr;
    struct shape x = n->in[0]->shape;
    node_value(n, n->in[0]->dtype, x);
    if (!n->in[1]) return at->zero_centred ? err_set(e, "without a gain none is zero-centred") : 0;
    node_parts(n, shape_rows(x), shape_last(x));
    return 0;
}

static real inverse_rms(const real *x, int64_t d, double eps)
{
    double sum;
    ROW_SUM(sum, i, d, (double)x[i] * x[i]);
    return (real)(1 / sqrt(sum / (double)d + eps));
}

/* What x / rms is multiplied by. */
static const real *factor(const struct args *a, int64_t d, real *buffer)
{
    const struct rmsnorm_attr *at = a->attr;
    const real *gain = a->in[1].data ? row_read(&a->in[1], 0, d, buffer) : NULL;
    for (int64_t i = 0; i < d; i++) buffer[i] = !gain ? 1 : at->zero_centred ? 1 + gain[i] : gain[i];
    return buffer;
}

static void rows(const struct args *a, int64_t from, int64_t to)
{
    const struct rmsnorm_attr *at = a->attr;
    int64_t d = shape_last(a->in[0].shape);
    real x_buffer[d], y_buffer[d], gain_buffer[d];
    const real *restrict gain = factor(a, d, gain_buffer);
    for (int64_t t = from; t < to; t++) {
        const real *restrict x = row_read(&a->in[0], t * d, d, x_buffer);
        real *restrict y = row_write(&a->out[0], t * d, d, y_buffer), r = inverse_rms(x, d, at->eps);
        for (int64_t i = 0; i < d; i++) y[i] = gain[i] * (x[i] * r);
        row_done(&a->out[0], t * d, d, y);
    }
}

/* sum[i] += sum over the rows of dy x r, in reals for the few rows that are at hand. */
static void add_gain(double *restrict sum, int64_t n, const real *restrict x, const real *restrict dy, const real *r,
                     int64_t d)
{
    if (n == SOME)
        for (int64_t i = 0; i < d; i++)
            sum[i] += dy[i] * (x[i] * r[0]) + dy[d + i] * (x[d + i] * r[1]);
    else
        for (int64_t t = 0; t < n; t++)
            for (int64_t i = 0; i < d; i++) sum[i] += dy[t * d + i] * (x[t * d + i] * r[t]);
}

/* dx = r gain dy - x r^3/d sum(gain dy x);  dgain = sum over rows of dy x r.
   r is computed again: one pass over a row that is read anyway. */
static void gradient(const struct args *a, int64_t from, int64_t to)
{
    const struct rmsnorm_attr *at = a->attr;
    int64_t d = shape_last(a->in[0].shape), rows = shape_rows(a->in[0].shape);
    real x_buffer[SOME * d], dy_buffer[SOME * d], dx_buffer[d], gain_buffer[d], r[SOME], beta = a->beta[0];
    const real *restrict gain = factor(a, d, gain_buffer);
    double *dgain = a->din[1].data ? parts_line(&a->work[0], from, rows, d) : NULL, dot;
    for (int64_t some; from < to; from += some) {
        some = to - from < SOME ? to - from : SOME;
        const real *restrict x = row_read(&a->in[0], from * d, some * d, x_buffer), *restrict dy = row_read(
                                                                                        &a->dout[0], from * d, some * d,
                                                                                        dy_buffer);
        for (int64_t t = 0; t < some; t++) r[t] = inverse_rms(x + t * d, d, at->eps);
        for (int64_t t = 0; t < some && a->din[0].data; t++) {
            const real *restrict u = x + t * d, *restrict du = dy + t * d;
            ROW_SUM(dot, i, d, (double)(gain[i] * du[i]) * u[i]);
            real pull = (real)(dot * r[t] * r[t] * r[t] / (double)d);
            real *restrict dx = row_open(&a->din[0], (from + t) * d, d, beta, dx_buffer);
            for (int64_t i = 0; i < d; i++) dx[i] = keep(beta, dx[i]) + (r[t] * (gain[i] * du[i]) - u[i] * pull);
            row_done(&a->din[0], (from + t) * d, d, dx);
        }
        if (dgain) add_gain(dgain, some, x, dy, r, d);
    }
}

static void forward(const struct args *a)
{
    struct shape s = a->in[0].shape;
    each(a, shape_rows(s), rows_grain(shape_last(s)), rows);
}

static void backward(const struct args *a)
{
    int64_t n = shape_rows(a->in[0].shape), d = shape_last(a->in[0].shape);
    each(a, n, parts_grain(n, d), gradient);
    if (a->din[1].data) parts_give(a, 1, n, d);
}

KERNELS(rmsnorm) = { forward, backward, NULL };

ATTRIBUTES(rmsnorm, struct rmsnorm_attr,
    REAL(struct rmsnorm_attr, eps, NEEDED, 0, HUGE_VAL, "", "beside the mean square"),
    BOOL(struct rmsnorm_attr, zero_centred, 0, "times 1 + gain"));
OP(rmsnorm, .inputs = "x[..,D] gain?[D]",
   .outputs = "y[..,D]",
   .about = "x / sqrt(mean of x^2 + eps) times the gain",
   ATTR(rmsnorm), .infer = infer, .gradient = true, .cheap = true, .rows = 1, .reads_in = 3);
