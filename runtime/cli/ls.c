/* sluice ls: the studies of a folder, or the runs of a study. */
#include "status.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const struct option options[] = {
    { "earlier", 'e', NULL, "of a study also the runs that its script does not name any more" },
    { "json", 0, NULL, "machine-readable" },
    { 0 }
};

/* All studies of a folder, by name. */
struct shelf { int n; struct runs **runs; };

static int is_visible(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static enum code open_shelf(const char *folder, struct shelf *shelf)
{
    struct dirent **entry;
    int n = scandir(folder, &entry, is_visible, alphasort);
    enum code code = CODE_OK;
    if (n < 0) return cli_fail(CODE_INPUT, "%s: %s", folder, strerror(errno));
    *shelf = (struct shelf){ 0, xcalloc((size_t)n + 1, sizeof *shelf->runs) };
    for (int i = 0; i < n; i++) {
        char path[PATH_MAX];
        struct err e;
        snprintf(path, sizeof path, "%s/%s", folder, entry[i]->d_name);
        free(entry[i]);
        if (!runs_is_study(path)) continue;
        if (runs_open(path, &shelf->runs[shelf->n], &e)) code = cli_fail(CODE_INPUT, "%s", e.text);
        else shelf->n++;
    }
    free(entry);
    return code;
}

static void print_shelf(const struct shelf *shelf)
{
    static const char *const columns[] = { "study", ">variants", ">replicates", ">finished", "status", ">earlier" };
    struct table *t = table_new(columns, COUNT(columns));
    for (int i = 0; i < shelf->n; i++) {
        const struct runs *runs = shelf->runs[i];
        char text[160];
        status_summary(runs, text, sizeof text);
        table_cell(t, "%s", runs->study->dir);
        table_cell(t, "%d", runs->study->n_variants);
        table_cell(t, "%d", runs->study->replicates);
        table_cell(t, "%d/%d", status_count(runs, STATUS_FINISHED), runs->n);
        table_cell(t, "%s", text);
        table_cell(t, "%d", runs->n_earlier);
    }
    table_print(t, stdout);
}

static json_t *shelf_json(const struct shelf *shelf)
{
    json_t *list = json_array();
    for (int i = 0; i < shelf->n; i++) {
        const struct runs *runs = shelf->runs[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:i, s:i, s:s, s:o}", "study", runs->study->name,
                                              "path", runs->study->dir, "variants", runs->study->n_variants,
                                              "replicates", runs->study->replicates, "earlier", runs->n_earlier,
                                              "primary", runs->study->primary, "runs", status_json(runs)));
    }
    return list;
}

static enum code list_studies(const char *folder, bool json)
{
    struct shelf shelf = { 0 };
    enum code code = open_shelf(folder, &shelf);
    if (json) cli_json(shelf_json(&shelf));
    else if (shelf.n) print_shelf(&shelf);
    else if (code == CODE_OK) fprintf(stderr, "no study in %s\n", folder);
    for (int i = 0; i < shelf.n; i++) {
        if (status_unreadable(shelf.runs[i]) != CODE_OK) code = CODE_INPUT;
        runs_close(shelf.runs[i]);
    }
    free(shelf.runs);
    return code;
}

static enum code run(const struct call *c)
{
    bool earlier = cli_flag(c, "earlier"), json = cli_flag(c, "json");
    const char *path = c->n_words ? c->word[0] : "runs";
    struct runs *runs;
    struct err e;
    if (!runs_is_study(path) && earlier) return cli_usage(c, "--earlier: %s is no study", path);
    if (!runs_is_study(path)) return list_studies(path, json);
    if (runs_open(path, &runs, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    if (earlier) runs_add_earlier(runs);
    if (json) cli_json(status_json(runs)); else status_print(runs, stdout);
    enum code code = status_unreadable(runs);
    runs_close(runs);
    return code;
}

const struct command command_ls = {
    .name = "ls", .about = "list studies, or the runs of a study", .usage = "[DIR]",
    .example = "sluice ls\nsluice ls runs/quickstart", .options = options, .least = 0, .most = 1, .run = run,
    .more = "DIR is a folder of studies (default: runs) or a study. A run is 'dead' when its file says running and no "
            "process holds its lock;\nof one that is 'unreadable' the reason is said, and the exit code is 4. A run is "
            "'earlier' when the study's last sluice run did\nnot name it: its script, or what was set, has changed "
            "since.",
};
