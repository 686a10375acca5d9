/* Optimizers in a model: each learns, remembers in leaves what a run that goes on needs, and skips a step without a
   trace; which weights they move; averages that they keep. */
#include "tiny_pair.h"
#include "graph/ops/update.h"

static const char *const optimizers[] = {
    TEXT("adamw"), TEXT({"module": "adamw", "nesterov": true, "lazy": true, "cautious": true}),
    TEXT({"module": "adamw", "sphere": true}), TEXT("lion"), TEXT("sgd"), TEXT({"module": "sgd", "momentum": 0}),
    TEXT("normalized_momentum"), TEXT("muon"), TEXT("adafactor"), TEXT("schedule_free"),
    TEXT({"module": "muon", "neurons": "short", "quintics": "polar", "sphere": true, "router": "adamw"}),
    TEXT({"module": "adamw", "amsgrad": true, "cautious_step": true}),
    TEXT({"module": "adamw", "state": "bf16", "amsgrad": true}), TEXT({"module": "adamw", "state": "int8"}),
    TEXT({"module": "adamw", "state": "int8", "sphere": true, "amsgrad": true}),
    TEXT({"module": "muon", "heads": true, "state": "int8"}), TEXT({"module": "muon", "state": "bf16"}),
    TEXT({"module": "lion", "state": "int8"}), TEXT({"module": "lion", "state": "bf16"}),
    TEXT({"module": "sgd", "state": "int8", "nesterov": true}), TEXT({"module": "sgd", "state": "bf16"}),
    TEXT({"module": "normalized_momentum", "state": "int8"}),
    TEXT({"module": "normalized_momentum", "state": "bf16"}), TEXT("dion"),
    TEXT({"module": "dion", "rank": 1, "lr": 0.003, "state": "int8"}),
    TEXT({"module": "soap", "every": 2}), TEXT({"module": "soap", "every": 3, "longest": 6, "state": "bf16"}),
};

static struct tiny start(const char *optim, int batch)
{
    char sets[512];
    snprintf(sets, sizeof sets, "{\"optim\": %s, \"schedule\": {\"module\": \"constant\", \"warmup\": 0}}", optim);
    struct tiny t = tiny_new(TEXT({"ffn": {"module": "moe", "experts": 4, "d_ff": 6}}), sets, MODE_TRAIN, batch, 6);
    tiny_start(&t, 3);
    return t;
}

/* All that a checkpoint holds of one is what a checkpoint holds of the other. */
static void check_same(const struct tiny *a, const struct tiny *b, const char *optim)
{
    for (int i = 0; i < a->leaves->n; i++) {
        const struct leaf *l = a->leaves->leaf[i];
        bool kept = l->kind == LEAF_WEIGHT || (l->kind == LEAF_BUFFER && !l->transient);
        if (!kept) continue;
        if (memcmp(state_data(a->state, l), state_data(b->state, leaves_find(b->leaves, l->path)), leaf_bytes(l)))
            fail_msg("%s: %s is another", optim, l->path);
    }
}

static void test_learn_and_go_on(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(optimizers); i++) {
        struct tiny whole = start(optimizers[i], 2), first = start(optimizers[i], 2), rest = start(optimizers[i], 2);
        double before, after;
        for (int step = 0; step < 12; step++) {
            tiny_step(&whole, step);
            if (step == 0) before = tiny_loss(&whole, "lm");
            tiny_step(step < 5 ? &first : &rest, step);
            if (step == 4) tiny_copy(&rest, &first);
        }
        after = tiny_loss(&whole, "lm");
        if (!(after < before)) fail_msg("%s: a loss of %g, and then of %g", optimizers[i], before, after);
        check_same(&whole, &rest, optimizers[i]);
        tiny_free(&whole);
        tiny_free(&first);
        tiny_free(&rest);
    }
}

/* Where no target counts, nothing moves, weights and memory. */
static void test_skip(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(optimizers); i++) {
        struct tiny t = start(optimizers[i], 2), before = start(optimizers[i], 2);
        for (int step = 0; step < 3; step++) tiny_step(&t, step);
        tiny_copy(&before, &t);
        for (int k = 0; k < t.tokens; k++) t.weight[k] = 0;
        tiny_step(&t, 3);
        check_same(&t, &before, optimizers[i]);
        tiny_free(&t);
        tiny_free(&before);
    }
}

static size_t remembered(const char *optim)
{
    struct tiny t = start(optim, 2);
    size_t bytes = 0;
    for (int i = 0; i < t.leaves->n; i++)
        if (strncmp(t.leaves->leaf[i]->path, "optim.", 6) == 0) bytes += leaf_bytes(t.leaves->leaf[i]);
    tiny_free(&t);
    return bytes;
}

/* Fewer bits: half, or a quarter and a float for each block of 256, of each weight. */
static void test_bytes(void **state)
{
    (void)state;
    struct tiny t = start(TEXT("adamw"), 2);
    static const char *const one[] = { "lion", "sgd", "normalized_momentum" };    /* moment; the last by matrices */
    size_t values = 0, codes = 0, of_matrices = 0;
    for (int i = 0; i < t.leaves->n; i++) {
        size_t n = (size_t)shape_count(t.leaves->leaf[i]->decl.shape);
        size_t stack = (size_t)t.leaves->leaf[i]->stack, matrix = n / stack;
        if (t.leaves->leaf[i]->kind != LEAF_WEIGHT) continue;
        values += n;
        codes += (n + 255) / 256 * 260;
        of_matrices += stack * ((matrix + 255) / 256 * 260);
    }
    tiny_free(&t);
    assert_int_equal(remembered(TEXT("adamw")), 8 * values);
    assert_int_equal(remembered(TEXT({"module": "adamw", "amsgrad": true})), 12 * values);
    assert_int_equal(remembered(TEXT({"module": "adamw", "state": "bf16"})), 4 * values);
    assert_int_equal(remembered(TEXT({"module": "adamw", "state": "int8"})), 2 * codes);
    for (int i = 0; i < COUNT(one); i++) {
        static const char *const as[] = { "float", "bf16", "int8" };
        size_t bytes[] = { 4 * values, 2 * values, i == 2 ? of_matrices : codes };
        for (int k = 0; k < COUNT(as); k++) {
            char sets[80];
            snprintf(sets, sizeof sets, "{\"module\": \"%s\", \"state\": \"%s\"}", one[i], as[k]);
            assert_int_equal(remembered(sets), bytes[k]);
        }
    }
}

static void refused(const char *sets, const char *words)
{
    struct tiny t;
    char why[256] = "";
    json_t *model = tiny_json(&model_schema, tiny_base, NULL), *train = tiny_json(&train_schema, "{}", sets);
    assert_false(tiny_load(&t, model, train, why));
    if (!strstr(why, words)) fail_msg("'%s' lacks '%s'", why, words);
    arena_free(t.arena);
    json_decref(model);
    json_decref(train);
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const of[] = { "adamw", "muon", "dion", "soap" };
    for (int i = 0; i < COUNT(of); i++) {
        char sets[160];
        snprintf(sets, sizeof sets, "{\"optim\": {\"module\": \"%s\", \"state\": \"bf16\", \"beta2\": 0.999}}", of[i]);
        refused(sets, "train.optim.state = bf16: it has 8 binary digits, and a moment with beta2 = 0.999 would not "
                      "fall; beta2 must be at most 0.996094, or state another");
    }
    refused(TEXT({"optim": {"module": "adamw", "state": "bf16", "beta1": 0.998}}), "a moment with beta1 = 0.998 ");
    refused(TEXT({"optim": {"module": "lion", "state": "bf16", "beta2": 0.998}}), "a moment with beta2 = 0.998 ");
    static const char *const sums[] = { "sgd", "muon", "normalized_momentum" };
    for (int i = 0; i < COUNT(sums); i++) {
        char sets[160];
        snprintf(sets, sizeof sets, "{\"optim\": {\"module\": \"%s\", \"state\": \"bf16\", \"momentum\": 0.998}}",
                 sums[i]);
        refused(sets, "train.optim.state = bf16: it has 8 binary digits, and a moment with momentum = 0.998 would ");
    }
    refused(TEXT({"optim": {"module": "adamw", "lazy": true, "cautious_step": true}}),
            "train.optim.cautious_step = true: ");
    refused(TEXT({"optim": {"module": "adamw", "lazy": true, "sphere": true}}), "train.optim.sphere = true: ");
}

/* Which weights have heads in their rows. */
static void test_heads(void **state)
{
    (void)state;
    static const struct { const char *path; int heads; } want[] = {
        { "layers.0.attention.q.weight", 2 }, { "layers.0.attention.k.weight", 1 },
        { "layers.0.attention.v.weight", 1 }, { "layers.0.attention.out.weight", 1 },
        { "layers.0.ffn.router.weight", 1 },
    };
    for (int on = 0; on < 2; on++) {
        struct tiny t = start(on ? TEXT({"module": "muon", "heads": true}) : TEXT("muon"), 2);
        for (int k = 0; k < COUNT(want); k++) {
            assert_int_equal(leaves_find(t.leaves, want[k].path)->heads, want[k].heads);
            for (int i = 0; i < t.graph->n; i++) {
                const struct node *n = t.graph->node[i];
                if (n->op != &op_muon || strcmp(n->in[0]->leaf->path, want[k].path) != 0) continue;
                assert_int_equal(((const struct muon_attr *)n->attr)->heads, on ? want[k].heads : 0);
            }
        }
        tiny_free(&t);
    }
}

/* What evaluation reads is x; where gradients are taken is between it and z. There is one kind of averages. */
static void test_schedule_free(void **state)
{
    (void)state;
    static const char *const path = "layers.0.attention.q.weight",
                      *const x_path = "average.layers.0.attention.q.weight",
                      *const lead_path = "optim.lead.layers.0.attention.q.weight";
    struct tiny t = start(TEXT("schedule_free"), 2);
    int64_t n = tiny_count(&t, path);
    assert_memory_equal(tiny_weight(&t, path), tiny_weight(&t, x_path), (size_t)n * sizeof(real));
    for (int step = 0; step < 4; step++) tiny_step(&t, step);
    const real *y = tiny_weight(&t, path), *x = tiny_weight(&t, x_path), *lead = tiny_weight(&t, lead_path);
    double apart = 0;
    for (int64_t i = 0; i < n; i++) {
        assert_float_equal(y[i], x[i] + 0.1f * lead[i], 1e-7);
        apart = fmax(apart, fabs((double)lead[i]));
    }
    assert_true(apart > 1e-4);
    double trained, averaged;
    tiny_forward(&t);
    trained = tiny_loss(&t, "lm");
    plan_swap_averages(t.plan);
    tiny_forward(&t);
    averaged = tiny_loss(&t, "lm");
    assert_true(trained != averaged);
    tiny_free(&t);

    refused(TEXT({"optim": "schedule_free", "average": "ema"}),
            "train.average = ema: schedule_free keeps averages of its own; it must be 'none'");
}

/* A matrix that begins at zero has no sphere to turn on: it moves as without. */
static void test_no_sphere_around_zero(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"attention.gate": {"module": "head", "zero": true}}),
                             TEXT({"optim": {"module": "muon", "sphere": true}}), MODE_TRAIN, 2, 6);
    assert_non_null(leaves_find(t.leaves, "optim.radius.layers.0.attention.q.weight"));
    assert_null(leaves_find(t.leaves, "optim.radius.layers.0.attention.gate.weight"));
    tiny_start(&t, 1);
    tiny_step(&t, 0);
    real moved = 0;
    for (int64_t i = 0; i < tiny_count(&t, "layers.0.attention.gate.weight"); i++)
        moved += fabsf((float)tiny_weight(&t, "layers.0.attention.gate.weight")[i]);
    assert_true(moved > 0);
    tiny_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(learn_and_go_on), RUN(skip), RUN(bytes), RUN(refusals), RUN(heads), RUN(schedule_free),
        RUN(no_sphere_around_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
