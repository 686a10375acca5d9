/* Artificial time, for experiments, in which a rank sleeps, so that ranks may share processors. SLUICE_PACE=GFLOP/s: a
   call takes no less than its arithmetic at this rate. SLUICE_PACE=action:SECONDS: each forward, gradient of inputs
   and gradient of weights of a pipeline's stage takes no less than this, whatever it computes. */
#ifndef SLUICE_PACE_H
#define SLUICE_PACE_H

#include "plan_private.h"

/* What was done takes its time, from when the one before was done; little of it waits until it is worth a sleep. */
void pace_call(const struct call *c, int micro);
void pace_action(int parts);
void pace_settle(void);                                     /* before anybody hears of it: sleeps for what is left */
void pace_resume(void);                                     /* after waiting for others: time goes on from now */

#endif
