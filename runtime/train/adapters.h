/* A model with adapters as one without: for each matrix W that has one, W + s B A. Nothing is merged in place, for
   W + s B A - s B A is W but for rounding: W stays where it was, frozen, bit by bit, and going back is reading it. */
#ifndef SLUICE_ADAPTERS_H
#define SLUICE_ADAPTERS_H

#include "model/registry.h"
#include "plan/plan.h"

/* What an adapter of this pick makes of weight w, in double and rounded once, to to[shape_count(w->values)]; as it is
   where it has none. What is kept in codes is read as the floats that products read. */
void adapters_values(struct pick adapter, const struct leaves *l, struct state *s, const struct leaf *w, real *to);

#endif
