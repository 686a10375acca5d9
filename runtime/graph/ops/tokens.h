/* Tables, and rows as tokens of a sequence. */
#ifndef SLUICE_OPS_TOKENS_H
#define SLUICE_OPS_TOKENS_H

#include "verb.h"

#define TOKEN_OPS(X) \
    X(embed, (struct graph *g, struct node *table, struct node *ids)) \
    X(ngram, (struct graph *g, struct node *ids, struct node *start, struct node *pos, struct ngram_attr a)) \
    X(collision_rate, (struct graph *g, struct node *ids, struct node *start, struct node *index, int order)) \
    X(shift, (struct graph *g, struct node *x, int by)) \
    X(positions, (struct graph *g, struct node *start, struct node *pos, int64_t length, bool whole)) \
    X(take, (struct graph *g, struct node *x, struct node *index)) \
    X(taken_starts, (struct graph *g, struct node *start, struct node *order)) \
    X(sum_by_position, (struct graph *g, struct node *x, struct node *start, int64_t n, int64_t length)) \
    X(slice, (struct graph *g, struct node *x, int64_t length)) \
    X(conv1d, (struct graph *g, struct node *x, struct node *w, struct node *start, struct node *pos, \
               struct node *state, int64_t dilation, bool silu)) \
    X(pool_windows, (struct graph *g, struct node *c, struct node *z, struct node *bias, struct node *start, \
                     struct node *pos, struct node *state, struct node *entries, int64_t m, bool overlap)) \
    X(join_pooled, (struct graph *g, struct node *k, struct node *entries, struct node *chosen, struct node *start, \
                    struct node *pos, struct node *place, int64_t window, int64_t m)) \
    X(mask_rows, (struct graph *g, struct node *x, struct node *present, double value)) \
    X(cache, (struct graph *g, struct node *buffer, struct node *x, struct node *start, struct node *pos)) \
    X(ring, (struct graph *g, struct node *buffer, struct node *x, struct node *start, struct node *pos))

TOKEN_OPS(OP_DECLARE)

#endif
