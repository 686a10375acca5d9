/* Checkpoints: a folder step-00000100/ with state.safetensors (weights and buffers by path) and manifest.json
   (format, version, step, what the trainer remembers, size and hash of each file), which is written last. The folder
   appears under its name only when all of it is on the disk. */
#ifndef SLUICE_CHECKPOINT_H
#define SLUICE_CHECKPOINT_H

#include "plan.h"
#include <jansson.h>

enum { CHECKPOINT_VERSION = 1 };

/* Saves into DIR/step-N and removes all but the newest `keep`. extra: what the caller wants back. path: where it went. */
int checkpoint_save(const char *dir, int64_t step, const struct leaves *l, struct state *s, const json_t *extra, int keep, char *path, size_t path_size, uint64_t *bytes, struct err *e);

/* Loads a checkpoint whose tensors must be exactly those of the leaves. */
int checkpoint_load(const char *path, const struct leaves *l, struct state *s, int64_t *step, json_t **extra, struct err *e);

/* Whether a folder is a whole and unchanged checkpoint. */
int checkpoint_verify(const char *path, struct err *e);

/* The newest good checkpoint in dir: 1 found, 0 none, -1 failure. Torn or changed ones are named on stderr and passed over. */
int checkpoint_newest(const char *dir, char *path, size_t path_size, struct err *e);

#endif
