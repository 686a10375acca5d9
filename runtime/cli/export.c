/* sluice export: metrics as CSV or JSON. */
#include "export.h"
#include "status.h"
#include "base/file.h"
#include <errno.h>
#include <stdlib.h>

static const struct option options[] = {
    { "csv", 0, NULL, "long form, one value a line (default)" },
    { "json", 0, NULL, "one object with every run, its configuration and its series" },
    { "metric", 'm', "NAME", "only this metric (\"eval.loss\"); may be given again" },
    { "every", 0, "N", "each N-th row and the last one (default 1: all)" },
    { "earlier", 'e', NULL, "of a study also the runs that its script does not name any more, their variants named by "
                            "their folders" },
    { "output", 'o', "FILE", "write to a file, which appears when it is complete (default -: stdout)" },
    { 0 }
};

static enum code write_to(const char *path, const struct call *c, const struct runs *runs,
                          const struct export_options *o)
{
    struct err e;
    struct file *file = file_begin(path, FILE_ANY, &e);
    if (!file) return cli_fail(cli_system_code(errno, CODE_FAILURE), "%s", e.text);
    if (cli_flag(c, "json") ? export_json(runs, o, file_stream(file), &e)
                            : export_csv(runs, o, file_stream(file), &e)) {
        file_abandon(file);
        return cli_fail(CODE_INPUT, "%s", e.text);
    }
    return file_commit(file, &e) ? cli_fail(cli_system_code(errno, CODE_FAILURE), "%s", e.text) : CODE_OK;
}

static enum code run(const struct call *c)
{
    const char **metrics;
    struct export_options o = { .every = 1 };
    struct runs *runs;
    struct err e;
    if (cli_exclude(c, "csv", "json")) return CODE_USAGE;
    if (cli_integer(c, "every", 1, INT64_MAX, &o.every)) return CODE_USAGE;
    if (runs_open(c->word[0], &runs, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    if (cli_flag(c, "earlier")) runs_add_earlier(runs);
    o.n_metrics = cli_values(c, "metric", &metrics);
    o.metric = metrics;
    enum code code = write_to(cli_value(c, "output", "-"), c, runs, &o);
    status_earlier(runs, stderr);
    if (status_unreadable(runs) != CODE_OK) code = CODE_INPUT;
    free(metrics);
    runs_close(runs);
    return code;
}

const struct command command_export = {
    .name = "export", .about = "metrics as CSV or JSON, at full resolution", .usage = "PATH",
    .example = "sluice export runs/quickstart --csv -o quickstart.csv\nsluice export runs/quickstart/base-3f9a12cd/0 "
               "--json --metric train.loss", .options = options, .least = 1, .most = 1, .run = run,
    .more = "PATH is a study's folder, a run's folder or a run file; live ones too. Columns: variant, replicate, step, "
            "metric, one for each dimension\nthat occurs (layer, expert, ..., counted from 0), value. Routing metrics "
            "that follow from the expert counts are added.",
};
