/* sluice fsck: checks run files, and makes those of dead writers readable to every program again. */
#include "status.h"
#include <stdlib.h>
#include <string.h>

static const struct option options[] = {
    { "repair", 0, NULL, "repair files whose writer died" },
    { "json", 0, NULL, "machine-readable" },
    { 0 }
};

static const char *verdict(const struct fsck_result *r)
{
    return !r->readable ? "unreadable" : r->bad_datasets ? "damaged" : r->repaired ? "repaired" : r->clean ? "clean" : "not closed";
}

static json_t *result_json(const char *path, const struct fsck_result *r)
{
    return json_pack("{s:s, s:s, s:b, s:b, s:b, s:I, s:I, s:i, s:s}", "path", path, "verdict", verdict(r), "readable", r->readable, "clean", r->clean, "repaired", r->repaired,
                     "rows", (json_int_t)r->rows, "ragged_rows", (json_int_t)r->ragged_rows, "bad_datasets", r->bad_datasets, "text", r->text);
}

/* Bad is only what nobody can read: a file whose writer lives or died is fine to read, or can be repaired. */
static enum code check(const struct run *run, bool repair, struct table *t, json_t *list)
{
    struct fsck_result r = { 0 };
    struct err e;
    if (run->condition == CONDITION_PENDING) return CODE_OK;
    if (store_fsck(run->path, repair && run->condition != STATUS_RUNNING, &r, &e)) return cli_fail(CODE_INPUT, "%s: %s", run->path, e.text);
    bool good = r.readable && !r.bad_datasets;
    table_cell(t, "%s", run->path);
    table_cell(t, "%s", verdict(&r));
    table_paint(t, !good ? PAINT_BAD : r.clean || r.repaired ? PAINT_GOOD : PAINT_WARN);
    table_cell(t, "%s", condition_name(run->condition));
    table_cell(t, "%lld", (long long)r.rows);
    table_cell(t, "%lld", (long long)r.ragged_rows);
    table_cell(t, "%s", r.text);
    json_array_append_new(list, result_json(run->path, &r));
    return good ? CODE_OK : CODE_INPUT;
}

static enum code run(const struct call *c)
{
    static const char *const columns[] = { "file", "verdict", "status", ">rows", ">ragged", "" };
    struct runs *runs;
    struct err e;
    enum code code = CODE_OK;
    if (runs_open(c->word[0], &runs, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    struct table *t = table_new(columns, COUNT(columns));
    json_t *list = json_array();
    for (int i = 0; i < runs->n; i++) {
        if (runs->run[i].reader) reader_close(runs->run[i].reader);         /* or repair would find the file in use */
        runs->run[i].reader = NULL;
        enum code one = check(&runs->run[i], cli_flag(c, "repair"), t, list);
        if (one != CODE_OK) code = one;
    }
    table_print(t, cli_flag(c, "json") ? NULL : stdout);
    if (cli_flag(c, "json")) print_json(list); else json_decref(list);
    runs_close(runs);
    return code;
}

const struct command command_fsck = {
    .name = "fsck", .about = "check run files, repair those of a dead writer", .usage = "PATH",
    .example = "sluice fsck runs/quickstart\nsluice fsck runs/quickstart --repair", .options = options, .least = 1, .most = 1, .run = run,
    .more = "PATH is a study's folder, a run's folder or a run file. Every value is read and its checksum tested. 'ragged' rows were being\n"
            "written when the writer died; repair cuts them and loses no committed row. Do not use h5clear on a run file: it can lose all of it.",
};
