/* sluice show: everything known of a study or of a run. */
#include "record.h"
#include "status.h"
#include "metric.h"
#include <stdlib.h>
#include <string.h>

static const struct option options[] = {
    { "json", 0, NULL, "machine-readable" },
    { "script", 0, NULL, "print the script that was run; above it, as comments, what --set changed and what it "
                         "requires" },
    { 0 }
};

/* ---- a study ---- */

static void print_variants(const struct study *s)
{
    static const char *const columns[] = { "variant", ">params", ">active", ">with embedding", ">training FLOP/token",
                                           ">KV/token", ">memory", "graph" };
    struct table *t = table_new(columns, COUNT(columns));
    for (int i = 0; i < s->n_variants; i++) {
        const struct variant *v = &s->variant[i];
        char text[FORMAT_SIZE], graph[33];
        hash_print(v->fingerprint, graph);
        table_cell(t, "%s%s", v->name, i == v->baseline ? " (baseline)" : "");
        table_cell(t, "%s", format_count((double)v->counts.total, text));
        table_cell(t, "%s", format_count((double)v->counts.active, text));
        table_cell(t, "%s", format_count((double)v->counts.active_embedded, text));
        table_cell(t, "%s", format_count(v->train_flops_per_token, text));
        table_cell(t, "%s", format_bytes((double)v->kv_bytes_per_token, text));
        table_cell(t, "%s", format_bytes((double)v->memory_bytes, text));
        table_cell(t, "%.8s", graph);
    }
    table_print(t, stdout);
}

static void show_study(const struct runs *runs)
{
    const struct study *s = runs->study;
    char text[FORMAT_SIZE];
    printf("study     %s\nscript    %s\ndata      %s\nprimary   %s\n", s->name, s->script_path, s->data_path,
           s->primary);
    struct record record = record_of_study(s);
    record_print(&record);
    record_free(&record);
    if (s->match_quantity)
        printf("matched   %s within %s by changing %s\n", s->match_quantity,
               format_figures(s->match_tolerance, 6, text), s->match_adjust);
    cli_heading(stdout, "variants");
    print_variants(s);
    cli_heading(stdout, "runs");
    status_print(runs, stdout);
}

static json_t *study_json(const struct runs *runs)
{
    const struct study *s = runs->study;
    json_t *variants = json_array();
    for (int i = 0; i < s->n_variants; i++) {
        const struct variant *v = &s->variant[i];
        char graph[33];
        hash_print(v->fingerprint, graph);
        json_array_append_new(variants, json_pack("{s:s, s:s, s:I, s:I, s:I, s:f, s:I, s:I, s:O}", "name", v->name,
                                                  "fingerprint", graph, "params_total", (json_int_t)v->counts.total,
                                                  "params_active", (json_int_t)v->counts.active,
                                                  "params_active_embedded", (json_int_t)v->counts.active_embedded,
                                                  "train_flops_per_token", v->train_flops_per_token,
                                                  "kv_bytes_per_token", (json_int_t)v->kv_bytes_per_token,
                                                  "memory_bytes", (json_int_t)v->memory_bytes, "config", v->config));
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:i, s:O?}", "study", s->name, "script", s->script_path,
                     "data", s->data_path, "primary", s->primary, "baseline", s->variant[s->baseline].name,
                     "variants", variants, "runs", status_json(runs), "earlier", runs->n_earlier, "record", s->record);
}

/* ---- a run ---- */

/* A table's name is printed before its first row, so that empty ones do not show. */
struct part { const char *name; bool begun; };

static void print_line(void *state, const char *text)
{
    struct part *p = state;
    if (!p->begun) cli_heading(stdout, p->name);
    p->begun = true;
    text_print(stdout, 0, 4, "%s\n", text);
}

static void cost_line(void *state, const char *text)
{
    char part[64], unit[FORMAT_SIZE];
    double x[7];
    if (sscanf(text, "%63s %lf %lf %lf %lf %lf %lf %lf", part, &x[0], &x[1], &x[2], &x[3], &x[4], &x[5], &x[6]) != 8)
        return;
    table_cell(state, "%s", part);
    for (int i = 0; i < 4; i++) table_cell(state, "%s", format_count(x[i], unit));
    for (int i = 4; i < 7; i++) table_cell(state, "%s", format_bytes(x[i], unit));
}

static int print_cost(struct reader *r, struct err *e)
{
    static const char *const columns[] = { "part", ">params", ">active", ">forward FLOP/token", ">training FLOP/token",
                                           ">activations", ">state", ">KV/token" };
    struct table *t = table_new(columns, COUNT(columns));
    cli_heading(stdout, "cost, as planned");
    int bad = reader_table(r, "cost/planned", cost_line, t, e);
    table_print(t, bad ? NULL : stdout);
    return bad;
}

static void print_range(struct table *t, const double *x, int64_t n)
{
    double low = 0, high = 0, sum = 0;
    char mean[FORMAT_SIZE], least[FORMAT_SIZE], most[FORMAT_SIZE];
    int64_t measured = 0;
    for (int64_t i = 0; i < n; i++) {
        if (x[i] != x[i]) continue;
        if (!measured || x[i] < low) low = x[i];
        if (!measured || x[i] > high) high = x[i];
        sum += x[i];
        measured++;
    }
    if (!measured) table_cell(t, "-");
    else if (n == 1) table_cell(t, "%s", format_figures(x[0], 6, mean));
    else
        table_cell(t, "%s  (%s … %s)", format_figures(sum / (double)measured, 6, mean), format_figures(low, 6, least),
                   format_figures(high, 6, most));
}

/* The last row of every metric; of those with layers or experts the mean, the lowest and the highest. */
static int print_metrics(struct run *r, struct err *e)
{
    static const char *const columns[] = { "metric", "unit", ">rows", "dimensions",
                                           "last row: value, or mean (lowest … highest)" };
    struct metric *list;
    int n = metric_list(r, &list), bad = 0;
    struct table *t = table_new(columns, COUNT(columns));
    for (int i = 0; i < n && !bad; i++) {
        const struct reader_series *s = &list[i].series;
        struct curve c;
        char dims[96] = "";
        bad = metric_read(r, &list[i], &c, e);
        if (bad) break;
        for (int d = 0; d < s->rank; d++)
            snprintf(dims + strlen(dims), sizeof dims - strlen(dims), "%s%s %lld", d ? ", " : "", s->dim_name[d],
                     (long long)s->dim[d]);
        table_cell(t, "%s.%s", metric_group[s->group], s->name);
        table_cell(t, "%s", s->unit);
        table_cell(t, "%lld", (long long)c.rows);
        table_cell(t, "%s", dims);
        print_range(t, c.value + (c.rows - 1) * c.cells, c.rows ? c.cells : 0);
        curve_free(&c);
    }
    free(list);
    cli_heading(stdout, "metrics");
    table_print(t, stdout);
    return bad;
}

/* From which step on it is collapsed, up to which it was, or that it never was. */
static void print_collapse(struct table *t, const struct curve *c, int64_t layer)
{
    int64_t first = -1, last = -1;
    for (int64_t row = 0; row < c->rows; row++) {
        if (c->value[row * c->cells + layer] != 1) continue;
        if (last != row - 1 || first < 0) first = row;
        last = row;
    }
    if (last < 0) table_cell(t, "no");
    else if (last == c->rows - 1) table_cell(t, "since step %lld", (long long)c->step[first]);
    else table_cell(t, "until step %lld", (long long)c->step[last]);
    if (last >= 0 && last == c->rows - 1) table_paint(t, PAINT_BAD);
}

/* How the experts of each layer shared the tokens of the last step; router: of routing_routers. */
static int print_load(struct run *r, const char *router, struct err *e)
{
    static const char *const columns[] = { ">layer", ">max vio", ">of random", ">of the run", ">min vio", ">CV²",
                                           ">Gini", ">effective experts", ">dead", ">drowned", "collapsed" };
    static const char *const names[] = { "max_vio", "max_vio_floor", "max_vio_global", "min_vio", "load_cv2",
                                         "load_gini", "effective_experts", "dead_frac", "drowned_frac", "collapsed" };
    enum { DEAD = COUNT(names) - 3, COLLAPSED = COUNT(names) - 1 };
    struct curve curve[COUNT(names)] = { 0 };
    struct metric *list;
    int n = metric_list(r, &list), bad = 0, found = 0;
    for (int i = 0; i < n && !bad; i++)
        for (int k = 0; k < COUNT(names) && !bad; k++) {
            const char *name = list[i].series.name;
            size_t before = strlen(router);
            if (list[i].series.group != STORE_TRAIN || strncmp(name, router, before) || strcmp(name + before, names[k]))
                continue;
            bad = metric_read(r, &list[i], &curve[k], e);
            found += !bad;
        }
    free(list);
    struct table *t = table_new(columns, COUNT(columns));
    bool whole = !bad && found == COUNT(names) && curve[0].rows > 0;
    for (int64_t layer = 0; whole && layer < curve[0].cells; layer++) {
        char text[FORMAT_SIZE];
        int64_t at = (curve[0].rows - 1) * curve[0].cells + layer;
        if (curve[0].value[at] != curve[0].value[at]) continue;
        table_cell(t, "%lld", (long long)layer);
        for (int k = 0; k < DEAD; k++) table_cell(t, "%s", format_figures(curve[k].value[at], 3, text));
        for (int k = DEAD; k < COLLAPSED; k++)
            table_cell(t, "%s %%", format_figures(100 * curve[k].value[at], 3, text));
        print_collapse(t, &curve[COLLAPSED], layer);
    }
    if (whole)
        cli_heading(stdout, *router ? "load of attention's experts in the last step" : "expert load in the last step");
    table_print(t, whole ? stdout : NULL);
    for (int k = 0; k < COUNT(names); k++) curve_free(&curve[k]);
    return bad;
}

static enum code show_run(struct run *r)
{
    static const char *const tables[] = { "events", "checkpoints", "attempts", "samples" };
    struct err e;
    struct reader *reader = run_reader(r);
    printf("run       %s\nfile      %s\nstatus    %s\nstep      %lld of %lld\n", r->name, r->path,
           condition_name(r->condition), (long long)r->step, (long long)r->steps);
    if (!reader) return r->problem ? cli_fail(CODE_INPUT, "%s", r->problem) : CODE_OK;
    struct record record = record_read(reader);
    record_print(&record);
    record_free(&record);
    json_t *config = json_loads(reader_config(reader), 0, NULL);
    cli_heading(stdout, "configuration");
    if (config) json_dumpf(config, stdout, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(15));
    putchar('\n');
    json_decref(config);
    if (print_cost(reader, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    for (int i = 0; i < COUNT(tables); i++)
        if (reader_table(reader, tables[i], print_line, &(struct part){ .name = tables[i] }, &e))
            return cli_fail(CODE_INPUT, "%s", e.text);
    for (const char *const *router = routing_routers; *router; router++)
        if (print_load(r, *router, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    return print_metrics(r, &e) ? cli_fail(CODE_INPUT, "%s", e.text) : CODE_OK;
}

static void collect_line(void *state, const char *text)
{
    json_array_append_new(state, json_string(text));
}

static json_t *metrics_json(struct run *r)
{
    json_t *list = json_array();
    struct metric *m;
    int n = metric_list(r, &m);
    for (int i = 0; i < n; i++) {
        char name[96];
        snprintf(name, sizeof name, "%s.%s", metric_group[m[i].series.group], m[i].series.name);
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:b}", "metric", name, "unit", m[i].series.unit,
                                              "about", m[i].series.about, "better", better_name[m[i].series.better],
                                              "derived", !metric_is_stored(&m[i])));
    }
    free(m);
    return list;
}

static json_t *run_json(const struct runs *runs)
{
    struct run *r = &runs->run[0];
    json_t *list = status_json(runs), *j = json_incref(json_array_get(list, 0)), *events = json_array();
    struct err e;
    json_decref(list);
    json_object_set_new(j, "metrics", metrics_json(r));
    json_object_set_new(j, "events", events);
    struct reader *reader = run_reader(r);
    if (!reader) return j;
    struct record record = record_read(reader);
    record_json(&record, j);
    record_free(&record);
    json_object_set_new(j, "config", json_loads(reader_config(reader), 0, NULL));
    if (reader_table(reader, "events", collect_line, events, &e)) run_distrust(r, e.text);
    return j;
}

static enum code show_script(const struct runs *runs, const char *path)
{
    bool whole = runs_is_study(path);
    struct reader *reader = whole ? NULL : run_reader(&runs->run[0]);
    if (!whole && !reader)
        return cli_fail(CODE_INPUT, "%s", runs->run[0].problem ? runs->run[0].problem : "the run was not begun");
    struct record record = whole ? record_of_study(runs->study) : record_read(reader);
    record_script(&record, path);
    record_free(&record);
    return CODE_OK;
}

static enum code run(const struct call *c)
{
    struct runs *runs;
    struct err e;
    enum code code = CODE_OK;
    if (runs_open(c->word[0], &runs, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    bool single = !runs_is_study(c->word[0]);
    if (cli_flag(c, "script")) code = show_script(runs, c->word[0]);
    else if (cli_flag(c, "json")) cli_json(single ? run_json(runs) : study_json(runs));
    else if (single) code = show_run(&runs->run[0]);
    else show_study(runs);
    if (code == CODE_OK && !(cli_flag(c, "script") && runs->study)) code = status_unreadable(runs);
    runs_close(runs);
    return code;
}

const struct command command_show = {
    .name = "show", .about = "what is known of a study or a run: configuration, cost, events, metrics", .usage = "PATH",
    .example = "sluice show runs/quickstart\nsluice show runs/quickstart/base-3f9a12cd/0", .options = options,
    .least = 1, .most = 1, .run = run,
    .more = "PATH is a study's folder, a run's folder or a run file.",
};
