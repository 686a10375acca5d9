/* What training left, by a path: a run's folder, which stands for its newest good checkpoint, a checkpoint's folder, or
   a model file. */
#ifndef SLUICE_TRAINED_H
#define SLUICE_TRAINED_H

#include "checkpoint.h"
#include "train.h"

bool trained_is_run(const char *path), trained_is_file(const char *path);
/* The newest good checkpoint of a run. */
int trained_newest(const char *run, char *path, size_t room, struct err *e);
/* The folder of the run that a checkpoint is of, or the run's own; -1: the path is neither. */
int trained_run(const char *path, char *run, size_t room, struct err *e);
json_t *trained_config(const char *path, struct err *e);                     /* new reference */

/* Loads it into a session of its configuration. c: which checkpoint it was; of a model file its path alone. */
int trained_load(const char *path, struct session *s, struct checkpoint *c, struct err *e);
/* The data that a run was trained on, which its hash knows wherever it lies now. */
int trained_data(const char *path, const char *hash, struct corpus **out, struct err *e);
/* Its tensors. trainer_state: what a checkpoint remembers (new reference), NULL: it is a file. */
int trained_open(const char *path, struct safetensors **tensors, struct checkpoint *c, json_t **trainer_state,
                 struct err *e);

#endif
