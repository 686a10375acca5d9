/* What training left: a run's configuration and its checkpoints. */
#ifndef SLUICE_TRAINED_H
#define SLUICE_TRAINED_H

#include "checkpoint.h"
#include "train.h"

/* Of a run's folder, from its run file; new reference. */
json_t *trained_config(const char *run, struct err *e);

/* Loads a checkpoint, NULL: the newest good one, into a session of the run's configuration. */
int trained_load(const char *run, const char *checkpoint, struct session *s, struct checkpoint *c, struct err *e);

#endif
