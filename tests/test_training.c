/* The trainer's machinery as a whole: placed memory, threads, micro-batches, evaluation, decoding, bf16, counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <malloc.h>
#include <cmocka.h>
#include "train/decoder.h"
#include "session_hash.h"

#define TEXT(...) #__VA_ARGS__

static const char *const welm = TEXT({
    "model": { "layers": 3, "d_model": 16, "seq": 24, "vocab": 31, "embed": {"module": "over_encoding", "rows": 67,
                                                                             "width": 8}, "residual": "partial_post",
        "position": {"module": "rope", "fraction": 0.5}, "head": {"module": "lm", "mtp": "sequential"},
        "attention": {"module": "gqa", "heads": 6, "kv_heads": 2, "head_dim": 8, "qk_norm": "k", "gate": "head",
                      "kv": "mirror"},
        "ffn": {"module": "moe", "experts": 4, "d_ff": 12, "shared": "dense", "balance": ["bias"],
                "router": {"score": "sigmoid", "top_k": 2}} },
    "train": { "steps": 20, "batch": 4, "optim": {"module": "muon", "lr": 0.01} }
});
static const char *const plain = TEXT({
    "model": { "layers": 2, "d_model": 16, "seq": 24, "vocab": 31, "attention": {"module": "gqa", "heads": 2,
                                                                                 "kv_heads": 1, "head_dim": 8,
                                                                                 "mask": {"module": "window",
                                                                                          "size": 7}},
        "ffn": {"module": "moe", "experts": 4, "d_ff": 12, "balance": ["switch_aux", "z_loss"]} },
    "train": { "steps": 20, "batch": 4, "optim": {"module": "adamw", "lr": 0.01} }
});

static struct session *open_session(const char *config, const char *train_key, json_t *value, int threads)
{
    struct session *s;
    struct err e;
    json_t *json = json_loads(config, 0, NULL);
    assert_non_null(json);
    if (train_key) json_object_set_new(json_object_get(json, "train"), train_key, value);
    if (session_new(&s, json, threads, &e)) fail_msg("%s", e.text);
    json_decref(json);
    state_fill(s->state, 5);
    return s;
}

static void stage_random(struct session *s, int64_t step, int micro)
{
    int64_t seq = s->model.seq, n = s->batch * seq;
    struct inputs b = inputs_new(s->batch, seq);
    for (int64_t i = 0; i < n; i++) {
        int64_t sequence = micro * s->batch + i / seq;      /* the same tokens however the batch is cut */
        b.ids[i] = (int32_t)key_below((struct key){ 8, PURPOSE_TEST, (uint64_t)sequence, (uint64_t)step },
                                      (uint64_t)(i % seq), (uint64_t)s->model.vocab);
        if (i % seq >= 10) b.start[i] = 10;                   /* a second document */
    }
    for (int64_t i = 0; i < n; i++) {
        bool last = i % seq == seq - 1 || i % seq == 9;
        b.target[i] = last ? 0 : b.ids[i + 1];
        b.weight[i] = last ? 0 : 1;
    }
    session_stage(s, micro, &b);
    inputs_free(b);
}

static void train(struct session *s, int steps)
{
    for (int step = 0; step < steps; step++) {
        plan_begin(s->plan, step, s->train.steps, s->train.micro);
        for (int micro = 0; micro < s->train.micro; micro++) stage_random(s, step, micro);
        plan_step(s->plan, NULL);
    }
}

static double probe(struct session *s, const char *name)
{
    double value = NAN;
    for (int i = 0; i < s->graph->n_probes; i++) {
        const struct probe *p = &s->graph->probe[i];
        if (p->layer < 0 && strcmp(p->name, name) == 0) plan_read_probe(s->plan, p, &value);
    }
    return value;
}

static const char *config(int i) { return i ? plain : welm; }

/* Memory that several tensors share in turn gives the bits of memory that none shares. */
static void placed_memory_changes_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct session *s = open_session(config(i), NULL, NULL, 1);
        train(s, 3);
        struct hash placed = session_hash(s);
        size_t small = plan_report(s->plan)->arena;
        struct plan *kept;
        struct err e;
        s->graph->keep = true;
        assert_int_equal(plan_new(&kept, s->graph, (struct plan_how){ &backend_cpu, PRECISION_FP32, RECOMPUTE_NONE },
                                  &e), 0);
        plan_bind(kept, s->state, NULL);
        assert_true(small < plan_report(kept)->arena);
        plan_free(s->plan);
        s->plan = kept;
        state_fill(s->state, 5);
        train(s, 3);
        assert_true(hash_equal(placed, session_hash(s)));
        session_free(s);
    }
}

/* Calls that run together, a block of rows at a time, give the bits of calls that run one after the other. */
static void chains_change_nothing(void **state)
{
    static struct backend apart;
    (void)state;
    apart = backend_cpu;
    apart.cuts_rows = false;
    for (int i = 0; i < 4; i++) {
        /* 720 tokens, 1440 expert rows */
        struct session *s = open_session(config(i % 2), "batch", json_integer(30), 1 + i / 2);
        struct err e;
        train(s, 3);
        struct hash together = session_hash(s);
        plan_free(s->plan);
        plan_free(s->eval_plan);
        state_free(s->state);
        assert_int_equal(plan_new(&s->plan, s->graph, (struct plan_how){ &apart, PRECISION_FP32, RECOMPUTE_NONE }, &e),
                         0);
        s->eval_plan = NULL;
        s->state = state_new(s->leaves, &apart, 1 + i / 2);
        plan_bind(s->plan, s->state, NULL);
        state_fill(s->state, 5);
        train(s, 3);
        assert_true(hash_equal(together, session_hash(s)));
        session_free(s);
    }
}

/* What is computed again is what was computed, in less memory. */
static void recomputing_changes_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct hash kept = { 0 };
        size_t arena = 0;
        static const char *const how[] = { "none", "selective", "full" };
        for (int k = 0; k < COUNT(how); k++) {
            struct session *s = open_session(config(i), "recompute", json_string(how[k]), 2);
            train(s, 3);
            if (k == 0) kept = session_hash(s);
            assert_true(hash_equal(kept, session_hash(s)));
            assert_true(k == 0 || plan_report(s->plan)->arena < arena);
            arena = plan_report(s->plan)->arena;
            session_free(s);
        }
    }
}

static void threads_change_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct hash first = { 0 };
        for (int threads = 1; threads <= 3; threads++) {
            struct session *s = open_session(config(i), NULL, NULL, threads);
            train(s, 4);
            if (threads == 1) first = session_hash(s);
            assert_true(hash_equal(first, session_hash(s)));
            session_free(s);
        }
    }
}

/* One batch of four, or two micro-batches of two: the gradient is the same but for rounding. */
static void micro_batches_add_up(void **state)
{
    (void)state;
    double norm[2], loss[2];
    for (int k = 0; k < 2; k++) {
        struct session *s = open_session(welm, "micro", json_integer(k + 1), 1);
        train(s, 1);
        norm[k] = probe(s, "grad_norm");
        loss[k] = probe(s, "loss");
        session_free(s);
    }
    assert_true(fabs(loss[0] - loss[1]) < 1e-6 * loss[0]);
    assert_true(fabs(norm[0] - norm[1]) < 1e-4 * norm[0]);
}

static void evaluation_disturbs_nothing(void **state)
{
    (void)state;
    struct session *s = open_session(welm, NULL, NULL, 1);
    train(s, 2);
    struct hash before = session_hash(s);
    plan_begin(s->eval_plan, 2, 20, 2);
    for (int i = 0; i < 2; i++) {
        stage_random(s, 50, i);
        plan_forward(s->eval_plan, i);
    }
    assert_true(hash_equal(before, session_hash(s)));
    session_free(s);
}

static void learning_learns(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct session *s = open_session(config(i), "steps", json_integer(300), 1);
        for (int step = 0; step < 300; step++) {
            plan_begin(s->plan, step, 300, 1);
            stage_random(s, 0, 0);                            /* one batch over and over */
            plan_forward(s->plan, 0);
            plan_backward(s->plan, 0);
            plan_update(s->plan);
        }
        assert_true(probe(s, "loss") < 0.05);
        session_free(s);
    }
}

static void bf16_stays_near(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        double loss[2];
        for (int k = 0; k < 2; k++) {
            struct session *s = open_session(config(i), "precision", json_string(k ? "bf16" : "fp32"), 1);
            train(s, 10);
            loss[k] = probe(s, "loss");
            session_free(s);
        }
        assert_true(loss[0] != loss[1]);
        assert_true(fabs(loss[0] - loss[1]) < 0.02 * loss[0]);
    }
}

/* Decoding with caches, token by token and in chunks, gives the logits of the whole forward pass. */
static void decoding_equals_the_forward_pass(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        enum { N = 24, V = 31 };
        struct session *s = open_session(config(i), NULL, NULL, 1);
        struct decoder *whole, *one;
        struct err e;
        int32_t ids[N];
        real want[N * V], got[V];
        train(s, 3);
        for (int k = 0; k < N; k++) ids[k] = (int32_t)key_below((struct key){ 2, PURPOSE_TEST, 0, 0 }, (uint64_t)k, V);
        if (decoder_new(&whole, &s->model, (struct plan_how){ &backend_cpu, PRECISION_FP32, RECOMPUTE_NONE }, s->leaves,
                        s->state, (struct model_size){ .batch = 1, .seq = N, .context = N }, 1, &e) ||
            decoder_new(&one, &s->model, (struct plan_how){ &backend_cpu, PRECISION_FP32, RECOMPUTE_NONE }, s->leaves,
                        s->state, (struct model_size){ .batch = 1, .seq = 1, .context = N, .rewind = N - 10 }, 1, &e))
            fail_msg("%s", e.text);
        decoder_feed(whole, 0, ids, want);
        for (int k = 0; k < N; k++) {
            decoder_feed(one, k, &ids[k], got);
            for (int v = 0; v < V; v++) assert_true(fabs((double)got[v] - (double)want[k * V + v]) < 1e-4);
        }
        /* A draft that is not accepted is rolled back by a smaller position. */
        decoder_feed(one, 10, &ids[10], got);
        for (int v = 0; v < V; v++) assert_true(fabs((double)got[v] - (double)want[10 * V + v]) < 1e-4);
        decoder_free(whole);
        decoder_free(one);
        session_free(s);
    }
}

static void executed_flops_are_the_planned_ones(void **state)
{
    (void)state;
    struct session *s = open_session(welm, NULL, NULL, 1);
    train(s, 2);
    assert_true(plan_executed_flops(s->plan) == 2 * plan_report(s->plan)->train_flops);
    session_free(s);
}

static void no_heap_grows_after_the_second_step(void **state)
{
    (void)state;
    struct session *s = open_session(welm, NULL, NULL, 1);
    train(s, 2);
    size_t before = mallinfo2().uordblks;
    train(s, 5);
    assert_int_equal(mallinfo2().uordblks, before);
    session_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(placed_memory_changes_nothing), cmocka_unit_test(chains_change_nothing),
        cmocka_unit_test(recomputing_changes_nothing), cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(micro_batches_add_up), cmocka_unit_test(evaluation_disturbs_nothing),
        cmocka_unit_test(learning_learns), cmocka_unit_test(bf16_stays_near),
        cmocka_unit_test(decoding_equals_the_forward_pass),
        cmocka_unit_test(executed_flops_are_the_planned_ones), cmocka_unit_test(no_heap_grows_after_the_second_step),
    };
    return cmocka_run_group_tests_name("training", tests, NULL, NULL);
}
