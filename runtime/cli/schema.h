/* What a script can set, as text: for help, reference pages and editors. Read from the modules' own schemas. */
#ifndef SLUICE_CLI_SCHEMA_H
#define SLUICE_CLI_SCHEMA_H

#include "model/model.h"

/* A module, or the keys of sl.model{} and of train = {} (then slot and name are one word). */
/* note: what the module's file says of it, formulas and papers, in lines; NULL: it is no module */
struct entry { const char *slot, *name, *about; const struct param *params; const char *note; };
int entries_new(struct entry **out);                        /* model, train, then every module by slot; malloc'd */

const char *param_type_text(const struct param *p);
void param_default_text(const struct param *p, char *out, size_t size);
/* "1 … 256", "softmax, sigmoid", names of modules */
void param_allowed_text(const struct param *p, char *out, size_t size);

bool param_is_slot(const struct param *p);
/* Where a slot is: its parameter, and the path of keys that leads to it ("ffn.router", "train.optim"). */
const struct param *slot_path(enum slot slot, char *path, size_t size);
bool slot_varies(enum slot slot);    /* it, or a slot around it, may differ from layer to layer */

#endif
