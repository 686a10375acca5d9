/* sluice resume: goes on with a study from its own folder. */
#include "run_options.h"

#include <stdlib.h>

static const struct option options[] = {
    { "data", 'd', "FILE", "where the study's data lies now; study.json keeps it" },
    RUN_OPTIONS,
    { 0 }
};

/* The same data in another place. Rank 0 writes it down for all. */
static enum code move_data(struct study *s, const char *given, int rank)
{
    struct err e;
    char *path = corpus_find(given, NULL);
    enum code code = CODE_OK;
    if (run_check_data(s, path, &e)) code = cli_fail(CODE_INPUT, "--data %s", e.text);
    else {
        s->data_path = arena_text(s->arena, "%s", path);
        if (rank == 0 && study_save(s, &e)) code = cli_fail(CODE_FAILURE, "%s", e.text);
    }
    free(path);
    return code;
}

static enum code run(const struct call *c)
{
    struct run_options o;
    struct study *s;
    struct err e;
    const char *data = cli_value(c, "data", NULL);
    if (run_options_read(c, &o)) return CODE_USAGE;
    if (study_open(c->word[0], &s, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    enum code code = data ? move_data(s, data, o.rank) : CODE_OK;
    if (!code) code = run_points(c, &o, s);
    study_free(s);
    return code;
}

const struct command command_resume = {
    "resume", "go on with a study that was cut off", "STUDY", "sluice resume runs/quickstart", options, 1, 1,
    "Reads runs/NAME/study.json, not the script. Finished points are skipped, others go on from their last "
    "checkpoint.\nThe folder may have been moved; where the data has, --data names its new place, and takes nothing "
    "else.", run,
};
