/* A piece's rows at its place among those of all pieces, 0 elsewhere: what pieces, and ranks, write adds up to what all
   of them say, one after the other, however a step was cut. A piece begins with sequence `place`, each of which has as
   many rows; rows that would lie behind the last are left out. */
#define VERBS "graph/ops/routing.h"
#include "op.h"
#include "cpu/vec_math.h"

enum { X, PLACE };

VERB struct node *place_rows(struct graph *g, struct node *x, struct node *place, int64_t sequences, int64_t length)
{
    struct place_rows_attr a = { sequences, length };
    return graph_emit(g, &op_place_rows, &a, x, place);
}

static int infer(struct node *n, struct err *e)
{
    const struct place_rows_attr *at = n->attr;
    struct shape x = n->in[X]->shape;
    if (x.dim[0] % at->length != 0)
        return err_set(e, "%lld rows are no sequences of %lld", (long long)x.dim[0], (long long)at->length);
    node_value(n, DTYPE_REAL, SHAPE(at->sequences * at->length, x.dim[1]));
    return 0;
}

static void rows(const struct args *a, int64_t from, int64_t to)
{
    const struct place_rows_attr *at = a->attr;
    int64_t k = a->in[X].shape.dim[1], n = a->in[X].shape.dim[0], first = ints(&a->in[PLACE])[0] * at->length;
    for (int64_t r = from; r < to; r++) {
        real *y = reals(&a->out[0]) + r * k;
        const int32_t *x = ints(&a->in[X]) + (r - first) * k;
        bool here = r >= first && r < first + n;
        for (int64_t j = 0; j < k; j++) y[j] = here ? (real)x[j] : 0;
    }
}

static void forward(const struct args *a)
{
    each(a, a->out[0].shape.dim[0], rows_grain(a->out[0].shape.dim[1]), rows);
}

KERNELS(place_rows) = { forward, NULL, NULL };

ATTRIBUTES(place_rows, struct place_rows_attr,
    INT(struct place_rows_attr, sequences, NEEDED, 1, INT32_MAX, "", "of all pieces"),
    INT(struct place_rows_attr, length, NEEDED, 1, INT32_MAX, "", "rows of a sequence"));
OP(place_rows, .inputs = "x:I32[T,K] place:I32[1]",
   .outputs = "y:REAL[N,K]",
   .about = "x as the rows of sequence `place` and those that follow, of N = sequences * length; 0 in all others",
   ATTR(place_rows), .infer = infer);
