/* A study on disk without training: study.json and run files, whose numbers follow from keyed draws. */
#ifndef STUDY_FIXTURE_H
#define STUDY_FIXTURE_H

#define _GNU_SOURCE                     /* nftw: include this file first */

#include "store/store.h"
#include "study/study.h"
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIXTURE_STEPS = 200, FIXTURE_EVERY = 20, FIXTURE_LAYERS = 4, FIXTURE_MOE = 3, FIXTURE_EXPERTS = 8,
       FIXTURE_TOKENS = 4096, FIXTURE_POSITIONS = 4 };

/* Loss of replicate k at the end: 2.5 + 0.05 z_k + shift + 0.002 z, z_k shared by the variants. lost: the replicate
   that diverges half way, or -1; absent: the one that was never begun, or -1. A variant named "bare" has no accuracy
   and no width. */
struct fixture_variant { const char *name; double shift; int lost, absent; };

static inline double fixture_draw(const char *what, int variant, int replicate, int64_t step)
{
    return key_normal((struct key){ 5, PURPOSE_TEST, hash_name(what), (uint64_t)step },
                      (uint64_t)(100 * variant + replicate));
}

static inline double fixture_loss(const struct fixture_variant *v, int variant, int replicate, int64_t step)
{
    double own = 2.5 + 0.05 * fixture_draw("seed", 0, replicate, 0) + v->shift +
                 0.002 * fixture_draw("run", variant, replicate, 0);
    return own + 3 * exp(-(double)step / 18) + 0.5 * exp(-(double)step / 80);
}

/* Tokens of an expert: expert 0 of the second MoE layer starves from step 60 on; the last layer has no experts. */
static inline void fixture_counts(double *to, int variant, int replicate, int64_t step)
{
    for (int layer = 0; layer < FIXTURE_LAYERS; layer++) {
        double share[FIXTURE_EXPERTS], total = 0, left = 2 * FIXTURE_TOKENS;
        for (int x = 0; x < FIXTURE_EXPERTS; x++) {
            double pull = sin(1.0 + x * 2.3 + layer) * exp(-(double)step / (variant ? 25.0 : 60.0)) +
                          0.05 * fixture_draw("load", 10 * layer + x, replicate, step);
            share[x] = layer == 1 && x == 0 && step > 60 ? 0 : exp(1.5 * pull);
            total += share[x];
        }
        for (int x = 0; x < FIXTURE_EXPERTS; x++) {
            double n = x == FIXTURE_EXPERTS - 1 ? left : floor(share[x] / total * 2 * FIXTURE_TOKENS);
            left -= n;
            to[layer * FIXTURE_EXPERTS + x] = layer < FIXTURE_MOE ? n : NAN;
        }
    }
}

static inline void fixture_must(int bad, const struct err *e)
{
    if (!bad) return;
    fprintf(stderr, "%s\n", e->text);
    abort();
}

static inline void fixture_run(const struct study *s, int point, const struct fixture_variant *v)
{
    static const struct series series[] = {
        { STORE_TRAIN, "tokens", "token", "tokens seen", STORE_I64, 0, { 0 }, { 0 }, false, BETTER_NONE },
        { STORE_TRAIN, "wall_time", "s", "training only", STORE_F64, 0, { 0 }, { 0 }, true, BETTER_LOWER },
        { STORE_TRAIN, "loss", "nat/token", "training loss", STORE_F64, 0, { 0 }, { 0 }, false, BETTER_LOWER },
        { STORE_TRAIN, "expert_tokens", "assignment", "tokens of each expert", STORE_U32, 2,
          { FIXTURE_LAYERS, FIXTURE_EXPERTS }, { "layer", "expert" }, false, BETTER_NONE },
        { STORE_EVAL, "loss", "nat/token", "held-out loss", STORE_F64, 0, { 0 }, { 0 }, false, BETTER_LOWER },
        { STORE_EVAL, "position_loss", "nat/token", "falls as the position rises", STORE_F32, 1, { FIXTURE_POSITIONS },
          { "position" }, false, BETTER_LOWER },
        { STORE_EVAL, "accuracy", "", "falls as the loss rises", STORE_F64, 0, { 0 }, { 0 }, false, BETTER_HIGHER },
        { STORE_EVAL, "width", "", "rises with the loss, and is no better for it", STORE_F64, 0, { 0 }, { 0 }, false,
          BETTER_NONE },
    };
    const struct point *p = &s->point[point];
    const struct attribute root[] = { { "variant", ATTRIBUTE_TEXT, v->name, 0, 0 },
                                      { "replicate", ATTRIBUTE_INT, NULL, p->replicate, 0 } };
    const struct attributes attributes[] = { { "/", COUNT(root), root } };
    const struct cost_line costs[] = { { "ffn", 1000, 500, 1e3, 3e3, 4096, 8192, 0 } };
    char *config = config_canonical(s->variant[p->variant].config), *path = study_point_path(s, point, "run.h5");
    struct store_plan plan = { COUNT(series) - (strcmp(v->name, "bare") ? 0 : 2), series, COUNT(attributes), attributes,
                               COUNT(costs), costs, config, s->script_text, s->script_path, NULL, NULL };
    struct store *store;
    struct err e;
    double tokens, seconds, loss, counts[FIXTURE_LAYERS * FIXTURE_EXPERTS];
    bool lost = v->lost == p->replicate;
    int64_t last = lost ? FIXTURE_STEPS / 2 : FIXTURE_STEPS;
    fixture_must(store_create(&store, path, &plan, &e), &e);
    for (int64_t step = 1; step <= last; step++) {
        double smooth = fixture_loss(v, p->variant, p->replicate, step) +
                        (lost ? 4 * exp((double)(step - last) / 6) : 0);
        tokens = (double)(step * FIXTURE_TOKENS);
        seconds = 0.5 * (double)step;
        loss = lost && step == last ? NAN : smooth + 0.08 * fixture_draw("batch", 0, p->replicate, step);
        fixture_counts(counts, p->variant, p->replicate, step);
        double accuracy = 1 - smooth / 8, width = smooth;
        double by_position[FIXTURE_POSITIONS];
        for (int i = 0; i < FIXTURE_POSITIONS; i++) by_position[i] = smooth * (1.15 - 0.1 * i);
        const double *train[] = { &tokens, &seconds, &loss, counts },
                     *eval[] = { &smooth, by_position, &accuracy, &width };
        fixture_must(store_append(store, STORE_TRAIN, step, train, &e), &e);
        if (step % FIXTURE_EVERY == 0) fixture_must(store_append(store, STORE_EVAL, step, eval, &e), &e);
    }
    fixture_must(store_event(store, last, lost ? LEVEL_ERROR : LEVEL_INFO, lost ? EVENT_DIVERGED : EVENT_FINISHED,
                             "end of the fixture", &e),
                 &e);
    fixture_must(store_close(store, lost ? STATUS_DIVERGED : STATUS_FINISHED, &e), &e);
    free(config);
    free(path);
}

/* Writes the study in the folder `dir`, the first variant being the baseline. */
static inline void fixture_study(const char *dir, const struct fixture_variant *v, int n, int replicates)
{
    struct study *s = xcalloc(1, sizeof *s);
    struct corpus *corpus;
    struct err e;
    fixture_must(corpus_open(&corpus, "synthetic", &e), &e);
    s->arena = arena_new();
    s->name = "fixture";
    s->dir = dir;
    s->script_path = "experiments/fixture.lua";
    s->script_text = "-- no script\n";
    s->data_path = "synthetic";
    s->primary = "eval.loss";
    s->family = "sidak";
    s->replicates = replicates;
    s->n_variants = n;
    s->variant = arena_alloc(s->arena, (size_t)n * sizeof *s->variant);
    s->point = arena_alloc(s->arena, (size_t)(n * replicates) * sizeof *s->point);
    for (int i = 0; i < n; i++) {
        s->variant[i] = (struct variant){ .name = v[i].name,
                                          .config = json_pack("{s:s, s:{s:i, s:i, s:o}, s:{s:i, s:i, s:i}}", "data",
                                                              "synthetic", "model", "layers", FIXTURE_LAYERS, "seq", 32,
                "ffn", json_loads("{\"layers\": [{\"router\": {\"top_k\": 2}}, {\"router\": {\"top_k\": 2}}, "
                                  "{\"router\": {\"top_k\": 2}}, {}]}", 0, NULL),
                "train", "steps", FIXTURE_STEPS, "batch", 4, "eval_tokens", 1000),
            .fingerprint = hash_bytes(v[i].name, strlen(v[i].name)),
            .counts = { 1000000 + i * 1000, 400000 + i * 400, 300000, 0 }, .train_flops_per_token = 2.4e6,
            .kv_bytes_per_token = 512 };
        s->variant[i].hash = study_identity(s->variant[i].config, corpus_info(corpus), 0);
        for (int k = 0; k < replicates; k++)
            s->point[s->n_points++] = (struct point){
                .variant = i, .replicate = k, .seed = (uint64_t)k,
                .dir = arena_text(s->arena, "%s-0000000%d/%d", v[i].name, i, k) };
    }
    fixture_must(study_save(s, &e), &e);
    for (int i = 0; i < s->n_points; i++)
        if (s->point[i].replicate != v[s->point[i].variant].absent) fixture_run(s, i, &v[s->point[i].variant]);
    study_free(s);
    corpus_close(corpus);
}

static inline int fixture_remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status; (void)kind; (void)walk;
    return remove(path);
}

static inline void fixture_remove(const char *dir)
{
    nftw(dir, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
