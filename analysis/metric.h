/* Metrics of a run by name: those that are stored, and those that follow from them (routing.h, spikes.h). A run whose
   file fails on the way is unreadable from then on, and has none. */
#ifndef SLUICE_METRIC_H
#define SLUICE_METRIC_H

#include "routing.h"
#include "runs.h"
#include "spikes.h"

extern const char *const metric_group[STORE_GROUPS];        /* "train", "eval" */

/* derived: of the counts of a router, one of routing_routers; spiked: of the rows of loss and grad_norm; both NULL when
   it is stored. */
struct metric {
    struct reader_series series;
    const struct derived *derived; const char *router;
    const struct spiked *spiked;
};
bool metric_is_stored(const struct metric *m);
int metric_list(struct run *r, struct metric **list);       /* malloc'd; returns how many */
/* Adds those that follow from the n stored ones of a malloc'd list; returns how many there are then. */
int metric_derive(struct metric **list, int n);
/* The one of that name, which may have a reduction (metric_scalar). The error says what is near. */
int metric_choose(const struct metric *list, int n, const char *name, struct metric *m, struct err *e);
/* Of the layers of a run the number of idle experts, which compute nothing, of one of routing_routers; [layers],
   malloc'd. */
int64_t *metric_idle(struct run *r, const char *router, int64_t layers);
bool metric_has(struct run *r, const char *name);           /* whatever its reduction */

/* Values of all committed rows: value[row * cells + cell], cells being the product of the series' dimensions. */
struct curve { int64_t rows, cells; int64_t *step; double *value; };
int metric_read(struct run *r, const struct metric *m, struct curve *out, struct err *e);
/* All that a row has of a metric, by name. */
int metric_cells(struct run *r, const char *name, struct curve *out, struct metric *metric, struct err *e);
void curve_free(struct curve *c);

/* One number a row, by name: "eval.loss", or with a reduction over layers, experts, … "train.max_vio:mean" (mean, max,
   min; values that were not measured are left out). *metric says what it is; may be NULL. */
int metric_scalar(struct run *r, const char *name, struct curve *out, struct metric *metric, struct err *e);
/* Of a metric with a value for each position the last row, over positions: the middles of the pieces that a value is
   the mean of stand in place of steps. */
int metric_positions(struct run *r, const char *name, struct curve *out, struct metric *metric, struct err *e);
/* The length of a training sequence, where evaluations have longer ones; else 0. */
int64_t metric_trained(struct run *r);
/* The value in the last committed row; NaN where there is none. */
double metric_last(struct run *r, const char *name);

#endif
