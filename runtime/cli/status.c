/* The table of a study's runs. */
#include "status.h"
#include "export.h"
#include "metric.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum paint status_paint(int condition)
{
    switch (condition) {
    case STATUS_FINISHED: return PAINT_GOOD;
    case STATUS_RUNNING: return PAINT_BOLD;
    case STATUS_DIVERGED: case STATUS_FAILED: case CONDITION_DEAD: case CONDITION_UNREADABLE: return PAINT_BAD;
    case STATUS_PREEMPTED: return PAINT_WARN;
    default: return PAINT_DIM;
    }
}

int status_count(const struct runs *runs, int condition)
{
    int n = 0;
    for (int i = 0; i < runs->n; i++) {
        run_look(&runs->run[i]);
        n += runs->run[i].condition == condition;
    }
    return n;
}

void status_summary(const struct runs *runs, char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; i < CONDITION_COUNT; i++) {
        int n = status_count(runs, i);
        if (n && n == runs->n) snprintf(out, size, "%s", condition_name(i));
        else if (n && used < size) used += (size_t)snprintf(out + used, size - used, "%s%d %s", used ? ", " : "", n,
                                                            condition_name(i));
    }
}

/* From the last tenth of the rows, so that a machine that became busy is noticed. */
double status_remaining(struct run *r)
{
    struct curve c;
    struct err e;
    if (!run_look(r) || !r->steps || metric_scalar(r, "train.wall_time", &c, NULL, &e)) return NAN;
    double left = NAN;
    if (c.rows >= 2) {
        int64_t last = c.rows - 1, first = last - 1 - last / 10;
        if (first < 0) first = 0;
        double step_seconds = (c.value[last] - c.value[first]) / (double)(c.step[last] - c.step[first]);
        left = step_seconds * (double)(r->steps - c.step[last]);
    }
    curve_free(&c);
    return left > 0 ? left : NAN;
}

const char *status_primary(const struct runs *runs)
{
    return runs->study ? runs->study->primary : "eval.loss";
}

static bool is_earlier(const struct runs *runs, const struct run *r) { return runs->study && r->variant < 0; }

void status_earlier(const struct runs *runs, FILE *to)
{
    if (!runs->n_earlier) return;
    fprintf(to, "%d earlier %s of this study %s not named by its script any more: sluice ls %s --earlier\n",
            runs->n_earlier, runs->n_earlier == 1 ? "run" : "runs", runs->n_earlier == 1 ? "is" : "are",
            runs->study->dir);
}

/* Read before anything is printed of a run: it may be unreadable. */
struct numbers { double loss, primary, seconds, left; };

static struct numbers numbers_of(const struct runs *runs, struct run *r)
{
    const char *primary = status_primary(runs);
    struct numbers n = { metric_last(r, "train.loss"), metric_last(r, primary), metric_last(r, "train.wall_time"),
                         NAN };
    if (run_look(r) && r->condition == STATUS_RUNNING) n.left = status_remaining(r);
    return n;
}

void status_print(const struct runs *runs, FILE *to)
{
    const char *columns[] = { "run", "status", ">step", ">train.loss", NULL, ">time", ">left" };
    char primary[96], text[FORMAT_SIZE];
    snprintf(primary, sizeof primary, ">%s", status_primary(runs));
    columns[4] = primary;
    struct table *t = table_new(columns, COUNT(columns));
    for (int i = 0; i < runs->n; i++) {
        struct run *r = &runs->run[i];
        struct numbers n = numbers_of(runs, r);
        table_cell(t, "%s", r->name);
        table_cell(t, "%s%s", condition_name(r->condition), is_earlier(runs, r) ? ", earlier" : "");
        table_paint(t, status_paint(r->condition));
        table_cell(t, "%lld/%lld", (long long)r->step, (long long)r->steps);
        table_cell(t, "%s", format_real(n.loss, 4, text));
        table_cell(t, "%s", format_real(n.primary, 4, text));
        table_cell(t, "%s", format_seconds(n.seconds, text));
        table_cell(t, "%s", format_seconds(n.left, text));
    }
    table_print(t, to);
    status_earlier(runs, to);
}

enum code status_unreadable(const struct runs *runs)
{
    int n = status_count(runs, CONDITION_UNREADABLE);
    for (int i = 0; i < runs->n; i++)
        if (runs->run[i].problem) cli_fail(CODE_INPUT, "%s is left out: %s", runs->run[i].name, runs->run[i].problem);
    const char *where = runs->study && runs->n > 1 ? runs->study->dir : runs->run[0].path;
    if (n) fprintf(stderr, "sluice fsck %s looks closer\n", where);
    return n ? CODE_INPUT : CODE_OK;
}

static void set_number(json_t *j, const char *key, double x)
{
    json_object_set_new(j, key, export_number(x));
}

json_t *status_json(const struct runs *runs)
{
    json_t *list = json_array();
    for (int i = 0; i < runs->n; i++) {
        struct run *r = &runs->run[i];
        struct numbers n = numbers_of(runs, r);
        json_t *j = json_pack("{s:s, s:s, s:s, s:I, s:I}", "run", r->name, "path", r->path,
                              "status", condition_name(r->condition), "step", (json_int_t)r->step,
                              "steps", (json_int_t)r->steps);
        if (is_earlier(runs, r)) json_object_set_new(j, "earlier", json_true());
        else if (runs->study) {
            json_object_set_new(j, "variant", json_string(runs->study->variant[r->variant].name));
            json_object_set_new(j, "replicate", json_integer(r->replicate));
        }
        set_number(j, "train.loss", n.loss);
        set_number(j, status_primary(runs), n.primary);
        set_number(j, "seconds", n.seconds);
        if (r->problem) json_object_set_new(j, "problem", json_string(r->problem));
        json_array_append_new(list, j);
    }
    return list;
}
