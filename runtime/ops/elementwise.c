/* Ops on one value at a time, and those where a row or a head shares its other operand. Bound by memory: a block is
   small enough that what it converts or clears stays in the first cache. */
#include "vec_math.h"

enum { BLOCK = 4096 };

static int same_shape(struct node *n, struct err *e)
{
    char a[64], b[64];
    if (n->in[0]->dtype > DTYPE_REAL || n->in[1]->dtype > DTYPE_REAL) return err_set(e, "integers cannot be used here");
    if (!shape_equal(n->in[0]->shape, n->in[1]->shape))
        return err_set(e, "shapes %s and %s differ", shape_text(n->in[0]->shape, a), shape_text(n->in[1]->shape, b));
    node_value(n, n->in[0]->dtype, n->in[0]->shape);
    return 0;
}

static int same_as_input(struct node *n, struct err *e)
{
    if (n->in[0]->dtype > DTYPE_REAL) return err_set(e, "integers cannot be used here");
    node_value(n, n->in[0]->dtype, n->in[0]->shape);
    return 0;
}

/* Runs body over all values of output 0. */
static void flat(const struct args *a, void (*body)(const struct args *, int64_t, int64_t))
{
    each(a, shape_count(a->out[0].shape), BLOCK, body);
}

/* Opens block [from,to) of tensor t, reads it, and names the row; likewise for writing and for adding a gradient. */
#define READ(row, t) real row##_buffer[BLOCK]; const real *restrict row = row_read(&(t), from, to - from, row##_buffer)
#define WRITE(row, t) real row##_buffer[BLOCK]; real *restrict row = row_write(&(t), from, to - from, row##_buffer)
#define DONE(row, t) row_done(&(t), from, to - from, row)

/* din[input][i] += expression in i. */
#define ADD_GRADIENT(input, expression) do { \
    if (!a->din[input].data) break; \
    real buffer_[BLOCK], *restrict d_ = row_add(&a->din[input], from, to - from, a->beta[input], buffer_); \
    for (int64_t i = 0; i < to - from; i++) d_[i] += (expression); \
    DONE(d_, a->din[input]); \
} while (0)

/* ---- add: a + b ---- */

static void add_block(const struct args *a, int64_t from, int64_t to)
{
    READ(x, a->in[0]);
    READ(y, a->in[1]);
    WRITE(z, a->out[0]);
    for (int64_t i = 0; i < to - from; i++) z[i] = x[i] + y[i];
    DONE(z, a->out[0]);
}

static void add_gradient(const struct args *a, int64_t from, int64_t to)
{
    READ(dz, a->dout[0]);
    ADD_GRADIENT(0, dz[i]);
    ADD_GRADIENT(1, dz[i]);
}

static void add_forward(const struct args *a) { flat(a, add_block); }
static void add_backward(const struct args *a) { flat(a, add_gradient); }
KERNELS(add) = { add_forward, add_backward };
OP(add) = { .name = "add", .index = OP_add, .infer = same_shape, .gradient = true };

struct node *add(struct graph *g, struct node *a, struct node *b) { return graph_emit(g, &op_add, NULL, 0, a, b); }

/* ---- mul: a b;  da = b dz, db = a dz ---- */

static void mul_block(const struct args *a, int64_t from, int64_t to)
{
    READ(x, a->in[0]);
    READ(y, a->in[1]);
    WRITE(z, a->out[0]);
    for (int64_t i = 0; i < to - from; i++) z[i] = x[i] * y[i];
    DONE(z, a->out[0]);
}

static void mul_gradient(const struct args *a, int64_t from, int64_t to)
{
    READ(x, a->in[0]);
    READ(y, a->in[1]);
    READ(dz, a->dout[0]);
    ADD_GRADIENT(0, y[i] * dz[i]);
    ADD_GRADIENT(1, x[i] * dz[i]);
}

static void mul_forward(const struct args *a) { flat(a, mul_block); }
static void mul_backward(const struct args *a) { flat(a, mul_gradient); }
KERNELS(mul) = { mul_forward, mul_backward };
OP(mul) = { .name = "mul", .index = OP_mul, .infer = same_shape, .gradient = true, .reads_in = 3 };

struct node *mul(struct graph *g, struct node *a, struct node *b) { return graph_emit(g, &op_mul, NULL, 0, a, b); }

/* ---- square: x^2;  dx = 2 x dy ---- */

static void square_block(const struct args *a, int64_t from, int64_t to)
{
    READ(x, a->in[0]);
    WRITE(y, a->out[0]);
    for (int64_t i = 0; i < to - from; i++) y[i] = x[i] * x[i];
    DONE(y, a->out[0]);
}

static void square_gradient(const struct args *a, int64_t from, int64_t to)
{
    READ(x, a->in[0]);
    READ(dy, a->dout[0]);
    ADD_GRADIENT(0, 2 * x[i] * dy[i]);
}

static void square_forward(const struct args *a) { flat(a, square_block); }
static void square_backward(const struct args *a) { flat(a, square_gradient); }
KERNELS(square) = { square_forward, square_backward };
OP(square) = { .name = "square", .index = OP_square, .infer = same_as_input, .gradient = true, .reads_in = 1 };

struct node *square(struct graph *g, struct node *x) { return graph_emit(g, &op_square, NULL, 0, x); }

/* ---- scale: by x ---- */

static void scale_block(const struct args *a, int64_t from, int64_t to)
{
    const real by = (real)*(const double *)a->attr;
    READ(x, a->in[0]);
    WRITE(y, a->out[0]);
    for (int64_t i = 0; i < to - from; i++) y[i] = by * x[i];
    DONE(y, a->out[0]);
}

static void scale_gradient(const struct args *a, int64_t from, int64_t to)
{
    const real by = (real)*(const double *)a->attr;
    READ(dy, a->dout[0]);
    ADD_GRADIENT(0, by * dy[i]);
}

static void scale_forward(const struct args *a) { flat(a, scale_block); }
static void scale_backward(const struct args *a) { flat(a, scale_gradient); }
KERNELS(scale) = { scale_forward, scale_backward };
OP(scale) = { .name = "scale", .index = OP_scale, .infer = same_as_input, .gradient = true };

struct node *scale(struct graph *g, struct node *x, double by) { return graph_emit(g, &op_scale, &by, sizeof by, x); }

/* ---- sigmoid: 1 / (1 + e^-x), REAL;  dx = y (1 - y) dy ---- */

static int sigmoid_infer(struct node *n, struct err *e)
{
    if (same_as_input(n, e) != 0) return -1;
    node_value(n, DTYPE_REAL, n->in[0]->shape);
    return 0;
}

static void sigmoid_block(const struct args *a, int64_t from, int64_t to)
{
    READ(x, a->in[0]);
    WRITE(y, a->out[0]);
    row_sigmoid(x, y, to - from);
    DONE(y, a->out[0]);
}

static void sigmoid_gradient(const struct args *a, int64_t from, int64_t to)
{
    READ(y, a->out[0]);
    READ(dy, a->dout[0]);
    ADD_GRADIENT(0, y[i] * (1 - y[i]) * dy[i]);
}

static void sigmoid_forward(const struct args *a) { flat(a, sigmoid_block); }
static void sigmoid_backward(const struct args *a) { flat(a, sigmoid_gradient); }
KERNELS(sigmoid) = { sigmoid_forward, sigmoid_backward };
OP(sigmoid) = { .name = "sigmoid", .index = OP_sigmoid, .infer = sigmoid_infer, .gradient = true, .reads_out = 1 };

struct node *sigmoid(struct graph *g, struct node *x) { return graph_emit(g, &op_sigmoid, NULL, 0, x); }
