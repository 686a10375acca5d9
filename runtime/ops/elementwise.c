/* add, mul, divide, square, scale, sigmoid. */
#include "op.h"
#include "cpu/values.h"

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

EACH_BLOCK(add_forward, add_block)
EACH_BLOCK(add_backward, add_gradient)
KERNELS(add) = { add_forward, add_backward, NULL };
OP(add, .inputs = "a b", .infer = same_shape, .gradient = true, .rows = 3, .rows_back = true);

VERB struct node *add(struct graph *g, struct node *a, struct node *b) { return graph_emit(g, &op_add, NULL, 0, a, b); }

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

EACH_BLOCK(mul_forward, mul_block)
EACH_BLOCK(mul_backward, mul_gradient)
KERNELS(mul) = { mul_forward, mul_backward, NULL };
OP(mul, .inputs = "a b", .infer = same_shape, .gradient = true, .rows = 3, .rows_back = true, .reads_in = 3);

VERB struct node *mul(struct graph *g, struct node *a, struct node *b) { return graph_emit(g, &op_mul, NULL, 0, a, b); }

/* ---- divide: a / b;  da = dz / b, 0 where b is 0: nothing was to be divided ---- */

static void divide_block(const struct args *a, int64_t from, int64_t to)
{
    READ(x, a->in[0]);
    READ(y, a->in[1]);
    WRITE(z, a->out[0]);
    for (int64_t i = 0; i < to - from; i++) z[i] = x[i] / y[i];
    DONE(z, a->out[0]);
}

static void divide_gradient(const struct args *a, int64_t from, int64_t to)
{
    READ(y, a->in[1]);
    READ(dz, a->dout[0]);
    ADD_GRADIENT(0, y[i] == 0 ? 0 : dz[i] / y[i]);
}

EACH_BLOCK(divide_forward, divide_block)
EACH_BLOCK(divide_backward, divide_gradient)
KERNELS(divide) = { divide_forward, divide_backward, NULL };
OP(divide, .inputs = "a b", .infer = same_shape, .gradient = true, .no_grad = 1 << 1, .rows = 3, .rows_back = true, .reads_in = 1 << 1);

VERB struct node *divide(struct graph *g, struct node *a, struct node *b) { return graph_emit(g, &op_divide, NULL, 0, a, b); }

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

EACH_BLOCK(square_forward, square_block)
EACH_BLOCK(square_backward, square_gradient)
KERNELS(square) = { square_forward, square_backward, NULL };
OP(square, .inputs = "x", .infer = same_as_input, .gradient = true, .rows = 1, .rows_back = true, .reads_in = 1);

VERB struct node *square(struct graph *g, struct node *x) { return graph_emit(g, &op_square, NULL, 0, x); }

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

EACH_BLOCK(scale_forward, scale_block)
EACH_BLOCK(scale_backward, scale_gradient)
KERNELS(scale) = { scale_forward, scale_backward, NULL };
OP(scale, .inputs = "x", .infer = same_as_input, .gradient = true, .rows = 1, .rows_back = true);

VERB struct node *scale(struct graph *g, struct node *x, double by) { return graph_emit(g, &op_scale, &by, sizeof by, x); }

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
    for (int64_t i = 0; i < to - from; i++) y[i] = vec_sigmoid(x[i]);
    DONE(y, a->out[0]);
}

static void sigmoid_gradient(const struct args *a, int64_t from, int64_t to)
{
    READ(y, a->out[0]);
    READ(dy, a->dout[0]);
    ADD_GRADIENT(0, y[i] * (1 - y[i]) * dy[i]);
}

EACH_BLOCK(sigmoid_forward, sigmoid_block)
EACH_BLOCK(sigmoid_backward, sigmoid_gradient)
KERNELS(sigmoid) = { sigmoid_forward, sigmoid_backward, NULL };
OP(sigmoid, .inputs = "x", .infer = sigmoid_infer, .gradient = true, .rows = 1, .rows_back = true, .reads_out = 1);

VERB struct node *sigmoid(struct graph *g, struct node *x) { return graph_emit(g, &op_sigmoid, NULL, 0, x); }
