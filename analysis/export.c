/* CSV in long form, and JSON. Reals are written so that reading them back gives the same bits. */
#define _GNU_SOURCE
#include "export.h"
#include "metric.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DIMS = 8 };

static bool wanted(const struct export_options *o, const struct metric *m)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", metric_group[m->series.group], m->series.name);
    for (int i = 0; i < o->n_metrics; i++)
        if (!strcmp(o->metric[i], name)) return true;
    return o->n_metrics == 0;
}

static bool kept(const struct export_options *o, int64_t row, int64_t rows)
{
    return row % o->every == 0 || row == rows - 1;
}

/* Malloc'd. An earlier run's is its folder, VARIANT-HASH8: a variant of the same name may be there. */
static char *variant_of(const struct runs *runs, struct run *r)
{
    const char *slash = strrchr(r->name, '/'), *name = run_text(r, "/", "variant");
    if (runs->study && slash) return strndup(r->name, (size_t)(slash - r->name));
    return xstrdup(*name ? name : r->name);
}

static int replicate_of(const struct runs *runs, struct run *r)
{
    return runs->study && r->variant >= 0 ? r->replicate : atoi(run_text(r, "/", "replicate"));
}

/* A metric that was asked for and that no run has is a mistake, not an empty file. */
static int check_asked(const struct runs *runs, const struct export_options *o, struct err *e)
{
    for (int i = 0; i < o->n_metrics; i++) {
        bool found = false;
        for (int r = 0; r < runs->n && !found; r++) {
            struct metric *list;
            struct export_options one = { .n_metrics = 1, .metric = &o->metric[i] };
            int n = metric_list(&runs->run[r], &list);
            for (int k = 0; k < n; k++) found |= wanted(&one, &list[k]);
            free(list);
        }
        if (!found) return err_set(e, "no run has a metric '%s'; 'sluice show RUN' lists them", o->metric[i]);
    }
    return 0;
}

/* Of a run everything is written or nothing: it is read once before. */
static bool can_be_read(struct run *r, const struct export_options *o)
{
    struct metric *list;
    struct curve curve;
    struct err e;
    int n = metric_list(r, &list);
    run_config(r);
    for (int i = 0; i < n && run_look(r); i++)
        if (wanted(o, &list[i]) && metric_read(r, &list[i], &curve, &e) == 0) curve_free(&curve);
    free(list);
    return run_look(r);
}

/* ---- CSV ---- */

struct columns { int n; char name[DIMS][16]; };

static int column_of(const struct columns *c, const char *name)
{
    for (int i = 0; i < c->n; i++)
        if (!strcmp(c->name[i], name)) return i;
    return -1;
}

static int find_columns(const struct runs *runs, const struct export_options *o, struct columns *c, struct err *e)
{
    for (int r = 0; r < runs->n; r++) {
        struct metric *list;
        int n = metric_list(&runs->run[r], &list), bad = 0;
        for (int i = 0; i < n && !bad; i++)
            for (int d = 0; d < list[i].series.rank && wanted(o, &list[i]); d++) {
                if (column_of(c, list[i].series.dim_name[d]) >= 0) continue;
                if (c->n == DIMS) { bad = err_set(e, "the runs have more than %d kinds of dimensions", DIMS); break; }
                snprintf(c->name[c->n++], sizeof c->name[0], "%s", list[i].series.dim_name[d]);
            }
        free(list);
        if (bad) return -1;
    }
    return 0;
}

static void csv_text(FILE *to, const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) { fputs(text, to); return; }
    fputc('"', to);
    for (; *text; text++) fprintf(to, *text == '"' ? "\"\"" : "%c", *text);
    fputc('"', to);
}

/* Shortest of 15 to 17 digits that reads back the same; "nan", "inf" or "-inf". */
json_t *export_number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

void export_real(FILE *to, double x)
{
    char text[40] = "nan";
    for (int digits = 15; digits <= 17 && !isnan(x); digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    fputs(text, to);
}

static void csv_indices(FILE *to, const struct columns *c, const struct reader_series *s, int64_t cell)
{
    int64_t index[DIMS];
    for (int i = 0; i < c->n; i++) index[i] = -1;
    for (int d = s->rank - 1; d >= 0; d--) {
        index[column_of(c, s->dim_name[d])] = cell % s->dim[d];
        cell /= s->dim[d];
    }
    for (int i = 0; i < c->n; i++) {
        if (index[i] >= 0) fprintf(to, "%lld", (long long)index[i]);
        fputc(',', to);
    }
}

/* Cells that are NaN in every row are of a layer that has no such expert, head, …. A NaN among numbers, and a run's
   lone number that is NaN, was measured: the run diverged. */
static bool *measured_cells(const struct curve *c)
{
    bool *measured = xcalloc((size_t)c->cells + 1, sizeof *measured);
    measured[0] = c->cells == 1;
    for (int64_t i = 0; i < c->rows * c->cells; i++) measured[i % c->cells] |= !isnan(c->value[i]);
    return measured;
}

static void csv_metric(const struct runs *runs, struct run *r, const struct columns *c, const struct export_options *o,
                       const struct metric *m, const struct curve *curve, FILE *to)
{
    bool *measured = measured_cells(curve);
    char *variant = variant_of(runs, r);
    int replicate = replicate_of(runs, r);
    for (int64_t row = 0; row < curve->rows; row++) {
        if (!kept(o, row, curve->rows)) continue;
        for (int64_t cell = 0; cell < curve->cells; cell++) {
            if (!measured[cell]) continue;
            csv_text(to, variant);
            fprintf(to, ",%d,%lld,%s.%s,", replicate, (long long)curve->step[row], metric_group[m->series.group],
                    m->series.name);
            csv_indices(to, c, &m->series, cell);
            export_real(to, curve->value[row * curve->cells + cell]);
            fputc('\n', to);
        }
    }
    free(measured);
    free(variant);
}

static int csv_run(const struct runs *runs, struct run *r, const struct columns *c, const struct export_options *o,
                   FILE *to, struct err *e)
{
    struct metric *list;
    struct curve curve;
    int n = metric_list(r, &list), bad = 0;
    for (int i = 0; i < n && !bad; i++) {
        if (!wanted(o, &list[i])) continue;
        bad = metric_read(r, &list[i], &curve, e);
        if (bad) break;
        csv_metric(runs, r, c, o, &list[i], &curve, to);
        curve_free(&curve);
    }
    free(list);
    return bad;
}

int export_csv(const struct runs *runs, const struct export_options *o, FILE *to, struct err *e)
{
    struct columns c = { 0 };
    if (check_asked(runs, o, e) || find_columns(runs, o, &c, e)) return -1;
    fputs("variant,replicate,step,metric,", to);
    for (int i = 0; i < c.n; i++) fprintf(to, "%s,", c.name[i]);
    fputs("value\n", to);
    for (int r = 0; r < runs->n; r++)
        if (can_be_read(&runs->run[r], o) && csv_run(runs, &runs->run[r], &c, o, to, e)) return -1;
    return 0;
}

/* ---- JSON ---- */

static void json_text(FILE *to, const char *text)
{
    json_t *j = json_string(text);
    char *quoted = j ? json_dumps(j, JSON_ENCODE_ANY) : NULL;
    fputs(quoted ? quoted : "\"\"", to);
    free(quoted);
    json_decref(j);
}

static void repeat(FILE *to, char c, int n)
{
    while (n-- > 0) fputc(c, to);
}

/* How many of the inner dimensions a cell is the first (or one past the last) of. */
static int edges(const struct reader_series *s, int64_t cell)
{
    int n = 0;
    int64_t block = 1;
    for (int d = s->rank - 1; d >= 0; d--) n += cell % (block *= s->dim[d]) == 0;
    return n;
}

/* One row, nested like the dimensions. */
static void json_values(FILE *to, const struct reader_series *s, const double *x, int64_t cells)
{
    for (int64_t cell = 0; cell < cells; cell++) {
        if (cell) fputc(',', to);
        repeat(to, '[', edges(s, cell));
        if (isfinite(x[cell])) export_real(to, x[cell]); else fputs("null", to);
        repeat(to, ']', edges(s, cell + 1));
    }
}

static void json_metric(const struct export_options *o, const struct metric *m, const struct curve *c, FILE *to)
{
    const struct reader_series *s = &m->series;
    fprintf(to, "{\"metric\":\"%s.%s\",\"unit\":", metric_group[s->group], s->name);
    json_text(to, s->unit);
    fputs(",\"about\":", to);
    json_text(to, s->about);
    fputs(",\"dims\":[", to);
    for (int d = 0; d < s->rank; d++) { if (d) fputc(',', to); json_text(to, s->dim_name[d]); }
    for (int part = 0; part < 2; part++) {
        fputs(part ? "],\"value\":[" : "],\"step\":[", to);
        for (int64_t row = 0, first = 1; row < c->rows; row++) {
            if (!kept(o, row, c->rows)) continue;
            if (!first) fputc(',', to);
            first = 0;
            if (part) json_values(to, s, c->value + row * c->cells, c->cells);
            else fprintf(to, "%lld", (long long)c->step[row]);
        }
    }
    fputs("]}", to);
}

static int json_run(const struct runs *runs, struct run *r, const struct export_options *o, FILE *to, struct err *e)
{
    struct metric *list;
    struct curve curve;
    int n = metric_list(r, &list), bad = 0, written = 0;
    char *variant = variant_of(runs, r);
    const char *config = run_config(r);
    fputs("{\"variant\":", to);
    json_text(to, variant);
    free(variant);
    fprintf(to, ",\"replicate\":%d,\"status\":\"%s\",\"config\":%s,\"series\":[", replicate_of(runs, r),
            condition_name(r->condition), *config ? config : "null");
    for (int i = 0; i < n && !bad; i++) {
        if (!wanted(o, &list[i])) continue;
        bad = metric_read(r, &list[i], &curve, e);
        if (bad) break;
        if (written++) fputs(",\n", to);
        json_metric(o, &list[i], &curve, to);
        curve_free(&curve);
    }
    fputs("]}", to);
    free(list);
    return bad;
}

int export_json(const struct runs *runs, const struct export_options *o, FILE *to, struct err *e)
{
    int written = 0;
    if (check_asked(runs, o, e)) return -1;
    fputs("{\"format\":\"sluice-export\",\"version\":1,\"study\":", to);
    if (runs->study) json_text(to, runs->study->name); else fputs("null", to);
    fputs(",\"runs\":[\n", to);
    for (int r = 0; r < runs->n; r++) {
        if (!can_be_read(&runs->run[r], o)) continue;
        if (written++) fputs(",\n", to);
        if (json_run(runs, &runs->run[r], o, to, e)) return -1;
    }
    fputs("]}\n", to);
    return 0;
}
