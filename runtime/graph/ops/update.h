/* The bridge to the update of a step, and what changes weights and buffers there. */
#ifndef SLUICE_OPS_UPDATE_H
#define SLUICE_OPS_UPDATE_H

#include "verb.h"

#define UPDATE_OPS(X) \
    X(carry, (struct graph *g, struct node *x, enum carry how)) \
    X(gradient_amax, (struct graph *g, struct node *x)) \
    X(amax_history, (struct graph *g, struct node *history, struct node *operands, struct node *gradient, \
                     struct node *step, struct node *clip)) \
    X(global_norm, (struct graph *g, int n, struct node *const *grads)) \
    X(clip_norm, (struct graph *g, struct node *norm, struct node *targets, double most)) \
    X(skip_outliers, (struct graph *g, struct node *clip, struct node *loss, struct node *norm, struct node *rings, \
                      struct node *seen, double sigma)) \
    X(adamw, (struct graph *g, struct node *w, struct node *grad, struct node *m, struct node *v, struct node *lr, \
              struct node *step, struct node *clip, struct node *radius, struct node *largest, struct adamw_attr a)) \
    X(adafactor, (struct graph *g, struct node *w, struct node *grad, struct node *lr, struct node *step, \
                  struct node *clip, struct node *row, struct node *col, struct node *v, struct node *m, \
                  struct adafactor_attr a)) \
    X(lion, (struct graph *g, struct node *w, struct node *grad, struct node *m, struct node *lr, struct node *clip, \
             struct lion_attr a)) \
    X(sgd, (struct graph *g, struct node *w, struct node *grad, struct node *lr, struct node *clip, struct node *m, \
            struct sgd_attr a)) \
    X(schedule_free, (struct graph *g, struct node *w, struct node *grad, struct node *x, struct node *lead, \
                      struct node *v, struct node *mean, struct node *lr, struct node *step, struct node *clip, \
                      struct schedule_free_attr a)) \
    X(muon, (struct graph *g, struct node *w, struct node *grad, struct node *m, struct node *lr, struct node *clip, \
             struct node *v, struct node *radius, struct muon_attr a)) \
    X(dion, (struct graph *g, struct node *w, struct node *grad, struct node *m, struct node *q, struct node *lr, \
             struct node *clip, struct dion_attr a)) \
    X(soap, (struct graph *g, struct soap x, struct soap_attr a)) \
    X(bias_step, (struct graph *g, struct node *bias, struct node *counts, struct node *clip, struct node *target, \
                  struct bias_step_attr a)) \
    X(clip_heads, (struct graph *g, struct node *w, struct node *most, struct node *clip, struct clip_heads_attr a)) \
    X(unit_norm, (struct graph *g, struct node *w, struct node *clip, bool columns)) \
    X(round_weight, (struct graph *g, struct node *w, struct node *key, struct node *step, struct node *clip)) \
    X(average, (struct graph *g, struct node *average, struct node *w, struct node *clip, struct node *rate)) \
    X(update_ratio, (struct graph *g, int n, struct node *const *changes))

UPDATE_OPS(OP_DECLARE)

#endif
