/* What a training step takes on a machine that need not be here: a walk over the calls that the plans of its ranks
   have, with a clock in place of kernels. Nothing runs. */
#ifndef SLUICE_SIMULATE_H
#define SLUICE_SIMULATE_H

#include "plan.h"

/* A message of n bytes is there `latency` seconds and n / rate after it was sent (alpha-beta). */
struct link { double latency, rate; };
/* Devices, `node` of them in a machine, each with a link of its own to the others in it, and to other machines. */
struct machine {
    double (*seconds)(const void *of, const struct call_cost *c);           /* of a call on one of them */
    const void *of;
    double step;                                            /* of a step, beside its calls */
    int node; struct link inside, between;
    bool two_level;    /* sums and broadcasts go within machines, and between them once */
};

/* What a rank does at a time. A segment of TALK is of its link, others are of the device. */
enum work { WORK_FORWARD, WORK_BACKWARD, WORK_WEIGHT, WORK_UPDATE, WORK_TALK, WORKS };
struct segment { double from, to; enum work work; };
struct lane { int n, room; struct segment *segment; };      /* the device's in their order, the link's in theirs */

/* A rank's step, in stretches between which it may wait for others. */
struct walked;
/* here: the rank that planned p, of a step of so many micro-batches. */
struct walked *simulate_rank(const struct plan *p, const struct place *here, const struct machine *m, int micros);
void walked_free(struct walked *w);

/* idle: share of the step in which a rank waits for another, of all ranks; exposed, hidden: seconds of communication
   within a rank's calls that it waits for, and that run beside others, of the mean rank. */
struct simulated { double seconds, idle, exposed, hidden; struct lane *lane; };
/* Of one rank of each pipeline position, in their order: the others are like these. Lanes, one of each, where `draw`;
   they are freed with simulated_free. */
int simulate_step(struct simulated *out, struct walked *const *rank, int ranks, const struct machine *m, bool draw,
                  struct err *e);
void simulated_free(struct simulated *s, int ranks);

#endif
