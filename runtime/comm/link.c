/* The link of a rank to all others. Who waits sleeps: ranks may share a processor. */
#define _GNU_SOURCE
#include "link.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double latency, rate, busy_until;

bool link_there(void) { return rate > 0; }

int link_read(struct err *e)
{
    const char *text = getenv("SLUICE_LINK");
    double us = 0, gb_s = 0;
    char rest;
    if (!text || !*text) return 0;
    if (sscanf(text, "%lf:%lf%c", &us, &gb_s, &rest) != 2 || us < 0 || us > 1e9 || gb_s <= 0)
        return err_set(e, "SLUICE_LINK=%s: must be microseconds and GB/s of a link, as 200:0.1", text);
    latency = 1e-6 * us;
    rate = 1e9 * gb_s;
    return 0;
}

double link_due(size_t bytes)
{
    double now = clock_seconds();
    busy_until = (busy_until > now ? busy_until : now) + (double)bytes / rate;
    return busy_until + latency;
}

void link_wait(double due)
{
    for (double left; (left = due - clock_seconds()) > 0; )
        nanosleep(&(struct timespec){ (time_t)left, (long)(1e9 * (left - (double)(time_t)left)) }, NULL);
}
