/* Variants that begin with the weights of others: who goes before whom, what a start costs, and whether its tensors
   have a place. */
#include "base/regular.h"
#include "base/text.h"
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

const char *variant_start(const struct variant *v, int64_t *step)
{
    const json_t *start = start_of(v);
    *step = start ? number_of(start, "step") : 0;
    return start ? run_of(start) : NULL;
}

int study_start_variant(const struct study *s, int variant)
{
    const json_t *start = start_of(&s->variant[variant]);
    return start ? study_variant(s, run_of(start)) : -1;
}

/* Of a checkpoint's folder or a file of weights, the file that says which weights they are, malloc'd; NULL: it is
   neither. */
static char *file_of(const char *path)
{
    struct stat st;
    char *manifest;
    if (stat(path, &st) != 0) return NULL;
    if (!S_ISDIR(st.st_mode)) return xstrdup(path);
    manifest = text_new("%s/manifest.json", path);
    if (stat(manifest, &st) == 0) return manifest;
    free(manifest);
    return NULL;
}

/* Whose weights they are, where a variant's: *other is opened for it, NULL: it is of this study. 1: they are a
   file's. */
static int find_donor(const struct study *s, const json_t *start, struct study **other, int *variant, struct err *e)
{
    const char *run = run_of(start);
    *other = NULL;
    *variant = study_variant(s, run);
    char *file = *variant < 0 ? file_of(run) : NULL;
    free(file);
    if (file) return 1;
    return *variant >= 0 ? 0 : study_variant_at(run, other, variant, e);
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
    int64_t replicate = number_of(start, "replicate");
    struct study *other;
    int its, found = find_donor(s, start, &other, &its, e);
    *out = (struct study_start){ .file = found == 1, .step = (int)number_of(start, "step") };
    if (found < 0) return -1;
    if (out->file) {
        snprintf(out->path, sizeof out->path, "%s", run_of(start));
        return 0;
    }
    int failure = place_of(other ? other : s, its, replicate < 0 ? p->replicate : (int)replicate, out->path,
                           sizeof out->path);
    study_free(other);
    return failure ? err_set(e, "%s: the path of its run is too long", run_of(start)) : 0;
}

/* ---- when a study is made ---- */

static struct donor donor_of(const struct leaves *leaves, int layers, struct arena *a)
{
    struct donor d = { .layers = layers, .tensor = arena_alloc(a, (size_t)(leaves->n + 1) * sizeof *d.tensor) };
    for (int i = 0; i < leaves->n; i++) {
        const struct leaf *l = leaves->leaf[i];
        if (leaf_is_own(l)) d.tensor[d.n++] = (struct donated){ arena_text(a, "%s", l->path), l->values, l->kept };
    }
    return d;
}

int study_map(const json_t *config, const struct donor *donor, struct mapping *m, struct training_graph *of,
              struct arena *a, struct err *e)
{
    if (training_graph_build(of, config, e)) return -1;
    *m = (struct mapping){ .arena = a, .model = &of->model, .start = model_start(&of->model), .donor = donor };
    if (mapping_make(m, of->leaves) == 0) return 0;
    *e = m->err;
    return -1;
}

int study_tensors(const json_t *config, struct donor *out, struct arena *a, struct err *e)
{
    struct training_graph from;
    int failure = training_graph_build(&from, config, e);
    if (!failure) *out = donor_of(from.leaves, from.model.layers, a);
    training_graph_free(&from);
    return failure;
}

int study_donor(const struct study *s, int variant, struct donor *out, struct arena *a, struct err *e)
{
    struct study *other;
    int its;
    if (find_donor(s, start_of(&s->variant[variant]), &other, &its, e)) return -1;
    int failure = study_tensors((other ? other : s)->variant[its].config, out, a, e);
    study_free(other);
    return failure;
}

static void check_map(const struct variant *v, const struct variant *its, struct problems *problems)
{
    struct arena *a = arena_new();
    struct donor donor;
    struct mapping m;
    struct training_graph of = { 0 };
    struct err e;
    if (study_tensors(its->config, &donor, a, &e) || study_map(v->config, &donor, &m, &of, a, &e))
        problem_add(problems, "init", "%s", e.text);
    training_graph_free(&of);
    arena_free(a);
}

/* Of its run up to a step, and of what that began with. */
static double flops_of(const struct variant *v, int64_t step)
{
    return v->train_flops_per_token * (double)variant_tokens_of(v, step) + v->start_flops;
}

double study_start_flops(const struct study *s, int variant)
{
    const json_t *start = start_of(&s->variant[variant]);
    struct study *other;
    struct err ignored;
    int its;
    if (!start || find_donor(s, start, &other, &its, &ignored)) return 0;
    double flops = flops_of(&(other ? other : s)->variant[its], number_of(start, "step"));
    study_free(other);
    return flops;
}

static void check_run(const struct study *s, const struct study *from, const struct variant *its, const json_t *start,
                      struct problems *problems)
{
    int64_t step = number_of(start, "step"), steps = config_integer(its->config, "train.steps"),
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
    char *file = file_of(path);
    if (regular_map(&map, file, &e)) problem_add(problems, "init.run", "%s", e.text);
    else {
        h = hash_bytes(map.bytes, map.size);
        regular_unmap(&map);
    }
    free(file);
    return h;
}

static void say_unknown(const struct study *s, const char *run, const char *why, struct problems *problems)
{
    char hint[HINT];
    const char *ending = strstr(run, ".safetensors");
    if (strstr(run, "/checkpoints/") || (ending && !ending[strlen(".safetensors")]))
        problem_add(problems, "init.run", "%s: is not there, as a file must be when a study is planned; what the study "
                    "trains itself is named by its variant, and `step`", run);
    else if (strchr(run, '/')) problem_add(problems, "init.run", "%s", why);
    else
        problem_add(problems, "init.run", "'%s': is no variant of this study%s, no \"runs/NAME/VARIANT\" and "
                    "no file", run, did_you_mean(study_nearest(s, run), hint));
}

void study_begin(struct study *s, int variant, struct problems *problems)
{
    struct variant *v = &s->variant[variant];
    const json_t *start = start_of(v);
    struct study *other;
    struct err e;
    struct hash h = { 0, 0 };
    char text[33];
    int its, found = start ? find_donor(s, start, &other, &its, &e) : 0;
    if (!start) return;
    problems->variant = v->name;
    if (found < 0) say_unknown(s, run_of(start), e.text, problems);
    else if (found == 1) h = hash_of_file(run_of(start), problems);
    else {
        const struct study *of = other ? other : s;
        const struct variant *from = &of->variant[its];
        check_run(s, of, from, start, problems);
        check_map(v, from, problems);
        v->start_flops = flops_of(from, number_of(start, "step"));
        h = from->hash;
    }
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
        int its = start ? study_variant(s, run_of(start)) : -1;
        int64_t replicate = start ? number_of(start, "replicate") : -1, step = start ? number_of(start, "step") : 0;
        point->start = its < 0 ? -1 : study_point(s, its, replicate < 0 ? point->replicate : (int)replicate);
        if (its >= 0)
            point->start_step = step ? step : config_integer(s->variant[its].config, "train.steps");
    }
}
