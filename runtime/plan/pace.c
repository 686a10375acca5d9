/* A device whose clock is sleep. */
#define _GNU_SOURCE
#include "pace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct { bool read; double rate, action, due; } pace;

/* Whether there is any; a mistake in the variable ends the process. */
static bool is_paced(void)
{
    const char *text = getenv("SLUICE_PACE");
    char rest;
    if (pace.read) return pace.rate > 0 || pace.action > 0;
    pace.read = true;
    if (!text || !*text) return false;
    if (sscanf(text, "action:%lf%c", &pace.action, &rest) == 1 && pace.action > 0) return true;
    if (sscanf(text, "%lf%c", &pace.rate, &rest) == 1 && pace.rate > 0) return true;
    comm_fail("SLUICE_PACE=%s: must be GFLOP/s, as 0.5, or action:SECONDS", text);
}

static void sleep_until(double due)
{
    for (double left; (left = due - clock_seconds()) > 0; )
        nanosleep(&(struct timespec){ (time_t)left, (long)(1e9 * (left - (double)(time_t)left)) }, NULL);
}

static void take(double seconds)
{
    static const double little = 2e-3;
    pace.due += seconds;
    if (pace.due > clock_seconds() + little) sleep_until(pace.due);
}

void pace_call(const struct call *c, int micro)
{
    if (is_paced() && pace.rate > 0) take(plan_cost_of(c, micro).flops / (1e9 * pace.rate));
}

void pace_action(int parts) { if (is_paced() && pace.action > 0) take(parts * pace.action); }
void pace_settle(void) { if (is_paced()) sleep_until(pace.due); }
void pace_resume(void) { if (is_paced()) pace.due = fmax(pace.due, clock_seconds()); }
