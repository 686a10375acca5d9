/* Choices of experts as choices of groups, of `size` experts each: the first of a token's experts of one group stands
   for all of them, with the sum of their gates; the others choose nothing any more. */
#define VERBS "graph/ops/routing.h"
#include "op.h"

enum { GATE, INDEX };
enum { TOKENS = 256 };                                      /* a block */

VERB struct node *merge_groups(struct graph *g, struct node *gate, struct node *index, int64_t size)
{
    struct merge_groups_attr a = { size };
    return graph_emit(g, &op_merge_groups, &a, gate, index);
}

static int infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_REAL, n->in[GATE]->shape);
    node_output(n, DTYPE_I32, n->in[INDEX]->shape);
    return 0;
}

/* The first choice of the token in the group of choice j. */
static int64_t first_of(const int32_t *index, int64_t j, int64_t size)
{
    int64_t i = 0;
    while (index[i] < 0 || index[i] / size != index[j] / size) i++;
    return i;
}

static void merge_tokens(const struct args *a, int64_t from, int64_t to)
{
    int64_t k = a->in[INDEX].shape.dim[1], size = ((const struct merge_groups_attr *)a->attr)->size;
    for (int64_t t = from; t < to; t++) {
        const int32_t *index = ints(&a->in[INDEX]) + t * k;
        real *sum = reals(&a->out[0]) + t * k;
        int32_t *group = ints(&a->out[1]) + t * k;
        for (int64_t j = 0; j < k; j++) {
            int64_t first = index[j] < 0 ? j : first_of(index, j, size);
            group[j] = index[j] < 0 || first < j ? -1 : index[j] / (int32_t)size;
            sum[j] = 0;
            if (index[j] >= 0) sum[first] += reals(&a->in[GATE])[t * k + j];
        }
    }
}

/* dgate[t,j] = dsum of the choice that stands for it */
static void merge_gradients(const struct args *a, int64_t from, int64_t to)
{
    int64_t k = a->in[INDEX].shape.dim[1], size = ((const struct merge_groups_attr *)a->attr)->size;
    for (int64_t t = from; t < to; t++) {
        const int32_t *index = ints(&a->in[INDEX]) + t * k;
        const real *dsum = reals(&a->dout[0]) + t * k;
        real *dgate = row_add(&a->din[GATE], t * k, k, a->beta[GATE], NULL);
        for (int64_t j = 0; j < k; j++) if (index[j] >= 0) dgate[j] += dsum[first_of(index, j, size)];
    }
}

static void forward(const struct args *a) { each(a, a->in[INDEX].shape.dim[0], TOKENS, merge_tokens); }
static void backward(const struct args *a)
{
    if (a->din[GATE].data) each(a, a->in[INDEX].shape.dim[0], TOKENS, merge_gradients);
}

KERNELS(merge_groups) = { forward, backward, NULL };

ATTRIBUTES(merge_groups, struct merge_groups_attr,
    INT(struct merge_groups_attr, size, NEEDED, 1, INT32_MAX, "", "experts of a group"));
OP(merge_groups, .inputs = "gate:REAL[T,K] index:I32[T,K]",
   .outputs = "gate:REAL[T,K] index:I32[T,K]",
   .about = "choices of groups of `size` experts: the first choice of a group has the sum of the token's gates for it, "
          "later ones have no group, -1, and a gate of 0",
   ATTR(merge_groups), .infer = infer, .gradient = true, .reads_in = 1u << INDEX);
