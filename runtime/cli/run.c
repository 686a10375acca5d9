/* sluice run: trains every point of a script's study. */
#include "script.h"
#include "run_options.h"
#include "cpu/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct option options[] = {
    SCRIPT_OPTIONS,
    RUN_OPTIONS,
    { "replace", 0, NULL, "take over a study that another script of the same name made" },
    { 0 }
};

int run_options_read(const struct call *c, struct run_options *o)
{
    static const char *const words[] = { [SHOW_AUTO] = "auto", [SHOW_LINES] = "lines", [SHOW_JSON] = "json",
                                         [SHOW_NOTHING] = "none", NULL };
    int64_t jobs = 0, threads = 0;
    int show = SHOW_AUTO;
    struct err e;
    if (cli_integer(c, "jobs", 1, 256, &jobs) || cli_integer(c, "threads", 1, 1024, &threads) ||
        cli_word(c, "progress", words, &show))
        return -1;
    *o = (struct run_options){ (int)jobs, (int)threads, show, cli_flag(c, "retry-failed"), cli_flag(c, "mix"), 0, 1 };
    if (comm_look(&o->rank, &o->ranks, &e)) return cli_usage(c, "%s", e.text), -1;
    if (o->ranks > 1 && jobs > 1)
        return cli_usage(c, "--jobs %d: %d ranks train one run after the other", (int)jobs, o->ranks), -1;
    return 0;
}

/* Points that have not begun. */
static int count_pending(const struct study *s)
{
    int pending = 0;
    for (int p = 0; p < s->n_points; p++) {
        char *file = study_point_path(s, p, "run.h5");
        pending += access(file, F_OK) != 0;
        free(file);
    }
    return pending;
}

/* Leaves the points that --only asks for; the number of those that have to wait, or -1. */
static int select_points(const struct call *c, struct study *s)
{
    struct err e;
    const char **only;
    int n = cli_values(c, "only", &only), pending = n ? count_pending(s) : 0;
    bool unknown = n && study_select(s, only, n, &e);
    free(only);
    if (unknown) return cli_usage(c, "--only %s", e.text), -1;
    return n ? pending - count_pending(s) : 0;
}

enum code run_points(const struct call *c, const struct run_options *o, struct study *s)
{
    const char *ranks = cli_value(c, "ranks", NULL);
    struct err e;
    if (ranks && study_divide(s, ranks, &e)) return cli_usage(c, "--ranks %s", e.text);
    int pending = select_points(c, s);
    if (pending < 0) return CODE_USAGE;
    study_trunks(s);
    if (o->jobs * o->threads > pool_cores())
        fprintf(stderr, "note: %d jobs of %d threads share %d cores; they slow each other down\n", o->jobs, o->threads,
                pool_cores());
    enum code code = (enum code)run_study(s, o);
    if (o->rank > 0 || o->show == SHOW_NOTHING || o->show == SHOW_JSON) return code;
    if (pending && access(s->dir, F_OK) == 0)
        fprintf(stderr, "other variants have %d pending %s: sluice resume %s\n", pending, pending == 1 ? "run" : "runs",
                s->dir);
    if (code == CODE_OK) fprintf(stderr, "next: sluice compare %s\n", s->dir);
    return code;
}

static void say_change(const struct study *s, const struct study_change *change, bool json)
{
    const struct { int n; const char *key, *words; } part[] = {
        { change->added, "new", "new" },
        { change->kept, "kept", "kept" },
        { change->back, "brought_back", "brought back" },
        { change->earlier, "earlier", "become earlier ones" },
        { change->dropped, "dropped", "not begun and dropped" } };
    if (!change->added && !change->back && !change->earlier && !change->dropped) return;
    if (json) fprintf(stderr, "{\"event\":\"changed\",\"study\":\"%s\"", s->name);
    else fprintf(stderr, "note: %s has changed: runs", s->dir);
    for (int i = 0, said = 0; i < COUNT(part); i++) {
        if (json) fprintf(stderr, ",\"%s\":%d", part[i].key, part[i].n);
        else if (part[i].n) fprintf(stderr, "%s %d %s", said++ ? "," : "", part[i].n, part[i].words);
    }
    if (json) fputs("}\n", stderr);
    else if (change->earlier) fprintf(stderr, "; sluice ls %s --earlier lists those\n", s->dir);
    else fputc('\n', stderr);
}

/* Finished runs must not be hidden by a script that happens to have the same name. */
static enum code save(const struct call *c, const struct study *s, bool json)
{
    struct study_change change;
    struct err e;
    if (study_change(s, &change, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    if (change.other && change.earlier && !cli_flag(c, "replace"))
        return cli_fail(CODE_INPUT, "%s is the study of %s; %d of its runs would become earlier ones\n"
                        "  to keep both, give this one a name (name = \"...\" in the script) or a folder (--out DIR); "
                        "--replace takes the study over", s->dir, change.script, change.earlier);
    if (change.exists) say_change(s, &change, json);
    return study_save(s, &e) ? cli_fail(cli_system_code(errno, CODE_FAILURE), "%s", e.text) : CODE_OK;
}

static enum code run(const struct call *c)
{
    struct run_options o;
    enum code code;
    if (run_options_read(c, &o)) return CODE_USAGE;         /* before the script is run */
    struct study *s = script_study(c, true, &code);
    if (!s) return code;
    code = o.rank == 0 ? save(c, s, o.show == SHOW_JSON) : CODE_OK;
    if (code == CODE_OK) code = run_points(c, &o, s);
    study_free(s);
    return code;
}

const struct command command_run = {
    "run", "train every variant and replicate of a study", "SCRIPT",
    "sluice run experiments/quickstart.lua --jobs 2\n"
    "sluice run experiments/quickstart.lua --set train.steps=50 --replicates 2 --out /tmp/runs",
    options, 1, 1,
    "Points that are finished already are not run again; a changed script runs only its new points, and what it does "
    "not name any\nmore stays as an earlier run. Another script of the same name is refused where it would hide runs "
    "that way. A run that was\ncut off goes on from its last checkpoint with the same bits. Several processes may "
    "train one study: each takes runs\nthat nobody trains, and all end when the study is complete.", run,
};
