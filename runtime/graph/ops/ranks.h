/* What ranks tell each other within a step. `over`: axes of the mesh (base/mesh.h); those who do it together differ
   along these alone. W: how many they are; where it is one, x itself is given. */
#ifndef SLUICE_OPS_RANKS_H
#define SLUICE_OPS_RANKS_H

#include "verb.h"

#define RANK_OPS(X) \
    X(all_gather, (struct graph *g, struct node *x, unsigned over)) \
    X(regather, (struct graph *g, struct node *x, unsigned over)) \
    X(all_reduce, (struct graph *g, struct node *x, unsigned over)) \
    X(reduce_gradient, (struct graph *g, struct node *x, unsigned over)) \
    X(gather_sequences, (struct graph *g, struct node *x, struct node *start, unsigned over)) \
    X(exchange_counts, (struct graph *g, struct node *offsets, int64_t rows, unsigned over)) \
    X(to_experts, (struct graph *g, struct node *x, struct node *counts)) \
    X(from_experts, (struct graph *g, struct node *y, struct node *counts, int64_t rows))

RANK_OPS(OP_DECLARE)

#endif
