/* A tiny model for tests: a configuration, its graph, and memory that the test may read and write.

       struct tiny t = tiny_new(TEXT({"attention.gate": "head"}), NULL, MODE_EVAL, 2, 6);
       tiny_start(&t, 1);
       tiny_weight(&t, "layers.0.attention.gate.weight")[0] = 0;
       tiny_forward(&t);
       ... tiny_loss(&t, "lm") ...
       tiny_free(&t);

   The texts are JSON tables of dotted paths that are set in tiny_base and in the default training. */
#ifndef SLUICE_TINY_H
#define SLUICE_TINY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>
#include "model/model.h"
#include "model/registry.h"

#define TEXT(...) #__VA_ARGS__

static const char *const tiny_base = TEXT({
    "layers": 3, "d_model": 8, "seq": 6, "vocab": 11,
    "init": {"module": "normal", "std": 0.3, "depth_scale": false},
    "attention": {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4},
    "ffn": {"module": "moe", "experts": 4, "d_ff": 6}
});

/* All of WeLM at once. */
static const char *const tiny_welm = TEXT({
    "embed": {"module": "over_encoding", "rows": 7, "width": 3}, "residual": "partial_post", "position.fraction": 0.5,
    "attention.qk_norm": "k", "attention.gate": "head", "attention.kv": "mirror",
    "ffn.router.score": "sigmoid", "ffn.shared": "dense", "ffn.balance": ["bias"], "head.tied": false,
    "head.mtp": "sequential"
});

struct tiny {
    struct arena *arena; struct model_conf model; struct train_conf train;
    struct leaves *leaves; struct graph *graph; struct plan *plan; struct state *state; struct node *logits;
    enum mode mode; int batch, seq, tokens;
    union { struct inputs in; struct { INPUTS(INPUT_VALUES) }; };
};

/* A table with dotted paths set in it. New reference. */
static inline json_t *tiny_json(const struct schema *schema, const char *base, const char *sets)
{
    if (!sets) sets = "{}";
    json_t *json = json_loads(base, 0, NULL), *changes = json_loads(sets, 0, NULL), *value;
    const char *path;
    struct err e;
    assert_non_null(json);
    if (!changes) fail_msg("no JSON: %s", sets);
    json_object_foreach(changes, path, value)
        if (config_set(schema, json, path, value, &e) != 0) fail_msg("%s: %s", path, e.text);
    json_decref(changes);
    return json;
}

/* Whether the configurations are legal. The first mistake goes to `why`. */
static inline bool tiny_load(struct tiny *t, const json_t *model, const json_t *train, char why[256])
{
    struct problems problems = { 0 };
    t->arena = arena_new();
    model_load(model, t->arena, &t->model, &problems);
    train_load(train, t->arena, &t->train, &problems);
    bool legal = problems.n == 0;
    if (!legal) snprintf(why, 256, "%s = %s", problems.problem[0].path, problems.problem[0].text);
    problems_free(&problems);
    return legal;
}

static inline void tiny_build(struct tiny *t, enum mode mode, int batch, int seq)
{
    t->mode = mode;
    t->batch = batch;
    t->seq = seq;
    t->tokens = batch * seq;
    t->leaves = leaves_new();
    t->graph = graph_new(t->leaves);
    t->graph->keep = true;
    struct model_size size = { .batch = batch, .seq = seq, .context = t->model.seq, .rewind = 7 };
    t->logits = model_build(t->graph, t->arena, &t->model, &t->train, mode, size);
    if (t->graph->failed) fail_msg("%s", t->graph->err.text);
}

static inline struct tiny tiny_new(const char *model_sets, const char *train_sets, enum mode mode, int batch, int seq)
{
    struct tiny t = { 0 };
    char why[256];
    json_t *model = tiny_json(&model_schema, tiny_base, model_sets),
           *train = tiny_json(&train_schema, "{}", train_sets);
    if (!tiny_load(&t, model, train, why)) fail_msg("%s", why);
    json_decref(model);
    json_decref(train);
    tiny_build(&t, mode, batch, seq);
    return t;
}

static inline struct leaf *tiny_leaf(const struct tiny *t, const char *path)
{
    struct leaf *l = leaves_find(t->leaves, path);
    if (!l) fail_msg("no leaf '%s'", path);
    return l;
}

static inline real *tiny_weight(const struct tiny *t, const char *path)
{
    return state_data(t->state, tiny_leaf(t, path));
}

static inline int64_t tiny_count(const struct tiny *t, const char *path)
{
    return shape_count(tiny_leaf(t, path)->decl.shape);
}

static inline void tiny_scale(const struct tiny *t, const char *path, double by)
{
    real *w = tiny_weight(t, path);
    for (int64_t i = 0; i < tiny_count(t, path); i++) w[i] = (real)(w[i] * by);
}

/* Weights of all layers whose path ends so. */
static inline void tiny_scale_all(const struct tiny *t, const char *suffix, double by)
{
    for (int i = 0; i < t->leaves->n; i++) {
        const struct leaf *l = t->leaves->leaf[i];
        size_t n = strlen(l->path), m = strlen(suffix);
        if (l->kind == LEAF_WEIGHT && n >= m && strcmp(l->path + n - m, suffix) == 0) tiny_scale(t, l->path, by);
    }
}

/* Copies from another model what has the same path and shape: weights and buffers. */
static inline void tiny_copy(const struct tiny *t, const struct tiny *from)
{
    for (int i = 0; i < t->leaves->n; i++) {
        const struct leaf *l = t->leaves->leaf[i], *source = leaves_find(from->leaves, l->path);
        if ((l->kind != LEAF_WEIGHT && l->kind != LEAF_BUFFER) || !source) continue;
        if (!shape_equal(source->decl.shape, l->decl.shape)) continue;
        state_put(t->state, l, state_data(from->state, source));
    }
}

/* A model that is not legal, and words of what is said of it. */
static inline void tiny_refused(const char *model_sets, const char *words)
{
    struct tiny t = { 0 };
    char why[256] = "";
    json_t *model = tiny_json(&model_schema, tiny_base, model_sets), *train = json_object();
    bool legal = tiny_load(&t, model, train, why);
    if (legal || !strstr(why, words))
        fail_msg("%s: expected '%s', got '%s'", model_sets, words, legal ? "no mistake" : why);
    arena_free(t.arena);
    json_decref(model);
    json_decref(train);
}

/* What a test runs on: the GPU where its first argument is "cuda". */
static inline const struct backend *tiny_backend(int n, char **name)
{
    struct err e;
    const struct backend *on = n > 1 && strcmp(name[1], "cuda") == 0 ? backend_find(BACKEND_CUDA, &e) : &backend_cpu;
    if (!on) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    return on;
}

/* Memory, weights drawn from the seed, and a batch of random tokens: one document a sequence, next tokens as
   targets. */
static inline void tiny_start_on(struct tiny *t, struct plan_how how, uint64_t seed)
{
    struct err e;
    if (plan_new(&t->plan, t->graph, how, &e) != 0) fail_msg("%s", e.text);
    t->state = state_new(t->leaves, how.backend, 1);
    plan_bind(t->plan, t->state, NULL);
    state_fill(t->state, seed);
    t->in = inputs_new(t->batch, t->seq);
    inputs_noise(t->in, seed, 0, t->batch);
    struct key key = { seed, PURPOSE_TEST, 1, 0 };
    for (int i = 0; i < t->tokens; i++) t->ids[i] = (int32_t)key_below(key, (uint64_t)i, (uint64_t)t->model.vocab);
    for (int i = 0; i < t->tokens; i++) {
        bool last = i % t->seq == t->seq - 1;
        t->target[i] = last ? 0 : t->ids[i + 1];
        t->weight[i] = last ? 0 : 1;
    }
}

static inline void tiny_start(struct tiny *t, uint64_t seed)
{
    tiny_start_on(t, (struct plan_how){ &backend_cpu, PRECISION_FP32, RECOMPUTE_NONE }, seed);
}

static inline void tiny_put(struct tiny *t)
{
    inputs_stage(t->state, t->leaves, t->mode, 0, 1, &t->in);
}

/* One micro-batch, which is the whole first step of 1000. */
static inline void tiny_forward(struct tiny *t)
{
    tiny_put(t);
    plan_begin(t->plan, 0, 1000, 1);
    plan_forward(t->plan, 0);
}

static inline void tiny_step_of(struct tiny *t, int64_t step, int64_t steps)
{
    tiny_put(t);
    plan_begin(t->plan, step, steps, 1);
    plan_forward(t->plan, 0);
    plan_backward(t->plan, 0);
    plan_update(t->plan);
}

static inline void tiny_step(struct tiny *t, int64_t step) { tiny_step_of(t, step, 1000); }

/* What the graph declares as a metric, on a layer or on the model (-1). */
static inline void tiny_metric(struct tiny *t, const char *name, int layer, double *to)
{
    for (int i = 0; i < t->graph->n_probes; i++) {
        const struct probe *p = &t->graph->probe[i];
        if (strcmp(p->name, name) == 0 && p->layer == layer) { plan_read_probe(t->plan, p, to); return; }
    }
    fail_msg("no metric '%s' of layer %d", name, layer);
}

/* What probe number i says: malloc'd. */
static inline double *tiny_probe(struct tiny *t, int i)
{
    const struct probe *p = &t->graph->probe[i];
    double *value = xmalloc((size_t)probe_count(p) * sizeof *value);
    plan_read_probe(t->plan, p, value);
    return value;
}

/* A loss of the whole model, unweighted. */
static inline double tiny_loss(struct tiny *t, const char *name)
{
    char metric[64];
    double value;
    snprintf(metric, sizeof metric, strcmp(name, "lm") == 0 ? "loss" : "loss_%s", name);
    tiny_metric(t, metric, -1, &value);
    return value;
}

/* Everything a node holds: malloc'd. */
static inline double *tiny_read(struct tiny *t, const struct node *n)
{
    assert_non_null(n);
    double *value = xmalloc((size_t)shape_count(n->shape) * sizeof *value);
    plan_read(t->plan, n, value);
    return value;
}

/* The matmul that uses a weight. */
static inline struct node *tiny_user(const struct tiny *t, const char *weight)
{
    for (int i = 0; i < t->graph->n; i++) {
        struct node *n = t->graph->node[i];
        for (int k = 0; k < n->n_in; k++)
            if (n->region == REGION_MICRO && n->in[k] && n->in[k]->leaf && !strcmp(n->in[k]->leaf->path, weight))
                return n;
    }
    fail_msg("nobody uses '%s'", weight);
    return NULL;
}

/* The first node of an op at or after a place in the graph. */
static inline struct node *tiny_find(const struct tiny *t, const struct op *op, int from)
{
    for (int i = from; i < t->graph->n; i++) if (t->graph->node[i]->op == op) return t->graph->node[i];
    fail_msg("no node of %s", op->name);
    return NULL;
}

static inline bool tiny_same(const struct tiny *a, const struct tiny *b)
{
    return hash_equal(graph_fingerprint(a->graph, 1000), graph_fingerprint(b->graph, 1000));
}

static inline void tiny_free(struct tiny *t)
{
    inputs_free(t->in);
    plan_free(t->plan);
    state_free(t->state);
    graph_free(t->graph);
    leaves_free(t->leaves);
    arena_free(t->arena);
}

#endif
