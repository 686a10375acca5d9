/* What simulating a rank leaves for simulating a step. */
#ifndef SLUICE_WALKED_H
#define SLUICE_WALKED_H

#include "pipeline.h"
#include "simulate.h"

/* Work of a rank from a time on at which it does not wait for another; lane: from time 0 on. */
struct stretch { double seconds, talks, exposed; struct lane lane; };

/* Of a chunk: a forward, the gradient of inputs, or all of a backward where it is not in halves, and that of weights;
   how long the first two take together, and what it makes to the stage after it, and its gradient to the one before. */
struct walked_chunk { struct stretch forward, input, weight; double both, up, down; };

struct walked {
    int micros;
    struct { enum pipeline kind; int ranks, chunks; } pipeline;       /* ranks 0: there is none */
    /* passes: all micro-batches, where there is no pipeline; sums: of gradients, where there is one */
    struct stretch ahead, passes, sums;
    struct walked_chunk *chunk;
    struct stretch carries, homes;
    int phases; struct stretch *update, *share;             /* [phases + 1], [phases] */
};

void lane_add(struct lane *to, double from, double until, enum work work);       /* goes on with one of its kind */
void lane_append(struct lane *to, const struct lane *from, double at, double scale);

#endif
