/* Schedules of pipeline parallelism as tables: what each rank does of which micro-batch, in which order; and what a
   table costs, by a simulation of its events and by the formulas that are published.

   A model is cut into stages, of which a rank holds one for each of its chunks. Of a micro-batch a stage computes the
   forward, and the backward as a whole or in halves: the gradient of its inputs, for which the stage before it waits,
   and that of its weights, for which nobody does. P ranks, M micro-batches. */
#ifndef SLUICE_PIPELINE_H
#define SLUICE_PIPELINE_H

#include "base/base.h"

/* The words of a setting, in the order of enum.
   gpipe        all forwards, then all backwards; Huang 2019
   1f1b         a backward as soon as there is one, so that at most P forwards wait for theirs; Narayanan 2019
   interleaved  1f1b over `chunks` chunks, stage c P + r being chunk c of rank r: idle for 1/chunks of the time;
                Narayanan 2021
   zb_h1        1f1b in halves: gradients of weights fill what would be idle time, in the memory of 1f1b; Qi 2024
   zb_v         in halves over two chunks in a V, rank r having stages r and 2P-1-r: with forward and halves of one
                length and M >= 2P-1 no rank is idle between its first action and its last, in the memory of 1f1b's
                rank 0: 2P forwards of half as much; Qi 2024
   dualpipe     two copies of the model in opposite directions, chunk 0 of rank r being stage r of the first, which
                does the first half of the micro-batches, chunk 1 stage P-1-r of the second; forwards of the one run
                together with backwards of the other, whose messages they hide; DeepSeek-V3 2024
   dualpipev    the same with one copy, folded: a V as in zb_v */
#define PIPELINES "gpipe 1f1b interleaved zb_h1 zb_v dualpipe dualpipev"
enum pipeline {
    PIPELINE_GPIPE,
    PIPELINE_1F1B,
    PIPELINE_INTERLEAVED,
    PIPELINE_ZB_H1,
    PIPELINE_ZB_V,
    PIPELINE_DUALPIPE,
    PIPELINE_DUALPIPEV,
    PIPELINE_KINDS
};
extern const char *const pipeline_name[];

/* INPUT and WEIGHT are the halves of BACKWARD. */
enum action_kind { ACTION_FORWARD, ACTION_BACKWARD, ACTION_INPUT, ACTION_WEIGHT, ACTION_KINDS };
struct action {
    enum action_kind kind;
    int chunk, micro;
    bool with_next;                 /* a forward that runs together with the backward that follows it in the table */
};

struct schedule {
    enum pipeline kind;
    int ranks, micros, chunks, stages;                      /* chunks of a rank; stages of one copy of the model */
    struct row { struct action *action; int n; } *rank;     /* what it executes, in this order */
};

/* Lies in the arena. chunks: interleaved alone reads it, the others have their own number. -1: the schedule cannot be
   had for these numbers, and e says which could. */
int pipeline_make(struct schedule *s, struct arena *a, enum pipeline kind, int ranks, int micros, int chunks,
                  struct err *e);
int pipeline_stage(const struct schedule *s, int rank, int chunk);
struct stage_place { int rank, chunk; };
struct stage_place pipeline_place(const struct schedule *s, int stage, int micro);        /* who does a stage of it */
struct micros { int first, n; };
struct micros pipeline_micros(const struct schedule *s, int chunk);                 /* which a chunk does */

/* Forwards of a rank whose stage's gradient is still to come: of the inputs, or of the weights, too. */
struct in_flight { int input, weight; };

/* Proves a table: every stage does each micro-batch once forward and once backward, whole or in halves, in their order
   (so it adds gradients as one rank alone would); all that an action needs is there at some time; no gradient of
   weights is left over. -1: e says which rule is broken, where. peak: of each rank, the most at a time. */
int pipeline_check(const struct schedule *s, struct in_flight *peak, struct err *e);

/* What a stage takes of time, in any unit, and of memory. pair: a forward and a backward together, both of this stage;
   where they are of two stages, each one adds its part of its own stage's pair. bytes: from the forward on;
   waiting: what is left of them after the gradient of inputs, for that of weights. up: how long what it makes takes to
   the rank of the stage after it, down: its gradient to the one before it, by their sizes. */
struct stage_cost { double forward, backward, input, weight, pair; size_t bytes, waiting; double up, down; };

struct timeline {
    double total;                                           /* from the first action's start to the last one's end */
    struct rank_time {
        double *start, *end;                                /* of each action; the two of a pair have the same */
        double idle, gap;                                   /* in total; between its own first action and its last */
        size_t bytes;                                       /* the most that are live */
    } *rank;
};

/* Each action starts when the rank is free and what it needs has arrived: activations and gradients take `latency`
   between two ranks, and what their stage's cost says. cost: of each stage. Lies in the arena. -1: the table does not
   hold, see pipeline_check. */
int pipeline_time(struct timeline *t, struct arena *a, const struct schedule *s, const struct stage_cost *cost,
                  double latency, struct err *e);

/* How long a rank is idle, by formula, and its most forwards in flight. Stages that all cost the same, messages that
   take no time. Exact: zb_h1 where a gradient of weights is not longer than a forward, nor than one of inputs; zb_v
   where the three are equal; dualpipe and dualpipev, of the rank that is idle longest, where a gradient of inputs is as
   long as a forward and one of weights not longer; the others always. */
double pipeline_bubble(const struct schedule *s, const struct stage_cost *all);
struct in_flight pipeline_peak(const struct schedule *s, int rank);

#endif
