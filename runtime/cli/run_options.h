/* Options of how runs are run, shared by run and resume. */
#ifndef SLUICE_CLI_RUN_OPTIONS_H
#define SLUICE_CLI_RUN_OPTIONS_H

#include "cli.h"
#include "train/run.h"

#define RUN_OPTIONS \
    { "only", 0, "VARIANT", "train this variant and the baseline now, or of VARIANT/REPLICATE that run alone; the " \
                            "rest stays pending; may be repeated" }, \
    { "jobs", 'j', "N", "runs at once (as many as cores; one on a GPU)" }, \
    { "threads", 't', "N", "threads of each run (cores / jobs)" }, \
    { "ranks", 0, "'AXIS=N ..'", "how ranks divide the model, in place of train.ranks: 'dp=2 ep=4'" }, \
    { "retry-failed", 0, NULL, "train runs again that failed" }, \
    { "mix", 0, NULL, \
      "go on although another revision of sluice, another instruction set, or ranks that divide it otherwise began" }, \
    { "progress", 'p', "auto|lines|json|none", "how progress is shown on stderr (auto: redrawn on a terminal)" }

int run_options_read(const struct call *c, struct run_options *o);      /* prints the mistake; -1 */
/* Leaves the points that --only asks for, and runs them. Prints every mistake. */
enum code run_points(const struct call *c, const struct run_options *o, struct study *s);

#endif
