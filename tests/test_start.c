/* Models that begin with another's weights: each map makes of a trained model what it says, and where it says that the
   function stays, logits do; what does not fit is said.

       test_start           on the CPU
       test_start cuda      what is said of functions alone, on the GPU */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "model/registry.h"
#include "train/checkpoint.h"
#include "train/decoder.h"
#include "train/start.h"

#define TEXT(...) #__VA_ARGS__
enum { SEQ = 12, BATCH = 2, VOCAB = 61, STEPS = 6 };

static char folder[] = "/tmp/sluice-start-XXXXXX";
static const char *backend = "cpu";

/* ---- a small session ---- */

static const char dense[] = TEXT({
    "layers": 3, "d_model": 32, "seq": 12, "vocab": 61, "init": {"module": "normal", "std": 0.15},
    "attention": {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 16},
    "ffn": {"module": "dense", "d_ff": 48}, "head": {"module": "lm", "tied": false}});
static const char sparse[] = TEXT({
    "layers": 2, "d_model": 32, "seq": 12, "vocab": 61, "init": {"module": "normal", "std": 0.15},
    "attention": {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 16}, "head": {"module": "lm", "tied": false},
    "ffn": {"module": "moe", "experts": 4, "d_ff": 24, "router": {"module": "staged", "top_k": 2},
            "balance": [{"module": "bias"}]}});

static json_t *object(const char *text)
{
    json_t *json = json_loads(text, 0, NULL);
    if (!json) fail_msg("no JSON: %s", text);
    return json;
}

/* set: paths and values that make another of it; NULL: none. */
static json_t *config_of(const char *model, const char *set)
{
    json_t *config = json_pack("{s:o, s:{s:i, s:i, s:s, s:{s:s, s:f}}}", "model", object(model), "train", "steps",
                               STEPS, "batch", BATCH, "backend", backend, "optim", "module", "adamw", "lr", 0.01),
           *all = set ? object(set) : NULL, *value;
    const char *path;
    struct err e;
    json_object_foreach(all, path, value)
        if (config_set(&model_schema, json_object_get(config, "model"), path, value, &e)) fail_msg("%s", e.text);
    json_decref(all);
    return config;
}

static struct session *session_of(const char *model, const char *set)
{
    struct session *s;
    struct err e;
    json_t *config = config_of(model, set);
    if (session_new(&s, config, 1, &e)) fail_msg("%s", e.text);
    json_decref(config);
    return s;
}

static struct inputs batch_of(int64_t step)
{
    struct inputs b = inputs_new(BATCH, SEQ);
    for (int64_t i = 0; i < BATCH * SEQ; i++)
        b.ids[i] = (int32_t)key_below((struct key){ 8, PURPOSE_TEST, (uint64_t)(i / SEQ), (uint64_t)step },
                                      (uint64_t)(i % SEQ), VOCAB);
    for (int64_t i = 0; i < BATCH * SEQ; i++) b.target[i] = i % SEQ == SEQ - 1 ? 0 : b.ids[i + 1];
    return b;
}

static void train(struct session *s)
{
    for (int step = 0; step < STEPS; step++) {
        struct inputs b = batch_of(step);
        plan_begin(s->plan, step, STEPS, 1);
        session_stage(s, 0, &b);
        plan_step(s->plan, NULL);
        inputs_free(b);
    }
}

static void decode(struct session *s, real *logits)
{
    struct decoder *d;
    struct err e;
    struct inputs b = batch_of(1000);
    struct plan_how how = { s->backend, PRECISION_FP32, RECOMPUTE_NONE };
    if (decoder_new(&d, &s->model, how, s->leaves, s->state,
                    (struct model_size){ .batch = 1, .seq = SEQ, .context = SEQ }, 1, &e)) fail_msg("%s", e.text);
    decoder_feed(d, 0, b.ids, logits);
    decoder_free(d);
    inputs_free(b);
}

/* A trained model's checkpoint, and its logits. */
struct donated_run { char path[4096]; real logits[SEQ * VOCAB]; };

/* Keeps it as a run does. */
static void keep(struct session *s, struct donated_run *out)
{
    static int number;
    char dir[64];
    struct checkpoint c;
    struct err e;
    snprintf(dir, sizeof dir, "%s/%d", folder, number++);
    assert_int_equal(mkdir(dir, 0777), 0);
    strcat(dir, "/checkpoints");
    json_t *none = json_object();
    if (checkpoint_save(dir, STEPS, s->leaves, s->state, none, 0, NULL, &c, &e)) fail_msg("%s", e.text);
    json_decref(none);
    snprintf(out->path, sizeof out->path, "%s", c.path);
    decode(s, out->logits);
}

static struct session *trained(const char *model, const char *set)
{
    struct session *s = session_of(model, set);
    state_fill(s->state, 5);
    train(s);
    return s;
}

static void donate(const char *model, const char *set, struct donated_run *out)
{
    struct session *s = trained(model, set);
    keep(s, out);
    session_free(s);
}

static struct session *begin(const char *model, const char *set, const struct donated_run *from)
{
    struct err e;
    struct session *s = session_of(model, set);
    state_fill(s->state, 77);
    if (start_from(s, from->path, 77, &e)) fail_msg("%s: %s", set, e.text);
    return s;
}

static double distance(struct session *s, const struct donated_run *from)
{
    real logits[SEQ * VOCAB];
    double most = 0, size = 0;
    decode(s, logits);
    for (int i = 0; i < SEQ * VOCAB; i++) {
        most = fmax(most, fabs((double)logits[i] - (double)from->logits[i]));
        size = fmax(size, fabs((double)from->logits[i]));
    }
    assert_true(size > 1);                                  /* it has learnt to say something */
    return most;
}

static double distance_of(const char *model, const char *set, const struct donated_run *from)
{
    struct session *s = begin(model, set, from);
    double d = distance(s, from);
    session_free(s);
    return d;
}

/* ---- the function stays ---- */

static void test_function_stays(void **state)
{
    static const char *const dense_sets[] = {
        TEXT({"init": {"module": "from", "run": "x"}}),
        TEXT({"init": {"module": "from", "run": "x"}, "adapter": {"module": "lora", "also": "gain"}}),
        TEXT({"layers": 5, "init": {"module": "from", "run": "x", "map": {"module": "layers", "of": [0, 1, 1, 2, 2],
              "identity": true}}}),
        TEXT({"layers": 7, "init": {"module": "from", "run": "x", "map": {"module": "cycle", "from": 1, "to": 2,
              "times": 3, "identity": true}}}),
        TEXT({"layers": 4, "init": {"module": "from", "run": "x", "map": {"module": "overlap", "removed": 1,
              "identity": true}}}),
        TEXT({"ffn": {"module": "moe", "experts": 4, "d_ff": 48, "router": {"module": "staged", "top_k": 2,
              "normalize": "after"}}, "init": {"module": "from", "run": "x", "map": "upcycle"}}),
        TEXT({"ffn": {"module": "moe", "experts": 12, "d_ff": 16, "router": {"module": "staged", "top_k": 6,
              "normalize": "after"}}, "init": {"module": "from", "run": "x", "map": "upcycle"}}),
        TEXT({"ffn": {"module": "moe", "experts": 12, "d_ff": 16, "shared": "dense", "router": {"module": "staged",
              "top_k": 3, "score": "sigmoid", "normalize": "after", "scale": 2.5}},
              "init": {"module": "from", "run": "x", "map": {"module": "upcycle", "shuffle": true}}}),
        TEXT({"d_model": 64, "init": {"module": "from", "run": "x", "map": "widen"}}),
        TEXT({"d_model": 96, "ffn.d_ff": 96, "attention.heads": 4, "attention.kv_heads": 2,
              "init": {"module": "from", "run": "x", "map": {"module": "widen", "noise": 0.5}}}),
        TEXT({"ffn.d_ff": 144, "init": {"module": "from", "run": "x", "map": {"module": "widen", "noise": 0}}}),
    };
    (void)state;
    struct donated_run from;
    donate(dense, NULL, &from);
    for (int i = 0; i < COUNT(dense_sets); i++) {
        double d = distance_of(dense, dense_sets[i], &from);
        print_message("    %.2g  %s\n", d, dense_sets[i]);
        if (!(d < 1e-5)) fail_msg("logits move by %.3g", d);
    }
}

/* Gates that do not sum to a constant are made up for as if all experts scored alike, which they nearly do at first. */
static void test_gates_are_made_up_for(void **state)
{
    static const char set[] = TEXT({"ffn": {"module": "moe", "experts": 4, "d_ff": 24, "router": {"module": "staged",
        "top_k": 2}}, "init": {"module": "from", "run": "x", "rest": {"module": "normal", "std": 1e-4},
        "map": {"module": "upcycle", "compensate": %s}}});
    (void)state;
    struct donated_run from;
    char with[512], without[512];
    donate(dense, NULL, &from);
    snprintf(with, sizeof with, set, "true");
    snprintf(without, sizeof without, set, "false");
    assert_true(distance_of(dense, with, &from) < 1e-2);
    assert_true(distance_of(dense, without, &from) > 0.3);
}

static void test_tied_heads_widen(void **state)
{
    (void)state;
    struct donated_run from;
    donate(dense, TEXT({"head.tied": true}), &from);
    double d = distance_of(dense, TEXT({"head.tied": true, "d_model": 64,
                                        "init": {"module": "from", "run": "x", "map": "widen"}}), &from);
    if (!(d < 1e-5)) fail_msg("logits move by %.3g", d);
}

static void test_biases_are_copied(void **state)
{
    static const char *const sets[] = {
        TEXT({"ffn": {"module": "moe", "bias": true, "experts": 4, "d_ff": 48, "router": {"module": "staged",
              "top_k": 2, "normalize": "after"}}, "init": {"module": "from", "run": "x", "map": "upcycle"}}),
        TEXT({"ffn": {"module": "moe", "bias": true, "experts": 12, "d_ff": 16, "router": {"module": "staged",
              "top_k": 3, "score": "sigmoid", "normalize": "after", "scale": 2.5}},
              "init": {"module": "from", "run": "x", "map": {"module": "upcycle", "shuffle": true}}}),
    };
    (void)state;
    struct donated_run from;
    donate(dense, TEXT({"ffn.bias": true}), &from);
    for (int i = 0; i < COUNT(sets); i++) {
        double d = distance_of(dense, sets[i], &from);
        if (!(d < 1e-5)) fail_msg("%s: logits move by %.3g", sets[i], d);
    }
}

/* Cut in parts, and made whole again. */
static const char *const routers[] = {
    TEXT({"module": "staged", "top_k": %d}), TEXT({"module": "staged", "top_k": %d, "normalize": "after"}),
    TEXT({"module": "staged", "top_k": %d, "score": "sigmoid"}),
};

static void routed(char set[640], const char *router, int k, int experts, int width, const char *map)
{
    char its[96];
    snprintf(its, sizeof its, router, k);
    snprintf(set, 640, "{\"ffn.bias\": true, \"ffn.router\": %s, \"ffn.experts\": %d, \"ffn.d_ff\": %d%s%s%s}", its,
             experts, width, *map ? ", \"init\": {\"module\": \"from\", \"run\": \"x\", \"map\": " : "", map,
             *map ? "}" : "");
}

static void test_experts_split(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(routers); i++) {
        struct donated_run from;
        char one[640], two[640];
        routed(one, routers[i], 2, 4, 24, "");
        routed(two, routers[i], 6, 12, 8, TEXT({"module": "split", "parts": 3}));
        donate(sparse, one, &from);
        double d = distance_of(sparse, two, &from);
        print_message("    %.2g  %s\n", d, two);
        if (!(d < 1e-5)) fail_msg("logits move by %.3g", d);
    }
}

static void test_split_experts_merge(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(routers); i++) {
        struct donated_run from, cut;
        char one[640], two[640], back[640];
        routed(one, routers[i], 2, 4, 24, "");
        routed(two, routers[i], 4, 8, 12, TEXT({"module": "split", "parts": 2}));
        routed(back, routers[i], 2, 4, 24, TEXT({"module": "merge"}));
        struct session *whole = trained(sparse, one);
        keep(whole, &from);
        struct session *parts = begin(sparse, two, &from);
        keep(parts, &cut);
        struct session *again = begin(sparse, back, &cut);
        if (!(distance(again, &from) < 1e-5)) fail_msg("logits move by %.3g", distance(again, &from));
        for (int k = 0; k < whole->leaves->n; k++) {
            const struct leaf *l = whole->leaves->leaf[k];
            if (leaf_is_own(l) && memcmp(state_data(whole->state, l), state_data(again->state, l), leaf_bytes(l)) != 0)
                fail_msg("%s differs", l->path);
        }
        session_free(whole);
        session_free(parts);
        session_free(again);
    }
}

/* Copies of a layer that write, and neurons that were drawn anew, do change it. */
static void test_function_changes(void **state)
{
    static const char *const sets[] = {
        TEXT({"layers": 5, "init": {"module": "from", "run": "x", "map": {"module": "cycle", "from": 1, "to": 1,
              "times": 3}}}),
        TEXT({"ffn": {"module": "moe", "experts": 4, "d_ff": 48, "router": {"module": "staged", "top_k": 2,
              "normalize": "after"}}, "init": {"module": "from", "run": "x", "map": {"module": "upcycle",
              "reinit": 0.5}}}),
        TEXT({"init": {"module": "from", "run": "x", "fresh": "head.*", "left": "head.*"}}),
    };
    (void)state;
    struct donated_run from;
    donate(dense, NULL, &from);
    for (int i = 0; i < COUNT(sets); i++) assert_true(distance_of(dense, sets[i], &from) > 1e-2);
}

/* ---- values ---- */

static real *values_of(struct session *s, const char *path, int64_t *n)
{
    const struct leaf *l = leaves_find(s->leaves, path);
    assert_non_null(l);
    *n = shape_count(l->decl.shape);
    real *values = xmalloc(leaf_bytes(l));
    state_get(s->state, l, values);
    return values;
}

/* As many neurons as asked are drawn anew, the same of each matrix of an expert, others of others. */
static void test_neurons_are_redrawn(void **state)
{
    static const char set[] = TEXT({"ffn": {"module": "moe", "experts": 2, "d_ff": 48, "router": {"module": "staged",
        "top_k": 1}}, "init": {"module": "from", "run": "x", "map": {"module": "upcycle", "reinit": 0.25,
        "compensate": false}}});
    (void)state;
    struct donated_run from;
    int64_t n, all, own;
    donate(dense, NULL, &from);
    struct session *s = begin(dense, set, &from), *plain = begin(dense, TEXT({"init": {"module": "from", "run": "x"}}),
                                                                &from);
    real *dense_up = values_of(plain, "layers.1.ffn.up.weight", &n),
         *up = values_of(s, "layers.1.ffn.experts.up.weight", &all),
         *dense_down = values_of(plain, "layers.1.ffn.down.weight", &own),
         *down = values_of(s, "layers.1.ffn.experts.down.weight", &own);
    bool differs[2][48];
    assert_int_equal(all, 2 * n);
    for (int e = 0; e < 2; e++) {
        int redrawn = 0;
        for (int f = 0; f < 48; f++) {
            bool there = memcmp(up + (e * 48 + f) * 32, dense_up + f * 32, 32 * sizeof *up) != 0, below = false;
            for (int r = 0; r < 32; r++) below |= down[(e * 32 + r) * 48 + f] != dense_down[r * 48 + f];
            assert_int_equal(there, below);
            redrawn += differs[e][f] = there;
        }
        assert_int_equal(redrawn, 12);
    }
    assert_true(memcmp(differs[0], differs[1], sizeof differs[0]) != 0);
    free(dense_up);
    free(dense_down);
    free(up);
    free(down);
    session_free(s);
    session_free(plain);
}

static float at(struct session *s, const char *path, int64_t i)
{
    int64_t n;
    real *values = values_of(s, path, &n), value = values[i];
    assert_true(i < n);
    free(values);
    return (float)value;
}

enum { F = 24, D = 32 };                                    /* of an expert, of the stream */
#define EXPERTS "layers.1.ffn.experts."

/* Experts 0 and 3, and 1 and 2, become one: their means; or where that is twice as wide, both. */
static void test_experts_merge(void **state)
{
    static const char map[] = TEXT({"module": "merge", "experts": [0, 3, 1, 2]});
    static const int group[2][2] = { { 0, 3 }, { 1, 2 } };
    (void)state;
    char one[640], mean[640], beside[640];
    struct donated_run from;
    routed(one, routers[0], 2, 4, F, "");
    routed(mean, routers[0], 1, 2, F, map);
    routed(beside, routers[0], 1, 2, 2 * F, map);
    struct session *s = trained(sparse, one);
    keep(s, &from);
    struct session *m = begin(sparse, mean, &from), *b = begin(sparse, beside, &from);
    for (int e = 0; e < 2; e++) {
        int x = group[e][0], y = group[e][1];
        for (int i = 0; i < F * D; i++) {
            assert_float_equal(at(m, EXPERTS "up.weight", e * F * D + i), (at(s, EXPERTS "up.weight", x * F * D + i) +
                               at(s, EXPERTS "up.weight", y * F * D + i)) / 2, 1e-6);
            assert_float_equal(at(b, EXPERTS "up.weight", (2 * e + 1) * F * D + i),
                               at(s, EXPERTS "up.weight", y * F * D + i), 0);
            int64_t r = i / F, c = i % F;
            assert_float_equal(at(b, EXPERTS "down.weight", (e * D + r) * 2 * F + c),
                               at(s, EXPERTS "down.weight", (x * D + r) * F + c) / 2, 1e-6);
            assert_float_equal(at(b, EXPERTS "down.weight", (e * D + r) * 2 * F + F + c),
                               at(s, EXPERTS "down.weight", (y * D + r) * F + c) / 2, 1e-6);
        }
        for (int i = 0; i < F; i++)
            assert_float_equal(at(b, EXPERTS "up.bias", (2 * e + 1) * F + i), at(s, EXPERTS "up.bias", y * F + i), 0);
        for (int i = 0; i < D; i++) {
            float row = (at(s, "layers.1.ffn.router.weight", x * D + i) + at(s, "layers.1.ffn.router.weight",
                                                                             y * D + i)) / 2,
                  down = (at(s, EXPERTS "down.bias", x * D + i) + at(s, EXPERTS "down.bias", y * D + i)) / 2;
            assert_float_equal(at(m, "layers.1.ffn.router.weight", e * D + i), row, 1e-6);
            assert_float_equal(at(b, "layers.1.ffn.router.weight", e * D + i), row, 1e-6);
            assert_float_equal(at(m, EXPERTS "down.bias", e * D + i), down, 1e-6);
            assert_float_equal(at(b, EXPERTS "down.bias", e * D + i), down, 1e-6);
        }
        float bias = at(s, "layers.1.ffn.router.bias", x) + at(s, "layers.1.ffn.router.bias", y);
        assert_float_equal(at(m, "layers.1.ffn.router.bias", e), bias / 2, 1e-6);
        assert_float_equal(at(b, "layers.1.ffn.router.bias", e), bias, 1e-6);
    }
    session_free(s);
    session_free(m);
    session_free(b);
}

/* Which of the donor's experts those of a layer are, by what they read first. */
static void assert_kept(struct session *s, struct session *of, int layer, int a, int b)
{
    char path[64];
    snprintf(path, sizeof path, "layers.%d.ffn.experts.up.weight", layer);
    assert_true(at(s, path, 0) == at(of, path, a * F * D) && at(s, path, F * D) == at(of, path, b * F * D));
}

/* What is never chosen may go, and nothing changes. */
static void test_experts_prune(void **state)
{
    static const char by_list[] = TEXT({"ffn.experts": 2, "ffn.router": {"module": "staged", "top_k": 1,
        "score": "sigmoid"}, "init": {"module": "from", "run": "x", "map": {"module": "prune", "experts": [0, 2]}}});
    static const char by_norm[] = TEXT({"ffn.experts": 2, "init": {"module": "from", "run": "x", "map": {
        "module": "prune", "by": "norm"}}});
    (void)state;
    struct donated_run from;
    struct session *s = trained(sparse, TEXT({"ffn.router": {"module": "staged", "top_k": 1, "score": "sigmoid"}}));
    for (int layer = 0; layer < 2; layer++) {
        char path[64];
        snprintf(path, sizeof path, "layers.%d.ffn.router.bias", layer);
        state_put(s->state, leaves_find(s->leaves, path), (real[]){ 0, -9, 0, -9 });
        snprintf(path, sizeof path, "layers.%d.ffn.experts.gate.weight", layer);
        const struct leaf *l = leaves_find(s->leaves, path);
        real *gate = xmalloc(leaf_bytes(l));
        state_get(s->state, l, gate);
        for (int i = 0; i < F * D; i++) gate[(1 + layer) * F * D + i] *= 8;
        for (int i = 0; i < F * D; i++) gate[3 * F * D + i] *= 4;
        state_put(s->state, l, gate);
        free(gate);
    }
    keep(s, &from);
    struct session *list = begin(sparse, by_list, &from), *norm = begin(sparse, by_norm, &from);
    assert_true(distance(list, &from) < 1e-5);
    assert_kept(list, s, 0, 0, 2);
    assert_kept(norm, s, 0, 1, 3);
    assert_kept(norm, s, 1, 2, 3);
    session_free(s);
    session_free(list);
    session_free(norm);
}

/* A run file of two evaluations and a step, in which experts got so many tokens. */
static void write_loads(const char *path, const char *model, const double tokens[3][2 * 4])
{
    static const struct series series[] = {
        { STORE_TRAIN, "expert_tokens", "assignment", "", STORE_U32, 2, { 2, 4 }, { "layer", "expert" }, false,
          BETTER_NONE },
        { STORE_EVAL, "expert_tokens", "assignment", "", STORE_U32, 2, { 2, 4 }, { "layer", "expert" }, false,
          BETTER_NONE },
    };
    struct store *store;
    struct err e;
    json_t *config = config_of(model, NULL);
    char *text = json_dumps(config, JSON_COMPACT);
    struct store_plan plan = { COUNT(series), series, 0, NULL, 0, NULL, text, "", "x.lua", "[]", "{}" };
    int failure = store_create(&store, path, &plan, &e) ||
                  store_append(store, STORE_EVAL, STEPS - 1, (const double *[]){ tokens[0] }, &e) ||
                  store_append(store, STORE_TRAIN, STEPS, (const double *[]){ tokens[1] }, &e) ||
                  store_append(store, STORE_EVAL, STEPS + 1, (const double *[]){ tokens[2] }, &e) ||
                  store_close(store, STATUS_FINISHED, &e);
    if (failure) fail_msg("%s", e.text);
    free(text);
    json_decref(config);
}

/* By the last evaluation up to the checkpoint; of equals the first stay. */
static void test_experts_prune_by_load(void **state)
{
    static const char set[] = TEXT({"ffn.experts": 2, "init": {"module": "from", "run": "x", "map": {
        "module": "prune", "by": "load"}}});
    static const double tokens[3][8] = { { 3, 9, 1, 4, 5, 5, 5, 9 }, { 9, 9, 1, 1, 9, 9, 1, 1 },
                                         { 9, 1, 9, 1, 9, 1, 9, 1 } };
    (void)state;
    struct donated_run from;
    char run[4096], why[4200];
    struct err e;
    struct session *s = trained(sparse, NULL), *fails = session_of(sparse, set);
    keep(s, &from);
    state_fill(fails->state, 77);
    assert_int_equal(start_from(fails, from.path, 77, &e), -1);
    if (!strstr(e.text, "is no checkpoint in a run's folder")) fail_msg("%s", e.text);
    snprintf(run, sizeof run, "%.*s/run.h5", (int)(strstr(from.path, "/checkpoints/") - from.path), from.path);
    write_loads(run, sparse, tokens);
    struct session *load = begin(sparse, set, &from);
    assert_kept(load, s, 0, 1, 3);
    assert_kept(load, s, 1, 0, 3);
    session_free(load);
    char *step = strstr(from.path, "/step-");               /* a copy by another name is of the same step */
    snprintf(why, sizeof why, "cp -r %s %.*s/best", from.path, (int)(step - from.path), from.path);
    assert_int_equal(system(why), 0);
    strcpy(step, "/best");
    load = begin(sparse, set, &from);
    assert_kept(load, s, 0, 1, 3);
    assert_kept(load, s, 1, 0, 3);
    snprintf(why, sizeof why, "cp %s/state.safetensors %s/lone.safetensors", from.path, folder);
    assert_int_equal(system(why), 0);
    snprintf(why, sizeof why, "%s/lone.safetensors", folder);
    assert_int_equal(start_from(fails, why, 77, &e), -1);
    if (!strstr(e.text, "is no checkpoint in a run's folder")) fail_msg("%s", e.text);
    session_free(s);
    session_free(fails);
    session_free(load);
}

/* The bias of loss-free balancing comes along; what the optimizer remembered does not. */
static void test_what_comes_along(void **state)
{
    (void)state;
    struct donated_run from;
    donate(sparse, NULL, &from);
    struct session *s = begin(sparse, TEXT({"init": {"module": "from", "run": "x"}}), &from);
    int biases = 0, moments = 0;
    assert_true(distance(s, &from) == 0);
    for (int i = 0; i < s->leaves->n; i++) {
        const struct leaf *l = s->leaves->leaf[i];
        if (l->kind != LEAF_BUFFER || l->decl.dtype != DTYPE_REAL) continue;
        int64_t n;
        real *values = values_of(s, l->path, &n), sum = 0;
        for (int64_t k = 0; k < n; k++) sum += (real)fabs((double)values[k]);
        if (l->of_update) { assert_true(sum == 0); moments++; }
        else if (strstr(l->path, "bias")) { assert_true(sum > 0); biases++; }
        free(values);
    }
    assert_true(biases == 2 && moments > 10);
    train(s);
    session_free(s);
}

/* ---- what does not fit ---- */

static void test_mistakes(void **state)
{
    static const struct { const char *set, *words; } bad[] = {
        { TEXT({"layers": 4, "init": {"module": "from", "run": "x"}}), "has 3 layers and this model 4" },
        { TEXT({"ffn.d_ff": 40, "init": {"module": "from", "run": "x"}}),
          "layers.0.ffn.gate.weight is [40,32] here and [48,32] in x" },
        { TEXT({"ffn": {"module": "dense", "d_ff": 48, "activation": "relu2"}, "init": {"module": "from", "run": "x"}}),
          "x has layers.0.ffn.gate.weight, which has no place in this model: init.left" },
        { TEXT({"attention.gate": "head", "init": {"module": "from", "run": "x"}}),
          "x has no layers.0.attention.gate.weight" },
        { TEXT({"layers": 3, "init": {"module": "from", "run": "x", "map": {"module": "layers", "of": [0, 1, 3]}}}),
          "layer 2 is to be a copy of layer 3, and x has 3" },
        { TEXT({"ffn": {"module": "moe", "experts": 4, "d_ff": 20}, "init": {"module": "from", "run": "x",
                "map": "upcycle"}}), "4 experts of width 20 cannot be made of copies of" },
        { TEXT({"d_model": 48, "init": {"module": "from", "run": "x", "map": "widen"}}),
          "is [61,48] here and [61,32]" },
        { TEXT({"layers": 5, "init": {"module": "from", "run": "x", "map": "overlap"}}),
          "x has 3 layers, of which init.map = \"overlap\" makes 4, and this model has 5" },
        { TEXT({"layers": 6, "init": {"module": "from", "run": "x", "map": {"module": "cycle", "to": 1}}}),
          "x has 3 layers, of which init.map = \"cycle\" makes 5, and this model has 6" },
    }, bad_experts[] = {
        { TEXT({"ffn.experts": 3, "init": {"module": "from", "run": "x", "map": "merge"}}),
          "3 experts of width 24 cannot be made of 4 of width 24" },
        { TEXT({"ffn.experts": 2, "ffn.d_ff": 36, "init": {"module": "from", "run": "x", "map": "merge"}}),
          "2 experts of width 36 cannot be made of 4 of width 24" },
        { TEXT({"ffn.experts": 2, "init": {"module": "from", "run": "x", "map": {"module": "merge",
                "experts": [1, 0]}}}), "init.map.experts: names 2 experts, and x has 4" },
        { TEXT({"ffn.experts": 2, "init": {"module": "from", "run": "x", "map": {"module": "prune", "experts": [1]}}}),
          "init.map.experts: names 1 experts, and layer 0 has 2" },
        { TEXT({"ffn.experts": 2, "init": {"module": "from", "run": "x", "map": {"module": "prune",
                "experts": [1, 4]}}}), "expert 4 is to stay, and x has 4, counted from 0" },
        { TEXT({"ffn.experts": 6, "init": {"module": "from", "run": "x", "map": {"module": "prune", "by": "norm"}}}),
          "of 4 experts of width 24 in x 6 of width 24 cannot stay" },
        { TEXT({"ffn.experts": 2, "ffn.d_ff": 12, "init": {"module": "from", "run": "x", "map": {"module": "prune",
                "by": "norm"}}}), "of 4 experts of width 24 in x 2 of width 12 cannot stay" },
    };
    (void)state;
    struct donated_run from, experts;
    struct err e;
    int missed = 0;
    donate(dense, NULL, &from);
    donate(sparse, NULL, &experts);
    for (int i = 0; i < COUNT(bad) + COUNT(bad_experts); i++) {
        bool of_experts = i >= COUNT(bad);
        const char *set = of_experts ? bad_experts[i - COUNT(bad)].set : bad[i].set,
                   *words = of_experts ? bad_experts[i - COUNT(bad)].words : bad[i].words;
        struct session *s = session_of(of_experts ? sparse : dense, set);
        state_fill(s->state, 77);
        bool refused = start_from(s, of_experts ? experts.path : from.path, 77, &e) != 0;
        if (!refused || !strstr(e.text, words)) {
            print_error("%s\n  wanted: %s\n  got: %s\n", set, words, refused ? e.text : "nothing");
            missed++;
        }
        session_free(s);
    }
    assert_int_equal(missed, 0);
    struct session *s = session_of(dense, TEXT({"layers": 3, "attention.gate": "head", "init": {"module": "from",
                                                "run": "x", "fresh": "*.gate.weight"}}));
    assert_int_equal(start_from(s, "/nowhere", 1, &e), -1);
    session_free(s);
}

static int make(void **state) { (void)state; return mkdtemp(folder) ? 0 : -1; }
static int clear(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* Fine-tuning in four bits: what has adapters is the donor's, quantised, and says nearly the same. */
static void test_codes_of_a_donor(void **state)
{
    (void)state;
    struct donated_run from;
    donate(dense, NULL, &from);
    struct session *floats = begin(dense, TEXT({"init": {"module": "from", "run": "x"}, "adapter": "lora"}), &from),
                   *codes = begin(dense, TEXT({"init": {"module": "from", "run": "x"},
                                               "adapter": {"module": "lora", "base": "nf4"}}), &from);
    int n = 0;
    for (int i = 0; i < codes->leaves->n; i++) {
        const struct leaf *l = codes->leaves->leaf[i], *of = leaves_find(floats->leaves, l->path);
        if (l->kind != LEAF_WEIGHT || l->kept == KEPT_FLOAT) continue;
        void *begun = xmalloc(leaf_bytes(l));
        memcpy(begun, state_data(codes->state, l), leaf_bytes(l));
        state_put_values(codes->state, l, state_data(floats->state, of));
        assert_memory_equal(begun, state_data(codes->state, l), leaf_bytes(l));
        free(begun);
        n++;
    }
    assert_int_equal(n, 3 * 7);
    double apart = distance(codes, &from);
    assert_true(apart > 0 && apart < 2);
    session_free(floats);
    session_free(codes);
}

int main(int n, char **word)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_function_stays), cmocka_unit_test(test_gates_are_made_up_for),
        cmocka_unit_test(test_tied_heads_widen),
        cmocka_unit_test(test_biases_are_copied), cmocka_unit_test(test_experts_split),
        cmocka_unit_test(test_split_experts_merge), cmocka_unit_test(test_experts_merge),
        cmocka_unit_test(test_experts_prune), cmocka_unit_test(test_experts_prune_by_load),
        cmocka_unit_test(test_function_changes),
        cmocka_unit_test(test_neurons_are_redrawn), cmocka_unit_test(test_what_comes_along),
        cmocka_unit_test(test_codes_of_a_donor),
        cmocka_unit_test(test_mistakes),
    }, functions[] = {
        cmocka_unit_test(test_function_stays), cmocka_unit_test(test_gates_are_made_up_for),
        cmocka_unit_test(test_tied_heads_widen), cmocka_unit_test(test_experts_split),
        cmocka_unit_test(test_function_changes),
    };
    if (n > 1 && strcmp(word[1], "cuda") == 0) {
        backend = "cuda";
        return cmocka_run_group_tests(functions, make, clear);
    }
    return cmocka_run_group_tests(tests, make, clear);
}
