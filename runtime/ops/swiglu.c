/* silu(gate) up, silu(g) = g s with s = 1/(1 + e^-g). Shazeer 2020. Bound by memory; the sigmoid is computed again in
   backward, which is cheaper than keeping it. */
#include "op.h"
#include "cpu/values.h"

VERB struct node *swiglu(struct graph *g, struct node *gate, struct node *up) { return graph_emit(g, &op_swiglu, NULL, 0, gate, up); }

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
    READ(gate, a->in[0]);
    READ(up, a->in[1]);
    WRITE(y, a->out[0]);
    for (int64_t i = 0; i < to - from; i++) y[i] = gate[i] * vec_sigmoid(gate[i]) * up[i];
    DONE(y, a->out[0]);
}

/* dgate = dy up s (1 + gate (1 - s));  dup = dy gate s. */
static void gradient(const struct args *a, int64_t from, int64_t to)
{
    READ(gate, a->in[0]);
    READ(up, a->in[1]);
    READ(dy, a->dout[0]);
    GRADIENT(dgate, 0);
    GRADIENT(dup, 1);
    for (int64_t i = 0; i < to - from; i++) {
        real s = vec_sigmoid(gate[i]), t = dy[i] * s;
        dgate[i] = keep(dgate_beta, dgate[i]) + t * up[i] * (1 + gate[i] * (1 - s));
        dup[i] = keep(dup_beta, dup[i]) + t * gate[i];
    }
    CLOSE(dgate, 0);
    CLOSE(dup, 1);
}

EACH_BLOCK(forward, block)
EACH_BLOCK(backward, gradient)

KERNELS(swiglu) = { forward, backward, NULL };
OP(swiglu, .inputs = "gate up", .infer = infer, .gradient = true, .cheap = true, .rows = 3, .rows_back = true, .reads_in = 3);
