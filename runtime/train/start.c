/* Reading a donor's values and laying them out as the map says. Whatever the device, they are computed here, so that
   they have the same bits. */
#include "start.h"
#include "donor.h"
#include "trained.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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
    struct stack k = p->per_expert ? stack_of_experts(own) : shape_stack(own),
                 of = p->per_expert && own.rank == its.rank ? stack_of_experts(its) : shape_stack(its);
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
        if (p->from) donated = donor_values(file, p->from, m->start->average, e);
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

static int fill(struct session *s, struct donor_file *from, uint64_t seed, struct err *e)
{
    struct donor donor;
    struct mapping m = { .arena = from->arena, .model = &s->model, .start = model_start(&s->model), .donor = &donor,
                         .seed = seed };
    from->average = m.start->average;
    int failure = donor_open(from, &donor, e);
    if (!failure && mapping_make(&m, s->leaves)) {
        *e = m.err;
        failure = -1;
    }
    for (int i = 0; i < m.n && !failure; i++) if (!m.made[i].drawn) failure = fill_one(s, &m, i, from->file, e);
    return failure;
}

static int open_file(struct donor_file *from, struct safetensors **file, const char *path, struct err *e)
{
    struct checkpoint c;
    json_t *trainer_state;
    int failure = trained_open(path, file, &c, &trainer_state, e);
    json_decref(trainer_state);
    if (failure) return -1;
    from->file = *file;
    from->path = path;
    from->step = c.step;
    return 0;
}

int start_from(struct session *session, const char *path, uint64_t seed, struct err *e)
{
    struct safetensors *file;
    struct donor_file from = { 0 };
    if (open_file(&from, &file, path, e)) return -1;
    from.arena = arena_new();
    int failure = fill(session, &from, seed, e);
    arena_free(from.arena);
    safetensors_close(file);
    return failure ? err_prefix(e, "init: ") : 0;
}

/* Of a file values are known at once. */
static int map_file(const json_t *config, const char *path, struct donor *donor, struct mapping *m,
                    struct training_graph *of, struct arena *a, struct err *e)
{
    struct safetensors *file;
    struct donor_file from = { .arena = a, .average = json_is_true(config_get(config, "model.init.average")) };
    if (open_file(&from, &file, path, e)) return -1;
    int failure = donor_open(&from, donor, e) || study_map(config, donor, m, of, a, e);
    safetensors_close(file);
    return failure ? -1 : 0;
}

int start_map(const struct study *s, int variant, struct mapping *m, struct training_graph *of, struct arena *a,
              struct err *e)
{
    struct study_start from;
    struct donor *donor = arena_alloc(a, sizeof *donor);
    const json_t *config = s->variant[variant].config;
    if (study_start(s, study_point(s, variant, 0), &from, e)) return -1;
    if (from.file) return map_file(config, from.path, donor, m, of, a, e);
    return study_donor(s, variant, donor, a, e) ? -1 : study_map(config, donor, m, of, a, e);
}

void start_check(const struct study *s, struct problems *problems)
{
    for (int i = 0; i < s->n_variants; i++) {
        struct arena *a = arena_new();
        struct training_graph of = { 0 };
        struct study_start from;
        struct mapping m;
        struct err e;
        int64_t step;
        bool elsewhere = variant_start(&s->variant[i], &step) && study_start_variant(s, i) < 0;
        if (elsewhere && study_start(s, study_point(s, i, 0), &from, &e) == 0 && from.file &&
            start_map(s, i, &m, &of, a, &e)) {
            problems->variant = s->variant[i].name;
            problem_add(problems, "init", "%s", e.text);
            problems->variant = NULL;
        }
        training_graph_free(&of);
        arena_free(a);
    }
}

int start_load(const struct study *s, int point, struct session *session, char text[512], struct err *e)
{
    struct study_start from;
    char newest[4608];
    if (study_start(s, point, &from, e)) return -1;
    bool any = !from.file && !from.step;
    if (any && trained_newest(from.path, newest, sizeof newest, e)) return -1;
    char *path = any ? xstrdup(newest) : from.file ? xstrdup(from.path) : checkpoint_path(from.path, from.step);
    snprintf(text, 512, "%.511s", path);
    int failure = start_from(session, path, s->point[point].seed, e);
    free(path);
    return failure;
}
