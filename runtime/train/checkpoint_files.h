/* What the files of checkpoints share. */
#ifndef SLUICE_CHECKPOINT_FILES_H
#define SLUICE_CHECKPOINT_FILES_H

#include "checkpoint.h"
#include "safetensors.h"

/* What a rank has done of what all do: whether, or why not, with errno then; of the file that it wrote bytes and hash.
   */
struct answer { bool failed; int cause; struct err err; uint64_t bytes; char hash[33]; };

/* Versions of a manifest: one file has all of the state; or parts of it lie in those of ranks. */
enum { CHECKPOINT_WHOLE = 1, CHECKPOINT_PARTS };

/* checkpoint_manifest.c. join, manifest: malloc'd, new reference; seal: writes it, -1: errno says why not. */
char *checkpoint_join(const char *dir, const char *name, const char *suffix);
int checkpoint_seal(const char *folder, json_t *manifest);
json_t *checkpoint_manifest(const char *folder, struct err *e);

/* checkpoint_write.c */
int checkpoint_write(const char *folder, int64_t step, struct leaves *leaves, struct state *state,
                     const json_t *trainer_state, struct checkpoint *out, struct err *e);

/* checkpoint_state.c: what this rank writes, and reads of what is open. sees: the folder is here too. */
struct stored checkpoint_tensor(const struct leaf *l);
char *checkpoint_state_name(int rank);                      /* of the file of a rank, malloc'd */
int checkpoint_sees(const char *folder, struct err *e);
void checkpoint_write_state(const char *folder, struct leaves *leaves, struct state *state, struct answer *out);
void checkpoint_fill(const struct safetensors *tensors, struct leaves *leaves, struct state *state);

/* checkpoint_ranks.c: all ranks write; answers: of each. */
int checkpoint_write_all(const char *folder, struct leaves *leaves, struct state *state, struct answer *answers,
                         struct err *e);

/* checkpoint_files.c: opens it, with every byte verified of one of `of` shares of its files, and holds it against the
   leaves. */
int checkpoint_open_for(const char *folder, int share, int of, const struct leaves *leaves,
                        struct safetensors **tensors, struct checkpoint *out, json_t **trainer_state, struct err *e);

#endif
