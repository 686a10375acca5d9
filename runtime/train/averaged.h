/* The weighted mean of checkpoints, and what a state's loss is: nothing here is trained on. LAWA, Kaddour 2022. */
#ifndef SLUICE_AVERAGED_H
#define SLUICE_AVERAGED_H

#include "checkpoint.h"
#include "train.h"

struct averaged { char path[4096], hash[33]; int64_t step; double weight; };

/* Fills the state with sum weight x checkpoint over sum weight: weights, their averages, moments and all buffers of
   numbers; whole numbers are the last's. Every checkpoint must have the session's paths and shapes. Hash and step of
   each are filled in. */
int average_checkpoints(struct session *s, struct averaged *of, int n, struct err *e);
/* Among what is remembered, whose mean it is and the configuration. */
int average_save(struct session *s, const json_t *config, const struct averaged *of, int n, const char *dir,
                 struct checkpoint *out, struct err *e);

/* Held-out loss as an evaluation of a run measures it, of its averages where it has them. */
int average_loss(struct session *s, const struct corpus *c, int64_t step, double *loss, struct err *e);

#endif
