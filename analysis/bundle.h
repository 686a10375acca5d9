/* The curves of one variant's runs, laid on common steps. */
#ifndef SLUICE_BUNDLE_H
#define SLUICE_BUNDLE_H

#include "metric.h"
#include "runs.h"

/* raw, smooth: [rows, runs], NaN where a run has no such row. absent: runs that have no such metric. */
struct bundle { const char *name; int runs, absent; int *replicate; int64_t rows, *step; double *raw, *smooth; };

/* Reads a run's curve: metric_scalar, or metric_positions, whose rows are positions and no steps. */
typedef int read_curve(struct run *r, const char *name, struct curve *out, struct metric *metric, struct err *e);

/* variant -1: the lone run. Diverged and failed runs are left out: see bundle_whole. Only training curves are smoothed;
   *metric says what was read and stays as it was when there is no run. */
int bundle_load(struct bundle *b, const struct runs *all, int variant, const char *name, read_curve *read,
                double smooth, struct metric *metric, struct err *e);
void bundle_free(struct bundle *b);
bool bundle_whole(struct run *r);

/* Exponential mean m = s m + (1-s) x with the start's bias taken out; values lie `stride` apart. */
void bundle_smooth(double *to, const double *from, int64_t rows, int stride, double s);

/* Of the values that are there. */
struct band { int n; double mean, low, high; };
struct band bundle_band(const double *x, int n);
/* Of the pairs' differences v - base in one row of each: mean and 95 % interval, or their range below STATS_LEAST. */
struct band bundle_difference(const struct bundle *v, int64_t row, const struct bundle *base, int64_t base_row);

#endif
