/* A model with adapters as one without: for each matrix W that has one, W + s B A. */
#ifndef SLUICE_ADAPTERS_H
#define SLUICE_ADAPTERS_H

#include "model/registry.h"
#include "plan/plan.h"

/* What an adapter of this pick makes of weight w, in double and rounded once, to to[shape_count(w->values)]; as it is
   where it has none. What is kept in codes is read as the floats that products read. */
void adapters_values(struct pick adapter, const struct leaves *l, struct state *s, const struct leaf *w, real *to);

/* Fills the weights, and the buffers of the model's own, of a model without adapters from one with: `into` has the same
   configuration but adapter = none. What only one of them has, as an optimizer's memory, is left alone. Nothing is
   merged in place: W + s B A - s B A is W but for rounding, while the W that was merged stays where it was, frozen, bit
   by bit, and going back is reading it again. */
int adapters_merge(struct pick adapter, const struct leaves *l, struct state *s, const struct leaves *into_leaves,
                   struct state *into, struct err *e);

#endif
