/* sluice run: trains every point of a script's study. */
#include "script.h"
#include "run_options.h"

#include <string.h>

static const struct option options[] = {
    SCRIPT_OPTIONS,
    RUN_OPTIONS,
    { 0 }
};

int run_options_read(const struct call *c, struct run_options *o)
{
    static const char *const words[] = { "auto", "lines", "json", "none", NULL };
    const char *show = cli_value(c, "progress", "auto");
    int64_t jobs = 0, threads = 0;
    if (cli_integer(c, "jobs", 1, 256, &jobs) || cli_integer(c, "threads", 1, 1024, &threads)) return -1;
    *o = (struct run_options){ (int)jobs, (int)threads, SHOW_AUTO, cli_flag(c, "retry-failed"), cli_flag(c, "mix") };
    for (int i = 0; words[i]; i++) if (strcmp(words[i], show) == 0) { o->show = (enum show)i; return 0; }
    cli_usage(c, "--progress %s: must be auto, lines, json or none", show);
    return -1;
}

static enum code run(const struct call *c)
{
    struct run_options o;
    struct err e;
    enum code code;
    if (run_options_read(c, &o)) return CODE_USAGE;
    struct study *s = script_study(c, &code);
    if (!s) return code;
    if (study_save(s, &e)) code = cli_fail(CODE_FAILURE, "%s", e.text);
    else code = (enum code)run_study(s, &o);
    if (code == CODE_OK && o.show != SHOW_NOTHING && o.show != SHOW_JSON) fprintf(stderr, "next: sluice compare %s\n", s->dir);
    study_free(s);
    return code;
}

const struct command command_run = {
    "run", "train every variant and replicate of a study", "SCRIPT",
    "sluice run experiments/quickstart.lua --jobs 2\n"
    "sluice run experiments/quickstart.lua --set train.steps=50 --replicates 2 --out /tmp/runs",
    options, 1, 1,
    "Points that are finished already are not run again; a changed script runs only its new points. A run that was\n"
    "cut off goes on from its last checkpoint with the same bits.", run,
};
