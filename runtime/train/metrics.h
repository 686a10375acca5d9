/* From the probes of a graph to rows of the run file. */
#ifndef SLUICE_METRICS_H
#define SLUICE_METRICS_H

#include "model/model.h"
#include "store/store.h"

struct metrics;

/* All series of one group: first those of `fixed`, whose values the caller sets, then one for each probe name; a probe
   that layers declare becomes [layers, ...] with NaN where a layer has none. */
struct metrics *metrics_new(const struct graph *g, enum store_group group, int blocks, const struct series *fixed,
                            int n_fixed);
void metrics_free(struct metrics *m);
int metrics_count(const struct metrics *m);
const struct series *metrics_series(const struct metrics *m);

/* Reads every probe after a step, by one plan_gather. Then the row is complete but for the fixed series. */
void metrics_gather(struct metrics *m, struct plan *p);
void metrics_set(struct metrics *m, const char *name, double value);
/* Value of a scalar series; NaN when there is none of that name. */
double metrics_get(const struct metrics *m, const char *name);
/* Of the choices of each layer's sequences, `of` of them, the first `n`; the others were not there to choose. */
void metrics_cut(struct metrics *m, int64_t n, int64_t of);
const double *metrics_row(const struct metrics *m, const char *name, int64_t *count);
const double *const *metrics_values(const struct metrics *m);

#endif
