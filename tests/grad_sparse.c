/* The gradient of an indexer's loss, in double: by backward, and by differences of what nothing but the indexer moves.
   What attention looks at must stand still meanwhile. */
#include "tiny_gradient.h"

static bool is_indexer(const struct leaf *l) { return l->kind == LEAF_WEIGHT && strstr(l->path, ".index."); }

static void nudge_indexers(struct tiny *t, double by)
{
    for (int i = 0; i < t->leaves->n; i++) {
        const struct leaf *l = t->leaves->leaf[i];
        real *w = is_indexer(l) ? state_data(t->state, l) : NULL;
        for (int64_t k = 0; w && k < shape_count(l->decl.shape); k++) w[k] += (real)(by * direction(l, k));
    }
}

static double slope_of_indexers(struct tiny *t)
{
    double sum = 0;
    plan_backward(t->plan, 0);
    for (int i = 0; i < t->graph->n; i++) {
        const struct node *n = t->graph->node[i];
        if (!n->leaf || !is_indexer(n->leaf) || n->region != REGION_MICRO) continue;
        double *g = xcalloc((size_t)shape_count(n->shape), sizeof *g);
        if (!plan_read_grad(t->plan, n, g)) fail_msg("no gradient reaches %s", n->leaf->path);
        for (int64_t k = 0; k < shape_count(n->shape); k++) sum += g[k] * direction(n->leaf, k);
        free(g);
    }
    return sum;
}

static void check_indexer(const char *sets)
{
    const double h = 2e-7;
    struct tiny t = tiny_new(sets, NULL, MODE_TRAIN, 2, 6);
    bool still = false;
    for (uint64_t seed = 1; seed <= 8 && !still; seed++) {
        inputs_free(t.in);
        plan_free(t.plan);
        state_free(t.state);
        tiny_start(&t, seed);
        t.start[2 * t.seq - 1] = t.start[2 * t.seq - 2] = t.seq - 2;
        objective(&t);
        double exact = slope_of_indexers(&t), side[2];
        struct hash before = integers_of(&t);
        still = true;
        for (int i = 0; i < 2; i++) {
            nudge_indexers(&t, i ? -2 * h : h);
            side[i] = objective(&t);
            still = still && hash_equal(before, integers_of(&t));
        }
        double numeric = (side[0] - side[1]) / (2 * h);
        if (still && !(fabs(exact - numeric) < 1e-6 * fmax(0.1, fabs(exact))))
            fail_msg("%s: derivative %.12g, by differences %.12g", sets, exact, numeric);
    }
    assert_true(still);
    tiny_free(&t);
}

#define DSA(...) "{\"attention.keys\": {\"module\": \"dsa\", \"top_k\": 3, \"heads\": 2, \"dim\": 4, " #__VA_ARGS__ "}}"

static void test_gradients(void **state)
{
    (void)state;
    check_indexer(DSA("dense": 0));
    check_indexer(DSA("dense": 0.5, "weight": 3));
    check_indexer(DSA("dense": 0, "relu": false));
    check_indexer(DSA("dense": 0.5, "share": 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_gradients) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
