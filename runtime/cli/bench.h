/* What one configuration costs on this machine. */
#ifndef SLUICE_CLI_BENCH_H
#define SLUICE_CLI_BENCH_H

#include "train/metrics.h"
#include "train/train.h"

/* began: by clock_seconds, when a program that measures this model alone would have been started. */
struct bench_options { int threads; int64_t steps; bool ops, ceilings, logging, each; double began; };

/* A model ready to train on the built-in language. */
struct bench {
    struct session *session; struct corpus *corpus; struct metrics *metrics;
    struct inputs batch;
    int64_t done;
    double data_seconds, gather_seconds;                    /* spent in all steps so far */
};

/* Of a corpus that is open, all else zeros; to be closed also where it could not be opened. */
int bench_open(struct bench *b, const json_t *config, const struct bench_options *o, struct err *e);
void bench_close(struct bench *b);
void bench_begin(struct bench *b);                          /* fills the weights: the next step is the first */
void bench_step(struct bench *b);
void bench_gather(struct bench *b);

/* Measures in this process. *out: an object of plain numbers (seconds, bytes, shares, per second), with "families" of
   ops when o->ops and "logging" when o->logging. */
int bench_measure(const json_t *config, const struct bench_options *o, json_t **out, struct err *e);

/* What this machine reaches at best, measured here: FLOP/s of products in the formats of training, and bytes read and
   written in a second, by how much is touched. */
struct bench_device {
    enum backend_kind kind;
    const struct backend *backend;
    void *device;
    enum precision precision;
    int threads;
};
enum { BENCH_STREAMS = 6 };
struct bench_ceiling { double products, stream[BENCH_STREAMS]; };
double bench_product(const struct bench_device *d, int64_t m, int64_t n, int64_t k);      /* x [m,k] w^T, w [n,k] */
double bench_best_product(const struct bench_device *d, int64_t size[3]);                 /* size: its m, n, k */
void bench_ceiling(struct bench_ceiling *c, const struct bench_device *d, double products);
double bench_stream(const struct bench_ceiling *c, double bytes);

/* Ops by family, in the order of ops.h. */
enum { BENCH_FAMILIES = 9 };
int bench_family(const char *op);
const char *bench_family_name(int family);

/* A step held against the ceiling: families of ops, and in each its ops, by the time that could be gained at most; last
   what no op accounts for. */
json_t *bench_families(const struct op_time *times, int n, double outside, const struct bench_ceiling *c);

/* A variant beside the baseline of its study: their steps in turns. *out as bench_measure's, with "wall_ratio" and
   "processor_ratio". */
int bench_beside(const json_t *config, const json_t *baseline, const struct bench_options *o, json_t **out,
                 struct err *e);

/* What metrics and the run file add to a step: the same steps with and without them, alternating. */
int bench_logging(struct bench *b, int64_t steps, json_t *to, struct err *e);

/* The streams, and products of the shapes that a step of the model has: "streams" and "products". */
json_t *bench_ceilings(const struct bench *b, const struct bench_device *d, const struct bench_ceiling *c,
                       const int64_t best[3]);

/* Tables of a list of such objects. */
void bench_print_steps(json_t *list);
void bench_print_ceilings(json_t *list);
void bench_print_ops(json_t *list);
void bench_print_logging(json_t *list);
void bench_print_beside(json_t *list);

/* Processor time of all threads of the process so far. */
double bench_processor_seconds(void);

/* Wall clock, and processor time of all threads. */
struct bench_spent { double wall, processor; };
struct bench_spent bench_clock(void);
struct bench_spent bench_since(struct bench_spent start);

/* Runs blocks of two sides in turns, BENCH_PAIRS of each, and says what the first took of what the other did: "pairs",
   "wall_ratio", "processor_ratio". Every other pair begins with the other side: drift of the machine cancels. */
enum { BENCH_PAIRS = 8 };
typedef int bench_block(void *context, bool first, struct bench_spent *out, struct err *e);
int bench_pairs(bench_block *block, void *context, json_t *to, struct err *e);

/* Sets KEY, KEY_min and KEY_max to the median and the ends of n values, which it sorts. */
void bench_spread(json_t *to, const char *key, double *x, int n);

#endif
