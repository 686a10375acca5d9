/* How long ranks take to tell each other something, by the links that it crosses. */
#ifndef SLUICE_TALK_H
#define SLUICE_TALK_H

#include "plan_private.h"
#include "simulate.h"

/* What a call tells each other rank over these axes; over 0: nothing. */
struct talk { unsigned over; double bytes; };
struct talk talk_of(const struct call *c);

double talk_exchange(const struct machine *m, const struct place *here, struct talk t);
double talk_reduce(const struct machine *m, const struct place *here, unsigned over, double bytes);
double talk_broadcast(const struct machine *m, const struct place *here, unsigned over, double bytes);
double talk_message(const struct machine *m, int from, int to, double bytes);

#endif
