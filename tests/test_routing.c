/* Choosing experts, and the way of rows to them and back: published values by hand, and what must hold for any
   choice. */
#include "run_graph.h"
#include <math.h>

enum { TOKENS = 3000, EXPERTS = 13 };

static void softmax_of(const double *z, int n, double *p)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += p[i] = exp(z[i]);
    for (int i = 0; i < n; i++) p[i] /= sum;
}

static double sigmoid_of(double z) { return 1 / (1 + exp(-z)); }

static void test_one_token(void **state)
{
    static const double z[] = { 2, 1, 0, -1 }, bias[] = { -.5, 0, .3, .6 };
    (void)state;
    struct run r = run_new();
    struct graph *g = r.graph;
    struct node *p = graph_input(g, "p", DTYPE_REAL, SHAPE(1, 4)), *s = graph_input(g, "s", DTYPE_REAL, SHAPE(1, 4));
    struct node *key = graph_input(g, "key", DTYPE_REAL, SHAPE(1, 4));
    struct node *by_softmax = topk(g, p, 2), *by_sigmoid = topk(g, s, 2), *by_key = topk(g, key, 2);
    struct node *margin = graph_result(g, by_key, 1);
    struct node *softmax_gate = pick(g, p, by_softmax), *sigmoid_gate = pick(g, s, by_sigmoid),
                *biased_gate = pick(g, s, by_key);
    run_start(&r, 1);
    double chance[4], score[4], keys[4];
    softmax_of(z, 4, chance);
    for (int i = 0; i < 4; i++) score[i] = sigmoid_of(z[i]), keys[i] = score[i] + bias[i];
    run_values(&r, p, 4, chance);
    run_values(&r, s, 4, score);
    run_values(&r, key, 4, keys);
    run_forward(&r);
    assert_ints(run_ints(&r, by_softmax), 0, 1);
    assert_reals(run_reals(&r, softmax_gate), 1e-5, .643914, .236883);
    assert_ints(run_ints(&r, by_sigmoid), 0, 1);
    assert_reals(run_reals(&r, sigmoid_gate), 1e-5, .880797, .731059);
    assert_ints(run_ints(&r, by_key), 3, 2);
    assert_reals(run_reals(&r, margin), 1e-5, .8 - .731059);
    const real *gate = run_reals(&r, biased_gate);          /* the bias chooses; it does not weigh */
    assert_reals(((real[]){ gate[0] / (gate[0] + gate[1]), gate[1] / (gate[0] + gate[1]) }), 1e-5, .349755, .650245);
    run_free(&r);
}

static void test_four_tokens(void **state)
{
    static const double z[4][4] = { { 2, 1, 0, -1 }, { 2, 0, 1, -1 }, { 0, 2, 1, -1 }, { 1, 2, -1, 0 } };
    (void)state;
    struct run r = run_new();
    struct graph *g = r.graph;
    struct node *p = graph_input(g, "p", DTYPE_REAL, SHAPE(4, 4)), *index = topk(g, p, 2),
                *d = dispatch(g, index, 4, 0);
    struct node *counts = graph_result(g, d, 3), *ratio = load(g, counts);
    run_start(&r, 1);
    double chance[4][4], mean[4] = { 0 }, loss = 0;
    for (int t = 0; t < 4; t++) softmax_of(z[t], 4, chance[t]);
    run_values(&r, p, 16, chance[0]);
    run_forward(&r);
    assert_ints(run_ints(&r, index), 0, 1, 0, 2, 1, 2, 1, 0);
    assert_ints(run_ints(&r, counts), 3, 3, 2, 0);
    assert_ints(run_ints(&r, d), 0, 3, 6, 8, 8);
    assert_reals(run_reals(&r, ratio), 1e-6, 1.5, 1.5, 1, 0);
    for (int t = 0; t < 4; t++) for (int e = 0; e < 4; e++) mean[e] += chance[t][e] / 4;
    for (int e = 0; e < 4; e++) loss += (double)run_reals(&r, ratio)[e] * mean[e];
    assert_true(fabs(loss - 1.357134) < 1e-5);
    run_free(&r);
}

static void test_ties_and_nan(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *key = graph_input(r.graph, "key", DTYPE_REAL, SHAPE(6, 5));
    struct node *index = topk(r.graph, key, 3), *margin = graph_result(r.graph, index, 1);
    struct node *all = topk(r.graph, key, 5), *no_margin = graph_result(r.graph, all, 1);
    run_start(&r, 1);
    run_fill(&r, key,
             1, 1, 1, 1, 1,
             0, 2, 1, 2, 1,
             NAN, 3, NAN, -INFINITY, 4,
             NAN, NAN, NAN, NAN, NAN,
             -INFINITY, -INFINITY, 7, INFINITY, 7,
             -0.0, 0.0, -1, 0.0, NAN);
    run_forward(&r);
    assert_ints(run_ints(&r, index), 0, 1, 2,  1, 3, 2,  4, 1, 3,  0, 1, 2,  3, 2, 4,  0, 1, 3);
    assert_ints(run_ints(&r, all), 0, 1, 2, 3, 4, 1, 3, 2, 4, 0, 4, 1, 3, 0, 2, 0, 1, 2, 3, 4, 3, 2, 4, 0, 1, 0, 1, 3,
                2, 4);
    assert_reals(run_reals(&r, margin), 0, 0, 0);           /* 1 - 1, and 1 - 1 of the second row */
    assert_reals(run_reals(&r, margin) + 5, 0, 1);
    assert_reals(run_reals(&r, no_margin), 0, 0, 0, 0, 0, 0, 0);
    run_free(&r);
}

/* The k largest keys of the tokens that are present, which are all but every `gap`-th; gap 0: all. */
static struct node *choices(struct run *r, struct node *key, int k, struct node **present)
{
    *present = graph_input(r->graph, "present", DTYPE_REAL, SHAPE(TOKENS));
    return mask_rows(r->graph, topk(r->graph, key, k), *present, -1);
}

static bool is_there(int64_t token, int gap) { return gap == 0 || token % gap != 0; }

static void set_present(struct run *r, const struct node *present, int gap)
{
    for (int64_t t = 0; t < TOKENS; t++) run_reals(r, present)[t] = is_there(t, gap);
}

/* dispatch against its definition, for choices of normal keys. */
static void check_dispatch(int k, int threads, int gap)
{
    struct run r = run_new();
    struct node *key = graph_input(r.graph, "key", DTYPE_REAL, SHAPE(TOKENS, EXPERTS)), *present;
    struct node *index = choices(&r, key, k, &present), *d = dispatch(r.graph, index, EXPERTS, 0);
    struct node *order_of = graph_result(r.graph, d, 1), *inverse_of = graph_result(r.graph, d, 2),
                *counts_of = graph_result(r.graph, d, 3);
    run_start(&r, threads);
    run_normal(&r, key, 1);
    set_present(&r, present, gap);
    run_forward(&r);
    const int32_t *choice = run_ints(&r, index), *offsets = run_ints(&r, d), *order = run_ints(&r, order_of),
                  *inverse = run_ints(&r, inverse_of);
    int32_t rows = TOKENS * k, there = 0;
    for (int64_t t = 0; t < TOKENS; t++) there += is_there(t, gap) * k;
    assert_int_equal(offsets[0], 0);
    assert_int_equal(offsets[EXPERTS], there);
    for (int32_t row = there; row < rows; row++) assert_int_equal(order[row], -1);
    for (int32_t i = 0; i < rows; i++) assert_int_equal(inverse[i] == -1, !is_there(i / k, gap));
    for (int32_t e = 0; e < EXPERTS; e++) {
        assert_int_equal(offsets[e + 1] - offsets[e], run_ints(&r, counts_of)[e]);
        for (int32_t row = offsets[e]; row < offsets[e + 1]; row++) {
            assert_int_equal(choice[order[row]], e);
            assert_int_equal(inverse[order[row]], row);
            if (row > offsets[e]) assert_true(order[row] > order[row - 1]);
        }
    }
    for (int32_t i = 0; i < rows; i++)
        for (int32_t j = i / k * k; j < i; j++) assert_true(choice[i] < 0 || choice[i] != choice[j]);
    run_free(&r);
}

static void test_dispatch(void **state)
{
    (void)state;
    check_dispatch(1, 1, 0);
    check_dispatch(3, 1, 0);
    check_dispatch(3, 2, 0);
    check_dispatch(EXPERTS, 2, 0);
    check_dispatch(3, 2, 4);
    check_dispatch(2, 1, 1);
}

/* There and back with gates of 1 gives k x: each row is found again, and what goes nowhere is 0. */
static void check_round_trip(int k, int threads, int gap)
{
    enum { WIDTH = 19 };
    struct run r = run_new();
    struct graph *g = r.graph;
    struct node *key = graph_input(g, "key", DTYPE_REAL, SHAPE(TOKENS, EXPERTS)),
                *x = graph_input(g, "x", DTYPE_ACT, SHAPE(TOKENS, WIDTH)), *present;
    struct node *gate = graph_input(g, "gate", DTYPE_REAL, SHAPE(TOKENS, k)),
                *d = dispatch(g, choices(&r, key, k, &present), EXPERTS, 0);
    struct node *order = graph_result(g, d, 1), *inverse = graph_result(g, d, 2), *rows = gather(g, x, order, inverse);
    struct node *back = combine(g, rows, order, inverse, gate);
    run_start(&r, threads);
    run_normal(&r, key, 1);
    run_normal(&r, x, 2);
    set_present(&r, present, gap);
    for (int64_t i = 0; i < TOKENS * k; i++) run_reals(&r, gate)[i] = 1;
    run_forward(&r);
    for (int64_t i = 0; i < TOKENS * WIDTH; i++) {
        real sum = 0;
        for (int j = 0; j < k && is_there(i / WIDTH, gap); j++) sum += run_reals(&r, x)[i];
        assert_true(run_reals(&r, back)[i] == sum);
    }
    for (int64_t row = 0; row < TOKENS * k; row++) {
        static const real nothing[WIDTH];
        int32_t from = run_ints(&r, order)[row];
        assert_memory_equal(run_reals(&r, rows) + row * WIDTH, from < 0 ? nothing : run_reals(&r, x) + from / k * WIDTH,
                            WIDTH * sizeof(real));
    }
    run_free(&r);
}

static void test_round_trip(void **state)
{
    (void)state;
    check_round_trip(1, 1, 0);
    check_round_trip(4, 2, 0);
    check_round_trip(4, 2, 3);
}

static void test_load_of_nothing(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *counts = graph_input(r.graph, "counts", DTYPE_REAL, SHAPE(3)), *ratio = load(r.graph, counts);
    run_start(&r, 1);
    run_fill(&r, counts, 0, 0, 0);
    run_forward(&r);
    assert_reals(run_reals(&r, ratio), 0, 0, 0, 0);
    run_free(&r);
}

static void test_messages(void **state)
{
    (void)state;
    struct leaves *leaves = leaves_new();
    struct graph *g = graph_new(leaves);
    struct node *key = graph_input(g, "key", DTYPE_REAL, SHAPE(3, 4)), *index = topk(g, key, 2),
                *d = dispatch(g, index, 4, 0);
    struct node *order = graph_result(g, d, 1), *inverse = graph_result(g, d, 2);
    check_message(g, topk(g, key, 5), "k = 5, there are 4 keys");
    check_message(g, topk(g, key, 0), "k = 0, it must be at least 1");
    check_message(g, topk(g, index, 1), "'key' is I32, REAL is needed");
    check_message(g, pick(g, graph_input(g, "short", DTYPE_REAL, SHAPE(2, 4)), index),
                  "'index' is [3,2], [T,K] is needed: T is 2 in 'x', not 3");
    check_message(g, dispatch(g, index, 0, 0), "experts = 0, it must be at least 1");
    check_message(g, gather(g, graph_input(g, "x", DTYPE_ACT, SHAPE(5, 7)), order, inverse),
                  "T is 5 in 'x', not 3");
    check_message(g, combine(g, graph_input(g, "y", DTYPE_ACT, SHAPE(5, 7)), order, inverse, pick(g, key, index)),
                  "R is 5 in 'y', not 6");
    check_message(g, combine(g, graph_input(g, "z", DTYPE_ACT, SHAPE(6, 7)), order, inverse, key),
                  "'gate' is [3,4], [T,K] is needed: K is 2 in 'inverse', not 4");
    graph_free(g);
    leaves_free(leaves);
}

/* The first of a token's experts of a group of two stands for both, with the sum of their gates. */
static void test_merged_groups(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *gate = graph_input(r.graph, "gate", DTYPE_REAL, SHAPE(3, 4)),
                *index = graph_input(r.graph, "index", DTYPE_I32, SHAPE(3, 4)),
                *merged = merge_groups(r.graph, gate, index, 2);
    run_start(&r, 1);
    run_fill(&r, gate, .5, .25, .125, 1,  1, 2, 3, 4,  1, 2, 3, 4);
    run_fill(&r, index, 3, 0, 2, 1,  -1, 5, -1, 4,  0, 2, 4, 6);
    run_forward(&r);
    assert_reals(run_reals(&r, merged), 0, .625, 1.25, 0, 0,  0, 6, 0, 0,  1, 2, 3, 4);
    assert_ints((int32_t *)r.value[merged->id][1].data, 1, 0, -1, -1,  -1, 2, -1, -1,  0, 1, 2, 3);
    run_free(&r);
}

/* Each row its expert's; an expert without rows adds nowhere, and nobody's rows stay as they are. */
static void test_rows_of_experts(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *x = graph_input(r.graph, "x", DTYPE_REAL, SHAPE(4, 2)),
                *row = graph_input(r.graph, "row", DTYPE_REAL, SHAPE(3, 2)),
                *offsets = graph_input(r.graph, "offsets", DTYPE_I32, SHAPE(4)),
                *y = grouped_add_row(r.graph, x, row, offsets);
    run_start(&r, 1);
    run_fill(&r, x, 1, 2, 3, 4, 5, 6, 7, 8);
    run_fill(&r, row, 10, 20, 30, 40, 50, 60);
    run_fill(&r, offsets, 0, 1, 1, 3);
    run_forward(&r);
    assert_reals(run_reals(&r, y), 0, 11, 22, 53, 64, 55, 66, 7, 8);
    run_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_token), cmocka_unit_test(test_four_tokens), cmocka_unit_test(test_ties_and_nan),
        cmocka_unit_test(test_dispatch), cmocka_unit_test(test_round_trip), cmocka_unit_test(test_load_of_nothing),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_merged_groups), cmocka_unit_test(test_rows_of_experts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
