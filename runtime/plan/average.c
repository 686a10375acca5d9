/* Averages of weights, for evaluation. An average is a buffer, which with several ranks its weight's holder alone
   keeps. It changes places with the weight for as long as one evaluates: plans, recordings and products that read
   packed weights find them where they always do. */
#include "plan_private.h"

/* Through the arena, in which between steps nothing lies. */
static void swap(struct plan *p, char *a, char *b, size_t bytes)
{
    const struct backend *on = p->how.backend;
    void *device = p->state->device;
    for (size_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < p->report.arena ? bytes - at : p->report.arena;
        on->copy(device, p->memory, a + at, n);
        on->copy(device, a + at, b + at, n);
        on->copy(device, b + at, p->memory, n);
    }
}

void plan_swap_averages(struct plan *p)
{
    const struct leaves *leaves = p->graph->leaves;
    for (int i = 0; i < leaves->n; i++) {
        const struct leaf *l = leaves->leaf[i];
        if (l->kind != LEAF_BUFFER || !l->of) continue;
        if (!state_is_foreign(l)) swap(p, state_data(p->state, l), state_data(p->state, l->of), leaf_bytes(l));
        if (l->holder) ranks_give(p, l->of);
        p->state->stale |= l->of->packed_bytes > 0;
    }
    if (comm_here()->ranks > 1) p->how.backend->meet(p->state->device);
}
