/* Metrics out of run files, at full resolution. */
#ifndef SLUICE_EXPORT_H
#define SLUICE_EXPORT_H

#include "runs.h"
#include <stdio.h>

/* every: each N-th row and the last one. metrics: only these ("eval.loss"), none: all. */
struct export_options { int64_t every; int n_metrics; const char *const *metric; };

/* Long form: variant, replicate, step, metric, one column for each dimension that occurs (layer, expert, …, counted
   from 0), value. What was not measured is left out. */
int export_csv(const struct runs *runs, const struct export_options *o, FILE *to, struct err *e);
/* {"format":"sluice-export","runs":[{"variant","replicate","status","config","series":[{"metric","unit","dims",
   "step":[..],"value":[..]}]}]}; values nest as the dimensions do; not measured is null. */
int export_json(const struct runs *runs, const struct export_options *o, FILE *to, struct err *e);

json_t *export_number(double x);                            /* null: it is none that JSON has; new reference */
/* So that reading it gives the same bits; "nan", "inf" or "-inf". */
void export_real(FILE *to, double x);

#endif
