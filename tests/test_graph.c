/* What a graph promises to those who build one: inputs by their names, optional ones left out, one tensor twice, and an
   error that leaves every builder on its feet. */
#include "graph/signature.h"
#include "tiny.h"
#include "graph/ops.h"

static void check(struct graph *g, const struct node *made, const char *words)
{
    assert_true(g->failed && made == g->poison);
    if (!strstr(g->err.text, words)) fail_msg("'%s' says nothing of '%s'", g->err.text, words);
    g->failed = false;
}

static void test_messages(void **state)
{
    (void)state;
    struct leaves *l = leaves_new();
    struct graph *g = graph_new(l);
    struct node *x = graph_input(g, "x", DTYPE_REAL, SHAPE(4, 3)),
                *start = graph_input(g, "start", DTYPE_I32, SHAPE(2, 2)),
                *rows = graph_input(g, "rows", DTYPE_I32, SHAPE(3));
    check(g, graph_emit(g, &op_attention, NULL, x, x, x, NULL), "attention: input 'start' is missing");
    check(g, graph_emit(g, &op_square, NULL, x, x), "square: inputs are 1, not 2");
    check(g, concat(g, 0, NULL), "concat: there are no x");
    check(g, topk(g, rows, 1), "topk: 'key' is I32, REAL is needed");
    check(g, graph_result(g, square(g, x), 1), "square has no output 1");
    struct node *y = square(g, x), *of_step = carry(g, y, CARRY_SUM);
    g->region = REGION_UPDATE;
    check(g, square(g, y), "square: 'x' is square of another region, which only a carry brings over");
    check(g, square(g, view(g, y, SHAPE(12))), "only a carry");
    square(g, view(g, of_step, SHAPE(12)));
    assert_false(g->failed);
    graph_loss(g, "whole", y, 1, false);
    check(g, g->poison, "loss 'whole' is one REAL number, not [4,3]");
    (void)start;
    graph_free(g);
    leaves_free(l);
}

static void test_input_names(void **state)
{
    (void)state;
    struct op_value in;
    assert_true(op_input(&op_attention, 4, &in) && strcmp(in.name, "pos") == 0 && in.optional && !in.changed);
    assert_true(op_input(&op_adamw, 2, &in) && strcmp(in.name, "m") == 0 && in.changed && !in.optional);
    assert_true(op_input(&op_concat, 7, &in) && strcmp(in.name, "x") == 0 && in.many);
    assert_false(op_input(&op_square, 1, &in));
    assert_true(op_changes(&op_adamw) && !op_changes(&op_attention));
}

/* d(x x) = 2 x dz, also where both gradients go to a weight, and beside other readers of it. */
static void test_one_tensor_twice(void **state)
{
    (void)state;
    for (int precision = 0; precision < 2; precision++) {
        struct leaves *l = leaves_new();
        struct graph *g = graph_new(l);
        struct err e;
        struct plan *plan;
        struct node *w = graph_weight(g, "w", ROLE_GAIN, SHAPE(3),
                                      (struct init){ .kind = INIT_CONSTANT, .value = 1.5 });
        struct node *twice = mul(g, w, w), *y = mul(g, twice, twice);                    /* w^4 */
        graph_loss(g, "l", dot(g, y, y), 1, false);                                     /* 3 w^8 */
        g->region = REGION_UPDATE;
        struct node *grad = carry(g, graph_grad_of(g, l->leaf[0]), CARRY_LAST);
        g->region = REGION_MICRO;
        graph_probe(g, "grad", "", BETTER_NONE, "", 1, &(struct term){ 1, grad, NULL, false });
        assert_false(g->failed);
        assert_int_equal(plan_new(&plan, g, (struct plan_how){ &backend_cpu, (enum precision)precision,
                                                               RECOMPUTE_NONE }, &e), 0);
        struct state *s = state_new(l, &backend_cpu, 1);
        double got[3];
        plan_bind(plan, s, NULL);
        state_fill(s, 1);
        plan_begin(plan, 0, 1, 2);
        for (int micro = 0; micro < 2; micro++) { plan_forward(plan, micro); plan_backward(plan, micro); }
        plan_update(plan);
        plan_read(plan, grad, got);
        for (int i = 0; i < 3; i++) assert_true(fabs(got[i] - 8 * pow(1.5, 7)) < 1e-4 * 8 * pow(1.5, 7));
        plan_free(plan);
        state_free(s);
        graph_free(g);
        leaves_free(l);
    }
}

/* The graph of every mode fails at each of its nodes in turn: nobody reads what is not there, and the first error
   stays. */
static void test_failing_anywhere(void **state)
{
    (void)state;
    static const char *const models[] = { "{}", tiny_welm };
    static const enum mode modes[] = { MODE_TRAIN, MODE_EVAL, MODE_DECODE };
    for (int m = 0; m < COUNT(models) * COUNT(modes); m++) {
        enum mode mode = modes[m / COUNT(models)];
        struct tiny t = tiny_new(models[m % COUNT(models)], TEXT({"optim": "muon"}), mode, 2, 6);
        for (int at = 1; at < t.graph->n; at++) {
            struct leaves *l = leaves_new();
            struct graph *g = graph_new(l);
            g->fail_at = at;
            model_build(g, t.arena, &t.model, &t.train, mode,
                        (struct model_size){ .batch = 2, .seq = 6, .context = t.model.seq });
            if (!g->failed || !strstr(g->err.text, "asked to fail"))
                fail_msg("node %d of %d: '%s'", at, t.graph->n, g->err.text);
            graph_free(g);
            leaves_free(l);
        }
        tiny_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages), cmocka_unit_test(test_input_names), cmocka_unit_test(test_one_tensor_twice),
        cmocka_unit_test(test_failing_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
