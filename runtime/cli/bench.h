/* What one configuration costs on this machine. */
#ifndef SLUICE_CLI_BENCH_H
#define SLUICE_CLI_BENCH_H

#include "metrics.h"
#include "train.h"

struct bench_options { int threads; int64_t steps; bool ops, logging; };

/* A model ready to train on the built-in language. */
struct bench {
    struct session *session; struct corpus *corpus; struct metrics *metrics;
    int32_t *ids, *target, *start; float *weight;
    int64_t done;
    double data_seconds, gather_seconds;                    /* spent in all steps so far */
};

void bench_begin(struct bench *b);                          /* fills the weights: the next step is the first */
void bench_step(struct bench *b);
void bench_gather(struct bench *b);

/* Measures in this process. *out: an object of plain numbers (seconds, bytes, shares, per second), with "families" of
   ops when o->ops and "logging" when o->logging. */
int bench_measure(const json_t *config, const struct bench_options *o, json_t **out, struct err *e);

/* Times of `steps` steps that took `whole` seconds: families by time, in each its ops by time (the list is sorted), last what
   no op accounts for. */
json_t *bench_families(struct op_time *op, int n, int64_t steps, double whole);

/* What metrics and the run file add to a step: the same steps with and without them, by turns. */
int bench_logging(struct bench *b, int64_t steps, json_t *to, struct err *e);

/* Processor time of all threads of the process so far. */
double bench_processor_seconds(void);

/* Sets KEY, KEY_min and KEY_max to the median and the ends of n values, which it sorts. */
void bench_spread(json_t *to, const char *key, double *x, int n);

#endif
