/* Experts with room for so many: the experts' choice, what is dropped, and rows that are nobody's; published values by
   hand, and what must hold for any keys. */
#include "run_graph.h"
#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TOKENS = 600, EXPERTS = 19, K = 3, GROUPS = 4, GROUP = TOKENS / GROUPS };

/* A further output. */
static void *output(const struct run *r, const struct node *n, int number) { return r->value[n->id][number].data; }

/* ---- experts choose ---- */

/* Softmax rows of four tokens and two experts; each takes two. */
static void test_experts_choose(void **state)
{
    (void)state;
    struct run r = run_new();
    struct graph *g = r.graph;
    struct node *z = graph_input(g, "z", DTYPE_REAL, SHAPE(4, 2)), *p = softmax(g, z),
                *index = topk_columns(g, p, 1, 2);
    struct node *gate = pick(g, p, index), *d = dispatch(g, index, 2, 4);
    run_start(&r, 1);
    run_fill(&r, z, 1, 0, 2, 0, 0, .5, 0, 1.5);
    run_forward(&r);
    assert_ints(run_ints(&r, index), 0, -1,  0, -1,  -1, 1,  -1, 1);
    assert_reals(run_reals(&r, gate), 1e-5, .731059, 0, .880797, 0, 0, .622459, 0, .817574);
    assert_reals((real *)output(&r, index, 1), 1e-5, .731059, .622459);
    assert_ints(run_ints(&r, d), 0, 2, 4);
    assert_ints((int32_t *)output(&r, d, 1), 0, 2, 5, 7);
    assert_ints((int32_t *)output(&r, d, 3), 2, 2);
    run_free(&r);
}

/* Masked tokens are never chosen; NaN comes last of the others; of equals the lower token. */
static void test_masked_keys(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *key = graph_input(r.graph, "key", DTYPE_REAL, SHAPE(8, 3)), *index = topk_columns(r.graph, key, 2, 2);
    run_start(&r, 1);
    run_fill(&r, key,
             -INFINITY, 1, NAN,
             -INFINITY, 1, -INFINITY,
             -INFINITY, 1, -INFINITY,
             5, 1, -1e30,
             -0.0, 3, 0,
             0, 2, -1,
             0, INFINITY, INFINITY,
             -1, 4, 2);
    run_forward(&r);
    assert_ints(run_ints(&r, index), -1, 1, 2, -1, 1, -1, -1, -1, -1, 0, -1, 2, 0, -1, -1, 0, -1, -1, -1, 1, 2, -1, 1,
                2);
    const real *threshold = output(&r, index, 1);
    assert_true(threshold[0] == -INFINITY);                 /* one token of the first group: there is no second */
    assert_reals(threshold + 1, 0, 2.5);
    assert_true(isnan(threshold[2]));
    run_free(&r);
}

/* Few different keys, so that many are equal. */
static void few_keys(const struct run *r, const struct node *n, int different, int seed)
{
    for (int64_t i = 0; i < shape_count(n->shape); i++) run_reals(r, n)[i] = (real)((i * i / 3 + seed) % different) - 2;
}

/* Against the definition: how many tokens of the group come before this one. */
static void check_choice(int c, int different, int threads)
{
    struct run r = run_new();
    struct node *key = graph_input(r.graph, "key", DTYPE_REAL, SHAPE(TOKENS, EXPERTS)),
                *index = topk_columns(r.graph, key, GROUPS, c);
    run_start(&r, threads);
    if (different) few_keys(&r, key, different, 0);
    else run_normal(&r, key, 1);
    run_forward(&r);
    const real *x = run_reals(&r, key);
    for (int64_t t = 0; t < TOKENS; t++)
        for (int64_t e = 0; e < EXPERTS; e++) {
            int before = 0;
            for (int64_t u = t / GROUP * GROUP; u < t / GROUP * GROUP + GROUP; u++) {
                real other = x[u * EXPERTS + e], own = x[t * EXPERTS + e];
                before += other > own || (other == own && u < t);
            }
            assert_int_equal(run_ints(&r, index)[t * EXPERTS + e], before < c ? e : -1);
        }
    run_free(&r);
}

static void test_choice(void **state)
{
    (void)state;
    check_choice(1, 0, 1);
    check_choice(37, 0, 2);
    check_choice(37, 7, 1);
    check_choice(100, 2, 2);
    check_choice(GROUP, 0, 1);                              /* everyone takes all */
    check_choice(GROUP, 3, 1);
}

/* Every expert takes every token: a mixture by softmax, of experts that give what they get. */
static void test_all_take_all(void **state)
{
    enum { WIDTH = 5 };
    (void)state;
    struct run r = run_new();
    struct graph *g = r.graph;
    struct node *z = graph_input(g, "z", DTYPE_REAL, SHAPE(TOKENS, EXPERTS)),
                *x = graph_input(g, "x", DTYPE_REAL, SHAPE(TOKENS, WIDTH));
    struct node *p = softmax(g, z), *index = topk_columns(g, p, GROUPS, GROUP), *d = dispatch(g, index, EXPERTS, 0);
    struct node *order = graph_result(g, d, 1), *inverse = graph_result(g, d, 2),
                *y = combine(g, gather(g, x, order, inverse), order, inverse, pick(g, p, index));
    run_start(&r, 1);
    run_normal(&r, z, 1);
    run_normal(&r, x, 2);
    run_forward(&r);
    for (int64_t i = 0; i < TOKENS * WIDTH; i++)
        assert_true(fabs((double)(run_reals(&r, y)[i] - run_reals(&r, x)[i])) < 1e-5);
    run_free(&r);
}

/* ---- capacity ---- */

/* Four tokens, two experts each, four experts with room for two. */
static void test_what_is_dropped(void **state)
{
    (void)state;
    struct run r = run_new();
    struct graph *g = r.graph;
    struct node *index = graph_input(g, "index", DTYPE_I32, SHAPE(4, 2)),
                *gate = graph_input(g, "gate", DTYPE_REAL, SHAPE(4, 2));
    struct node *by_token = drop_over_capacity(g, index, NULL, NULL, 4, 1, 2, PRIORITY_TOKEN);
    struct node *by_choice = drop_over_capacity(g, index, gate, NULL, 4, 1, 2, PRIORITY_CHOICE);
    struct node *by_gate = drop_over_capacity(g, index, gate, NULL, 4, 1, 2, PRIORITY_GATE);
    struct node *in_halves = drop_over_capacity(g, index, NULL, NULL, 4, 2, 1, PRIORITY_TOKEN);
    run_start(&r, 1);
    run_fill(&r, index, 0, 1, 0, 2, 1, 2, 1, 0);
    run_fill(&r, gate, .643914, .236883, .643914, .236883, .643914, .236883, .643914, .9);
    run_forward(&r);
    assert_ints(run_ints(&r, by_token), 0, 1,  0, 2,  1, 2,  -1, -1);
    assert_ints(run_ints(&r, by_choice), 0, -1,  0, 2,  1, 2,  1, -1);
    assert_ints(run_ints(&r, by_gate), 0, -1,  -1, 2,  1, 2,  1, 0);
    assert_ints(run_ints(&r, in_halves), 0, 1,  -1, 2,  1, 2,  -1, 0);
    assert_reals((real *)output(&r, by_token, 1), 0, .25);
    assert_reals((real *)output(&r, by_choice, 1), 0, .25);
    assert_reals((real *)output(&r, by_gate, 1), 0, .25);
    assert_reals((real *)output(&r, in_halves, 1), 0, .25);
    run_free(&r);
}

/* Whether pair p goes before q. */
static bool first(enum priority by, const real *gate, int64_t p, int64_t q)
{
    if (by == PRIORITY_CHOICE && p % K != q % K) return p % K < q % K;
    if (by == PRIORITY_GATE && gate[p] != gate[q]) return gate[p] > gate[q];
    return p < q;
}

/* Against the definition; index has experts, -1 and some beyond the last. Returns how many were dropped. */
static int64_t check_drops(enum priority by, int64_t capacity, int different, int threads)
{
    struct run r = run_new();
    struct node *index = graph_input(r.graph, "index", DTYPE_I32, SHAPE(TOKENS, K)),
                *gate = graph_input(r.graph, "gate", DTYPE_REAL, SHAPE(TOKENS, K));
    struct node *kept = drop_over_capacity(r.graph, index, gate, NULL, EXPERTS, GROUPS, capacity, by);
    run_start(&r, threads);
    for (int64_t p = 0; p < TOKENS * K; p++) run_ints(&r, index)[p] = (int32_t)(p * p / 3 % (EXPERTS + 3)) - 1;
    if (different) few_keys(&r, gate, different, 1);
    else run_normal(&r, gate, 1);
    run_forward(&r);
    const int32_t *expert = run_ints(&r, index), *now = run_ints(&r, kept);
    int64_t pairs = 0, dropped = 0;
    for (int64_t p = 0; p < TOKENS * K; p++) {
        int64_t before = 0, group = p / (GROUP * K);
        if (expert[p] < 0 || expert[p] >= EXPERTS) {
            assert_int_equal(now[p], expert[p]);
            continue;
        }
        for (int64_t q = group * GROUP * K; q < (group + 1) * GROUP * K; q++)
            before += expert[q] == expert[p] && q != p && first(by, run_reals(&r, gate), q, p);
        assert_int_equal(now[p], before < capacity ? expert[p] : -1);
        pairs++;
        dropped += now[p] < 0;
    }
    assert_true(*(real *)output(&r, kept, 1) == (real)((double)dropped / (double)pairs));
    run_free(&r);
    return dropped;
}

static void test_drops(void **state)
{
    (void)state;
    for (enum priority by = PRIORITY_TOKEN; by <= PRIORITY_GATE; by++) {
        int64_t dropped = check_drops(by, 30, 0, 1);
        assert_true(dropped > 0);
        assert_int_equal(check_drops(by, 30, 5, 2), dropped);   /* which ones hangs on the order, how many does not */
        assert_int_equal(check_drops(by, 1, 2, 2) > 0, 1);
        assert_int_equal(check_drops(by, (int64_t)GROUP * K, 2, 1), 0);
        assert_int_equal(check_drops(by, INT64_MAX, 0, 1), 0);
    }
}

/* Groups do not see each other: shifted by one group, everything shifts. */
static void test_groups_are_apart(void **state)
{
    (void)state;
    int32_t chosen[2][TOKENS * EXPERTS], kept[2][TOKENS * K];
    for (int shift = 0; shift < 2; shift++) {
        struct run r = run_new();
        struct node *key = graph_input(r.graph, "key", DTYPE_REAL, SHAPE(TOKENS, EXPERTS)),
                    *index = topk_columns(r.graph, key, GROUPS, 20);
        struct node *pairs = graph_input(r.graph, "pairs", DTYPE_I32, SHAPE(TOKENS, K));
        struct node *drops = drop_over_capacity(r.graph, pairs, NULL, NULL, EXPERTS, GROUPS, 20, PRIORITY_CHOICE);
        run_start(&r, 2);
        for (int64_t t = 0; t < TOKENS; t++) {
            int64_t from = (t + shift * GROUP) % TOKENS;
            for (int64_t e = 0; e < EXPERTS; e++)
                run_reals(&r, key)[t * EXPERTS + e] = (real)sin((double)(from * EXPERTS + e));
            for (int64_t j = 0; j < K; j++) run_ints(&r, pairs)[t * K + j] = (int32_t)(from * from / 3 + j) % EXPERTS;
        }
        run_forward(&r);
        memcpy(chosen[shift], run_ints(&r, index), sizeof chosen[shift]);
        memcpy(kept[shift], run_ints(&r, drops), sizeof kept[shift]);
        run_free(&r);
    }
    assert_memory_equal(chosen[1], chosen[0] + GROUP * EXPERTS, (TOKENS - GROUP) * EXPERTS * sizeof(int32_t));
    assert_memory_equal(kept[1], kept[0] + GROUP * K, (TOKENS - GROUP) * K * sizeof(int32_t));
    assert_memory_equal(chosen[1] + (TOKENS - GROUP) * EXPERTS, chosen[0], GROUP * EXPERTS * sizeof(int32_t));
    assert_memory_equal(kept[1] + (TOKENS - GROUP) * K, kept[0], GROUP * K * sizeof(int32_t));
}

/* By token nobody depends on who comes later. */
static void test_causal(void **state)
{
    (void)state;
    int32_t kept[2][TOKENS * K];
    for (int other = 0; other < 2; other++) {
        struct run r = run_new();
        struct node *index = graph_input(r.graph, "index", DTYPE_I32, SHAPE(TOKENS, K));
        struct node *drops = drop_over_capacity(r.graph, index, NULL, NULL, EXPERTS, 1, 40, PRIORITY_TOKEN);
        run_start(&r, 1);
        for (int64_t p = 0; p < TOKENS * K; p++)
            run_ints(&r, index)[p] = (int32_t)(p * p / 3 + other * (p >= 300)) % EXPERTS;
        run_forward(&r);
        memcpy(kept[other], run_ints(&r, drops), sizeof kept[other]);
        run_free(&r);
    }
    assert_memory_equal(kept[0], kept[1], 300 * sizeof(int32_t));
    assert_memory_not_equal(kept[0], kept[1], sizeof kept[0]);
}

/* ---- rows ---- */

/* What weighs nothing needs no row: the same sums from fewer rows. */
static void test_no_weight_no_row(void **state)
{
    enum { WIDTH = 7 };
    (void)state;
    struct run r = run_new();
    struct graph *g = r.graph;
    struct node *index = graph_input(g, "index", DTYPE_I32, SHAPE(TOKENS, K)),
                *z = graph_input(g, "z", DTYPE_REAL, SHAPE(TOKENS, K));
    struct node *x = graph_input(g, "x", DTYPE_ACT, SHAPE(TOKENS, WIDTH)), *gate = clamp(g, z, 0, 3), *sum[2], *rows[2];
    for (int dropped = 0; dropped < 2; dropped++) {
        struct node *d = dispatch(g, dropped ? drop_zero(g, index, gate) : index, EXPERTS, 0),
                    *order = graph_result(g, d, 1), *inverse = graph_result(g, d, 2);
        rows[dropped] = d;
        sum[dropped] = combine(g, gather(g, x, order, inverse), order, inverse, gate);
    }
    run_start(&r, 1);
    for (int64_t p = 0; p < TOKENS * K; p++) run_ints(&r, index)[p] = (int32_t)(p * p / 3 % EXPERTS);
    run_normal(&r, z, 1);
    run_normal(&r, x, 2);
    run_forward(&r);
    int weighty = 0;
    for (int64_t p = 0; p < TOKENS * K; p++) weighty += run_reals(&r, z)[p] > 0;
    assert_int_equal(run_ints(&r, rows[0])[EXPERTS], TOKENS * K);
    assert_int_equal(run_ints(&r, rows[1])[EXPERTS], weighty);
    for (int64_t i = 0; i < TOKENS * WIDTH; i++) assert_true(run_reals(&r, sum[0])[i] == run_reals(&r, sum[1])[i]);
    run_free(&r);
}

/* An index beyond the experts is nobody's, as -1; rows that are enough change nothing but the length. */
static void test_bound(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *index = graph_input(r.graph, "index", DTYPE_I32, SHAPE(4, 2));
    struct node *all = dispatch(r.graph, index, 3, 0), *few = dispatch(r.graph, index, 3, 6),
                *more = dispatch(r.graph, index, 3, 100);
    assert_int_equal(graph_result(r.graph, few, 1)->shape.dim[0], 6);
    assert_int_equal(graph_result(r.graph, more, 1)->shape.dim[0], 8);
    run_start(&r, 1);
    run_fill(&r, index, 2, 3, 0, -1, 7, 2, 0, 2);
    run_forward(&r);
    for (int i = 0; i < 3; i++) {
        const struct node *n = i == 0 ? all : i == 1 ? few : more;
        assert_ints(run_ints(&r, n), 0, 2, 2, 5);
        assert_ints((int32_t *)output(&r, n, 1), 2, 6, 0, 5, 7, -1);
        assert_ints((int32_t *)output(&r, n, 2), 2, -1, 0, -1, -1, 3, 1, 4);
        assert_ints((int32_t *)output(&r, n, 3), 2, 0, 3);
    }
    run_free(&r);
}

/* More pairs than rows end the program before anything is written beyond them. */
static void test_too_few_rows(void **state)
{
    int status = 0;
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct run r = run_new();
        struct node *index = graph_input(r.graph, "index", DTYPE_I32, SHAPE(2, 2));
        dispatch(r.graph, index, 3, 3);
        run_start(&r, 1);
        run_fill(&r, index, 2, 0, 0, 1);
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr)) _exit(99);
        run_forward(&r);
        _exit(0);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* ---- experts by hashing ---- */

/* Distinct for a token, the same wherever its id stands, as many ids for each expert, others for another seed. */
static void check_hash(int experts, int k)
{
    enum { RUNS = 50 };
    struct run r = run_new();
    struct node *ids = graph_input(r.graph, "ids", DTYPE_I32, SHAPE(2, RUNS * experts));
    struct node *index = hash_ids(r.graph, ids, experts, k, 1), *other = hash_ids(r.graph, ids, experts, k, 2);
    int count[experts], last = RUNS * experts - 1, moved = 0;
    run_start(&r, 2);
    for (int i = 0; i <= last; i++) run_ints(&r, ids)[i] = i, run_ints(&r, ids)[last + 1 + i] = last - i;
    run_forward(&r);
    const int32_t *expert = run_ints(&r, index);
    for (int j = 0; j < k; j++) {
        memset(count, 0, sizeof count);
        for (int i = 0; i <= last; i++) {
            int32_t e = expert[i * k + j];
            assert_in_range(e, 0, experts - 1);
            assert_int_equal(e, expert[(2 * last + 1 - i) * k + j]);
            for (int before = 0; before < j; before++) assert_int_not_equal(e, expert[i * k + before]);
            moved += e != run_ints(&r, other)[i * k + j];
            count[e]++;
        }
        for (int e = 0; e < experts; e++) assert_int_equal(count[e], RUNS);
    }
    assert_true(experts == 1 ? moved == 0 : moved > (last + 1) * k / 4);
    run_free(&r);
}

static void test_hash(void **state)
{
    (void)state;
    check_hash(1, 1);
    check_hash(2, 1);
    check_hash(12, 12);
    check_hash(13, 4);
    check_hash(64, 6);
}

/* ---- messages ---- */

static void test_messages(void **state)
{
    (void)state;
    struct leaves *leaves = leaves_new();
    struct graph *g = graph_new(leaves);
    struct node *key = graph_input(g, "key", DTYPE_REAL, SHAPE(6, 4)),
                *index = graph_input(g, "index", DTYPE_I32, SHAPE(6, 2));
    struct node *gate = graph_input(g, "gate", DTYPE_REAL, SHAPE(6, 2));
    check_message(g, topk_columns(g, key, 4, 1), "6 tokens cannot be divided into 4 groups");
    check_message(g, topk_columns(g, key, 0, 1), "groups = 0, it must be at least 1");
    check_message(g, topk_columns(g, key, 2, 4), "c = 4, there are 3 tokens");
    check_message(g, topk_columns(g, key, 2, 0), "c = 0, it must be at least 1");
    check_message(g, topk_columns(g, index, 2, 1), "'key' is I32, REAL is needed");
    check_message(g, hash_ids(g, index, 4, 5, 1), "k = 5, there are 4 experts");
    check_message(g, hash_ids(g, key, 4, 2, 1), "'ids' is REAL, I32 is needed");
    check_message(g, drop_zero(g, index, key), "'gate' is [6,4], [T,K] is needed: K is 2 in 'index'");
    check_message(g, drop_over_capacity(g, index, NULL, NULL, 4, 1, 1, PRIORITY_GATE), "there are none");
    check_message(g, drop_over_capacity(g, index, key, NULL, 4, 1, 1, PRIORITY_TOKEN), "'gate' is [6,4]");
    check_message(g, drop_over_capacity(g, gate, NULL, NULL, 4, 1, 1, PRIORITY_TOKEN),
                  "'index' is REAL, I32 is needed");
    check_message(g, drop_over_capacity(g, index, NULL, NULL, 4, 1, 0, PRIORITY_TOKEN),
                  "capacity = 0, it must be at least 1");
    check_message(g, drop_over_capacity(g, index, NULL, NULL, 4, 5, 1, PRIORITY_TOKEN), "into 5 groups");
    check_message(g, dispatch(g, index, 4, -1), "rows = -1, it must be at least 0");
    graph_free(g);
    leaves_free(leaves);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_experts_choose), cmocka_unit_test(test_masked_keys), cmocka_unit_test(test_choice),
        cmocka_unit_test(test_all_take_all), cmocka_unit_test(test_what_is_dropped), cmocka_unit_test(test_drops),
        cmocka_unit_test(test_groups_are_apart), cmocka_unit_test(test_causal), cmocka_unit_test(test_no_weight_no_row),
        cmocka_unit_test(test_bound), cmocka_unit_test(test_too_few_rows), cmocka_unit_test(test_hash),
        cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
