/* Each row by itself. */
#ifndef SLUICE_OPS_ROWS_H
#define SLUICE_OPS_ROWS_H

#include "verb.h"

#define ROW_OPS(X) \
    X(rmsnorm, (struct graph *g, struct node *x, struct node *gain, double eps, bool zero_centred)) \
    X(l2norm, (struct graph *g, struct node *x, double eps)) \
    X(center, (struct graph *g, struct node *x)) \
    X(softmax, (struct graph *g, struct node *x)) \
    X(logsumexp, (struct graph *g, struct node *x)) \
    X(normalize, (struct graph *g, struct node *x, double eps)) \
    X(sinkhorn, (struct graph *g, struct node *logits, int64_t iterations, double eps)) \
    X(row_entropy, (struct graph *g, struct node *p)) \
    X(row_rms, (struct graph *g, struct node *x)) \
    X(kl_rows, (struct graph *g, struct node *score, struct node *mass)) \
    X(cumsum, (struct graph *g, struct node *x)) \
    X(rope, (struct graph *g, struct node *x, struct node *start, struct node *pos, struct rope_attr a)) \
    X(concat, (struct graph *g, int n, struct node *const *x)) \
    X(columns, (struct graph *g, struct node *x, int64_t from, int64_t n)) \
    X(repeat, (struct graph *g, struct node *x, int64_t n))

ROW_OPS(OP_DECLARE)

#endif
