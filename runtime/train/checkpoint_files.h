/* What checkpoint.c and checkpoint_files.c share. */
#ifndef SLUICE_CHECKPOINT_FILES_H
#define SLUICE_CHECKPOINT_FILES_H

#include "checkpoint.h"

int checkpoint_write(const char *folder, int64_t step, struct leaves *leaves, struct state *state,
                     const json_t *trainer_state, struct checkpoint *out);
char *checkpoint_join(const char *dir, const char *name, const char *suffix);         /* malloc'd */

#endif
