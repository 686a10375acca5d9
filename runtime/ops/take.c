/* Tokens taken out of their sequences, as many of each and in their order, as sequences of their own: take, values that
   are no gradients' business, and taken_starts, where documents begin among them. */
#define VERBS "graph/ops/tokens.h"
#include "op.h"
#include "cpu/vec_math.h"

/* ---- take: out[i] = x[index[i]], 0 for -1 ---- */

enum { INDEX = 1 };

VERB struct node *take(struct graph *g, struct node *x, struct node *index)
{
    return graph_emit(g, &op_take, NULL, x, index);
}

static int take_infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_I32, n->in[INDEX]->shape);
    return 0;
}

static void take_values(const struct args *a, int64_t from, int64_t to)
{
    const int32_t *x = ints(&a->in[0]), *index = ints(&a->in[INDEX]);
    for (int64_t i = from; i < to; i++) ints(&a->out[0])[i] = index[i] < 0 ? 0 : x[index[i]];
}

static void take_forward(const struct args *a)
{
    each(a, shape_count(a->out[0].shape), rows_grain(1), take_values);
}

KERNELS(take) = { take_forward, NULL, NULL };
OP(take, .inputs = "x:I32[B,S] index:I32[B,C]",
   .outputs = "y:I32[B,C]",
   .about = "the values of tokens by their numbers, of all sequences together; 0 for -1",
   .infer = take_infer, .reads_in = 1 << 0 | 1 << INDEX);

/* ---- taken_starts ---- */

enum { START, ORDER };
enum { BEGINS, ORIGIN, ZERO };

VERB struct node *taken_starts(struct graph *g, struct node *start, struct node *order)
{
    return graph_emit(g, &op_taken_starts, NULL, start, order);
}

static int taken_infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_I32, n->in[ORDER]->shape);
    node_output(n, DTYPE_I32, n->in[ORDER]->shape);
    node_output(n, DTYPE_I32, SHAPE(1));
    return 0;
}

/* How many of a sequence's n tokens stand before `position`. */
static int64_t before(const int32_t *order, int64_t n, int64_t seq, int64_t position)
{
    int64_t low = 0;
    while (low < n) {
        int64_t middle = (low + n) / 2;
        if (order[middle] % seq < position) low = middle + 1; else n = middle;
    }
    return low;
}

static void taken_tokens(const struct args *a, int64_t from, int64_t to)
{
    int64_t seq = a->in[START].shape.dim[1], n = a->in[ORDER].shape.dim[1];
    const int32_t *order = ints(&a->in[ORDER]), *start = ints(&a->in[START]);
    for (int64_t i = from; i < to; i++) {
        int64_t at = i % n, position = order[i] % seq, first = order[i] < 0 ? position : start[order[i]];
        ints(&a->out[BEGINS])[i] = (int32_t)before(order + i - at, at, seq, first);
        ints(&a->out[ORIGIN])[i] = (int32_t)(at - (position - first));
    }
}

static void taken_forward(const struct args *a)
{
    ints(&a->out[ZERO])[0] = 0;
    each(a, shape_count(a->in[ORDER].shape), rows_grain(1), taken_tokens);
}

KERNELS(taken_starts) = { taken_forward, NULL, NULL };
OP(taken_starts, .inputs = "start:I32[B,S] order:I32[B,C]",
   .outputs = "begins:I32[B,C] origin:I32[B,C] zero:I32[1]",
   .about = "of tokens by their numbers, in order: the place among those of its sequence at which each one's document "
            "begins; its own place less its position in the document; the pos with which positions count from there. "
            "-1: a document by itself",
   .infer = taken_infer, .reads_in = 1 << START | 1 << ORDER);
