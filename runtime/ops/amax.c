/* What delayed scaling (TransformerEngine) goes by: the largest size of a gradient in a step, and of the last steps
   that counted. */
#define VERBS "graph/ops/update.h"
#include "op.h"
#include "cpu/values.h"

/* ---- gradient_amax: x; and of the gradients that pass it in a step, the largest size ---- */

VERB struct node *gradient_amax(struct graph *g, struct node *x) { return graph_emit(g, &op_gradient_amax, NULL, x); }

static int gradient_infer(struct node *n, struct err *e)
{
    (void)e;
    n->carry = CARRY_MAX;
    node_value(n, n->in[0]->dtype, n->in[0]->shape);
    node_output(n, DTYPE_REAL, SHAPE(1));
    node_work(n, DTYPE_REAL, SHAPE(blocks_of(shape_count(n->in[0]->shape), BLOCK)));
    return 0;
}

static void copy(const struct args *a, int64_t from, int64_t to)
{
    size_t bytes = element_bytes(a->in[0].format);
    memcpy((char *)a->out[0].data + (size_t)from * bytes, (const char *)a->in[0].data + (size_t)from * bytes,
           (size_t)(to - from) * bytes);
}

static void pass(const struct args *a, int64_t from, int64_t to)
{
    real wide[BLOCK], top = 0;
    const real *restrict dy = row_read(&a->dout[0], from, to - from, wide);
    for (int64_t i = 0; i < to - from; i++) {
        real size = dy[i] < 0 ? -dy[i] : dy[i];
        top = size > top || size != size ? size : top;
    }
    reals(&a->work[0])[from / BLOCK] = top;
    ADD_GRADIENT(0, dy[i]);
}

static void gradient_forward(const struct args *a)
{
    each(a, shape_count(a->in[0].shape), BLOCK, copy);
    if (a->step->micro == 0) reals(&a->out[1])[0] = 0;
}

static void gradient_backward(const struct args *a)
{
    real top = reals(&a->out[1])[0];
    each(a, shape_count(a->in[0].shape), BLOCK, pass);
    for (int64_t i = 0; i < shape_count(a->work[0].shape); i++) {
        real part = reals(&a->work[0])[i];
        top = part > top || part != part ? part : top;
    }
    reals(&a->out[1])[0] = top;
}

KERNELS(gradient_amax) = { gradient_forward, gradient_backward, NULL };
OP(gradient_amax, .inputs = "x[..]",
   .outputs = "y[..] amax:REAL[1]",
   .about = "x; and the largest size of the gradients that went back through it in a step, carried as a maximum",
   .infer = gradient_infer, .gradient = true, .no_grad_out = 1u << 1, .reads_out = 1u << 1, .bridges = 1u << 1);

/* ---- amax_history: a ring of the last steps ---- */

enum { HISTORY, OPERANDS, GRADIENT, STEP, CLIP };

VERB struct node *amax_history(struct graph *g, struct node *history, struct node *operands, struct node *gradient,
                               struct node *step, struct node *clip)
{
    return graph_emit(g, &op_amax_history, NULL, history, operands, gradient, step, clip);
}

static int history_infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_REAL, SHAPE(3));
    return 0;
}

static void history_forward(const struct args *a)
{
    int64_t steps = a->in[HISTORY].shape.dim[0], now = ((int64_t)reals(&a->in[STEP])[0] - 1) % steps;
    real *history = reals(&a->in[HISTORY]), *top = reals(&a->out[0]);
    const real seen[] = { reals(&a->in[OPERANDS])[0], reals(&a->in[OPERANDS])[1], reals(&a->in[GRADIENT])[0] };
    for (int k = 0; k < 3; k++) {
        if (reals(&a->in[CLIP])[1] != 0) history[3 * now + k] = seen[k];
        top[k] = 0;
        for (int64_t i = 0; i < steps; i++) top[k] = history[3 * i + k] > top[k] ? history[3 * i + k] : top[k];
    }
}

KERNELS(amax_history) = { history_forward, NULL, NULL };
OP(amax_history, .inputs = "history*:REAL[H,3] operands:REAL[2] gradient:REAL[1] step:REAL[1] clip:REAL[2]",
   .outputs = "top:REAL[3]",
   .about = "puts the sizes of a step in the place of those H steps before, where clip says that it counts; the "
            "largest of each. step: its number, from 1",
   .infer = history_infer);
