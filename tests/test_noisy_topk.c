/* Noisy top-k's ops: golden values of a token, the load that it is expected to give against drawn noise, how uneven a
   load is. */
#include "run_graph.h"
#include "model/inputs.h"
#include <math.h>
#include <string.h>

enum { E = 4, K = 2, DRAWS = 100000 };
static const double clean[E] = { 1, .5, 0, -.5 }, eps[E] = { .3, -1, .2, .8 };
static double std_of_zero(void) { return log(2) + .01; }    /* softplus(0) + 1e-2 */
static double normal_below(double x) { return 0.5 * erfc(-x / M_SQRT2); }

struct choice { struct run run; struct node *key, *index, *least, *gate; };
static struct choice choice_of(int64_t tokens)
{
    struct choice c = { .run = run_new() };
    struct graph *g = c.run.graph;
    c.key = graph_input(g, "key", DTYPE_REAL, SHAPE(tokens, E));
    c.index = topk(g, c.key, K);
    c.least = threshold(g, c.key, c.index);
    c.gate = softmax(g, pick(g, c.key, c.index));
    run_start(&c.run, 1);
    return c;
}

static void test_golden(void **state)
{
    (void)state;
    struct choice c = choice_of(1);
    real *key = run_reals(&c.run, c.key), load[E];
    for (int e = 0; e < E; e++) key[e] = (real)(clean[e] + eps[e] * std_of_zero());
    assert_reals(key, 1e-6, 1.210944, -.203147, .140629, .062518);
    run_forward(&c.run);
    const real *least = run_reals(&c.run, c.least);
    assert_ints(run_ints(&c.run, c.index), 0, 2);
    assert_reals(run_reals(&c.run, c.gate), 1e-6, .744657, .255343);
    assert_reals(least, 1e-6, .062518, .140629, .062518, .140629);
    for (int e = 0; e < E; e++) load[e] = (real)normal_below((clean[e] - (double)least[e]) / std_of_zero());
    assert_reals(load, 1e-6, .908778, .695356, .464576, .181124);
    run_free(&c.run);
}

/* How often an expert is chosen when its own noise is drawn and the others' stands still. */
static double share_chosen(int expert)
{
    struct choice c = choice_of(DRAWS);
    struct run r = run_new();
    struct node *like = graph_input(r.graph, "like", DTYPE_REAL, SHAPE(DRAWS, 1)),
                *of = graph_input(r.graph, "of", DTYPE_I32, SHAPE(10, 2)),
                *drawn = noise(r.graph, like, of, "a", NOISE_NORMAL);
    run_start(&r, 2);
    inputs_noise((struct inputs){ .noise_key = run_ints(&r, of) }, 5, 10 * expert, 10);
    run_forward(&r);
    for (int i = 0; i < DRAWS * E; i++)
        run_reals(&c.run, c.key)[i] = (real)(clean[i % E] +
                                             std_of_zero() *
                                                 (i % E == expert ? (double)run_reals(&r, drawn)[i / E] : eps[i % E]));
    run_forward(&c.run);
    double times = 0;
    for (int i = 0; i < DRAWS * K; i++) times += run_ints(&c.run, c.index)[i] == expert;
    run_free(&r);
    run_free(&c.run);
    return times / DRAWS;
}

static void test_load_is_what_noise_gives(void **state)
{
    (void)state;
    static const double expected[E] = { .908778, .695356, .464576, .181124 };
    for (int e = 0; e < E; e++) assert_true(fabs(share_chosen(e) - expected[e]) < 0.005);
}

/* Ties go to the lower index, and what is no number comes last, as topk has it. */
static void test_threshold_of_ties(void **state)
{
    (void)state;
    struct choice c = choice_of(3);
    run_fill(&c.run, c.key, 1, 1, 1, 1, NAN, 2, NAN, 1, NAN, 3, 2, NAN);
    run_forward(&c.run);
    assert_ints(run_ints(&c.run, c.index), 0, 1, 1, 3, 1, 2);
    const real *least = run_reals(&c.run, c.least);
    for (int e = 0; e < E; e++) assert_true(least[e] == 1);
    assert_true(least[4] == 1 && isnan(least[5]) && least[6] == 1 && isnan(least[7]));
    assert_true(least[8] == 2 && isnan(least[9]) && isnan(least[10]) && least[11] == 2);
    run_free(&c.run);
}

static void test_none_is_left(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *key = graph_input(r.graph, "key", DTYPE_REAL, SHAPE(2, 3));
    threshold(r.graph, key, topk(r.graph, key, 3));
    assert_true(r.graph->failed && strstr(r.graph->err.text, "k = 3 of 3 keys: none is left"));
    graph_free(r.graph);
    leaves_free(r.leaves);
}

static void test_cv2(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *x = graph_input(r.graph, "x", DTYPE_REAL, SHAPE(4)), *y = cv2(r.graph, x);
    run_start(&r, 1);
    run_fill(&r, x, 1, 2, 3, 4);
    run_forward(&r);
    assert_reals(run_reals(&r, y), 1e-7, .2);
    run_fill(&r, x, 0, 0, 4, 0);                            /* all to one: E - 1 */
    run_forward(&r);
    assert_reals(run_reals(&r, y), 1e-6, 3);
    run_fill(&r, x, 7, 7, 7, 7);
    run_forward(&r);
    assert_reals(run_reals(&r, y), 0, 0);
    run_fill(&r, x, 0, 0, 0, 0);
    run_forward(&r);
    assert_reals(run_reals(&r, y), 0, 0);
    run_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden), cmocka_unit_test(test_load_is_what_noise_gives),
        cmocka_unit_test(test_threshold_of_ties), cmocka_unit_test(test_none_is_left), cmocka_unit_test(test_cv2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
