/* sluice ls: the studies of a folder, or the runs of a study. */
#include "cli.h"
#include "runs.h"
#include "status.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct option options[] = {
    { "json", 0, NULL, "machine-readable" },
    { 0 }
};

/* How many runs of a study are in each condition. */
struct tally { int count[CONDITION_COUNT]; };

static struct tally tally(const struct runs *runs)
{
    struct tally t = { { 0 } };
    for (int i = 0; i < runs->n; i++) t.count[runs->run[i].condition]++;
    return t;
}

/* "2 running, 1 dead", or "finished" when all are. */
static void tally_text(const struct tally *t, int n, char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; i < CONDITION_COUNT; i++) {
        if (!t->count[i]) continue;
        if (t->count[i] == n) snprintf(out, size, "%s", condition_name(i));
        else used += (size_t)snprintf(out + used, size - used, "%s%d %s", used ? ", " : "", t->count[i], condition_name(i));
        if (used >= size) return;
    }
}

static json_t *study_json(const struct runs *runs)
{
    struct tally t = tally(runs);
    json_t *status = json_object();
    for (int i = 0; i < CONDITION_COUNT; i++)
        if (t.count[i]) json_object_set_new(status, condition_name(i), json_integer(t.count[i]));
    return json_pack("{s:s, s:s, s:i, s:i, s:i, s:s, s:o}", "study", runs->study->name, "path", runs->study->dir, "variants", runs->study->n_variants,
                     "replicates", runs->study->replicates, "runs", runs->n, "primary", runs->study->primary, "status", status);
}

static int is_study_entry(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static enum code list_studies(const char *folder, bool json)
{
    static const char *const columns[] = { "study", ">variants", ">replicates", ">finished", "status" };
    struct dirent **entry;
    int n = scandir(folder, &entry, is_study_entry, alphasort), found = 0;
    enum code code = CODE_OK;
    if (n < 0) return cli_fail(CODE_INPUT, "%s: %s", folder, strerror(errno));
    struct table *t = table_new(columns, COUNT(columns));
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        char path[4096], text[160];
        struct runs *runs;
        struct err e;
        snprintf(path, sizeof path, "%s/%s", folder, entry[i]->d_name);
        free(entry[i]);
        if (!runs_is_study(path)) continue;
        if (runs_open(path, &runs, &e)) { code = cli_fail(CODE_INPUT, "%s", e.text); continue; }
        struct tally counts = tally(runs);
        tally_text(&counts, runs->n, text, sizeof text);
        table_cell(t, "%s", entry_name(path));
        table_cell(t, "%d", runs->study->n_variants);
        table_cell(t, "%d", runs->study->replicates);
        table_cell(t, "%d/%d", counts.count[STATUS_FINISHED], runs->n);
        table_cell(t, "%s", text);
        json_array_append_new(list, study_json(runs));
        runs_close(runs);
        found++;
    }
    free(entry);
    if (!found && code == CODE_OK) fprintf(stderr, "no study in %s\n", folder);
    if (json) print_json(list); else { if (found) table_print(t, stdout); else table_free(t); json_decref(list); }
    if (json) table_free(t);
    return code;
}
