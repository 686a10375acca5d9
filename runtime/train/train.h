/* Training one point of a study in this process: from its configuration to a finished run file. */
#ifndef SLUICE_TRAIN_H
#define SLUICE_TRAIN_H

#include "store/store.h"
#include "study/study.h"

enum outcome {
    OUTCOME_FINISHED = 0, OUTCOME_FAILED = 1, OUTCOME_SCRIPT = 3, OUTCOME_INPUT = 4, OUTCOME_DIVERGED = 5,
    OUTCOME_DISK = 6, OUTCOME_DEVICE = 7, OUTCOME_MISMATCH = 8, OUTCOME_INTERRUPTED = 75,
    OUTCOME_ELSEWHERE = 64                                  /* of a point alone: another process trains it */
};

/* What the run tells its watcher, over a pipe: small enough to be written at once. ended: nothing but point and outcome
   count. signal: what stopped it, 0: nothing did. */
struct progress {
    bool ended; enum outcome outcome; int signal;
    int point; enum store_status status; int64_t step, steps, first, taken;
                                                            /* first: where this attempt began; taken: over from another
                                                               run, of the steps before that */
    double loss, eval_loss, seconds; int64_t tokens, seen;    /* seconds, tokens: of this attempt; seen: up to step */
};

/* watcher: file descriptor, or -1. retry_failed: also runs that ended as failed. mix: go on although another revision
   or instruction set began; rows after the last checkpoint are dropped then, not compared. */
struct train_options { int threads; int watcher; bool retry_failed, mix; };

/* Trains, goes on with, or skips (when finished) a point. Prints mistakes to stderr. The signals of process_hear, which
   it unblocks, end it with a checkpoint after the current micro-batch. For a process of its own: after a failed write
   the run file is left open, because closing it would destroy it. */
enum outcome train_point(const struct study *s, int point, const struct train_options *o);
/* On a rank other than 0: computes its part of what rank 0 orders for this point, until rank 0 leaves it. */
enum outcome train_follow(const struct study *s, int point, const struct train_options *o);

/* Who computed: bits are the same only within one revision of this program, one instruction set and one mesh of ranks,
   which stands in isa where there are several: "avx512 x4" for data parallel ones, else "avx512 dp2.ep2". */
struct origin { char revision[96], isa[64]; };
/* -1: the backend cannot be had */
int origin_here(struct origin *o, enum backend_kind backend, const struct mesh *mesh, struct err *e);
bool origin_equal(const struct origin *a, const struct origin *b);
extern const char train_revision[];    /* of the source, as git describes it; "unknown" outside git */

/* What earlier processes left of a point: last is the last committed step. -1: there is a run file, but it cannot be
   read or is another run's. */
struct past { bool exists; enum store_status status; int64_t last; struct origin origin; };
int train_past(const struct study *s, int point, struct past *past, struct err *e);
bool past_over(const struct past *past, bool retry_failed);                 /* nothing is left to do */

/* Whether the disk of a folder has room for one more checkpoint and the rows beside it; -1: e says what is missing. */
int train_room(const char *dir, double checkpoint_bytes, struct err *e);

/* The series of a row that the trainer itself measures, beside those of the model's probes; the last of an evaluation's
   where there are averages of the weights. */
enum { TRAIN_SERIES = 6, EVAL_SERIES = 2 };
int train_eval_series(const struct train_conf *c);
extern const struct series train_series[TRAIN_SERIES], eval_series[EVAL_SERIES];

/* Everything a run needs, without a run file: for bench and sample. */
struct session {
    struct arena *arena; struct model_conf model; struct train_conf train;
    const struct backend *backend;
    struct leaves *leaves; struct graph *graph, *eval_graph; struct plan *plan, *eval_plan; struct state *state;
    int64_t batch;                                                          /* sequences in a rank's micro-batch */
    struct ramps ramps;
};
/* errno is ENOMEM when the memory that is free is too small; the error says what would fit. */
int session_new(struct session **out, const json_t *config, int threads, struct err *e);
/* Without memory or device; the error says what would fit */
int session_fits(const json_t *config, size_t room, struct err *e);
/* Graphs and plans alone, without memory or device: of the rank that comm_here() is, or supposes to be. backend, micro:
   NULL, 0: as the configuration says. */
int session_plan(struct session **out, const json_t *config, const struct backend *backend, int micro, struct err *e);
void session_free(struct session *s);
struct model_size session_eval_size(const struct session *s);               /* of an evaluation's micro-batches */
size_t session_bytes(const struct session *s);              /* all slabs and arenas */
int64_t session_sequences(const struct session *s);         /* in a micro-batch, of all ranks */
int64_t session_first(const struct session *s);             /* of these, number of the first that this rank has */
void session_put(struct session *s, const struct inputs *in);               /* for plan_forward of an evaluation */
/* On held-out text, by the weights or by their averages, which are where they were afterwards; each rank its part of
   every batch, which passes through `in`. ready, or NULL: asked when a part is staged. False: it was not ready. */
struct evaluation {
    const struct corpus *corpus; const struct eval_set *set; struct inputs *in; bool averages;
    bool (*ready)(void *with); void *with;
};
bool session_evaluate(struct session *s, const struct evaluation *e, int64_t step);
void session_stage(struct session *s, int micro, const struct inputs *in);  /* for plan_step */

#endif
