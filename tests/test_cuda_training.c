/* Training on the GPU: two architectures step by step against the CPU, up to the first token that routes differently;
   the same bits for every order of threads and streams; evaluation and decoding.

       test_cuda_training                              all
       test_cuda_training sample                       a few steps under one schedule, with SLUICE_FULL all
       test_cuda_training bits welm-nano '{"micro":2}' trains a little with these keys and prints a hash of everything
       that came of it:
                                                       what the test runs under other schedules */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "bind.h"
#include "train/decoder.h"
#include "routing_flip.h"
#include "session_hash.h"

#define TEXT(...) #__VA_ARGS__
enum { SEQ = 16, BATCH = 2, VOCAB = 61, STEPS = 20 };

static int curve_steps = STEPS;
static const char *const presets[] = { "baseline-nano", "welm-nano" };
static const char *const smaller = TEXT({ "layers": 3, "ffn.experts": 4, "ffn.d_ff": 24 });

/* ---- a small session of a preset ---- */

static json_t *object(const char *text)
{
    json_t *json = json_loads(text, 0, NULL);
    if (!json) fail_msg("no JSON: %s", text);
    return json;
}

static json_t *config_of(const char *preset, const char *backend, const char *train_keys)
{
    struct err e;
    const char *path;
    json_t *model, *value, *sizes = object(smaller), *train = json_pack("{s:i, s:i, s:s}", "steps", STEPS,
                                                                        "batch", BATCH, "backend", backend);
    if (script_preset(preset, &model, &e)) fail_msg("%s", e.text);
    json_object_foreach(sizes, path, value)
        if (config_set(&model_schema, model, path, value, &e)) fail_msg("%s: %s", path, e.text);
    json_object_update_new(model, json_pack("{s:i, s:i}", "seq", SEQ, "vocab", VOCAB));
    json_object_set_new(train, "optim", object(TEXT({"module": "adamw", "lr": 0.005})));
    json_object_update_new(train, object(train_keys));
    json_decref(sizes);
    return json_pack("{s:o, s:o}", "model", model, "train", train);
}

/* As it trains, but for the routers' choices, which stay readable. */
static void watch_routing(struct session *s)
{
    struct plan_how how = { s->backend, (enum precision)s->train.precision, (enum recompute)s->train.recompute };
    struct err e;
    flip_watch(s->graph);
    plan_free(s->eval_plan);
    plan_free(s->plan);
    s->eval_plan = NULL;
    if (plan_new(&s->plan, s->graph, how, &e)) fail_msg("%s", e.text);
    plan_bind(s->plan, s->state, NULL);
}

static struct session *open_session(const char *preset, const char *backend, const char *train_keys)
{
    struct session *s;
    struct err e;
    json_t *config = config_of(preset, backend, train_keys);
    if (session_new(&s, config, 1, &e)) fail_msg("%s", e.text);
    json_decref(config);
    state_fill(s->state, 5);
    return s;
}

/* Sequences of two documents. Every other step has the same, so that in a few steps they are learnt by heart. */
static struct inputs batch_of(const struct session *s, int64_t step, int micro)
{
    enum { FIRST = 10 };
    int64_t n = s->batch * SEQ;
    struct inputs b = inputs_new(s->batch, SEQ);
    for (int64_t i = 0; i < n; i++) {
        int64_t sequence = micro * s->batch + i / SEQ;      /* the same tokens however the batch is cut */
        b.ids[i] = (int32_t)key_below((struct key){ 8, PURPOSE_TEST, (uint64_t)sequence, (uint64_t)(step % 2) },
                                      (uint64_t)(i % SEQ), VOCAB);
        if (i % SEQ >= FIRST) b.start[i] = FIRST;
    }
    for (int64_t i = 0; i < n; i++) {
        bool last = i % SEQ == SEQ - 1 || i % SEQ == FIRST - 1;
        b.target[i] = last ? 0 : b.ids[i + 1];
        b.weight[i] = last ? 0 : 1;
    }
    return b;
}

static void train_step(struct session *s, int64_t step)
{
    plan_begin(s->plan, step, s->train.steps, s->train.micro);
    for (int micro = 0; micro < s->train.micro; micro++) {
        struct inputs b = batch_of(s, step, micro);
        session_stage(s, micro, &b);
        inputs_free(b);
    }
    plan_step(s->plan, NULL);
}

static void train(struct session *s, int steps) { for (int step = 0; step < steps; step++) train_step(s, step); }

static double probe(const struct graph *g, struct plan *p, const char *name)
{
    double value = NAN;
    for (int i = 0; i < g->n_probes; i++)
        if (g->probe[i].layer < 0 && strcmp(g->probe[i].name, name) == 0) plan_read_probe(p, &g->probe[i], &value);
    return value;
}

static double loss_of(struct session *s) { return probe(s->graph, s->plan, "loss"); }

static double evaluate(struct session *s)
{
    plan_begin(s->eval_plan, s->train.steps, s->train.steps, 2);
    plan_swap_averages(s->eval_plan);
    for (int micro = 0; micro < 2; micro++) {
        struct inputs b = batch_of(s, 1000, micro);
        session_put(s, &b);
        plan_forward(s->eval_plan, micro);
        inputs_free(b);
    }
    plan_swap_averages(s->eval_plan);
    return probe(s->eval_graph, s->eval_plan, "loss");
}

/* Logits [SEQ,VOCAB] of one sequence, in chunks through the caches. */
static void decode(struct session *s, real *logits)
{
    enum { CHUNK = SEQ / 4 };
    struct decoder *d;
    struct err e;
    struct inputs b = batch_of(s, 2000, 0);
    struct plan_how how = { s->backend, (enum precision)s->train.precision, RECOMPUTE_NONE };
    if (decoder_new(&d, &s->model, how, s->leaves, s->state,
                    (struct model_size){ .batch = 1, .seq = CHUNK, .context = SEQ }, 1, &e)) fail_msg("%s", e.text);
    for (int at = 0; at < SEQ; at += CHUNK) decoder_feed(d, at, b.ids + at, logits + at * VOCAB);
    decoder_free(d);
    inputs_free(b);
}

static void copy_state(struct session *to, struct session *from)
{
    for (int i = 0; i < to->leaves->n; i++) {
        const struct leaf *l = to->leaves->leaf[i], *source = from->leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT && l->kind != LEAF_BUFFER) continue;
        assert_string_equal(l->path, source->path);
        void *values = xmalloc(leaf_bytes(l));
        state_get(from->state, source, values);
        state_put(to->state, l, values);
        free(values);
    }
}

/* ---- curves ---- */

/* Two sessions that train alike. */
struct pair { struct session *cpu, *cuda; };

static struct pair pair_new(const char *preset, const char *train_keys)
{
    return (struct pair){ open_session(preset, "cpu", train_keys), open_session(preset, "cuda", train_keys) };
}

static void pair_free(struct pair p)
{
    session_free(p.cpu);
    session_free(p.cuda);
}

static double distance(const struct pair *p) { return fabs(loss_of(p->cpu) - loss_of(p->cuda)); }
static struct flip flip_of(const struct pair *p)
{
    return flip_find(p->cpu->plan, p->cpu->graph, p->cuda->plan, p->cuda->graph);
}

/* Beyond a flip the two are different models' curves; it must have been as near as rounding. */
static void curve(const char *preset, const char *train_keys, int steps)
{
    struct pair p = pair_new(preset, train_keys);
    double most = 0;
    int step = 0;
    watch_routing(p.cpu);
    watch_routing(p.cuda);
    for (struct flip f = { 0 }; step < steps && f.tokens == 0; step++) {
        train_step(p.cpu, step);
        train_step(p.cuda, step);
        f = flip_of(&p);
        if (f.tokens)
            print_message("step %d: %d tokens of %s flip, the key margin is %.3g\n", step, f.tokens, f.path, f.margin);
        else most = fmax(most, distance(&p));
        if (!(f.margin < 1e-5)) fail_msg("%s %s: that is not rounding", preset, train_keys);
        if (!(most < 1e-4)) fail_msg("%s %s: the losses of step %d are %.3g apart", preset, train_keys, step, most);
    }
    print_message("%s %s: %d steps, losses at most %.2g apart, the last %.4f\n", preset, train_keys, step, most,
                  loss_of(p.cpu));
    if (step < 3) fail_msg("too few steps to say anything");
    pair_free(p);
}

static void test_curves(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(presets); i++) curve(presets[i], "{}", curve_steps);
}

/* Flips are looked for in the last micro-batch alone. */
static void test_curve_of_micro_batches(void **state)
{
    (void)state;
    curve("welm-nano", TEXT({"micro": 2, "recompute": "selective", "optim": {"module": "muon", "lr": 0.01}}), 5);
}

/* Both round what is kept, each in the order of its own sums; keys may well flip. */
static void test_curves_in_bf16(void **state)
{
    const double tolerance = 0.02;                          /* of the loss */
    (void)state;
    for (int i = 0; i < COUNT(presets); i++) {
        struct pair p = pair_new(presets[i], TEXT({"precision": "bf16", "optim": {"module": "adamw", "lr": 0.002}}));
        double most = 0;
        for (int step = 0; step < curve_steps; step++) {
            train_step(p.cpu, step);
            train_step(p.cuda, step);
            most = fmax(most, distance(&p) / loss_of(p.cpu));
            if (!(most < tolerance))
                fail_msg("%s in bf16: the losses of step %d are a share of %.3g apart", presets[i], step, most);
        }
        print_message("%s in bf16: %d steps, losses at most a share of %.2g apart, the last %.4f\n", presets[i],
                      curve_steps, most, loss_of(p.cpu));
        pair_free(p);
    }
}

/* A flip that is none of rounding is seen as one. */
static void test_flips_are_seen(void **state)
{
    (void)state;
    struct pair p = pair_new("baseline-nano", "{}");
    const struct leaf *router = leaves_find(p.cpu->leaves, "layers.1.ffn.router.weight");
    assert_non_null(router);
    real *w = xmalloc(leaf_bytes(router));
    watch_routing(p.cpu);
    watch_routing(p.cuda);
    state_get(p.cpu->state, router, w);
    for (int64_t i = 0; i < shape_count(router->decl.shape); i++) w[i] *= (real)(1 + 0.5 * (double)(i % 2));
    state_put(p.cpu->state, router, w);
    train_step(p.cpu, 0);
    train_step(p.cuda, 0);
    struct flip f = flip_of(&p);
    assert_true(f.tokens > 0 && f.margin > 1e-5 && strstr(f.path, "layers.1."));
    free(w);
    pair_free(p);
}

/* ---- evaluation and decoding ---- */

static void test_evaluation_and_decoding(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(presets); i++) {
        struct pair p = pair_new(presets[i], i ? "{}" : TEXT({"average": {"module": "ema", "decay": 0.5}}));
        real want[SEQ * VOCAB], got[SEQ * VOCAB];
        train(p.cuda, 2);
        copy_state(p.cpu, p.cuda);
        double cpu = evaluate(p.cpu), cuda = evaluate(p.cuda);
        if (!(fabs(cpu - cuda) < 1e-5))
            fail_msg("%s: the evaluation gives %.9g, on the CPU %.9g", presets[i], cuda, cpu);
        decode(p.cpu, want);
        decode(p.cuda, got);
        for (int k = 0; k < SEQ * VOCAB; k++) {
            double x = (double)want[k], y = (double)got[k];
            if (!(fabs(x - y) < 1e-4))
                fail_msg("%s: logit %d of position %d is %.9g, on the CPU %.9g", presets[i], k % VOCAB, k / VOCAB, y,
                         x);
        }
        pair_free(p);
    }
}

/* ---- the same bits ---- */

static int print_bits(const char *preset, const char *train_keys)
{
    struct session *s = open_session(preset, "cuda", train_keys);
    struct hash h = hash_bytes("", 0);
    real logits[SEQ * VOCAB];
    char text[33];
    train(s, 2);
    double loss[] = { loss_of(s), evaluate(s) };
    h = hash_more(h, loss, sizeof loss);
    struct hash weights = session_hash(s);
    h = hash_more(h, &weights, sizeof weights);
    decode(s, logits);
    h = hash_more(h, logits, sizeof logits);
    hash_print(h, text);
    puts(text);
    session_free(s);
    return 0;
}

/* The emulator reads its environment once, so each schedule is a process. */
static void bits_under(const char *environment, const char *preset, const char *train_keys, char bits[64])
{
    char self[1024] = "", *command;
    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    INVARIANT(asprintf(&command, "%s '%s' bits %s '%s'", environment, self, preset, train_keys) >= 0,
              "no memory for a command");
    FILE *from = popen(command, "r");
    assert_non_null(from);
    *bits = 0;
    if (!fgets(bits, 64, from) || pclose(from) != 0 || strlen(bits) != 33) fail_msg("%s: failed", command);
    free(command);
}

/* Orders of threads and blocks; streams that take turns, or run at once what they are given; every launch by itself;
   every tensor in memory of its own; values that are computed again. */
static void same_bits(const char *preset, const char *keys, const char *recomputing)
{
    const struct { const char *environment, *keys; } other[] = {
        { "PTXHOST_SEED=1", keys },
        { "PTXHOST_SEED=2 SLUICE_CUDA_GRAPH=off", keys },
        { "PTXHOST_SEED=3 PTXHOST_DEFER=0 SLUICE_CUDA_MEMORY=apart", keys },
        { "PTXHOST_DEFER=0 SLUICE_CUDA_GRAPH=off", keys },
        { "", recomputing },
    };
    char first[64], bits[64];
    bits_under("", preset, keys, first);
    for (int i = 0; i < COUNT(other); i++) {
        bits_under(other[i].environment, preset, other[i].keys, bits);
        if (strcmp(first, bits) != 0)
            fail_msg("%s %s: other bits with %s", preset, other[i].keys, other[i].environment);
    }
}

static void test_schedules_change_nothing(void **state)
{
    (void)state;
    same_bits("baseline-nano", TEXT({"micro": 2}), TEXT({"micro": 2, "recompute": "selective"}));
    same_bits("welm-nano", TEXT({"precision": "bf16", "optim": "muon", "average": "ema"}),
              TEXT({"precision": "bf16", "optim": "muon", "average": "ema", "recompute": "selective"}));
}

/* What the update alone reads lies in the host's memory, and the rest where it did. */
static void test_offload_changes_nothing(void **state)
{
    static const struct { const char *here, *there; } keys[] = {
        { TEXT({"average": "ema"}), TEXT({"average": "ema", "offload": true}) },
        { TEXT({"optim": {"module": "muon", "state": "int8"}, "average": {"module": "lawa", "every": 1}}),
          TEXT({"optim": {"module": "muon", "state": "int8"}, "average": {"module": "lawa", "every": 1},
                "offload": true}) },
    };
    (void)state;
    for (int i = 0; i < COUNT(keys); i++) {
        char here[64], there[64];
        bits_under("", presets[i], keys[i].here, here);
        bits_under("PTXHOST_SEED=1", presets[i], keys[i].there, there);
        if (strcmp(here, there) != 0) fail_msg("%s %s: other bits", presets[i], keys[i].there);
        struct session *one = open_session(presets[i], "cuda", keys[i].here),
                       *other = open_session(presets[i], "cuda", keys[i].there);
        const struct plan_report *a = plan_report(one->plan), *b = plan_report(other->plan);
        assert_int_equal(a->offloaded, 0);
        assert_int_equal(a->buffers, b->buffers + b->offloaded);
        assert_int_equal(a->total, b->total + b->offloaded);
        assert_true(b->offloaded > b->buffers);
        session_free(one);
        session_free(other);
    }
}

int main(int n, char **word)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_curves), cmocka_unit_test(test_curve_of_micro_batches),
        cmocka_unit_test(test_curves_in_bf16), cmocka_unit_test(test_flips_are_seen),
        cmocka_unit_test(test_evaluation_and_decoding),
    }, schedules[] = {
        cmocka_unit_test(test_schedules_change_nothing), cmocka_unit_test(test_offload_changes_nothing),
    };
    if (n == 4 && strcmp(word[1], "bits") == 0) return print_bits(word[2], word[3]);
    bool sample = n > 1 && strcmp(word[1], "sample") == 0 && !getenv("SLUICE_FULL");
    if (sample) curve_steps = 4;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return sample ? failed : failed + cmocka_run_group_tests(schedules, NULL, NULL);
}
