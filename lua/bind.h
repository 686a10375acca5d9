/* Runs an experiment script. A script only describes: what it returns becomes JSON, and Lua is gone before training. */
#ifndef SLUICE_BIND_H
#define SLUICE_BIND_H

#include "config.h"

struct script;
struct script_options { bool trust; int n_set; const char *const *set; };   /* set: "path=value" overrides of base or train */

/* Runs the script at `path`. On success *description is what study_resolve reads (new reference). Mistakes that Lua can see
   (syntax, undeclared globals, unknown keys of sl.study{}, bad axes) come as problems whose path is "" and whose text
   begins "file:line: ". Returns -1 when there are any. */
int script_run(const char *path, const struct script_options *o, struct script **out, json_t **description, struct problems *problems);
/* "experiments/x.lua:12" where the last key of a dotted path is written (in the variant's own table when variant is not
   NULL and sets it), or the line of the enclosing sl.model/sl.study call. Owned by the script. */
const char *script_locate(struct script *s, const char *variant, const char *path);
void script_free(struct script *s);

#endif
