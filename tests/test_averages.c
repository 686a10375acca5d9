/* Averages of weights: what they are after some steps, that training does not know of them, and that evaluation,
   decoding and checkpoints do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <unistd.h>
#include <cmocka.h>
#include "train/checkpoint.h"
#include "train/decoder.h"
#include "session_hash.h"

#define TEXT(...) #__VA_ARGS__
enum { SEQ = 24, VOCAB = 31, STEPS = 5 };

static const char *const model = TEXT({
    "layers": 2, "d_model": 16, "seq": 24, "vocab": 31, "attention": {"module": "gqa", "heads": 4, "kv_heads": 2,
                                                                      "head_dim": 8},
    "ffn": {"module": "moe", "experts": 4, "d_ff": 12, "balance": ["bias"], "router": {"score": "sigmoid", "top_k": 2}}
});

static struct session *open_session(const char *average, const char *precision)
{
    struct session *s;
    struct err e;
    json_t *config = json_pack("{s:o, s:{s:i, s:i, s:s, s:o}}", "model", json_loads(model, 0, NULL), "train", "steps",
                               20, "batch", 4, "precision", precision, "average",
                               json_loads(average, JSON_DECODE_ANY, NULL));
    assert_non_null(config);
    if (session_new(&s, config, 2, &e)) fail_msg("%s", e.text);
    json_decref(config);
    state_fill(s->state, 5);
    return s;
}

/* counted false: no target, so that the step is skipped. */
static struct inputs batch_of(const struct session *s, int64_t step, bool counted)
{
    struct inputs b = inputs_new(s->batch, SEQ);
    for (int64_t i = 0; i < s->batch * SEQ; i++) {
        b.ids[i] = (int32_t)key_below((struct key){ 8, PURPOSE_TEST, 0, (uint64_t)step }, (uint64_t)i, VOCAB);
        b.target[i] = (int32_t)key_below((struct key){ 9, PURPOSE_TEST, 0, (uint64_t)step }, (uint64_t)i, VOCAB);
        b.weight[i] = counted;
    }
    return b;
}

static void train(struct session *s, int64_t step, bool counted)
{
    struct inputs b = batch_of(s, step, counted);
    plan_begin(s->plan, step, s->train.steps, 1);
    session_stage(s, 0, &b);
    plan_step(s->plan, NULL);
    inputs_free(b);
}

static double evaluate(struct session *s, bool averages)
{
    struct inputs b = batch_of(s, 1000, true);
    double loss = NAN;
    plan_begin(s->eval_plan, 0, s->train.steps, 1);
    if (averages) plan_swap_averages(s->eval_plan);
    session_put(s, &b);
    plan_forward(s->eval_plan, 0);
    if (averages) plan_swap_averages(s->eval_plan);
    for (int i = 0; i < s->eval_graph->n_probes; i++) {
        const struct probe *p = &s->eval_graph->probe[i];
        if (p->layer < 0 && strcmp(p->name, "loss") == 0) plan_read_probe(s->eval_plan, p, &loss);
    }
    inputs_free(b);
    return loss;
}

static real *values_of(struct session *s, const struct leaf *l)
{
    real *values = xmalloc(leaf_bytes(l));
    state_get(s->state, l, values);
    return values;
}

/* Whether each average has the bits of its weight; how many there are. */
static bool equal(struct session *s, int *n)
{
    bool same = true;
    *n = 0;
    for (int i = 0; i < s->leaves->n; i++) {
        const struct leaf *l = s->leaves->leaf[i], *mean = leaves_average(s->leaves, l);
        if (!mean) continue;
        real *w = values_of(s, l), *a = values_of(s, mean);
        same &= memcmp(w, a, leaf_bytes(l)) == 0;
        free(w);
        free(a);
        ++*n;
    }
    return same;
}

/* Every weight, and the bias of the routers, in the manner of its checkpoint name. */
static void averages_begin_as_their_weights(void **state)
{
    (void)state;
    struct session *s = open_session(TEXT({"module": "ema", "decay": 0.5}), "fp32");
    int n, weights = 0;
    assert_true(equal(s, &n));
    for (int i = 0; i < s->leaves->n; i++) weights += s->leaves->leaf[i]->kind == LEAF_WEIGHT;
    assert_int_equal(n, weights + s->model.layers);
    assert_non_null(leaves_find(s->leaves, "average.layers.0.attention.q.weight"));
    assert_non_null(leaves_find(s->leaves, "average.layers.1.ffn.router.bias"));
    assert_null(leaves_find(s->leaves, "average.optim.m.layers.0.attention.q.weight"));
    session_free(s);
}

/* sum d^(t-i) w_i over sum d^(t-i), of the steps from the one on at which it begins. */
static void check_closed_form(const char *average, double decay, int from)
{
    static const char *const paths[] = { "layers.0.attention.q.weight", "layers.1.ffn.router.bias", "final_norm.gain" };
    struct session *s = open_session(average, "fp32");
    double *sum[COUNT(paths)], weight = 0;
    for (int k = 0; k < COUNT(paths); k++) {
        if (!leaves_find(s->leaves, paths[k])) fail_msg("no leaf '%s'", paths[k]);
        sum[k] = xcalloc((size_t)shape_count(leaves_find(s->leaves, paths[k])->decl.shape), sizeof *sum[k]);
    }
    for (int step = 0; step < STEPS; step++) {
        train(s, step, true);
        bool first = step <= from;                          /* before, the average is the weights */
        weight = first ? 1 : decay * weight + 1;
        for (int k = 0; k < COUNT(paths); k++) {
            const struct leaf *l = leaves_find(s->leaves, paths[k]);
            real *w = values_of(s, l), *mean = values_of(s, leaves_average(s->leaves, l));
            for (int64_t i = 0; i < shape_count(l->decl.shape); i++) {
                sum[k][i] = first ? (double)w[i] : decay * sum[k][i] + (double)w[i];
                if (!(fabs((double)mean[i] - sum[k][i] / weight) <= 4 * 0x1p-24 * fmax(1, fabs((double)w[i]))))
                    fail_msg("%s: %s %lld is %.9g after step %d, not %.9g", average, paths[k], (long long)i,
                             (double)mean[i], step, sum[k][i] / weight);
            }
            free(w);
            free(mean);
        }
    }
    for (int k = 0; k < COUNT(paths); k++) free(sum[k]);
    session_free(s);
}

static void averages_have_their_closed_form(void **state)
{
    (void)state;
    check_closed_form(TEXT({"module": "ema", "decay": 0.75}), 0.75, 0);
    check_closed_form(TEXT({"module": "ema", "decay": 0.5, "from": 2}), 0.5, 2);
    check_closed_form(TEXT({"module": "ema", "decay": 1, "from": 1}), 1, 1);
}

/* The mean of the weights after the last `latest` of each `every` steps, also where a step is skipped; before the first
   of them the weights. */
static void the_last_times_have_equal_shares(void **state)
{
    (void)state;
    enum { EVERY = 2, LATEST = 3, SO_MANY = 15, SKIPPED = 8 };
    static const char *const paths[] = { "layers.0.attention.q.weight", "layers.1.ffn.router.bias", "final_norm.gain" };
    struct session *s = open_session(TEXT({"module": "lawa", "every": 2, "latest": 3}), "fp32");
    for (int k = 0; k < COUNT(paths); k++) assert_non_null(leaves_find(s->leaves, paths[k]));
    real *kept[COUNT(paths)][SO_MANY + 1];
    for (int step = 1; step <= SO_MANY; step++) {
        train(s, step - 1, step != SKIPPED);
        for (int k = 0; k < COUNT(paths); k++) {
            const struct leaf *l = leaves_find(s->leaves, paths[k]);
            real *mean = values_of(s, leaves_average(s->leaves, l));
            int last = step / EVERY, first = last > LATEST ? last - LATEST + 1 : 1;
            kept[k][step] = values_of(s, l);
            for (int64_t i = 0; i < shape_count(l->decl.shape); i++) {
                double want = last ? 0 : (double)kept[k][step][i];
                for (int t = first; t <= last; t++) want += (double)kept[k][t * EVERY][i] / (last - first + 1);
                if (!(fabs((double)mean[i] - want) <= 4 * 0x1p-24 * fmax(1, fabs(want))))
                    fail_msg("%s %lld is %.9g after step %d, not %.9g", paths[k], (long long)i, (double)mean[i], step,
                             want);
            }
            free(mean);
        }
    }
    for (int k = 0; k < COUNT(paths); k++) for (int step = 1; step <= SO_MANY; step++) free(kept[k][step]);
    session_free(s);
}

static const char *const precisions[] = { "fp32", "bf16" };

/* Without a memory they are the weights, bit by bit, and so is what is measured. */
static void without_decay_they_are_the_weights(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct session *s = open_session(TEXT({"module": "ema", "decay": 0}), precisions[i]),
                       *none = open_session(TEXT("none"), precisions[i]);
        int n;
        for (int step = 0; step < STEPS; step++) {
            train(s, step, true);
            train(none, step, true);
            assert_true(equal(s, &n) && n > 0);
            assert_true(evaluate(s, true) == evaluate(none, true));
        }
        session_free(s);
        session_free(none);
    }
}

/* Bits of the weights and of the optimizer's memory are those of a training without averages, however often one
   evaluates. */
static void training_does_not_know_of_them(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct session *s = open_session(i % 2 ? TEXT({"module": "lawa", "every": 1, "latest": 3})
                                               : TEXT({"module": "ema", "decay": 0.9}), precisions[i / 2]),
                       *none = open_session(TEXT("none"), precisions[i / 2]);
        for (int step = 0; step < STEPS; step++) {
            train(s, step, true);
            train(none, step, true);
            double averages = evaluate(s, true), weights = evaluate(s, false);
            assert_true(weights == evaluate(none, true));
            if (step > 0) assert_true(averages != weights);
        }
        for (int k = 0; k < none->leaves->n; k++) {
            const struct leaf *l = none->leaves->leaf[k];
            if (l->kind != LEAF_WEIGHT && l->kind != LEAF_BUFFER) continue;
            real *a = values_of(s, leaves_find(s->leaves, l->path)), *b = values_of(none, l);
            if (memcmp(a, b, leaf_bytes(l)) != 0)
                fail_msg("%s in %s: an average changes it", l->path, precisions[i / 2]);
            free(a);
            free(b);
        }
        session_free(s);
        session_free(none);
    }
}

static void decode(struct session *s, real *logits)
{
    struct decoder *d;
    struct err e;
    struct inputs b = batch_of(s, 2000, true);
    struct plan_how how = { &backend_cpu, PRECISION_FP32, RECOMPUTE_NONE };
    struct model_size size = { .batch = 1, .seq = SEQ, .context = SEQ };
    if (decoder_new(&d, &s->model, how, s->leaves, s->state, size, 1, &e)) fail_msg("%s", e.text);
    decoder_feed(d, 0, b.ids, logits);
    decoder_free(d);
    inputs_free(b);
}

/* A model whose weights are the averages of another measures and says what the other does. */
static void evaluation_and_decoding_read_them(void **state)
{
    static real want[SEQ * VOCAB], got[SEQ * VOCAB];
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct session *s = open_session(TEXT({"module": "ema", "decay": 0.9}), precisions[i]),
                       *copy = open_session(TEXT("none"), precisions[i]);
        for (int step = 0; step < STEPS; step++) train(s, step, true);
        for (int k = 0; k < copy->leaves->n; k++) {
            const struct leaf *to = copy->leaves->leaf[k], *from = leaves_find(s->leaves, to->path),
                              *mean = from ? leaves_average(s->leaves, from) : NULL;
            if (!mean) continue;
            real *values = values_of(s, mean);
            state_put(copy->state, to, values);
            free(values);
        }
        assert_true(evaluate(s, true) == evaluate(copy, false));
        decode(s, got);
        decode(copy, want);
        assert_memory_equal(got, want, sizeof got);
        session_free(s);
        session_free(copy);
    }
}

static void a_skipped_step_leaves_them(void **state)
{
    (void)state;
    struct session *s = open_session(TEXT({"module": "ema", "decay": 0.9}), "fp32");
    for (int step = 0; step < 2; step++) train(s, step, true);
    struct hash before = session_hash(s);
    train(s, 2, false);
    assert_true(hash_equal(before, session_hash(s)));
    train(s, 3, true);
    assert_false(hash_equal(before, session_hash(s)));
    session_free(s);
}

/* From a checkpoint training goes on with the same bits, averages and all. */
static void checkpoints_hold_them(void **state)
{
    char dir[] = "/tmp/averages-XXXXXX";
    struct checkpoint c;
    struct err e;
    json_t *trainer_state = json_object(), *read = NULL;
    (void)state;
    assert_non_null(mkdtemp(dir));
    struct session *s = open_session(TEXT({"module": "ema", "decay": 0.9}), "fp32"),
                   *resumed = open_session(TEXT({"module": "ema", "decay": 0.9}), "fp32");
    for (int step = 0; step < 3; step++) train(s, step, true);
    if (checkpoint_save(dir, 3, s->leaves, s->state, trainer_state, 1, NULL, &c, &e)) fail_msg("%s", e.text);
    if (checkpoint_load(c.path, resumed->leaves, resumed->state, &c, &read, &e)) fail_msg("%s", e.text);
    for (int step = 3; step < STEPS; step++) {
        train(s, step, true);
        train(resumed, step, true);
        assert_true(evaluate(s, true) == evaluate(resumed, true));
    }
    assert_true(hash_equal(session_hash(s), session_hash(resumed)));
    checkpoint_prune(dir, STEPS, 0, NULL);
    json_decref(trainer_state);
    json_decref(read);
    session_free(s);
    session_free(resumed);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(averages_begin_as_their_weights), cmocka_unit_test(averages_have_their_closed_form),
        cmocka_unit_test(the_last_times_have_equal_shares),
        cmocka_unit_test(without_decay_they_are_the_weights), cmocka_unit_test(training_does_not_know_of_them),
        cmocka_unit_test(evaluation_and_decoding_read_them), cmocka_unit_test(a_skipped_step_leaves_them),
        cmocka_unit_test(checkpoints_hold_them),
    };
    return cmocka_run_group_tests_name("averages", tests, NULL, NULL);
}
