/* Ops on a row at a time: softmax, logsumexp, normalize, row_entropy. Sums in double. */
#include "vec_math.h"
#include "vec_math.h"

static int floats_only(const struct node *n, struct err *e)
{
    return n->in[0]->dtype > DTYPE_REAL ? err_set(e, "integers cannot be used here") : 0;
}

static void each_row(const struct args *a, void (*body)(const struct args *, int64_t, int64_t))
{
    each(a, shape_rows(a->in[0].shape), rows_grain(shape_last(a->in[0].shape)), body);
}

/* ---- softmax, REAL;  dx = y (dy - sum(y dy)) ---- */

static int softmax_infer(struct node *n, struct err *e)
{
    if (floats_only(n, e) != 0) return -1;
    node_value(n, DTYPE_REAL, n->in[0]->shape);
    return 0;
}

static void softmax_rows(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[0].shape);
    real buffer[d];
    for (int64_t t = from; t < to; t++) {
        const real *x = row_read(&a->in[0], t * d, d, buffer);
        real *y = memcpy(reals(&a->out[0]) + t * d, x, (size_t)d * sizeof *y);
        real share = (real)(1 / row_exp(y, d, 1, row_top(x, d), 1));
        for (int64_t i = 0; i < d; i++) y[i] *= share;
    }
}

static void softmax_gradient(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[0].shape);
    real buffer[d];
    for (int64_t t = from; t < to; t++) {
        const real *restrict y = reals(&a->out[0]) + t * d, *restrict dy = reals(&a->dout[0]) + t * d;
        double dot;
        ROW_SUM(dot, i, d, (double)y[i] * dy[i]);
        real mean = (real)dot, *restrict dx = row_add(&a->din[0], t * d, d, a->beta[0], buffer);
        for (int64_t i = 0; i < d; i++) dx[i] += y[i] * (dy[i] - mean);
        row_done(&a->din[0], t * d, d, dx);
    }
}

static void softmax_forward(const struct args *a) { each_row(a, softmax_rows); }
static void softmax_backward(const struct args *a) { if (a->din[0].data) each_row(a, softmax_gradient); }
KERNELS(softmax) = { softmax_forward, softmax_backward };
OP(softmax) = { .name = "softmax", .index = OP_softmax, .infer = softmax_infer, .gradient = true, .reads_out = 1 };

struct node *softmax(struct graph *g, struct node *x) { return graph_emit(g, &op_softmax, NULL, 0, x); }

/* ---- logsumexp: [T,E] to REAL [T];  dx = dy e^(x - y) ---- */

static int per_row_infer(struct node *n, struct err *e)
{
    if (floats_only(n, e) != 0 || node_need(n, 0, 2, e) != 0) return -1;
    node_value(n, DTYPE_REAL, SHAPE(n->in[0]->shape.dim[0]));
    return 0;
}

static void logsumexp_rows(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[0].shape);
    real x_buffer[d], e[d];
    for (int64_t t = from; t < to; t++) {
        const real *x = row_read(&a->in[0], t * d, d, x_buffer);
        real most = row_top(x, d);
        memcpy(e, x, sizeof e);
        reals(&a->out[0])[t] = (real)((double)most + log(row_exp(e, d, 1, most, 1)));
    }
}

static void logsumexp_gradient(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[0].shape);
    real x_buffer[d], dx_buffer[d], e[d];
    for (int64_t t = from; t < to; t++) {
        const real *x = row_read(&a->in[0], t * d, d, x_buffer);
        real *restrict dx = row_add(&a->din[0], t * d, d, a->beta[0], dx_buffer);
        memcpy(e, x, sizeof e);
        row_exp(e, d, 1, reals(&a->out[0])[t], reals(&a->dout[0])[t]);
        for (int64_t i = 0; i < d; i++) dx[i] += e[i];
        row_done(&a->din[0], t * d, d, dx);
    }
}

static void logsumexp_forward(const struct args *a) { each_row(a, logsumexp_rows); }
static void logsumexp_backward(const struct args *a) { if (a->din[0].data) each_row(a, logsumexp_gradient); }
KERNELS(logsumexp) = { logsumexp_forward, logsumexp_backward };
OP(logsumexp) = {
    .name = "logsumexp", .index = OP_logsumexp, .infer = per_row_infer, .gradient = true, .reads_in = 1, .reads_out = 1,
};

struct node *logsumexp(struct graph *g, struct node *x) { return graph_emit(g, &op_logsumexp, NULL, 0, x); }

/* ---- normalize: x / (s + eps), s = sum of the row;  dx = (dy - sum(x dy) / (s + eps)) / (s + eps) ---- */

static int normalize_infer(struct node *n, struct err *e)
{
    if (floats_only(n, e) != 0) return -1;
    node_value(n, n->in[0]->dtype, n->in[0]->shape);
    return 0;
}

static void normalize_rows(const struct args *a, int64_t from, int64_t to)
{
    double eps = *(const double *)a->attr, sum;
    int64_t d = shape_last(a->in[0].shape);
    real x_buffer[d], y_buffer[d];
    for (int64_t t = from; t < to; t++) {
        const real *restrict x = row_read(&a->in[0], t * d, d, x_buffer);
        real *restrict y = row_write(&a->out[0], t * d, d, y_buffer);
        ROW_SUM(sum, i, d, x[i]);
        real by = (real)(sum + eps);
        for (int64_t i = 0; i < d; i++) y[i] = x[i] / by;      /* a row of one value becomes 1 exactly */
        row_done(&a->out[0], t * d, d, y);
    }
}

static void normalize_gradient(const struct args *a, int64_t from, int64_t to)
{
    double eps = *(const double *)a->attr, sum, dot;
    int64_t d = shape_last(a->in[0].shape);
    real x_buffer[d], dy_buffer[d], dx_buffer[d];
    for (int64_t t = from; t < to; t++) {
        const real *restrict x = row_read(&a->in[0], t * d, d, x_buffer), *restrict dy = row_read(&a->dout[0], t * d, d, dy_buffer);
        real *restrict dx = row_add(&a->din[0], t * d, d, a->beta[0], dx_buffer);
        ROW_SUM(sum, i, d, x[i]);
        ROW_SUM(dot, i, d, (double)x[i] * dy[i]);
        real by = (real)(1 / (sum + eps)), mean = (real)(dot / (sum + eps));
        for (int64_t i = 0; i < d; i++) dx[i] += (dy[i] - mean) * by;
        row_done(&a->din[0], t * d, d, dx);
    }
}

static void normalize_forward(const struct args *a) { each_row(a, normalize_rows); }
static void normalize_backward(const struct args *a) { if (a->din[0].data) each_row(a, normalize_gradient); }
KERNELS(normalize) = { normalize_forward, normalize_backward };
OP(normalize) = { .name = "normalize", .index = OP_normalize, .infer = normalize_infer, .gradient = true, .reads_in = 1 };

struct node *normalize(struct graph *g, struct node *x, double eps) { return graph_emit(g, &op_normalize, &eps, sizeof eps, x); }

/* ---- row_entropy: of q = p / sum p in nat; ln s - (sum of p ln p) / s. A p of 0 adds 0; a row of zeros has none: NaN ---- */

static void row_entropy_rows(const struct args *a, int64_t from, int64_t to)
{
    double sum, plogp;
    int64_t d = shape_last(a->in[0].shape);
    real buffer[d];
    for (int64_t t = from; t < to; t++) {
        const real *restrict p = row_read(&a->in[0], t * d, d, buffer);
        ROW_SUM(sum, i, d, p[i]);
        ROW_SUM(plogp, i, d, p[i] * vec_log(p[i] > 0 ? p[i] : 1));
        reals(&a->out[0])[t] = (real)(log(sum) - plogp / sum);
    }
}

static void row_entropy_forward(const struct args *a) { each_row(a, row_entropy_rows); }
KERNELS(row_entropy) = { row_entropy_forward, NULL };
OP(row_entropy) = { .name = "row_entropy", .index = OP_row_entropy, .infer = per_row_infer };

struct node *row_entropy(struct graph *g, struct node *p) { return graph_emit(g, &op_row_entropy, NULL, 0, p); }
