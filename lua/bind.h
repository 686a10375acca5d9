/* Runs an experiment script. A script only describes: what it returns becomes JSON, and Lua is gone before training. */
#ifndef SLUICE_BIND_H
#define SLUICE_BIND_H

#include "model/config.h"

struct script;
/* trust: the whole of Lua, without limits. set: "path=value" overrides of the model, of train ("train.steps=10") or of
   the study (name, data, seed, replicates, baseline, primary), values as Lua writes them. most_work: instructions of
   Lua; 0: 2e8. say: takes what the script prints, line by line; NULL: it goes to stderr. */
struct script_options {
    bool trust;
    int n_set;
    const char *const *set;
    int64_t most_work;
    void (*say)(const char *line);
};

/* Runs the script at `path`. *description is what study_resolve reads (new reference), with the text of every file that
   was read. Mistakes that Lua can see (syntax, undeclared globals, unknown keys of sl.study{}, bad axes) come as
   problems whose path is "" and whose text begins "file:line: ". Returns -1 when there are any; *script is there all
   the same, and *description when enough could be read to look for more mistakes, else it is NULL. */
int script_run(const char *path, const struct script_options *o, struct script **out, json_t **description,
               struct problems *problems);
/* "experiments/x.lua:12" where the last key of a dotted path is written (in the variant's own table when variant is not
   NULL and sets it; "--set path=value" when that did), or the line of the sl.model or sl.study call. Owned by the
   script. */
const char *script_locate(struct script *s, const char *variant, const char *path);
/* Where the script that is running stands, "x.lua:12", or ""; also for a signal's handler that ends the process. */
enum { SCRIPT_LOCATION = 512, SCRIPT_SECONDS = 5 };            /* of processor time, that Lua counts itself */
void script_stands(char location[SCRIPT_LOCATION]);
bool script_is_read(const struct script *s);               /* whether there was a file to run */
void script_free(struct script *s);

/* The model table of a preset, as model_load reads it (new reference). The error of an unknown name says the
   nearest. */
int script_preset(const char *name, json_t **model, struct err *e);

/* The routers that sl.router knows, in their order: { "name", "about", and keys of ffn } (new reference). */
json_t *script_routers(void);
/* The mixers that sl.mixer knows: { "name", "about", "attention" }. */
json_t *script_mixers(void);

/* The version of Lua that runs: "5.4.4". */
char *script_library(char out[32]);

#endif
