/* When the stream came by: events between calls, for sluice bench. */
#include "device.h"
#include "parts.h"

#include <stdlib.h>

struct clock { int n; cudaEvent_t *event; };

void clock_open(struct device *d) { d->clock = xcalloc(1, sizeof *d->clock); }

void clock_close(struct device *d)
{
    for (int i = 0; i < d->clock->n; i++) CUDA(cudaEventDestroy(d->clock->event[i]));
    free(d->clock->event);
    free(d->clock);
}

void device_stamp(void *device, int number)
{
    struct device *d = device;
    struct clock *c = d->clock;
    if (number >= c->n) c->event = xrealloc(c->event, (size_t)(number + 1) * sizeof *c->event);
    for (; c->n <= number; c->n++) CUDA(cudaEventCreate(&c->event[c->n]));
    CUDA(cudaEventRecord(c->event[number], d->stream));
}

double device_between(void *device, int first, int second)
{
    struct device *d = device;
    float milliseconds = 0;
    device_wait(d, d->clock->event[second]);
    CUDA(cudaEventElapsedTime(&milliseconds, d->clock->event[first], d->clock->event[second]));
    return 1e-3 * (double)milliseconds;
}
