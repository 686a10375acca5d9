/* sluice prune: checkpoints of runs that are over, and earlier runs. */
#include "remove.h"
#include "runs.h"
#include "train/trunk.h"

#include <stdlib.h>
#include <string.h>

static const struct option options[] = {
    { "keep", 'k', "N", "checkpoints that each run keeps, the newest (1)" },
    { "earlier", 'e', NULL, "also remove runs that the study does not name any more, whole" },
    REMOVE_OPTIONS,
    { 0 }
};

static int prune_checkpoints(const char *run, int64_t keep, const struct held *held, struct removal *r, struct err *e)
{
    struct checkpoint *list = NULL;
    char *folder = checkpoint_folder(run);
    int n = checkpoint_list(folder, &list, e), failure = n < 0 ? -1 : 0;
    for (int i = 0; i < n - keep && !failure; i++)
        if (!checkpoint_is_held(held, list[i].step)) failure = remove_folder(list[i].path, LAYER_CHECKPOINT, r, e);
    free(list);
    free(folder);
    return failure;
}

/* whole: with its metrics. Of the study's own, what others are still to begin with stays. */
static int prune_run(const struct study *s, struct run *run, bool whole, int64_t keep, struct removal *r,
                     struct err *e)
{
    int point = run->variant < 0 ? -1 : study_point(s, run->variant, run->replicate);
    struct held held = point < 0 ? (struct held){ 0 } : trunk_held(s, point);
    char *folder = strndup(run->path, strlen(run->path) - strlen("/run.h5"));
    bool over = run_look(run) && (run->condition == STATUS_FINISHED || run->condition == STATUS_DIVERGED);
    int failure = whole ? remove_folder(folder, LAYER_RUN, r, e)
                : over  ? prune_checkpoints(folder, keep, &held, r, e)
                        : 0;
    free(held.step);
    free(folder);
    return failure;
}

static enum code prune(const struct call *c, const char *path, int64_t keep, struct removal *r)
{
    struct runs *runs;
    struct err e;
    enum code code = CODE_OK;
    if (!runs_is_study(path)) return cli_fail(CODE_INPUT, "%s: is no study (study.json)", path);
    if (runs_open(path, &runs, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    runs_add_earlier(runs);
    study_trunks(runs->study);
    for (int i = 0; i < runs->n && code == CODE_OK; i++) {
        bool whole = runs->run[i].variant < 0 && cli_flag(c, "earlier");
        if (prune_run(runs->study, &runs->run[i], whole, keep, r, &e)) code = cli_fail(CODE_INPUT, "%s", e.text);
    }
    runs_close(runs);
    return code;
}

static enum code run(const struct call *c)
{
    int64_t keep = 1;
    struct removal r = { .dry = !cli_flag(c, "yes") };
    if (cli_integer(c, "keep", 0, 1000, &keep) || cli_exclude(c, "yes", "dry-run")) return CODE_USAGE;
    for (int i = 0; i < c->n_words; i++) {
        enum code code = prune(c, c->word[i], keep, &r);
        if (code != CODE_OK) return code;
    }
    return remove_end(c, &r);
}

const struct command command_prune = {
    "prune", "remove checkpoints of runs that are over, and earlier runs", "STUDY...",
    "sluice prune runs/quickstart --dry-run\nsluice prune runs/* --keep 0 --earlier --yes", options, 1, -1,
    "Metrics stay; sluice sample needs a checkpoint. Runs that are not over keep what they need to go on, and what\n"
    "others are still to begin with stays. With train.keep = 0 a run leaves no checkpoint in the first place.", run,
};
