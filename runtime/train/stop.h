/* The rules that end a run before its last step. What they remember is part of a checkpoint. */
#ifndef SLUICE_STOP_H
#define SLUICE_STOP_H

#include "model/model.h"

struct stop;
/* experts: values in a row of counts, all layers */
struct stop *stop_new(const struct train_conf *conf, int64_t experts);
void stop_free(struct stop *s);

/* Looks at a completed step; the reason to end the run as diverged, or NULL. targets: how many of it count; without any
   it has no loss. tokens[experts]: assignments of each expert, NaN where there is none. */
const char *stop_look(struct stop *s, double loss, double grad_norm, double targets, const double *tokens);

/* Of a run whose guard goes back: it does once more; the reason to end it as diverged instead, or NULL. */
const char *stop_return(struct stop *s);

/* Who computes nothing does not starve: NaN in place of idle experts. tokens[n]: those of all feed-forwards. */
void stop_leave_idle(const struct model_conf *model, double *tokens, int64_t n);

json_t *stop_save(const struct stop *s);
void stop_load(struct stop *s, const json_t *from);

#endif
