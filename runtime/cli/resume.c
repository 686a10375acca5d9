/* sluice resume: goes on with a study from its own folder. */
#include "run_options.h"

static const struct option options[] = { RUN_OPTIONS, { 0 } };

static enum code run(const struct call *c)
{
    struct run_options o;
    struct study *s;
    struct err e;
    if (run_options_read(c, &o)) return CODE_USAGE;
    if (study_open(c->word[0], &s, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    enum code code = run_points(c, s);
    study_free(s);
    return code;
}

const struct command command_resume = {
    "resume", "go on with a study that was cut off", "STUDY", "sluice resume runs/quickstart", options, 1, 1,
    "Reads runs/NAME/study.json, not the script. Finished points are skipped, others go on from their last checkpoint.", run,
};
