/* silu(gate) up, silu(g) = g s with s = 1/(1 + e^-g). Shazeer 2020. Bound by memory; the sigmoid is computed again in
   backward, which is cheaper than keeping it. */
#include "vec_math.h"

enum { BLOCK = 4096 };

struct node *swiglu(struct graph *g, struct node *gate, struct node *up) { return graph_emit(g, &op_swiglu, NULL, 0, gate, up); }

static int infer(struct node *n, struct err *e)
{
    char gate[64], up[64];
    if (n->in[0]->dtype > DTYPE_REAL || n->in[1]->dtype > DTYPE_REAL) return err_set(e, "integers cannot be used here");
    if (!shape_equal(n->in[0]->shape, n->in[1]->shape))
        return err_set(e, "gate %s and up %s differ", shape_text(n->in[0]->shape, gate), shape_text(n->in[1]->shape, up));
    node_value(n, n->in[0]->dtype, n->in[0]->shape);
    return 0;
}

static void block(const struct args *a, int64_t from, int64_t to)
{
    int64_t n = to - from;
    real gate_buffer[BLOCK], up_buffer[BLOCK], y_buffer[BLOCK], s[BLOCK];
    const real *restrict gate = row_read(&a->in[0], from, n, gate_buffer), *restrict up = row_read(&a->in[1], from, n, up_buffer);
    real *restrict y = row_write(&a->out[0], from, n, y_buffer);
    row_sigmoid(gate, s, n);
    for (int64_t i = 0; i < n; i++) y[i] = gate[i] * s[i] * up[i];
    row_done(&a->out[0], from, n, y);
}

/* dgate = dy up s (1 + gate (1 - s));  dup = dy gate s. */
static void gradient(const struct args *a, int64_t from, int64_t to)
{
    int64_t n = to - from;
    real gate_buffer[BLOCK], up_buffer[BLOCK], dy_buffer[BLOCK], s[BLOCK], d_buffer[BLOCK];
    const real *restrict gate = row_read(&a->in[0], from, n, gate_buffer), *restrict up = row_read(&a->in[1], from, n, up_buffer);
    const real *restrict dy = row_read(&a->dout[0], from, n, dy_buffer);
    row_sigmoid(gate, s, n);
    if (a->din[0].data) {
        real *restrict dgate = row_add(&a->din[0], from, n, a->beta[0], d_buffer);
        for (int64_t i = 0; i < n; i++) dgate[i] += dy[i] * up[i] * s[i] * (1 + gate[i] * (1 - s[i]));
        row_done(&a->din[0], from, n, dgate);
    }
    if (a->din[1].data) {
        real *restrict dup = row_add(&a->din[1], from, n, a->beta[1], d_buffer);
        for (int64_t i = 0; i < n; i++) dup[i] += dy[i] * gate[i] * s[i];
        row_done(&a->din[1], from, n, dup);
    }
}

static void forward(const struct args *a) { each(a, shape_count(a->out[0].shape), BLOCK, block); }
static void backward(const struct args *a) { each(a, shape_count(a->out[0].shape), BLOCK, gradient); }

KERNELS(swiglu) = { forward, backward };
OP(swiglu) = { .name = "swiglu", .index = OP_swiglu, .infer = infer, .gradient = true, .reads_in = 3 };
