/* What training left: a run's configuration, its checkpoints, and their weights for graphs that do not train. */
#ifndef SLUICE_TRAINED_H
#define SLUICE_TRAINED_H

#include "checkpoint.h"
#include "train.h"

/* Of a run's folder, from its run file; new reference. */
json_t *trained_config(const char *run, struct err *e);

/* Loads a checkpoint, NULL: the newest good one, into a session of the run's configuration. */
int trained_load(const char *run, const char *checkpoint, struct session *s, struct checkpoint *c, struct err *e);

/* Fills weights and buffers, by path, from another state of the same model, or with the averages of those that have
   one. */
int trained_copy(const struct leaves *to, struct state *into, const struct leaves *from, struct state *trained,
                 struct err *e);

#endif
