/* Checkpoints: a folder step-00000100/ with state.safetensors (all weights and every buffer that is not transient, by
   path) and manifest.json, written last. A checkpoint is whole or it does not exist. With several ranks each writes the
   pieces that it keeps to a file of its own, state-RANK.safetensors; whoever reads finds the same tensors. */
#ifndef SLUICE_CHECKPOINT_H
#define SLUICE_CHECKPOINT_H

#include "plan/plan.h"
#include <jansson.h>

/* bytes and hash (XXH128) of state.safetensors, or of what it would be: they do not depend on ranks. */
struct checkpoint { char path[4096], hash[33]; int64_t step; uint64_t bytes; };

/* Where a run keeps them, and the one of a step; malloc'd. */
char *checkpoint_folder(const char *run);
char *checkpoint_path(const char *run, int64_t step);

/* Steps whose checkpoints are kept all the same; NULL: none. */
struct held { int n; int64_t *step; };
bool checkpoint_is_held(const struct held *held, int64_t step);

/* Writes dir/step-N beside the others (making dir), replaces one of the same step, and removes all but the `keep`
   newest up to this step (0 keeps all). trainer_state: what is kept beside the tensors, which run it is of and what its
   loop remembers, or what an average is made of; "extra" in the manifest. -1 leaves errno as the system gave it, and e
   names the rank. With several ranks for rank 0 alone, who orders the others to write as well; so is loading. */
int checkpoint_save(const char *dir, int64_t step, struct leaves *leaves, struct state *state,
                    const json_t *trainer_state, int keep, const struct held *held, struct checkpoint *out,
                    struct err *e);

/* Verifies every byte, then fills the state. The checkpoint must hold exactly the leaves' paths and shapes; on an error
   nothing is filled. *trainer_state (new reference) is what was given to checkpoint_save. Each rank reads what it
   has. */
int checkpoint_load(const char *path, struct leaves *leaves, struct state *state, struct checkpoint *out,
                    json_t **trainer_state, struct err *e);

/* On the other ranks: whether a folder of rank 0 is here too; and what it ordered, ORDER_SAVE or ORDER_LOAD. */
int checkpoint_sees(const char *folder, struct err *e);
void checkpoint_answer(struct leaves *leaves, struct state *state, struct order o);

/* Removes all but the `keep` newest up to step `newest`; with none to keep, the folder too. What cannot be removed
   stays. */
void checkpoint_prune(const char *dir, int64_t newest, int keep, const struct held *held);

uint64_t checkpoint_bytes(const struct leaves *leaves);     /* of state.safetensors */
bool checkpoint_is(const char *path);                       /* whether a folder has what a checkpoint's has last */
int checkpoint_verify(const char *path, struct err *e);
/* Opens its tensors, every byte verified: which it is, and what was given to checkpoint_save (new reference). */
struct safetensors;
int checkpoint_open(const char *path, struct safetensors **tensors, struct checkpoint *out, json_t **trainer_state,
                    struct err *e);

/* What a tensor of a checkpoint belongs to: "model", or what training keeps beside it, "optim", "average", .. */
const char *checkpoint_part(const char *path);

/* Clears away what dead writers left, and puts back what one had only moved aside. For who alone writes in dir. */
int checkpoint_tidy(const char *dir);

/* 1: the newest checkpoint of a step up to `most` that verifies is in `path`; 0: there is none; -1: the folder cannot
   be read. Torn, damaged and later ones are passed over with a message on stderr. */
int checkpoint_newest(const char *dir, int64_t most, char *path, size_t room, struct err *e);

/* The checkpoints of a folder, oldest first and one of a step: path and step of each, whole or not. malloc'd; returns
   how many, -1: the folder cannot be read. */
int checkpoint_list(const char *dir, struct checkpoint **list, struct err *e);

#endif
