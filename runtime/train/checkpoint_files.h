/* What the files of checkpoints share. */
#ifndef SLUICE_CHECKPOINT_FILES_H
#define SLUICE_CHECKPOINT_FILES_H

#include "checkpoint.h"
#include "safetensors.h"

/* Whether a rank has done what all do, or why not, with errno then; of the file that it wrote bytes and hash. */
struct answer { bool failed; int cause; struct err err; uint64_t bytes; char hash[33]; };

/* checkpoint_state.c: what this rank writes, and reads of what is open. */
char *checkpoint_join(const char *dir, const char *name, const char *suffix);         /* malloc'd */
char *checkpoint_state_name(int rank);                      /* of the file of a rank, malloc'd */
struct stored checkpoint_tensor(const struct leaf *l);
void checkpoint_write_state(const char *folder, struct leaves *leaves, struct state *state, struct answer *out);
void checkpoint_fill(const struct safetensors *tensors, struct leaves *leaves, struct state *state);

/* checkpoint_files.c: parts: what each rank wrote. open: with every byte verified of one of `of` shares of its files,
   held against the leaves. */
int checkpoint_write_manifest(const char *folder, int64_t step, const json_t *trainer_state,
                              const struct answer *parts, const struct checkpoint *c);
int checkpoint_open_for(const char *folder, int share, int of, const struct leaves *leaves,
                        struct safetensors **tensors, struct checkpoint *out, json_t **trainer_state, struct err *e);

/* checkpoint_ranks.c: all files, by all ranks. */
int checkpoint_write(const char *folder, int64_t step, struct leaves *leaves, struct state *state,
                     const json_t *trainer_state, struct checkpoint *out, struct err *e);

#endif
