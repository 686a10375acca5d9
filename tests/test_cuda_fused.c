/* Calls that one kernel computes leave the bits of calls that run one after the other: sum and norm, norm and rotary
   position, activation and gates of experts, and the updates of all weights and their averages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "bind.h"
#include "session_hash.h"
#include "graph/ops.h"

enum { STEPS = 2, SEQ = 16, VOCAB = 61 };

static json_t *config_of(const char *precision)
{
    static const struct { const char *path; int value; } sizes[] = { { "layers", 2 }, { "ffn.experts", 4 },
                                                                     { "ffn.d_ff", 24 }, { "seq", SEQ },
                                                                     { "vocab", VOCAB }, { "attention.head_dim", 64 } };
    struct err e;
    json_t *model;
    if (script_preset("welm-nano", &model, &e)) fail_msg("%s", e.text);
    for (int i = 0; i < COUNT(sizes); i++) {
        json_t *value = json_integer(sizes[i].value);
        if (config_set(&model_schema, model, sizes[i].path, value, &e)) fail_msg("%s: %s", sizes[i].path, e.text);
        json_decref(value);
    }
    static const char *const words[][2] = { { "attention.qk_norm", "qk" }, { "ffn.router.gate_on", "hidden" } };
    for (int i = 0; i < COUNT(words); i++) {
        json_t *value = json_string(words[i][1]);
        if (config_set(&model_schema, model, words[i][0], value, &e)) fail_msg("%s: %s", words[i][0], e.text);
        json_decref(value);
    }
    return json_pack("{s:o, s:{s:i, s:i, s:s, s:s, s:s}}", "model", model, "train", "steps", STEPS, "batch", 2,
                     "backend", "cuda", "precision", precision, "average", "ema");
}

/* The same model over another backend. */
static void move(struct session *s, const struct backend *b)
{
    struct plan_how how = { b, (enum precision)s->train.precision, (enum recompute)s->train.recompute };
    struct err e;
    plan_free(s->plan);
    plan_free(s->eval_plan);
    state_free(s->state);
    s->eval_plan = NULL;
    if (plan_new(&s->plan, s->graph, how, &e)) fail_msg("%s", e.text);
    s->state = state_new(s->leaves, b, 1);
    plan_bind(s->plan, s->state, NULL);
}

static struct hash trained(struct session *s)
{
    struct inputs b = inputs_new(s->batch, SEQ);
    state_fill(s->state, 5);
    for (int step = 0; step < STEPS; step++) {
        for (int64_t i = 0; i < s->batch * SEQ; i++)
            b.target[i] = b.ids[i] = (int32_t)key_below((struct key){ 8, PURPOSE_TEST, (uint64_t)step, 0 }, (uint64_t)i,
                                                        VOCAB);
        plan_begin(s->plan, step, STEPS, 1);
        session_stage(s, 0, &b);
        plan_step(s->plan, NULL);
    }
    inputs_free(b);
    return session_hash(s);
}

static const struct { int first, second, least; } pairs[] = { { OP_add, OP_rmsnorm, 2 }, { OP_rmsnorm, OP_rope, 2 },
                                                              { OP_swiglu, OP_mul_heads, 2 },
                                                              { OP_adamw, OP_adamw, 10 },
                                                              { OP_average, OP_average, 10 } };

/* The backend as it is, but for what it fuses. */
static const struct backend *whole;
static int allowed;
static kernel *only(int first, const struct args *a, int second, const struct args *b)
{
    bool may = allowed >= 0 && first == pairs[allowed].first && second == pairs[allowed].second;
    return may ? whole->fuse(first, a, second, b) : NULL;
}

static void fusing_changes_nothing(void **state)
{
    static const char *const precisions[] = { "fp32", "bf16" };
    static struct backend one_pair;
    (void)state;
    for (int i = 0; i < COUNT(precisions); i++) {
        struct session *s;
        struct err e;
        struct hash bits = { 0 };
        json_t *config = config_of(precisions[i]);
        if (session_new(&s, config, 1, &e)) fail_msg("%s", e.text);
        json_decref(config);
        whole = s->backend;
        one_pair = *whole;
        one_pair.fuse = only;
        for (allowed = -1; allowed < COUNT(pairs); allowed++) {
            move(s, &one_pair);
            for (int k = 0; k < COUNT(pairs); k++) {
                int n = plan_fused(s->plan, pairs[k].first, pairs[k].second);
                if (k == allowed ? n < pairs[k].least : n > 0)
                    fail_msg("%s: pair %d is fused %d times where %d may be", precisions[i], k, n, allowed);
            }
            struct hash now = trained(s);
            if (allowed >= 0 && !hash_equal(bits, now))
                fail_msg("%s: pair %d fused leaves other bits", precisions[i], allowed);
            bits = now;
        }
        session_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(fusing_changes_nothing) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
