/* A donor in a file: its tensors, their values, and what its experts are judged by. */
#include "donor.h"
#include "base/nf4.h"
#include "trained.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

float *donor_values(const struct safetensors *file, const struct donated *d, bool average, struct err *e)
{
    char name[512];
    snprintf(name, sizeof name, "average.%s", d->path);
    const struct stored *beside = average ? safetensors_find(file, name) : NULL,
                        *t = beside ? beside : safetensors_find(file, d->path);
    if (d->kept == KEPT_FLOAT) return safetensors_floats(file, t, e);
    float *value = xmalloc((size_t)shape_count(d->shape) * sizeof *value);
    unsigned char *codes = xmalloc(t->bytes);
    safetensors_read(file, t, NULL, codes);
    nf4_values(d->kept, shape_count(d->shape), codes, value);
    free(codes);
    return value;
}

/* ---- what experts are judged by ---- */

/* The last row up to a step, of evaluations if there is one; -1: there is none. */
static int64_t last_row(struct reader *r, int64_t step, const struct reader_series **series)
{
    static const enum store_group group[] = { STORE_EVAL, STORE_TRAIN };
    struct err ignored;
    int64_t row = -1;
    for (int g = 0; g < COUNT(group) && row < 0; g++) {
        int64_t *steps;
        *series = reader_find(r, group[g], "expert_tokens");
        if (!*series || (*series)->rank != 2 || reader_steps(r, group[g], &steps, &ignored)) continue;
        for (int64_t i = 0; i < reader_rows(r, group[g]) && steps[i] <= step; i++) row = i;
        free(steps);
    }
    return row;
}

/* Rows of metrics are passes, of which a layer may have several. */
static int add_loads(const struct reader_series *series, const double *tokens, const struct model_conf *model,
                     int layer, int64_t n, double *to)
{
    for (int p = 0; p < model_passes(model) && p < series->dim[0]; p++)
        for (int64_t k = 0; model_layer(model, p) == layer && k < n; k++)
            to[k] += k < series->dim[1] ? tokens[p * series->dim[1] + k] : NAN;
    for (int64_t k = 0; k < n; k++) if (isnan(to[k])) return -1;
    return 0;
}

/* The model, which says what passes are. */
static int load_model(const struct donor_file *f, struct model_conf *model, struct err *e)
{
    struct problems none = { 0 };
    json_t *config = trained_config(f->path, e);
    if (!config) return -1;
    model_load(json_object_get(config, "model"), f->arena, model, &none);
    int failure = none.n ? err_set(e, "%s: %s: %s", f->path, none.problem[0].path, none.problem[0].text) : 0;
    problems_free(&none);
    json_decref(config);
    return failure;
}

static int read_loads(const struct donor_file *f, struct reader *r, int layer, int64_t n, double *to, struct err *e)
{
    const struct reader_series *series;
    struct model_conf model;
    double *tokens;
    if (load_model(f, &model, e)) return -1;
    int64_t row = last_row(r, f->step, &series);
    if (row < 0) return err_set(e, "%s: its run says of no step before how many tokens each expert got", f->path);
    if (reader_read_rows(r, series, row, 1, &tokens, e)) return -1;
    int failure = add_loads(series, tokens, &model, layer, n, to);
    free(tokens);
    return failure ? err_set(e, "%s: its run has no %lld experts in layer %d", f->path, (long long)n, layer) : 0;
}

/* A checkpoint is RUN/checkpoints/step-N. */
static int loads(const struct donor_file *f, int layer, int64_t n, double *to, struct err *e)
{
    struct reader *r;
    char run[4352];
    if (trained_is_file(f->path) || trained_run(f->path, run, sizeof run, e))
        return err_set(e, "load: %s is no checkpoint in a run's folder, which says how many tokens each expert got; "
                          "\"norm\" goes by weights alone", f->path);
    int failure = reader_open(&r, arena_text(f->arena, "%s/run.h5", run), e) || read_loads(f, r, layer, n, to, e);
    reader_close(r);
    return failure ? err_prefix(e, "load: ") : 0;
}

static int norms(const struct donor *d, int layer, int64_t n, double *to, struct err *e)
{
    const struct donor_file *f = d->values;
    const char *of = arena_text(f->arena, "layers.%d.ffn.experts.", layer);
    for (int i = 0; i < d->n; i++) {
        const struct donated *t = &d->tensor[i];
        if (strncmp(t->path, of, strlen(of)) != 0 || t->shape.rank != 3 || strstr(t->path, ".lora_")) continue;
        int64_t all = shape_count(t->shape);
        float *value = donor_values(f->file, t, f->average, e);
        if (!value) return -1;
        for (int64_t k = 0; k < all; k++) to[k / (all / n)] += (double)value[k] * (double)value[k];
        free(value);
    }
    for (int64_t k = 0; k < n; k++) to[k] = sqrt(to[k]);
    return 0;
}

static const double *judge(const struct donor *d, enum judged by, int layer, int64_t n, struct err *e)
{
    struct donor_file *f = d->values;
    double *score = f->score[by][layer];
    if (score) return score;
    score = arena_alloc(f->arena, (size_t)n * sizeof *score);
    for (int64_t k = 0; k < n; k++) score[k] = 0;
    if (by == EXPERT_LOAD ? loads(f, layer, n, score, e) : norms(d, layer, n, score, e)) return NULL;
    return f->score[by][layer] = score;
}

/* ---- tensors ---- */

/* What is kept in codes has no shape in a file: the configuration says it. */
static int find_codes(const struct donor_file *f, struct donated *t, struct donor *known, struct err *e)
{
    json_t *config = known->tensor ? NULL : trained_config(f->path, e);
    int failure = known->tensor ? 0 : config ? study_tensors(config, known, f->arena, e) : -1;
    json_decref(config);
    const struct donated *same = failure ? NULL : donor_find(known, t->path);
    if (failure) return err_prefix(e, "'%s' is in codes, of which shape its model says: ", t->path);
    if (!same || nf4_places(same->kept, shape_count(same->shape)).bytes != shape_count(t->shape))
        return err_set(e, "%s: '%s' is not what its configuration says", f->path, t->path);
    *t = *same;
    return 0;
}

/* All but what an optimizer kept. */
int donor_open(struct donor_file *f, struct donor *d, struct err *e)
{
    int n = safetensors_count(f->file);
    struct donor known = { 0 };
    *d = (struct donor){ .judge = judge, .values = f,
                         .tensor = arena_alloc(f->arena, (size_t)(n + 1) * sizeof *d->tensor) };
    for (int i = 0; i < n; i++) {
        const struct stored *t = safetensors_tensor(f->file, i);
        const char *rest;
        if (strcmp(checkpoint_part(t->name), "model") != 0 || stored_shape(t).rank == 0) continue;
        struct donated *to = &d->tensor[d->n++];
        *to = (struct donated){ arena_text(f->arena, "%s", t->name), stored_shape(t), KEPT_FLOAT };
        if (strcmp(t->dtype, "U8") == 0 && find_codes(f, to, &known, e)) return -1;
        int layer = path_layer(t->name, &rest);
        if (layer >= d->layers) d->layers = layer + 1;
    }
    for (int by = 0; by < COUNT(f->score); by++) {
        f->score[by] = arena_alloc(f->arena, (size_t)(d->layers + 1) * sizeof *f->score[by]);
        for (int i = 0; i < d->layers; i++) f->score[by][i] = NULL;
    }
    return 0;
}
