/* One row or number for many, and many to few. */
#ifndef SLUICE_OPS_BROADCAST_H
#define SLUICE_OPS_BROADCAST_H

#include "verb.h"

#define BROADCAST_OPS(X) \
    X(add_row, (struct graph *g, struct node *x, struct node *row)) \
    X(grouped_add_row, (struct graph *g, struct node *x, struct node *row, struct node *offsets)) \
    X(mul_row, (struct graph *g, struct node *x, struct node *row)) \
    X(mul_scalar, (struct graph *g, struct node *x, struct node *s)) \
    X(mul_heads, (struct graph *g, struct node *x, struct node *by)) \
    X(reject, (struct graph *g, struct node *x, struct node *v, struct node *by)) \
    X(mix_streams, (struct graph *g, struct node *x, struct node *m))

#define REDUCE_OPS(X) \
    X(mean_rows, (struct graph *g, struct node *x)) \
    X(weighted_sum, (struct graph *g, struct node *x, struct node *weight)) \
    X(dot, (struct graph *g, struct node *a, struct node *b)) \
    X(max_all, (struct graph *g, struct node *x)) \
    X(rms, (struct graph *g, struct node *x)) \
    X(spectral, (struct graph *g, struct node *w, int64_t iterations)) \
    X(outside, (struct graph *g, struct node *x, double low, double high))

BROADCAST_OPS(OP_DECLARE)
REDUCE_OPS(OP_DECLARE)

#endif
