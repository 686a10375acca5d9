/* sluice coordcheck: whether the first steps change activations by the same at every width. */
#include "script.h"
#include "train/coords.h"
#include "cpu/pool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct option options[] = {
    SCRIPT_OPTIONS,
    { "json", 0, NULL, "machine-readable" },
    { 0 }
};

static const int after[] = { 1, 3, 10 };
enum { AFTER = COUNT(after), WIDTHS = 16 };
static const double flat = 0.1;

/* Models of one parametrization, by width. log_change: the mean over seeds of its logarithm. */
struct line {
    const char *name;
    int n; struct { int64_t width; const struct variant *variant; double log_change[AFTER][COORD_COUNT]; } at[WIDTHS];
};
struct lines { int n; struct line *line; };

static int64_t width_of(const struct variant *v) { return config_integer(v->config, "model.d_model"); }

/* With what it is set to. */
static char *parametrization_of(const struct variant *v)
{
    char text[256];
    const char *key;
    json_t *value, *p = config_get(v->config, "model.parametrization");
    int n = snprintf(text, sizeof text, "%s", json_string_value(json_object_get(p, "module")));
    json_object_foreach(p, key, value)
        if (json_is_integer(value) && json_integer_value(value))
            n += snprintf(text + n, sizeof text - (size_t)n, " %s=%lld", key, (long long)json_integer_value(value));
    return xstrdup(text);
}

static struct line *line_of(struct lines *l, const struct variant *v)
{
    char *name = parametrization_of(v);
    for (int i = 0; i < l->n; i++) {
        if (strcmp(l->line[i].name, name)) continue;
        free(name);
        return &l->line[i];
    }
    l->line = xrealloc(l->line, (size_t)(l->n + 1) * sizeof *l->line);
    l->line[l->n] = (struct line){ .name = name };
    return &l->line[l->n++];
}

/* Keeps widths ascending. */
static enum code take(struct lines *l, const struct variant *v)
{
    struct line *x = line_of(l, v);
    int at = x->n;
    if (x->n == WIDTHS) return cli_fail(CODE_SCRIPT, "%s: more than %d widths", x->name, WIDTHS);
    for (int i = 0; i < x->n; i++)
        if (x->at[i].width == width_of(v))
            return cli_fail(CODE_SCRIPT, "variants '%s' and '%s' are both %lld wide and '%s': a width is measured once",
                            x->at[i].variant->name, v->name, (long long)width_of(v), x->name);
    for (; at > 0 && x->at[at - 1].width > width_of(v); at--) x->at[at] = x->at[at - 1];
    memset(&x->at[at], 0, sizeof x->at[at]);
    x->at[at].width = width_of(v);
    x->at[at].variant = v;
    x->n++;
    return CODE_OK;
}

static enum code take_all(struct lines *l, const struct study *s)
{
    for (int i = 0; i < s->n_variants; i++)
        if (take(l, &s->variant[i])) return CODE_SCRIPT;
    for (int i = 0; i < l->n; i++)
        if (l->line[i].n < 2)
            return cli_fail(CODE_SCRIPT, "'%s' has one width, d_model = %lld of variant '%s': two at least show a "
                                         "slope", l->line[i].name, (long long)l->line[i].at[0].width,
                            l->line[i].at[0].variant->name);
    return CODE_OK;
}

static int measure(struct lines *l, const struct study *s, const struct corpus *c, struct err *e)
{
    double change[AFTER][COORD_COUNT];
    for (int i = 0; i < l->n; i++)
        for (int w = 0; w < l->line[i].n; w++)
            for (int r = 0; r < s->replicates; r++) {
                uint64_t seed = s->point[study_point(s, 0, r)].seed;
                if (coords_measure(l->line[i].at[w].variant->config, c, seed, pool_cores(), AFTER, after, change, e))
                    return -1;
                for (int k = 0; k < AFTER * COORD_COUNT; k++)
                    l->line[i].at[w].log_change[k / COORD_COUNT][k % COORD_COUNT] +=
                        log(change[k / COORD_COUNT][k % COORD_COUNT]) / s->replicates;
            }
    return 0;
}

/* Of the line through log change over log width. */
static double slope(const struct line *x, int step, enum coord c)
{
    double sum = 0, mean = 0, above = 0, below = 0;
    for (int w = 0; w < x->n; w++) {
        sum += log((double)x->at[w].width) / x->n;
        mean += x->at[w].log_change[step][c] / x->n;
    }
    for (int w = 0; w < x->n; w++) {
        double from = log((double)x->at[w].width) - sum;
        above += from * (x->at[w].log_change[step][c] - mean);
        below += from * from;
    }
    return above / below;
}

static const char *verdict(double slope)
{
    return fabs(slope) < flat ? "flat" : slope > 0 ? "grows" : slope < 0 ? "shrinks" : "not finite";
}

static bool is_there(const struct line *x, enum coord c) { return !isnan(x->at[0].log_change[0][c]); }

/* How many of them are not flat. */
struct uneven { int grow, shrink; };

static struct uneven print_line(const struct line *x)
{
    const char *column[WIDTHS + 4] = { "", ">after step" };
    char name[WIDTHS][32], text[FORMAT_SIZE];
    struct uneven uneven = { 0, 0 };
    for (int w = 0; w < x->n; w++) {
        snprintf(name[w], sizeof name[w], ">d_model %lld", (long long)x->at[w].width);
        column[w + 2] = name[w];
    }
    column[x->n + 2] = ">slope";
    column[x->n + 3] = "";
    struct table *t = table_new(column, x->n + 4);
    for (int c = 0; c < COORD_COUNT; c++)
        for (int i = 0; i < AFTER && is_there(x, (enum coord)c); i++) {
            double by = slope(x, i, (enum coord)c);
            table_cell(t, "%s", i ? "" : coord_name[c]);
            table_cell(t, "%d", after[i]);
            for (int w = 0; w < x->n; w++)
                table_cell(t, "%s", format_figures(exp(x->at[w].log_change[i][c]), 3, text));
            table_cell(t, "%+.2f", by);
            table_cell(t, "%s", verdict(by));
            table_paint(t, fabs(by) < flat ? PAINT_GOOD : PAINT_BAD);
            uneven.grow += !(by < flat);
            uneven.shrink += by <= -flat;
        }
    printf("%s%s%s\n", cli_paint(stdout, PAINT_BOLD), x->name, cli_paint(stdout, PAINT_OFF));
    table_print(t, stdout);
    return uneven;
}

static void print_all(const struct lines *l)
{
    for (int i = 0; i < l->n; i++) {
        struct uneven u = print_line(&l->line[i]);
        if (u.grow + u.shrink == 0) text_print(stdout, 0, 2, "%s: all are flat\n\n", l->line[i].name);
        else if (u.shrink == 0) text_print(stdout, 0, 2, "%s: %d grow with the width\n\n", l->line[i].name, u.grow);
        else text_print(stdout, 0, 2, "%s: %d grow with the width, %d shrink\n\n", l->line[i].name, u.grow, u.shrink);
    }
}

static json_t *json_of(const struct line *x)
{
    json_t *widths = json_array(), *all = json_array();
    for (int w = 0; w < x->n; w++) json_array_append_new(widths, json_integer(x->at[w].width));
    for (int k = 0; k < AFTER * COORD_COUNT; k++) {
        int i = k % AFTER;
        enum coord c = (enum coord)(k / AFTER);
        json_t *change = json_array();
        double by = slope(x, i, c);
        for (int w = 0; w < x->n; w++) json_array_append_new(change, json_real(exp(x->at[w].log_change[i][c])));
        if (is_there(x, c) && isfinite(by))
            json_array_append_new(all, json_pack("{s:s, s:i, s:o, s:f, s:s}", "tensor", coord_name[c], "after",
                                                 after[i], "change", change, "slope", by, "verdict", verdict(by)));
        else json_decref(change);
    }
    return json_pack("{s:s, s:o, s:o}", "parametrization", x->name, "d_model", widths, "changes", all);
}

static json_t *all_json(const struct lines *l)
{
    json_t *all = json_array();
    for (int i = 0; i < l->n; i++) json_array_append_new(all, json_of(&l->line[i]));
    return all;
}

static enum code run(const struct call *c)
{
    enum code code;
    struct corpus *data;
    struct lines l = { 0 };
    struct err e;
    struct study *s = script_study(c, true, &code);
    if (!s) return code;
    code = take_all(&l, s);
    if (!code && corpus_open(&data, s->data_path, &e)) code = cli_fail(CODE_INPUT, "data: %s", e.text);
    else if (!code) {
        if (measure(&l, s, data, &e)) code = cli_fail(CODE_SCRIPT, "%s", e.text);
        else if (cli_flag(c, "json")) cli_json(all_json(&l));
        else print_all(&l);
        corpus_close(data);
    }
    for (int i = 0; i < l.n; i++) free((char *)l.line[i].name);
    free(l.line);
    study_free(s);
    return code;
}

const struct command command_coordcheck = {
    "coordcheck", "whether steps change activations alike at every width", "SCRIPT",
    "sluice coordcheck experiments/coordcheck.lua --data synthetic", options, 1, 1,
    "The variants of the study are the models, and its replicates the seeds. Those of one parametrization make a "
    "table, in which their d_model goes from left to right. Each trains for ten steps at its full rate, and what it "
    "makes of the same held-out tokens is held against what it did at first: the table has root mean squares of the "
    "change, and the slope of their logarithm over that of the width. Within 0.1 of 0 it is flat, and a rate that is "
    "tuned at one width holds at another. Logits of a head or a router that begins at random and wide shrink for a few "
    "steps under muP, where the first change of what they read is seen through that. No run is kept.", run,
};
