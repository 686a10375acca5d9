/* A second graph of a session's model, which does not train and has memory of its own: nodes in it can be read. */
#ifndef SLUICE_LOOK_H
#define SLUICE_LOOK_H

#include "train.h"

struct look {
    struct arena *arena;
    struct leaves *leaves; struct graph *graph; struct plan *plan; struct state *state;
};

/* Build the model in its graph between the two, and keep with look_keep what is to be read. Free it either way. */
void look_begin(struct look *k);
int look_end(struct look *k, const struct session *s, int threads, struct err *e);
void look_free(struct look *k);

void look_keep(struct graph *g, struct node *n);            /* what it holds stays, though nothing reads it later */
double *look_read(const struct look *k, const struct node *n);               /* malloc'd */

#endif
