/* Which experts a token goes to, and the way there and back. */
#ifndef SLUICE_OPS_ROUTING_H
#define SLUICE_OPS_ROUTING_H

#include "verb.h"

#define ROUTING_OPS(X) \
    X(topk, (struct graph *g, struct node *key, int k)) \
    X(pick, (struct graph *g, struct node *x, struct node *index)) \
    X(scatter, (struct graph *g, struct node *value, struct node *index, int experts)) \
    X(topk_columns, (struct graph *g, struct node *key, int64_t groups, int64_t c)) \
    X(transport, (struct graph *g, struct node *value, struct transport_attr a)) \
    X(assign, (struct graph *g, struct node *value, struct assign_attr a)) \
    X(hash_ids, (struct graph *g, struct node *ids, int experts, int k, uint64_t seed)) \
    X(forced_key, (struct graph *g, struct node *ids, struct node *start, struct node *pos, struct forced_key_attr a)) \
    X(drop_zero, (struct graph *g, struct node *index, struct node *gate)) \
    X(drop_over_capacity, (struct graph *g, struct node *index, struct node *gate, struct node *room, int experts, \
                           int64_t groups, int64_t capacity, enum priority first)) \
    X(merge_groups, (struct graph *g, struct node *gate, struct node *index, int64_t size)) \
    X(dispatch, (struct graph *g, struct node *index, int experts, int64_t rows)) \
    X(gather, (struct graph *g, struct node *x, struct node *order, struct node *inverse)) \
    X(unpermute, (struct graph *g, struct node *y, struct node *order, struct node *inverse)) \
    X(combine, (struct graph *g, struct node *y, struct node *order, struct node *inverse, struct node *gate)) \
    X(load, (struct graph *g, struct node *counts)) \
    X(count_chosen, (struct graph *g, struct node *index, int experts, int64_t parts, int64_t groups, bool once)) \
    X(round_counts, (struct graph *g, struct node *counts, int64_t tile, enum rounding how)) \
    X(place_rows, (struct graph *g, struct node *x, struct node *place, int64_t sequences, int64_t length)) \
    X(noise, (struct graph *g, struct node *like, struct node *key, const char *name, enum noise_kind kind)) \
    X(threshold, (struct graph *g, struct node *key, struct node *index)) \
    X(cv2, (struct graph *g, struct node *x))

ROUTING_OPS(OP_DECLARE)

#endif
