/* Values of tokens added up by where these stand in their documents. */
#define VERBS "graph/ops/tokens.h"
#include "op.h"

enum { X, START };

VERB struct node *sum_by_position(struct graph *g, struct node *x, struct node *start, int64_t n, int64_t length)
{
    struct sum_by_position_attr at = { n, length };
    return graph_emit(g, &op_sum_by_position, &at, x, start);
}

static int infer(struct node *n, struct err *e)
{
    (void)e;
    int64_t sums = ((const struct sum_by_position_attr *)n->attr)->n;
    node_value(n, DTYPE_REAL, SHAPE(sums));
    node_work(n, DTYPE_U8, SHAPE(sums * (int64_t)sizeof(double)));
    return 0;
}

static void forward(const struct args *a)
{
    const struct sum_by_position_attr *at = a->attr;
    int64_t tokens = shape_count(a->in[START].shape), seq = a->in[START].shape.dim[1];
    const int32_t *start = ints(&a->in[START]);
    double *sum = a->work[0].data;
    memset(sum, 0, (size_t)at->n * sizeof *sum);
    for (int64_t t = 0; t < tokens; t++) {
        int64_t i = (t % seq - start[t]) / at->length;
        if (t % seq >= start[t] && i < at->n) sum[i] += (double)reals(&a->in[X])[t];
    }
    for (int64_t i = 0; i < at->n; i++) reals(&a->out[0])[i] = (real)sum[i];
}

KERNELS(sum_by_position) = { forward, NULL, NULL };

ATTRIBUTES(sum_by_position, struct sum_by_position_attr,
    INT(struct sum_by_position_attr, n, NEEDED, 1, 1048576, "", "sums"),
    INT(struct sum_by_position_attr, length, NEEDED, 1, INT32_MAX, "tokens", "positions of a sum"));
OP(sum_by_position, .inputs = "x:REAL[T] start:I32[B,S]",
   .outputs = "y:REAL[_]",
   .about = "y[i] = sum of the x of tokens whose position in their document is from i length to (i + 1) length - 1; "
          "no gradient",
   ATTR(sum_by_position), .infer = infer, .reads_in = 1 << X | 1 << START);
