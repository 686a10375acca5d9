/* Reading a donor's values and laying them out as the map says. Whatever the device, they are computed here, so that
   they have the same bits. */
#define _GNU_SOURCE
#include "start.h"
#include "safetensors.h"
#include "trained.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- the donor ---- */

/* malloc'd. average: that of the tensor, where it has one. */
static float *values_of(const struct safetensors *file, const char *path, bool average, struct err *e)
{
    char name[512];
    snprintf(name, sizeof name, "average.%s", path);
    const struct stored *beside = average ? safetensors_find(file, name) : NULL;
    return safetensors_floats(file, beside ? beside : safetensors_find(file, path), e);
}

/* Its tensors, without what an optimizer kept. */
static struct donor donor_of(const struct safetensors *file, struct arena *a)
{
    struct donor d = { 0 };
    int n = safetensors_count(file);
    d.tensor = arena_alloc(a, (size_t)(n + 1) * sizeof *d.tensor);
    for (int i = 0; i < n; i++) {
        const struct stored *t = safetensors_tensor(file, i);
        const char *rest;
        if (strcmp(checkpoint_part(t->name), "model") != 0 || stored_shape(t).rank == 0) continue;
        int layer = path_layer(t->name, &rest);
        if (layer >= d.layers) d.layers = layer + 1;
        d.tensor[d.n++] = (struct donated){ t->name, stored_shape(t) };
    }
    return d;
}

/* ---- what experts are judged by ---- */

/* Of a donor: its file, whose path that is, and what was asked for before, by layers. */
struct values { struct arena *arena; const struct safetensors *file; const char *path; bool average;
                double **known[EXPERT_NORM + 1]; };

/* A checkpoint is "RUN/checkpoints/step-N", its file in it: RUN, and the step; NULL: it lies elsewhere. */
static const char *run_of(const struct values *v, int64_t *step)
{
    char *run = arena_text(v->arena, "%s", v->path), *name = strstr(run, "/checkpoints/step-"), *next;
    while (name && (next = strstr(name + 1, "/checkpoints/step-"))) name = next;
    if (!name) return NULL;
    *step = strtoll(name + strlen("/checkpoints/step-"), NULL, 10);
    *name = 0;
    return run;
}

/* The last row up to a step, of evaluations if there is one; -1: there is none. */
static int64_t last_row(struct reader *r, int64_t step, const struct reader_series **series)
{
    struct err ignored;
    int64_t row = -1;
    for (int g = STORE_GROUPS - 1; g >= 0 && row < 0; g--) {
        int64_t *steps;
        *series = reader_find(r, (enum store_group)g, "expert_tokens");
        if (!*series || (*series)->rank != 2 || reader_steps(r, (enum store_group)g, &steps, &ignored)) continue;
        for (int64_t i = 0; i < reader_rows(r, (enum store_group)g) && steps[i] <= step; i++) row = i;
        free(steps);
    }
    return row;
}

/* Rows of metrics are passes, of which a layer may have several. */
static int add_loads(const struct reader_series *series, const double *tokens, const struct model_conf *model, int layer,
                     int64_t n, double *to)
{
    for (int p = 0; p < model_passes(model) && p < series->dim[0]; p++)
        for (int64_t k = 0; model_layer(model, p) == layer && k < n; k++)
            to[k] += k < series->dim[1] ? tokens[p * series->dim[1] + k] : NAN;
    for (int64_t k = 0; k < n; k++) if (isnan(to[k])) return -1;
    return 0;
}

static int read_loads(const struct values *v, struct reader *r, int64_t step, int layer, int64_t n, double *to,
                      struct err *e)
{
    const struct reader_series *series;
    struct model_conf model;
    struct problems none = { 0 };
    double *tokens;
    int64_t row = last_row(r, step, &series);
    json_t *config = json_loads(reader_config(r), 0, NULL);
    model_load(json_object_get(config, "model"), v->arena, &model, &none);
    int failure = reader_result(r, e);
    if (!failure && (!config || none.n)) failure = err_set(e, "holds no configuration");
    if (!failure && row < 0) failure = err_set(e, "says of no step up to %lld which tokens experts got", (long long)step);
    if (!failure) failure = reader_read_rows(r, series, row, 1, &tokens, e);
    if (!failure) {
        if (add_loads(series, tokens, &model, layer, n, to))
            failure = err_set(e, "has no %lld experts in layer %d", (long long)n, layer);
        free(tokens);
    }
    problems_free(&none);
    json_decref(config);
    return failure;
}

static int loads(const struct values *v, int layer, int64_t n, double *to, struct err *e)
{
    struct reader *r;
    int64_t step;
    const char *run = run_of(v, &step), *path = arena_text(v->arena, "%s/run.h5", run ? run : "");
    if (!run)
        return err_set(e, "load: %s is no checkpoint of a run, which says how many tokens each expert got; \"norm\" goes "
                          "by weights alone", v->path);
    int failure = reader_open(&r, path, e) || read_loads(v, r, step, layer, n, to, e);
    reader_close(r);
    return failure ? err_prefix(e, "load: %s: ", path) : 0;
}

static int norms(const struct donor *d, int layer, int64_t n, double *to, struct err *e)
{
    const struct values *v = d->values;
    const char *of = arena_text(v->arena, "layers.%d.ffn.experts.", layer);
    for (int i = 0; i < d->n; i++) {
        const struct donated *t = &d->tensor[i];
        if (strncmp(t->path, of, strlen(of)) != 0 || t->shape.rank != 3) continue;
        int64_t all = shape_count(t->shape);
        float *value = values_of(v->file, t->path, v->average, all, e);
        if (!value) return -1;
        for (int64_t k = 0; k < all; k++) to[k / (all / n)] += (double)value[k] * (double)value[k];
        free(value);
    }
    for (int64_t k = 0; k < n; k++) to[k] = sqrt(to[k]);
    return 0;
}

static const double *judge(const struct donor *d, enum judged by, int layer, int64_t n, struct err *e)
{
    struct values *v = d->values;
    double *score = v->known[by][layer];
    if (score) return score;
    score = arena_alloc(v->arena, (size_t)n * sizeof *score);
    for (int64_t k = 0; k < n; k++) score[k] = 0;
    if (by == EXPERT_LOAD ? loads(v, layer, n, score, e) : norms(d, layer, n, score, e)) return NULL;
    return v->known[by][layer] = score;
}

static void let_judge(struct donor *d, const struct safetensors *file, const char *path, bool average, struct arena *a)
{
    struct values *v = arena_alloc(a, sizeof *v);
    *v = (struct values){ .arena = a, .file = file, .path = path, .average = average };
    for (int by = 0; by < COUNT(v->known); by++) {
        v->known[by] = arena_alloc(a, (size_t)(d->layers + 1) * sizeof *v->known[by]);
        for (int i = 0; i < d->layers; i++) v->known[by][i] = NULL;
    }
    d->judge = judge;
    d->values = v;
}

/* ---- values ---- */

struct spread { double mean, deviation; };
static struct spread spread_of(const float *value, int64_t n)
{
    double sum = 0, square = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)value[i];
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) square += ((double)value[i] - mean) * ((double)value[i] - mean);
    return (struct spread){ mean, sqrt(square / (double)n) };
}

/* What a tensor draws beside its initial values, which are those of step 0. */
enum draws { DRAWN = 1, SHARED };

/* A factor on copy number `copy` of so many; those of all copies of one weight have the mean 1. */
static double share(const struct donation *p, struct key key, uint64_t index, int64_t copy, int64_t copies)
{
    double sum = 0, own = 0;
    for (int64_t k = 0; k < copies; k++) {
        key.step = SHARED + (uint64_t)k;
        double x = 2 * key_uniform(key, index) - 1;
        sum += x;
        if (k == copy) own = x;
    }
    return 1 + p->uneven * (own - sum / (double)copies);
}

/* to += what a part gives to a tensor of shape `own`. */
static void add_part(const struct donation *p, struct shape own, struct shape its, const float *from, struct key key,
                     double *to)
{
    struct stack k = p->by_experts ? stack_by_experts(own) : stack_of(own),
                 of = p->by_experts && own.rank == its.rank ? stack_by_experts(its) : stack_of(its);
    struct spread s = spread_of(from, of.matrices * of.rows * of.columns);
    int64_t copies = k.columns / of.columns;
    for (int64_t e = 0; e < k.matrices; e++)
        for (int64_t r = 0; r < k.rows; r++) {
            int64_t matrix = p->matrix ? p->matrix[e] : e, row = p->row ? p->row[e * k.rows + r] : r;
            const float *line = from + (matrix * of.rows + (row < 0 ? 0 : row)) * of.columns;
            double *out = to + (e * k.rows + r) * k.columns;
            for (int64_t c = 0; c < k.columns; c++) {
                int64_t column = p->column ? p->column[e * k.columns + c] : c;
                if (row == PLACE_NONE || column == PLACE_NONE) continue;
                uint64_t index = (uint64_t)((e * k.rows + r) * k.columns + c);
                double x = row < 0 || column < 0 ? s.mean + s.deviation * key_normal(key, index) : (double)line[column];
                if (p->uneven != 0) x *= share(p, key, index - (uint64_t)(c - column), c / of.columns, copies);
                out[c] += p->by * x;
            }
        }
}

static int fill_one(struct session *s, const struct mapping *m, int i, const struct safetensors *file, struct err *e)
{
    const struct leaf *l = m->leaf[i];
    const struct made *o = &m->made[i];
    int64_t n = shape_count(l->values);
    real *values = xmalloc((size_t)n * sizeof *values);
    double *sum = xcalloc((size_t)n, sizeof *sum);
    struct key key = { m->seed, PURPOSE_INIT, hash_name(l->path), DRAWN };
    int failure = 0;
    for (int k = 0; k < o->n && !failure; k++) {
        const struct donation *p = &o->part[k];
        const struct shape from = p->from ? p->from->shape : l->values;
        float *donated = NULL;
        if (p->from) donated = values_of(file, p->from->path, m->start->average, e);
        else {
            state_get_values(s->state, l, values);
            donated = xmalloc((size_t)n * sizeof *donated);
            for (int64_t j = 0; j < n; j++) donated[j] = (float)values[j];
        }
        if (donated) add_part(p, l->values, from, donated, key, sum);
        else failure = -1;
        free(donated);
    }
    for (int64_t j = 0; j < n; j++) values[j] = (real)sum[j];
    const struct leaf *average = leaves_average(s->leaves, l);
    if (!failure) state_put_values(s->state, l, values);
    if (!failure && average) state_put(s->state, average, values);
    free(values);
    free(sum);
    return failure;
}

static int fill(struct session *s, const struct safetensors *file, const char *path, const struct start *start,
                uint64_t seed, struct err *e)
{
    struct arena *a = arena_new();
    struct donor donor = donor_of(file, a);
    let_judge(&donor, file, path, start->average, a);
    struct mapping m = { .arena = a, .model = &s->model, .start = start, .donor = &donor, .seed = seed };
    int failure = mapping_make(&m, s->leaves);
    if (failure) *e = m.err;
    for (int i = 0; i < m.n && !failure; i++) if (!m.made[i].drawn) failure = fill_one(s, &m, i, file, e);
    arena_free(a);
    return failure;
}

/* A checkpoint's weights, or a file of such. */
static int open_file(struct safetensors **file, const char *path, struct err *e)
{
    struct stat st;
    char *inner = NULL;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        if (checkpoint_verify(path, e)) return -1;
        INVARIANT(asprintf(&inner, "%s/state.safetensors", path) >= 0, "no memory for a path");
    }
    int failure = safetensors_open(file, inner ? inner : path, e);
    free(inner);
    return failure;
}

int start_from(struct session *s, const char *path, uint64_t seed, struct err *e)
{
    struct safetensors *file;
    if (open_file(&file, path, e)) return -1;
    int failure = fill(s, file, path, model_start(&s->model), seed, e);
    safetensors_close(file);
    return failure ? err_prefix(e, "init: ") : 0;
}

/* Of a file the values are known at once. */
static int map_file(const struct variant *v, const char *path, struct donor *donor, struct mapping *m,
                    struct leaves **leaves, struct arena *a, struct err *e)
{
    struct safetensors *file;
    if (open_file(&file, path, e)) return -1;
    *donor = donor_of(file, a);
    for (int i = 0; i < donor->n; i++) donor->tensor[i].path = arena_text(a, "%s", donor->tensor[i].path);
    let_judge(donor, file, path, json_is_true(config_get(v->config, "model.init.average")), a);
    int failure = study_map(v->config, donor, m, leaves, a, e);
    safetensors_close(file);
    return failure;
}

int start_map(const struct study *s, int variant, struct mapping *m, struct leaves **leaves, struct arena *a,
              struct err *e)
{
    struct study_start from;
    struct donor *donor = arena_alloc(a, sizeof *donor);
    const struct variant *v = &s->variant[variant];
    *leaves = NULL;
    if (study_start(s, study_point(s, variant, 0), &from, e)) return -1;
    if (from.file) return map_file(v, arena_text(a, "%s", from.path), donor, m, leaves, a, e);
    return study_donor(s, variant, donor, a, e) ? -1 : study_map(v->config, donor, m, leaves, a, e);
}

void start_check(const struct study *s, struct problems *problems)
{
    for (int i = 0; i < s->n_variants; i++) {
        struct arena *a = arena_new();
        struct leaves *leaves = NULL;
        struct study_start from;
        struct mapping m;
        struct err e;
        int64_t step;
        bool elsewhere = variant_start(&s->variant[i], &step) && study_start_variant(s, i) < 0;
        if (elsewhere && study_start(s, study_point(s, i, 0), &from, &e) == 0 && from.file &&
            start_map(s, i, &m, &leaves, a, &e)) {
            problems->variant = s->variant[i].name;
            problem_add(problems, "init", "%s", e.text);
            problems->variant = NULL;
        }
        if (leaves) leaves_free(leaves);
        arena_free(a);
    }
}

int start_load(const struct study *s, int point, struct session *session, char text[512], struct err *e)
{
    struct study_start from;
    char path[4608];
    int failure = study_start(s, point, &from, e);
    if (failure) return -1;
    if (from.file) snprintf(path, sizeof path, "%s", from.path);
    else if (from.step) snprintf(path, sizeof path, "%s/checkpoints/step-%08d", from.path, from.step);
    else failure = trained_newest(from.path, path, sizeof path, e);
    if (!failure) snprintf(text, 512, "%.511s", path);
    return failure ? -1 : start_from(session, path, s->point[point].seed, e);
}
