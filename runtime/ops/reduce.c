/* Ops that make one number of a whole tensor. Blocks of values give partial results in double,
   combined in their order. */
#define VERBS "graph/ops/broadcast.h"
#include "op.h"
#include "cpu/vec_math.h"

enum { CHUNK = 4096 };                                      /* values converted at a time */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* REAL [1], with a partial result a block. */
static int number(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_REAL, SHAPE(1));
    node_parts(n, shape_count(n->in[0]->shape), 1);
    return 0;
}

static int64_t values(const struct args *a) { return shape_count(a->in[0].shape); }

/* Runs body over blocks of values, each with its own line of `width` partial results. */
static void each_part(const struct args *a, int64_t width, void (*body)(const struct args *, int64_t, int64_t))
{
    each(a, values(a), parts_grain(values(a), width), body);
}

/* ---- weighted_sum: sum w x;  dx = dy w ---- */

static int weighted_sum_infer(struct node *n, struct err *e)
{
    char x[64], weight[64];
    if (n->in[1] && shape_count(n->in[0]->shape) != shape_count(n->in[1]->shape))
        return err_set(e, "weights %s do not fit values %s", shape_text(n->in[1]->shape, weight),
                       shape_text(n->in[0]->shape, x));
    return number(n, e);
}

static const real *weights_of(const struct args *a) { return reals(&a->in[1]); }

static void weighted_sum_block(const struct args *a, int64_t from, int64_t to)
{
    const real *restrict x = reals(&a->in[0]), *restrict w = weights_of(a);
    double *sum = parts_line(&a->work[0], from, values(a), 1);
    if (w) ROW_SUM(sum[0], i, to - from, (double)w[from + i] * x[from + i]);
    else ROW_SUM(sum[0], i, to - from, x[from + i]);
}

static void weighted_sum_gradient(const struct args *a, int64_t from, int64_t to)
{
    const real *restrict w = weights_of(a);
    real by = reals(&a->dout[0])[0],
         beta = a->beta[0], *restrict dx = row_open(&a->din[0], from, to - from, beta, NULL);
    for (int64_t i = 0; i < to - from; i++) dx[i] = keep(beta, dx[i]) + (w ? by * w[from + i] : by);
}

static void weighted_sum_forward(const struct args *a)
{
    each_part(a, 1, weighted_sum_block);
    reals(&a->out[0])[0] = (real)parts_fold(&a->work[0], values(a), 1)[0];
}

static void weighted_sum_backward(const struct args *a)
{
    if (a->din[0].data) each(a, values(a), CHUNK, weighted_sum_gradient);
}

KERNELS(weighted_sum) = { weighted_sum_forward, weighted_sum_backward, NULL };
OP(weighted_sum, .inputs = "x:REAL weight?:REAL",
   .outputs = "y:REAL[1]",
   .about = "sum of weight x, of x without weights; gradient to x only",
   .infer = weighted_sum_infer, .gradient = true, .no_grad = 1 << 1,
   .reads_in = 1 << 1);

VERB struct node *weighted_sum(struct graph *g, struct node *x, struct node *weight)
{
    return graph_emit(g, &op_weighted_sum, NULL, x, weight);
}

/* ---- dot: sum a b;  da = b dy, db = a dy ---- */

static void dot_block(const struct args *a, int64_t from, int64_t to)
{
    real x_buffer[CHUNK], y_buffer[CHUNK];
    double sum, *total = parts_line(&a->work[0], from, values(a), 1);
    for (; from < to; from += CHUNK) {
        int64_t n = least(CHUNK, to - from);
        const real *restrict x = row_read(&a->in[0], from, n, x_buffer), *restrict y = row_read(&a->in[1], from, n,
                                                                                                y_buffer);
        ROW_SUM(sum, i, n, (double)x[i] * y[i]);
        *total += sum;
    }
}

static void dot_gradient(const struct args *a, int64_t from, int64_t to)
{
    real other_buffer[CHUNK], d_buffer[CHUNK], dy = reals(&a->dout[0])[0];
    for (int input = 0; input < 2; input++) {
        if (!a->din[input].data) continue;
        const real *restrict other = row_read(&a->in[1 - input], from, to - from, other_buffer);
        real beta = a->beta[input], *restrict d = row_open(&a->din[input], from, to - from, beta, d_buffer);
        for (int64_t i = 0; i < to - from; i++) d[i] = keep(beta, d[i]) + other[i] * dy;
        row_done(&a->din[input], from, to - from, d);
    }
}

static void dot_forward(const struct args *a)
{
    each_part(a, 1, dot_block);
    reals(&a->out[0])[0] = (real)parts_fold(&a->work[0], values(a), 1)[0];
}

static void dot_backward(const struct args *a) { each(a, values(a), CHUNK, dot_gradient); }
KERNELS(dot) = { dot_forward, dot_backward, NULL };
OP(dot, .inputs = "a[..] b[..]",
   .outputs = "y:REAL[1]",
   .about = "sum of a b",
   .infer = number, .gradient = true, .reads_in = 3);

VERB struct node *dot(struct graph *g, struct node *a, struct node *b) { return graph_emit(g, &op_dot, NULL, a, b); }

/* ---- max_all: the largest value, NaN when there is one ---- */

static void max_all_block(const struct args *a, int64_t from, int64_t to)
{
    real buffer[CHUNK];
    double *most = parts_line(&a->work[0], from, values(a), 1);
    *most = -INFINITY;
    for (; from < to; from += CHUNK) {
        int64_t n = least(CHUNK, to - from);
        double m = row_max(row_read(&a->in[0], from, n, buffer), n);
        if (!(m <= *most)) *most = m;
        if (isnan(m)) return;
    }
}

static void max_all_forward(const struct args *a)
{
    each_part(a, 1, max_all_block);
    real part[PARTS] = { 0 };
    int64_t n = a->work[0].shape.dim[0];
    for (int64_t b = 0; b < n; b++) part[b] = (real)((const double *)a->work[0].data)[b];
    reals(&a->out[0])[0] = row_max(part, n);
}

KERNELS(max_all) = { max_all_forward, NULL, NULL };
OP(max_all, .inputs = "x[..]",
   .outputs = "y:REAL[1]",
   .about = "the largest value, NaN when there is one; no gradient",
   .infer = number);

VERB struct node *max_all(struct graph *g, struct node *x) { return graph_emit(g, &op_max_all, NULL, x); }

/* ---- rms: sqrt(mean x^2) ---- */

static void rms_block(const struct args *a, int64_t from, int64_t to)
{
    real buffer[CHUNK];
    double sum, *total = parts_line(&a->work[0], from, values(a), 1);
    for (; from < to; from += CHUNK) {
        int64_t n = least(CHUNK, to - from);
        const real *restrict x = row_read(&a->in[0], from, n, buffer);
        ROW_SUM(sum, i, n, (double)x[i] * x[i]);
        *total += sum;
    }
}

static void rms_forward(const struct args *a)
{
    each_part(a, 1, rms_block);
    reals(&a->out[0])[0] = (real)sqrt(parts_fold(&a->work[0], values(a), 1)[0] / (double)values(a));
}

KERNELS(rms) = { rms_forward, NULL, NULL };
OP(rms, .inputs = "x[..]",
   .outputs = "y:REAL[1]",
   .about = "sqrt(mean of x^2); no gradient",
   .infer = number);

VERB struct node *rms(struct graph *g, struct node *x) { return graph_emit(g, &op_rms, NULL, x); }

/* ---- outside: the share of values that are not in [low, high]; NaN is not ---- */

static void outside_block(const struct args *a, int64_t from, int64_t to)
{
    const struct outside_attr *in = a->attr;
    real buffer[CHUNK], low = (real)in->low, high = (real)in->high;
    double *total = parts_line(&a->work[0], from, values(a), 1);
    for (; from < to; from += CHUNK) {
        int64_t n = least(CHUNK, to - from);
        const real *restrict x = row_read(&a->in[0], from, n, buffer);
        int32_t count = 0;
        for (int64_t i = 0; i < n; i++) count += !(x[i] >= low && x[i] <= high);
        *total += count;
    }
}

static void outside_forward(const struct args *a)
{
    each_part(a, 1, outside_block);
    reals(&a->out[0])[0] = (real)(parts_fold(&a->work[0], values(a), 1)[0] / (double)values(a));
}

KERNELS(outside) = { outside_forward, NULL, NULL };

ATTRIBUTES(outside, struct outside_attr,
    REAL(struct outside_attr, low, NEEDED, -HUGE_VAL, HUGE_VAL, "", "the least that is inside"),
    REAL(struct outside_attr, high, NEEDED, -HUGE_VAL, HUGE_VAL, "", "the most that is inside"));
OP(outside, .inputs = "x[..]",
   .outputs = "y:REAL[1]",
   .about = "share of the values below low or above high; no gradient",
   ATTR(outside), .infer = number);

VERB struct node *outside(struct graph *g, struct node *x, double low, double high)
{
    struct outside_attr in = { low, high };
    return graph_emit(g, &op_outside, &in, x);
}
