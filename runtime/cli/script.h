/* From a script on the command line to a resolved study. */
#ifndef SLUICE_CLI_SCRIPT_H
#define SLUICE_CLI_SCRIPT_H

#include "cli.h"
#include "study/study.h"

/* Options that run and plan share. */
#define SCRIPT_OPTIONS \
    { "set", 's', "PATH=VALUE", "change a key of the base model, of training as train.KEY, or of the study; " \
                                "values as in Lua; may be repeated" }, \
    { "data", 'd', "FILE", "token file in place of the script's" }, \
    { "replicates", 'r', "N", "replicates in place of the script's" }, \
    { "out", 'o', "DIR", "where studies are kept (runs)" }, \
    { "trust", 0, NULL, "give the script Lua's full standard library, and no limits" }

/* Of a study the variant that an option names, the baseline where it is not given; -1, having said so: there is
   none. */
int script_variant(const struct call *c, const char *option, const struct study *s);

/* Runs the script and resolves what it describes; prints all mistakes, with their places, and returns NULL. Of a study
   that is measured, data that holds nothing out is one of them. */
struct study *script_study(const struct call *c, bool measured, enum code *code);

#endif
