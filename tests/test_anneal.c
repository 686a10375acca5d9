/* Routers that begin hot and narrow: what the schedules are, when they change nothing, and what they change. */
#include "tiny_pair.h"
#include "graph/ops/routing.h"

enum { STEPS = 100, TOKENS = 12 };

static struct tiny trained(const char *router)
{
    char sets[512];
    snprintf(sets, sizeof sets, "{\"ffn.router\": {%s}}", router);
    struct tiny t = tiny_new(sets, NULL, MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    return t;
}

/* All that a step leaves behind is the same, bit for bit. */
static void check_same(const struct tiny *a, const struct tiny *b)
{
    for (int i = 0; i < a->leaves->n; i++) {
        const struct leaf *l = a->leaves->leaf[i];
        if (l->kind == LEAF_WEIGHT)
            assert_memory_equal(state_data(a->state, l), tiny_weight(b, l->path), leaf_bytes(l));
    }
}

static double assignments(struct tiny *t)
{
    double tokens[4];
    tiny_metric(t, "expert_tokens", 1, tokens);
    return tokens[0] + tokens[1] + tokens[2] + tokens[3];
}

/* tau from 3 to 1 along half a cosine, k from 2 to 4 in the second half, over 40 of 100 steps. */
static void test_schedules(void **state)
{
    (void)state;
    struct tiny t = trained("\"top_k\": 4, \"anneal\": {\"module\": \"cold_start\", \"temperature\": 3, "
                            "\"length\": 0.4}");
    static const struct { int step; double tau; int k; } at[] = {
        { 0, 3, 2 }, { 10, 2.707107, 2 }, { 20, 2, 2 }, { 29, 1.350552, 2 }, { 30, 1.292893, 3 }, { 39, 1.003083, 3 },
        { 40, 1, 4 }, { 99, 1, 4 },
    };
    for (int i = 0; i < COUNT(at); i++) {
        tiny_step_of(&t, at[i].step, STEPS);
        real sharp = plan_control(t.plan, tiny_leaf(&t, "layers.1.ffn.router.heat"));
        if (!(fabs(1 / (double)sharp - at[i].tau) < 1e-5))
            fail_msg("step %d: tau %.7g, expected %.7g", at[i].step, 1 / (double)sharp, at[i].tau);
        assert_true(assignments(&t) == TOKENS * at[i].k);
    }
    tiny_free(&t);
}

/* tau from 1 and k from top_k: the very graph, and so the very trajectory. */
static void test_nothing_to_anneal(void **state)
{
    (void)state;
    static const char *const still[] = {
        "\"normalize\": \"after\", \"anneal\": {\"module\": \"cold_start\", \"temperature\": 1, \"experts\": 1}",
        "\"normalize\": \"after\", \"anneal\": {\"module\": \"cold_start\", \"length\": 0}",
    };
    for (int i = 0; i < COUNT(still); i++) {
        struct tiny a = trained("\"normalize\": \"after\""), b = trained(still[i]);
        assert_true(tiny_same(&a, &b));
        for (int step = 0; step < 10; step++) {
            tiny_step_of(&a, step, STEPS);
            tiny_step_of(&b, step, STEPS);
            assert_true(tiny_loss(&a, "lm") == tiny_loss(&b, "lm"));
        }
        check_same(&a, &b);
        tiny_free(&a);
        tiny_free(&b);
    }
}

/* When it is over, steps leave the same bits as without; while it lasts, others. */
static void test_when_it_is_over(void **state)
{
    (void)state;
    static const char *const cold = "\"normalize\": \"after\", \"anneal\": \"cold_start\"";
    struct tiny a = trained("\"normalize\": \"after\""), b = trained(cold), c = trained(cold);
    assert_false(tiny_same(&a, &b));
    for (int step = 5; step < 15; step++) {
        tiny_step_of(&a, step, STEPS);
        tiny_step_of(&b, step, STEPS);
        assert_true(tiny_loss(&a, "lm") == tiny_loss(&b, "lm"));
    }
    check_same(&a, &b);
    tiny_step_of(&c, 0, STEPS);
    tiny_step_of(&c, 1, STEPS);
    assert_true(tiny_loss(&c, "lm") != tiny_loss(&a, "lm"));
    tiny_free(&a);
    tiny_free(&b);
    tiny_free(&c);
}

/* A temperature of 2 at first is a router of half its length, with the same noise above it. */
static void test_heat(void **state)
{
    (void)state;
    static const char *const noise[] = { "\"none\"", "{\"module\": \"normal\", \"std\": 1}" };
    for (int i = 0; i < COUNT(noise); i++) {
        char hot[256], usual[256];
        snprintf(hot, sizeof hot,
                 "\"noise\": %s, \"anneal\": {\"module\": \"cold_start\", \"experts\": 1}", noise[i]);
        snprintf(usual, sizeof usual, "\"noise\": %s", noise[i]);
        struct tiny a = trained(usual), b = trained(hot);
        tiny_scale_all(&a, "router.weight", 0.5);
        tiny_forward(&a);
        tiny_forward(&b);
        assert_true(tiny_loss(&a, "lm") == tiny_loss(&b, "lm"));
        tiny_free(&a);
        tiny_free(&b);
    }
}

/* Noise that is divided with the logits leaves choices as they are without heat; gates are flatter. */
static void test_heat_above_noise(void **state)
{
    (void)state;
    struct tiny a = trained("\"noise\": {\"module\": \"normal\", \"std\": 1}"),
                b = trained("\"noise\": {\"module\": \"normal\", \"std\": 1}, \"anneal\": {\"module\": \"cold_start\", "
                            "\"experts\": 1, \"beneath_noise\": false}");
    tiny_forward(&a);
    tiny_forward(&b);
    double *x = tiny_read(&a, tiny_find(&a, &op_dispatch, 0)->in[0]),
           *y = tiny_read(&b, tiny_find(&b, &op_dispatch, 0)->in[0]);
    check_equal(x, y, (int64_t)TOKENS * 2);
    double *gate = tiny_read(&a, tiny_find(&a, &op_combine, 0)->in[3]),
           *flat = tiny_read(&b, tiny_find(&b, &op_combine, 0)->in[3]);
    for (int t = 0; t < TOKENS; t++)
        assert_true(fabs(flat[2 * t] / flat[2 * t + 1] - sqrt(gate[2 * t] / gate[2 * t + 1])) < 1e-4);
    free(x);
    free(y);
    free(gate);
    free(flat);
    tiny_free(&a);
    tiny_free(&b);
}

/* Gates that are normalised after the choice sum to 1 however many count, and those that do not are 0. */
static void test_narrow_gates(void **state)
{
    (void)state;
    struct tiny t = trained("\"top_k\": 4, \"normalize\": \"after\", \"anneal\": {\"module\": \"cold_start\", "
                            "\"temperature\": 1}");
    tiny_forward(&t);
    double *gate = tiny_read(&t, tiny_find(&t, &op_combine, 0)->in[3]),
           *index = tiny_read(&t, tiny_find(&t, &op_dispatch, 0)->in[0]);
    for (int i = 0; i < TOKENS; i++) {
        assert_true(fabs(gate[4 * i] + gate[4 * i + 1] - 1) < 1e-6 && gate[4 * i] >= gate[4 * i + 1]);
        for (int j = 0; j < 4; j++) assert_int_equal(index[4 * i + j] >= 0, j < 2);
        assert_true(gate[4 * i + 2] == 0 && gate[4 * i + 3] == 0);
    }
    free(gate);
    free(index);
    tiny_free(&t);
}

/* Evaluations are of the router as it will be. */
static void test_only_in_training(void **state)
{
    (void)state;
    for (int mode = MODE_EVAL; mode <= MODE_DECODE; mode++) {
        struct tiny a = tiny_new(NULL, NULL, (enum mode)mode, 2, 6),
                    b = tiny_new(TEXT({"ffn.router.anneal": "cold_start"}), NULL, (enum mode)mode, 2, 6);
        assert_true(tiny_same(&a, &b));
        tiny_start(&a, 1);
        tiny_start(&b, 1);
        tiny_free(&a);
        tiny_free(&b);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    tiny_refused(TEXT({"ffn.router": {"anneal": "cold_start", "select": "expert_choice"}}), "leaves open");
    tiny_refused(TEXT({"ffn.router": {"anneal": "cold_start", "noise": "learned"}, "ffn.balance": ["load"]}),
                 "largest logits");
    struct tiny heat = trained("\"select\": \"expert_choice\", \"anneal\": {\"module\": \"cold_start\", "
                               "\"experts\": 1}, \"logits\": \"cosine\"");
    tiny_free(&heat);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(schedules), RUN(nothing_to_anneal), RUN(when_it_is_over), RUN(heat), RUN(heat_above_noise),
        RUN(narrow_gates), RUN(only_in_training), RUN(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
