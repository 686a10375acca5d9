/* Where tokens stand in their documents, in units of `length` tokens: y = (p + 1) / length, or only its whole part, p
   from 0 at the document's first token. */
#define VERBS "graph/ops/tokens.h"
#include "op.h"
#include "cpu/vec_math.h"

enum { START, POS };

VERB struct node *positions(struct graph *g, struct node *start, struct node *pos, int64_t length, bool whole)
{
    struct positions_attr at = { length, whole };
    return graph_emit(g, &op_positions, &at, start, pos);
}

static int infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_REAL, SHAPE(shape_count(n->in[START]->shape)));
    return 0;
}

static void tokens(const struct args *a, int64_t from, int64_t to)
{
    const struct positions_attr *at = a->attr;
    int64_t before = a->in[POS].data ? ints(&a->in[POS])[0] : 0, seq = a->in[START].shape.dim[1];
    for (int64_t t = from; t < to; t++) {
        int64_t n = before + t % seq - ints(&a->in[START])[t] + 1;
        reals(&a->out[0])[t] = at->whole ? (real)(n / at->length) : (real)((double)n / (double)at->length);
    }
}

static void forward(const struct args *a) { each(a, shape_count(a->in[START].shape), rows_grain(1), tokens); }

KERNELS(positions) = { forward, NULL, NULL };

ATTRIBUTES(positions, struct positions_attr,
    INT(struct positions_attr, length, NEEDED, 1, INT32_MAX, "tokens", "the unit"),
    BOOL(struct positions_attr, whole, NEEDED, "its whole part alone"));
OP(positions, .inputs = "start:I32[B,S] pos?:I32[1]",
   .outputs = "y:REAL[T]",
   .about = "(p + 1) / length, p the position of a token in its document; no gradient",
   ATTR(positions), .infer = infer, .reads_in = 1 << START | 1 << POS);
