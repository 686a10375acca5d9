/* What ranks tell each other within a step. `over`: axes of the mesh (base/mesh.h); those who do it together differ
   along these alone. W: how many they are; where it is one, x itself is given. */
#ifndef SLUICE_OPS_RANKS_H
#define SLUICE_OPS_RANKS_H

#include "verb.h"

#define RANK_OPS(X) \
    X(all_gather, (struct graph *g, struct node *x, unsigned over)) \
    X(regather, (struct graph *g, struct node *x, unsigned over)) \
    X(all_columns, (struct graph *g, struct node *x, unsigned over)) \
    X(own_part, (struct graph *g, struct node *w, unsigned over, int dim)) \
    X(all_reduce, (struct graph *g, struct node *x, unsigned over)) \
    X(reduce_gradient, (struct graph *g, struct node *x, unsigned over)) \
    X(gather_sequences, (struct graph *g, struct node *x, struct node *start, unsigned over)) \
    X(exchange_counts, (struct graph *g, struct node *offsets, int64_t rows, unsigned over)) \
    X(to_experts, (struct graph *g, struct node *x, struct node *counts)) \
    X(from_experts, (struct graph *g, struct node *y, struct node *counts, int64_t rows)) \
    X(choose_nodes, (struct graph *g, struct node *index, struct choose_nodes_attr a)) \
    X(read_index, (struct graph *g, struct node *numbers)) \
    X(place_copies, (struct graph *g, struct node *load, struct place_copies_attr a)) \
    X(spread, (struct graph *g, struct node *index, struct node *offsets, struct node *inverse, struct node *places, \
               unsigned over)) \
    X(with_copies, (struct graph *g, struct node *w, struct node *copies, int64_t spare, unsigned over)) \
    X(rows_away, (struct graph *g, struct node *offsets, unsigned over))

RANK_OPS(OP_DECLARE)

#endif
