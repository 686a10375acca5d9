/* What plan.c and state.c share. */
#ifndef SLUICE_STATE_H
#define SLUICE_STATE_H

#include "plan.h"

struct state {
    struct leaves *leaves; const struct backend *backend;
    struct state_bytes bytes;
    char *slab[SLABS];                                      /* NULL: no gradients are wanted, nothing is offloaded */
    void *device;
    char *staged; size_t staged_bytes;    /* inputs of the micro-batches of a step, one after the other */
    bool stale;                                             /* packed weights are not those of the weights */
};
void state_pack(struct state *s);                           /* all that are wanted */
void state_unstage(struct state *s, int micro);             /* the staged inputs become those that are read */
void state_want_grads(struct state *s);
bool state_has(const struct leaf *l);                       /* its stage of the pipeline is here */

#endif
