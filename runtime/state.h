/* What plan.c and state.c share. */
#ifndef SLUICE_STATE_H
#define SLUICE_STATE_H

#include "plan.h"

struct state {
    struct leaves *leaves; const struct backend *backend;
    struct state_bytes bytes;
    void *weights, *grads, *buffers, *inputs, *device;
};
void state_want_grads(struct state *s);

#endif
