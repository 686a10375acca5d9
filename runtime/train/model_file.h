/* Model files: one .safetensors file with all that a model computes with, by path, and which model it is. What training
   remembers is not in them: a run begins with one by init.from, and nothing goes on from it. */
#ifndef SLUICE_MODEL_FILE_H
#define SLUICE_MODEL_FILE_H

#include "model/registry.h"
#include "plan/plan.h"
#include <jansson.h>

struct model_source { const json_t *config; const struct leaves *leaves; struct state *state; struct pick adapter; };
/* dtype: of matrices, F32, BF16 or F16; what is of one row, and buffers, stay F32. merged: adapters are added to the
   weights that they belong to, and the model has none. */
struct model_form { const char *dtype; bool merged; };
/* -1 leaves errno as the system gave it, 0 when it is a value. */
int model_file_write(const char *path, const struct model_source *from, const struct model_form *form, struct err *e);

json_t *model_file_config(const char *path, struct err *e);                  /* new reference */
/* Fills weights and buffers of the model's own, and their averages with the same; all must be there, and no other. */
int model_file_read(const char *path, const struct leaves *leaves, struct state *state, struct err *e);

#endif
