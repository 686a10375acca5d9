/* Ops on a row at a time: softmax, logsumexp, normalize, row_entropy, row_rms, cumsum, center. Sums in double. */
#define VERBS "graph/ops/rows.h"
#include "op.h"
#include "cpu/vec_math.h"

static void each_row(const struct args *a, void (*body)(const struct args *, int64_t, int64_t))
{
    each(a, shape_rows(a->in[0].shape), rows_grain(shape_last(a->in[0].shape)), body);
}

/* Rows are short where these ops stand, so vectors run across SIDE rows, STRIP columns at a time. */
enum { SIDE = 16, STRIP = 64 };

/* side[i][r] = x[row + r, at + i] for n columns. */
static void read_transposed(const struct tensor *x, int64_t row, int64_t rows, int64_t at, int64_t n,
                            real side[STRIP][SIDE])
{
    int64_t d = shape_last(x->shape);
    real buffer[STRIP];
    for (int64_t r = 0; r < rows; r++) {
        const real *from = row_read(x, (row + r) * d + at, n, buffer);
        for (int64_t i = 0; i < n; i++) side[i][r] = from[i];
    }
}

/* The largest of each row and the sum of e^(x - largest), and these values into y where it is not NULL. */
static void sum_exp(const struct tensor *x, int64_t row, int64_t rows, real top[SIDE], double sum[SIDE], real *y)
{
    int64_t d = shape_last(x->shape);
    real side[STRIP][SIDE] = { 0 };
    for (int r = 0; r < SIDE; r++) top[r] = -INFINITY, sum[r] = 0;
    for (int64_t at = 0; at < d; at += STRIP) {
        int64_t n = d - at < STRIP ? d - at : STRIP;
        read_transposed(x, row, rows, at, n, side);
        for (int64_t i = 0; i < n; i++)
            for (int r = 0; r < SIDE; r++) top[r] = side[i][r] > top[r] ? side[i][r] : top[r];
    }
    for (int64_t at = 0; at < d; at += STRIP) {
        int64_t n = d - at < STRIP ? d - at : STRIP;
        if (d > STRIP) read_transposed(x, row, rows, at, n, side);
        for (int64_t i = 0; i < n; i++)
            for (int r = 0; r < SIDE; r++) {
                side[i][r] = vec_exp(side[i][r] - top[r]);
                sum[r] += (double)side[i][r];
            }
        for (int64_t r = 0; y && r < rows; r++)
            for (int64_t i = 0; i < n; i++) y[r * d + at + i] = side[i][r];
    }
}

/* ---- softmax, REAL;  dx = y (dy - sum(y dy)) ---- */

static void softmax_rows(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[0].shape);
    real top[SIDE], *y = reals(&a->out[0]) + from * d;
    double sum[SIDE];
    for (int64_t rows; from < to; from += rows) {
        rows = to - from < SIDE ? to - from : SIDE;
        sum_exp(&a->in[0], from, rows, top, sum, y);
        for (int64_t r = 0; r < rows; r++, y += d) {
            real share = (real)(1 / sum[r]);
            for (int64_t i = 0; i < d; i++) y[i] *= share;
        }
    }
}

static void softmax_gradient(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[0].shape);
    real buffer[d], beta = a->beta[0];
    for (int64_t t = from; t < to; t++) {
        const real *restrict y = reals(&a->out[0]) + t * d, *restrict dy = reals(&a->dout[0]) + t * d;
        double dot;
        ROW_SUM(dot, i, d, (double)y[i] * dy[i]);
        real mean = (real)dot, *restrict dx = row_open(&a->din[0], t * d, d, beta, buffer);
        for (int64_t i = 0; i < d; i++) dx[i] = keep(beta, dx[i]) + y[i] * (dy[i] - mean);
        row_done(&a->din[0], t * d, d, dx);
    }
}

static void softmax_forward(const struct args *a) { each_row(a, softmax_rows); }
static void softmax_backward(const struct args *a) { if (a->din[0].data) each_row(a, softmax_gradient); }
KERNELS(softmax) = { softmax_forward, softmax_backward, NULL };
OP(softmax, .inputs = "x[..,D]",
   .outputs = "p:REAL[..,D]",
   .about = "softmax over the last dimension",
   .infer = infer_real, .gradient = true, .rows = 1, .reads_out = 1);

VERB struct node *softmax(struct graph *g, struct node *x) { return graph_emit(g, &op_softmax, NULL, x); }

/* ---- logsumexp: [T,E] to REAL [T];  dx = dy e^(x - y) ---- */

static int per_row_infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_REAL, SHAPE(n->in[0]->shape.dim[0]));
    return 0;
}

static void logsumexp_rows(const struct args *a, int64_t from, int64_t to)
{
    real top[SIDE];
    double sum[SIDE];
    for (int64_t rows; from < to; from += rows) {
        rows = to - from < SIDE ? to - from : SIDE;
        sum_exp(&a->in[0], from, rows, top, sum, NULL);
        for (int64_t r = 0; r < rows; r++) reals(&a->out[0])[from + r] = (real)((double)top[r] + log(sum[r]));
    }
}

static void logsumexp_gradient(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[0].shape);
    real x_buffer[d], dx_buffer[d], beta = a->beta[0];
    for (int64_t t = from; t < to; t++) {
        const real *restrict x = row_read(&a->in[0], t * d, d, x_buffer);
        real *restrict dx = row_open(&a->din[0], t * d, d, beta, dx_buffer), lse = reals(&a->out[0])[t],
                       by = reals(&a->dout[0])[t];
        for (int64_t i = 0; i < d; i++) dx[i] = keep(beta, dx[i]) + by * vec_exp(x[i] - lse);
        row_done(&a->din[0], t * d, d, dx);
    }
}

static void logsumexp_forward(const struct args *a) { each_row(a, logsumexp_rows); }
static void logsumexp_backward(const struct args *a) { if (a->din[0].data) each_row(a, logsumexp_gradient); }
KERNELS(logsumexp) = { logsumexp_forward, logsumexp_backward, NULL };
OP(logsumexp, .inputs = "x[T,E]",
   .outputs = "y:REAL[T]",
   .about = "log of the sum of exponentials",
   .infer = per_row_infer, .gradient = true, .rows = 1, .reads_in = 1, .reads_out = 1);

VERB struct node *logsumexp(struct graph *g, struct node *x) { return graph_emit(g, &op_logsumexp, NULL, x); }

/* ---- normalize: x / (s + eps), s = sum of the row;  dx = (dy - sum(x dy) / (s + eps)) / (s + eps) ---- */

static void normalize_rows(const struct args *a, int64_t from, int64_t to)
{
    double eps = ((const struct normalize_attr *)a->attr)->eps, sum;
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
    double eps = ((const struct normalize_attr *)a->attr)->eps, sum, dot;
    int64_t d = shape_last(a->in[0].shape);
    real x_buffer[d], dy_buffer[d], dx_buffer[d], beta = a->beta[0];
    for (int64_t t = from; t < to; t++) {
        const real *restrict x = row_read(&a->in[0], t * d, d, x_buffer), *restrict dy = row_read(&a->dout[0], t * d, d,
                                                                                                  dy_buffer);
        real *restrict dx = row_open(&a->din[0], t * d, d, beta, dx_buffer);
        ROW_SUM(sum, i, d, x[i]);
        ROW_SUM(dot, i, d, (double)x[i] * dy[i]);
        real by = (real)(1 / (sum + eps)), mean = (real)(dot / (sum + eps));
        for (int64_t i = 0; i < d; i++) dx[i] = keep(beta, dx[i]) + (dy[i] - mean) * by;
        row_done(&a->din[0], t * d, d, dx);
    }
}

static void normalize_forward(const struct args *a) { each_row(a, normalize_rows); }
static void normalize_backward(const struct args *a) { if (a->din[0].data) each_row(a, normalize_gradient); }
KERNELS(normalize) = { normalize_forward, normalize_backward, NULL };
ATTRIBUTES(normalize, struct normalize_attr,
    REAL(struct normalize_attr, eps, NEEDED, 0, HUGE_VAL, "", "beside the sum"));
OP(normalize, .inputs = "x[T,K]",
   .outputs = "y[T,K]",
   .about = "x / (sum of the row + eps)",
   ATTR(normalize), .infer = infer_same, .gradient = true, .rows = 1, .reads_in = 1);

VERB struct node *normalize(struct graph *g, struct node *x, double eps)
{
    return graph_emit(g, &op_normalize, &eps, x);
}

/* ---- row_entropy: of q = p / sum p in nat; ln s - (sum of p ln p) / s. A p of 0 adds 0; a row of
   zeros has none: NaN.  dp = -dy (ln q + y) / s, 0 where p is 0 ---- */

static void row_entropy_rows(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[0].shape);
    real side[STRIP][SIDE] = { 0 };
    for (int64_t rows; from < to; from += rows) {
        double sum[SIDE] = { 0 }, plogp[SIDE] = { 0 };
        rows = to - from < SIDE ? to - from : SIDE;
        for (int64_t at = 0; at < d; at += STRIP) {
            int64_t n = d - at < STRIP ? d - at : STRIP;
            read_transposed(&a->in[0], from, rows, at, n, side);
            for (int64_t i = 0; i < n; i++)
                for (int r = 0; r < SIDE; r++) {
                    real p = side[i][r];
                    sum[r] += (double)p;
                    plogp[r] += (double)(p * vec_log(p > 0 ? p : 1));
                }
        }
        for (int64_t r = 0; r < rows; r++) reals(&a->out[0])[from + r] = (real)(log(sum[r]) - plogp[r] / sum[r]);
    }
}

static void row_entropy_gradient(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[0].shape);
    real p_buffer[d], dp_buffer[d], beta = a->beta[0];
    for (int64_t t = from; t < to; t++) {
        const real *restrict p = row_read(&a->in[0], t * d, d, p_buffer);
        real *restrict dp = row_open(&a->din[0], t * d, d, beta, dp_buffer);
        double sum;
        ROW_SUM(sum, i, d, p[i]);
        real by = -reals(&a->dout[0])[t] / (real)sum, less = reals(&a->out[0])[t] - (real)log(sum);
        for (int64_t i = 0; i < d; i++) {
            real slope = by * (vec_log(p[i] > 0 ? p[i] : 1) + less);
            dp[i] = keep(beta, dp[i]) + (p[i] > 0 ? slope : 0);
        }
        row_done(&a->din[0], t * d, d, dp);
    }
}

static void row_entropy_forward(const struct args *a) { each_row(a, row_entropy_rows); }
static void row_entropy_backward(const struct args *a) { if (a->din[0].data) each_row(a, row_entropy_gradient); }
KERNELS(row_entropy) = { row_entropy_forward, row_entropy_backward, NULL };
OP(row_entropy, .inputs = "p[T,E]",
   .outputs = "h:REAL[T]",
   .about = "entropy of p / sum of p, in nats",
   .infer = per_row_infer, .gradient = true, .reads_in = 1, .reads_out = 1);

VERB struct node *row_entropy(struct graph *g, struct node *p) { return graph_emit(g, &op_row_entropy, NULL, p); }

/* ---- row_rms: sqrt(mean x^2) ---- */

static void row_rms_rows(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[0].shape);
    real buffer[STRIP];
    for (int64_t t = from; t < to; t++) {
        double sum = 0, more;
        for (int64_t at = 0; at < d; at += STRIP) {
            int64_t n = d - at < STRIP ? d - at : STRIP;
            const real *restrict x = row_read(&a->in[0], t * d + at, n, buffer);
            ROW_SUM(more, i, n, (double)x[i] * (double)x[i]);
            sum += more;
        }
        reals(&a->out[0])[t] = (real)sqrt(sum / (double)d);
    }
}

static void row_rms_forward(const struct args *a) { each_row(a, row_rms_rows); }
KERNELS(row_rms) = { row_rms_forward, NULL, NULL };
OP(row_rms, .inputs = "x[T,D]",
   .outputs = "y:REAL[T]",
   .about = "sqrt(mean of x^2) of each row; no gradient",
   .infer = per_row_infer, .rows = 1);

VERB struct node *row_rms(struct graph *g, struct node *x) { return graph_emit(g, &op_row_rms, NULL, x); }

/* ---- cumsum: y[t,i] = sum of x[t,j] over j <= i;  dx[t,j] = sum of dy[t,i] over i >= j ---- */

VERB struct node *cumsum(struct graph *g, struct node *x) { return graph_emit(g, &op_cumsum, NULL, x); }

static void cumsum_rows(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[0].shape);
    for (int64_t t = from; t < to; t++) {
        const real *x = reals(&a->in[0]) + t * d;
        double sum = 0;
        for (int64_t i = 0; i < d; i++) reals(&a->out[0])[t * d + i] = (real)(sum += (double)x[i]);
    }
}

static void cumsum_gradient(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[0].shape);
    real beta = a->beta[0];
    for (int64_t t = from; t < to; t++) {
        const real *dy = reals(&a->dout[0]) + t * d;
        real *dx = reals(&a->din[0]) + t * d;
        double sum = 0;
        for (int64_t i = d - 1; i >= 0; i--) dx[i] = keep(beta, dx[i]) + (real)(sum += (double)dy[i]);
    }
}

static void cumsum_forward(const struct args *a) { each_row(a, cumsum_rows); }
static void cumsum_backward(const struct args *a) { if (a->din[0].data) each_row(a, cumsum_gradient); }
KERNELS(cumsum) = { cumsum_forward, cumsum_backward, NULL };
OP(cumsum, .inputs = "x:REAL[..,D]",
   .outputs = "y:REAL[..,D]",
   .about = "sums of a row up to each value, itself included",
   .infer = infer_real, .gradient = true, .rows = 1, .rows_back = true);

/* ---- center: x - mean of x, what LayerNorm is before RMSNorm;  dx = dy - mean of dy ---- */

static real mean_of(const real *x, int64_t d)
{
    double sum;
    ROW_SUM(sum, i, d, (double)x[i]);
    return (real)(sum / (double)d);
}

static void center_rows(const struct args *a, int64_t from, int64_t to)
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

static void center_gradient(const struct args *a, int64_t from, int64_t to)
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

static void center_forward(const struct args *a) { each_row(a, center_rows); }
static void center_backward(const struct args *a) { if (a->din[0].data) each_row(a, center_gradient); }
KERNELS(center) = { center_forward, center_backward, NULL };
OP(center, .inputs = "x[..,D]",
   .outputs = "y[..,D]",
   .about = "x - mean of x",
   .infer = infer_same, .gradient = true, .cheap = true, .rows = 1, .rows_back = true);

VERB struct node *center(struct graph *g, struct node *x) { return graph_emit(g, &op_center, NULL, x); }
