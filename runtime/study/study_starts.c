/* Variants that begin with the weights of others: who goes before whom, what a start costs, and whether its tensors
   have a place. */
#define _GNU_SOURCE
#include "base/regular.h"
#include "study.h"
#include "model/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The table of init.from; NULL: the variant begins with draws. */
static const json_t *start_of(const struct variant *v)
{
    const json_t *init = config_get(v->config, "model.init");
    const char *name = json_string_value(json_object_get(init, "module"));
    return name && strcmp(name, "from") == 0 ? init : NULL;
}

static const char *run_of(const json_t *start) { return json_string_value(json_object_get(start, "run")); }
static int64_t number_of(const json_t *start, const char *key)
{
    return json_integer_value(json_object_get(start, key));
}

static int variant_of(const struct study *s, const char *name)
{
    for (int i = 0; i < s->n_variants; i++) if (strcmp(s->variant[i].name, name) == 0) return i;
    return -1;
}

int study_start_variant(const struct study *s, int variant)
{
    const json_t *start = start_of(&s->variant[variant]);
    return start ? variant_of(s, run_of(start)) : -1;
}

/* A checkpoint's folder, or a file of weights. */
static bool is_file(const char *path)
{
    struct stat st;
    char *manifest;
    INVARIANT(asprintf(&manifest, "%s/manifest.json", path) >= 0, "no memory for a path");
    bool is = (stat(path, &st) == 0 && S_ISREG(st.st_mode)) || stat(manifest, &st) == 0;
    free(manifest);
    return is;
}

/* ---- where a run begins ---- */

static int place_of(const struct study *s, int variant, int replicate, char *path, size_t room)
{
    char hash[33];
    hash_print(s->variant[variant].hash, hash);
    int n = snprintf(path, room, "%s/%s-%.8s/%d", s->dir, s->variant[variant].name, hash, replicate);
    return n > 0 && (size_t)n < room ? 0 : -1;
}

int study_start(const struct study *s, int point, struct study_start *out, struct err *e)
{
    const struct point *p = &s->point[point];
    const json_t *start = start_of(&s->variant[p->variant]);
    const char *run = run_of(start);
    int64_t replicate = number_of(start, "replicate");
    int its = variant_of(s, run), k = replicate < 0 ? p->replicate : (int)replicate;
    struct study *other = NULL;
    *out = (struct study_start){ .step = (int)number_of(start, "step") };
    if (its < 0 && is_file(run)) {
        out->file = true;
        snprintf(out->path, sizeof out->path, "%s", run);
        return 0;
    }
    if (its < 0 && study_variant_at(run, &other, &its, e)) return -1;
    int failure = place_of(other ? other : s, its, k, out->path, sizeof out->path);
    study_free(other);
    return failure ? err_set(e, "%s: the path of its run is too long", run) : 0;
}

/* ---- when a study is made ---- */

static struct leaves *leaves_of(const json_t *config, struct arena *a, struct model_conf *model, struct err *e)
{
    struct train_conf train;
    struct problems none = { 0 };
    struct leaves *leaves = leaves_new();
    struct graph *g = graph_new(leaves);
    model_load(json_object_get(config, "model"), a, model, &none);
    train_load(json_object_get(config, "train"), a, &train, &none);
    int failure = none.n ? err_set(e, "%s: %s", none.problem[0].path, none.problem[0].text) : 0;
    if (!failure)
        model_build(g, a, model, &train, MODE_TRAIN,
                    (struct model_size){ .batch = train.batch / train.micro, .seq = model->seq });
    if (g->failed) failure = err_set(e, "%s", g->err.text);
    graph_free(g);
    problems_free(&none);
    if (!failure) return leaves;
    leaves_free(leaves);
    return NULL;
}

static struct donor donor_of(const struct leaves *leaves, int layers, struct arena *a)
{
    struct donor d = { .layers = layers, .tensor = arena_alloc(a, (size_t)(leaves->n + 1) * sizeof *d.tensor) };
    for (int i = 0; i < leaves->n; i++) {
        const struct leaf *l = leaves->leaf[i];
        bool own = l->decl.dtype == DTYPE_REAL && !l->of && !l->transient && !l->of_update &&
                   (l->kind == LEAF_WEIGHT || l->kind == LEAF_BUFFER);
        if (own) d.tensor[d.n++] = (struct donated){ arena_text(a, "%s", l->path), l->decl.shape };
    }
    return d;
}

int study_map(const json_t *config, const struct donor *donor, struct mapping *m, struct leaves **leaves,
              struct arena *a, struct err *e)
{
    struct model_conf *own = arena_alloc(a, sizeof *own);
    *leaves = leaves_of(config, a, own, e);
    if (!*leaves) return -1;
    *m = (struct mapping){ .arena = a, .model = own, .start = model_start(own), .donor = donor };
    if (mapping_make(m, *leaves) == 0) return 0;
    *e = m->err;
    return -1;
}

int study_donor(const struct study *s, int variant, struct donor *out, struct arena *a, struct err *e)
{
    const char *run = run_of(start_of(&s->variant[variant]));
    struct model_conf its;
    struct study *other = NULL;
    int number = variant_of(s, run);
    if (number < 0 && study_variant_at(run, &other, &number, e)) return -1;
    struct leaves *from = leaves_of((other ? other : s)->variant[number].config, a, &its, e);
    if (from) *out = donor_of(from, its.layers, a);
    if (from) leaves_free(from);
    study_free(other);
    return from ? 0 : -1;
}

static void check_map(const struct study *s, int variant, struct problems *problems)
{
    struct arena *a = arena_new();
    struct donor donor;
    struct mapping m;
    struct leaves *leaves = NULL;
    struct err e;
    if (study_donor(s, variant, &donor, a, &e) || study_map(s->variant[variant].config, &donor, &m, &leaves, a, &e))
        problem_add(problems, "init", "%s", e.text);
    if (leaves) leaves_free(leaves);
    arena_free(a);
}

/* Of its run up to a step, and of what that began with. */
static double flops_of(const struct variant *v, int64_t step)
{
    struct train_conf train;
    struct problems none = { 0 };
    struct arena *a = arena_new();
    int64_t seq = json_integer_value(config_get(v->config, "model.seq"));
    train_load(json_object_get(v->config, "train"), a, &train, &none);
    struct ramps ramps = train_ramps(&train, seq);
    double tokens = (double)(train_sequences(&ramps, step ? step : train.steps) * seq);
    problems_free(&none);
    arena_free(a);
    return v->train_flops_per_token * tokens + v->start_flops;
}

double study_start_flops(const struct study *s, int variant)
{
    const json_t *start = start_of(&s->variant[variant]);
    struct study *other = NULL;
    struct err ignored;
    if (!start) return 0;
    int its = variant_of(s, run_of(start));
    bool known = its >= 0 || (!is_file(run_of(start)) && study_variant_at(run_of(start), &other, &its, &ignored) == 0);
    double flops = known ? flops_of(&(other ? other : s)->variant[its], number_of(start, "step")) : 0;
    study_free(other);
    return flops;
}

static void check_run(const struct study *s, const struct study *from, const struct variant *its, const json_t *start,
                      struct problems *problems)
{
    int64_t step = number_of(start, "step"), steps = json_integer_value(config_get(its->config, "train.steps")),
            replicate = number_of(start, "replicate");
    if (step > steps)
        problem_add(problems, "init.step", "%lld: %s is trained for %lld steps", (long long)step, run_of(start),
                    (long long)steps);
    if (replicate >= from->replicates || (replicate < 0 && from->replicates < s->replicates))
        problem_add(problems, "init.replicate", "%s has %d replicates, and this has %d: replicate = 0 begins all with "
                    "its first", run_of(start), from->replicates, s->replicates);
}

static struct hash hash_of_file(const char *path, struct problems *problems)
{
    struct hash h = { 0, 0 };
    struct err e;
    struct map map;
    char *manifest;
    struct stat st;
    INVARIANT(asprintf(&manifest, "%s/manifest.json", path) >= 0, "no memory for a path");
    bool folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    if (regular_map(&map, folder ? manifest : path, &e)) problem_add(problems, "init.run", "%s", e.text);
    else {
        h = hash_bytes(map.bytes, map.size);
        regular_unmap(&map);
    }
    free(manifest);
    return h;
}

void study_begin(struct study *s, int variant, struct problems *problems)
{
    struct variant *v = &s->variant[variant];
    const json_t *start = start_of(v);
    struct study *other = NULL;
    struct err e;
    struct hash h = { 0, 0 };
    char text[33];
    if (!start) return;
    int its = variant_of(s, run_of(start));
    problems->variant = v->name;
    if (its < 0 && is_file(run_of(start))) h = hash_of_file(run_of(start), problems);
    else if (its < 0 && study_variant_at(run_of(start), &other, &its, &e)) {
        const char **known = arena_alloc(s->arena, (size_t)(s->n_variants + 1) * sizeof *known);
        for (int i = 0; i < s->n_variants; i++) known[i] = s->variant[i].name;
        const char *near = nearest_name(run_of(start), known);
        if (!strchr(run_of(start), '/'))
            problem_add(problems, "init.run", "'%s': is no variant of this study%s%s%s, no \"runs/NAME/VARIANT\" and "
                        "no file", run_of(start), near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
        else problem_add(problems, "init.run", "%s", e.text);
    } else {
        const struct variant *from = &(other ? other : s)->variant[its];
        check_run(s, other ? other : s, from, start, problems);
        check_map(s, variant, problems);
        h = from->hash;
    }
    v->start_flops = study_start_flops(s, variant);
    problems->variant = NULL;
    study_free(other);
    hash_print(h, text);
    json_object_set_new(v->config, "start", json_string(text));
}

/* Depth first: 0: not seen, 1: on the way, 2: in the list. */
static bool order_from(const struct study *s, int variant, char *seen, int *order, int *n, struct problems *problems)
{
    int before = study_start_variant(s, variant);
    if (seen[variant] == 2) return true;
    if (seen[variant] == 1) {
        problem_add(problems, "init.run", "'%s' begins with itself, by way of '%s'", s->variant[variant].name,
                    before < 0 ? "?" : s->variant[before].name);
        return false;
    }
    seen[variant] = 1;
    if (before >= 0 && !order_from(s, before, seen, order, n, problems)) return false;
    seen[variant] = 2;
    order[(*n)++] = variant;
    return true;
}

int *study_order(const struct study *s, struct problems *problems)
{
    int *order = arena_alloc(s->arena, (size_t)(s->n_variants + 1) * sizeof *order), n = 0;
    char *seen = arena_alloc(s->arena, (size_t)s->n_variants + 1);
    memset(seen, 0, (size_t)s->n_variants + 1);
    for (int i = 0; i < s->n_variants; i++) if (!order_from(s, i, seen, order, &n, problems)) return NULL;
    return order;
}

void study_link(struct study *s)
{
    for (int p = 0; p < s->n_points; p++) {
        struct point *point = &s->point[p];
        const json_t *start = start_of(&s->variant[point->variant]);
        int its = start ? variant_of(s, run_of(start)) : -1;
        int64_t replicate = start ? number_of(start, "replicate") : -1, step = start ? number_of(start, "step") : 0;
        point->start = its < 0 ? -1 : study_point(s, its, replicate < 0 ? point->replicate : (int)replicate);
        if (its >= 0)
            point->start_step = step ? step : json_integer_value(config_get(s->variant[its].config, "train.steps"));
    }
}
