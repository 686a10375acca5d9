/* How far the first steps move what a model makes of text: whether that goes with its width is what a parametrization
   is checked by. */
#ifndef SLUICE_COORDS_H
#define SLUICE_COORDS_H

#include "study/study.h"

enum coord { COORD_ROUTER, COORD_STREAM, COORD_LOGITS, COORD_COUNT };
extern const char *const coord_name[COORD_COUNT];

/* Trains a configuration, at its full rate from the first step on, and holds what it makes of the same held-out tokens
   after so many steps (ascending) against what it did at first: root mean squares of the change, over tokens, layers
   and widths. NaN: it has no router. change: [n][COORD_COUNT]. */
int coords_measure(const json_t *config, const struct corpus *c, uint64_t seed, int threads, int n, const int *after,
                   double (*change)[COORD_COUNT], struct err *e);

#endif
