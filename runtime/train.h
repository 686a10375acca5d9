/* Training one point of a study in this process: from its configuration to a finished run file. */
#ifndef SLUICE_TRAIN_H
#define SLUICE_TRAIN_H

#include "store.h"
#include "study.h"

/* What the run tells its watcher, over a pipe: small enough to be written at once. */
struct progress {
    int point; enum store_status status; int64_t step, steps, first;        /* first: where this attempt began */
    double loss, eval_loss, seconds; int64_t tokens;                        /* seconds, tokens: of this attempt */
};

enum outcome {
    OUTCOME_FINISHED = 0, OUTCOME_FAILED = 1, OUTCOME_SCRIPT = 3, OUTCOME_INPUT = 4, OUTCOME_DIVERGED = 5, OUTCOME_DISK = 6, OUTCOME_DEVICE = 7,
    OUTCOME_MISMATCH = 8, OUTCOME_INTERRUPTED = 75
};

struct train_options { int threads; int watcher; bool retry_failed; };      /* watcher: file descriptor, or -1 */

/* Trains, goes on with, or skips (when finished) a point. Prints mistakes to stderr. SIGTERM and SIGINT end it with a
   checkpoint after the current micro-batch. */
enum outcome train_point(const struct study *s, int point, const struct train_options *o);

/* Everything a run needs, without a run file: for bench and sample. */
struct session {
    struct arena *arena; struct model_conf model; struct train_conf train;
    struct leaves *leaves; struct graph *graph, *eval_graph; struct plan *plan, *eval_plan; struct state *state;
    int64_t batch;                                                          /* sequences in a micro-batch */
};
int session_new(struct session **out, const json_t *config, int threads, struct err *e);
void session_free(struct session *s);
void session_put(struct session *s, const int32_t *ids, const int32_t *target, const real *weight, const int32_t *start);

#endif
