/* sluice fsck: checks run files, and makes those of dead writers readable to every program again. */
#include "status.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static const struct option options[] = {
    { "repair", 0, NULL, "repair files whose writer died" },
    { "json", 0, NULL, "machine-readable" },
    { 0 }
};

static const char *verdict(const struct fsck_result *r, bool alive)
{
    return r->bad_datasets ? "damaged"
           : !r->readable  ? "unreadable"
           : r->repaired   ? "repaired"
           : r->clean      ? "clean"
           : alive         ? "being written"
                           : "not closed";
}

static json_t *result_json(const char *path, const struct fsck_result *r, bool alive)
{
    return json_pack("{s:s, s:s, s:b, s:b, s:b, s:I, s:I, s:i, s:s}", "path", path, "verdict", verdict(r, alive),
                     "readable", r->readable, "clean", r->clean, "repaired", r->repaired, "rows", (json_int_t)r->rows,
                     "ragged_rows", (json_int_t)r->ragged_rows, "bad_datasets", r->bad_datasets, "text", r->text);
}

/* Bad is only what nobody can read: a file whose writer lives or died can be read, and repaired once it is dead. */
static enum code check(const char *path, bool repair, struct table *t, json_t *list)
{
    struct fsck_result r;
    struct err e;
    bool alive = runs_is_alive(path);
    if (store_fsck(path, repair && !alive, &r, &e)) return cli_fail(cli_system_code(errno, CODE_INPUT), "%s", e.text);
    bool good = r.readable && !r.bad_datasets;
    table_cell(t, "%s", path);
    table_cell(t, "%s", verdict(&r, alive));
    table_paint(t, !good ? PAINT_BAD : r.clean || r.repaired ? PAINT_GOOD : PAINT_WARN);
    table_cell(t, "%lld", (long long)r.rows);
    table_cell(t, "%lld", (long long)r.ragged_rows);
    table_cell(t, "%s", r.text);
    json_array_append_new(list, result_json(path, &r, alive));
    return good ? CODE_OK : CODE_INPUT;
}

static enum code run(const struct call *c)
{
    static const char *const columns[] = { "file", "verdict", ">rows", ">ragged", "" };
    struct runs *runs;
    struct err e;
    enum code code = CODE_OK;
    if (runs_open(c->word[0], &runs, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    runs_add_earlier(runs);
    struct table *t = table_new(columns, COUNT(columns));
    json_t *list = json_array();
    for (int i = 0; i < runs->n; i++) {
        if (runs->study && access(runs->run[i].path, F_OK)) continue;       /* not begun */
        enum code one = check(runs->run[i].path, cli_flag(c, "repair"), t, list);
        if (one != CODE_OK) code = one;
    }
    table_print(t, cli_flag(c, "json") ? NULL : stdout);
    if (cli_flag(c, "json")) cli_json(list); else json_decref(list);
    runs_close(runs);
    return code;
}

const struct command command_fsck = {
    .name = "fsck", .about = "check run files, repair those of a dead writer", .usage = "PATH",
    .example = "sluice fsck runs/quickstart\nsluice fsck runs/quickstart --repair", .options = options, .least = 1,
    .most = 1, .run = run,
    .more = "PATH is a study's folder, a run's folder or a run file; of a study the earlier runs too. Every value is "
            "read and its checksum tested. 'ragged' rows were being\nwritten when the writer died; repair cuts them "
            "and loses no committed row. Do not use h5clear on a run file: it can lose all of it.",
};
