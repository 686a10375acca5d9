/* Steps that are left out because their loss or gradient norm is far above those before. */
#include "tiny.h"

enum { WINDOW = 8, WARM = 12 };

static struct tiny guarded(const char *train)
{
    struct tiny t = tiny_new("{}", train, MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    return t;
}

static double outlier(struct tiny *t)
{
    double value;
    tiny_metric(t, "outlier", -1, &value);
    return value;
}

/* All weights and buffers but the guard's own; malloc'd, *n bytes. */
static char *held(const struct tiny *t, size_t *n)
{
    char *all = NULL;
    *n = 0;
    for (int i = 0; i < t->leaves->n; i++) {
        const struct leaf *l = t->leaves->leaf[i];
        bool changes = l->kind == LEAF_WEIGHT || (l->kind == LEAF_BUFFER && strncmp(l->path, "guard.", 6) != 0);
        size_t bytes = leaf_bytes(l);
        if (!changes) continue;
        all = xrealloc(all, *n + bytes);
        memcpy(all + *n, state_data(t->state, l), bytes);
        *n += bytes;
    }
    return all;
}

/* A batch whose every target is another than all before: its loss is far above theirs. The step leaves nothing behind,
   and the next usual one counts. */
static void test_outlier_is_left_out(void **state)
{
    (void)state;
    struct tiny t = guarded(TEXT({"guard": {"module": "outliers", "window": 8, "sigma": 4}, "optim.lr": 0.01}));
    for (int step = 0; step < WARM; step++) {
        tiny_step(&t, step);
        assert_true(outlier(&t) == 0);
    }
    size_t n, same;
    char *before = held(&t, &n);
    int32_t usual[12];
    memcpy(usual, t.target, sizeof usual);
    for (int i = 0; i < t.tokens; i++) t.target[i] = (t.target[i] + 5) % t.model.vocab;
    tiny_step(&t, WARM);
    assert_true(outlier(&t) == 1);
    char *after = held(&t, &same);
    assert_true(n == same && memcmp(before, after, n) == 0);
    free(after);
    memcpy(t.target, usual, sizeof usual);
    tiny_step(&t, WARM + 1);
    assert_true(outlier(&t) == 0);
    after = held(&t, &same);
    assert_true(memcmp(before, after, n) != 0);
    free(before);
    free(after);
    tiny_free(&t);
}

/* Rings hold the last losses and norms, in the order of their steps; before half a window nothing is judged. */
static void test_rings(void **state)
{
    (void)state;
    struct tiny t = guarded(TEXT({"guard": {"module": "outliers", "window": 8}}));
    double loss, norm;
    for (int step = 0; step < 2 * WINDOW + 3; step++) {
        tiny_step(&t, step);
        tiny_metric(&t, "loss", -1, &loss);
        tiny_metric(&t, "grad_norm", -1, &norm);
        const real *ring = tiny_weight(&t, "guard.rings");
        assert_float_equal(ring[step % WINDOW], loss, 1e-5 * loss);
        assert_float_equal(ring[WINDOW + step % WINDOW], norm, 1e-5 * norm);
        int seen = step + 1 < WINDOW ? step + 1 : WINDOW + (step + 1) % WINDOW;
        assert_true(tiny_weight(&t, "guard.seen")[0] == (real)seen);
    }
    tiny_free(&t);
}

/* Without outliers a guard changes nothing. */
static void test_inert(void **state)
{
    (void)state;
    struct tiny with = guarded(TEXT({"guard": {"module": "outliers", "window": 8, "sigma": 1000}})),
                without = guarded("{}");
    size_t n, m;
    for (int step = 0; step < WARM; step++) {
        tiny_step(&with, step);
        tiny_step(&without, step);
    }
    char *x = held(&with, &n), *y = held(&without, &m);
    assert_true(n == m && memcmp(x, y, n) == 0);
    free(x);
    free(y);
    tiny_free(&with);
    tiny_free(&without);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_outlier_is_left_out), cmocka_unit_test(test_rings),
                                        cmocka_unit_test(test_inert) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
