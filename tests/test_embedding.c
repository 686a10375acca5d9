/* Over-Encoding and multi-token prediction. */
#include "tiny_pair.h"
#include "graph/ops/broadcast.h"
#include "graph/ops/products.h"
#include "graph/ops/tokens.h"

/* E2: with empty tables only the combination's factor is left. */
static void test_empty_tables(void **state)
{
    (void)state;
    static const struct { const char *combine; double scale; } kind[] = { { "welm", 0.5 }, { "paper", 0.2 } };
    for (int i = 0; i < 2; i++) {
        char sets[128], plain[64];
        snprintf(sets, sizeof sets, TEXT({"embed": {"module": "over_encoding", "rows": 7, "width": 3,
                                                    "combine": "%s"}}), kind[i].combine);
        snprintf(plain, sizeof plain, TEXT({"embed.scale": %g}), kind[i].scale);
        struct pair p = pair_new(sets, plain);
        for (int k = 0; k < 4; k++) {
            char path[32];
            snprintf(path, sizeof path, "embed.table%d", k);
            tiny_scale(&p.a, path, 0);
        }
        pair_run(&p);
        check_equal(p.x, p.y, p.n);
        pair_free(&p);
    }
}

/* A factorised embedding is the product of its parts; a tied head has a projection of its own. */
static void test_factorised(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"embed": {"module": "plain", "rank": 3, "scale": 2}, "head.tied": false}),
                             TEXT({"embed.scale": 2, "head.tied": false}));
    const real *e = tiny_weight(&p.a, "embed.weight"), *w = tiny_weight(&p.a, "embed.project.weight");
    real *whole = tiny_weight(&p.b, "embed.weight");
    for (int i = 0; i < 11; i++)
        for (int c = 0; c < 8; c++) {
            whole[i * 8 + c] = 0;
            for (int k = 0; k < 3; k++) whole[i * 8 + c] += e[i * 3 + k] * w[c * 3 + k];
        }
    tiny_copy(&p.b, &p.a);
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-5);
    pair_free(&p);
    struct tiny t = tiny_new(TEXT({"embed": {"module": "plain", "rank": 3}, "head.mtp": "sequential"}), NULL,
                             MODE_TRAIN, 2, 6);
    assert_true(shape_equal(tiny_leaf(&t, "head.down.weight")->decl.shape, SHAPE(3, 8)));
    tiny_free(&t);
}

/* E2c: an n-gram of order 3 sees the token and two before it. */
static void test_ngram_reach(void **state)
{
    (void)state;
    check_reach(TEXT({"layers": 1, "attention.mask": {"module": "window", "size": 1},
        "embed": {"module": "over_encoding", "grams": [3], "rows": 1000, "width": 4}}), 3);
}

/* Rows of the tables are primes that do not divide the vocabulary, each another. */
static void test_table_rows(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"embed": {"module": "over_encoding", "rows": 8, "width": 3}}), NULL, MODE_EVAL, 2,
                             6);
    static const int64_t rows[] = { 13, 17, 19, 23 };       /* 11 is the vocabulary */
    for (int i = 0; i < 4; i++) {
        char path[32];
        snprintf(path, sizeof path, "embed.table%d", i);
        assert_int_equal(tiny_leaf(&t, path)->decl.shape.dim[0], rows[i]);
    }
    tiny_free(&t);
}

/* E2f: a row that no n-gram hits gets no gradient. */
static void test_rows_not_hit(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"embed": {"module": "over_encoding", "rows": 100, "width": 3}}), NULL, MODE_TRAIN, 2,
                             6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    plan_backward(t.plan, 0);
    struct node *lookup = tiny_user(&t, "embed.table0");
    double *hit = tiny_read(&t, lookup->in[1]), *grad = tiny_read(&t, lookup->in[0]);
    assert_true(plan_read_grad(t.plan, lookup->in[0], grad));
    int64_t rows = lookup->in[0]->shape.dim[0], touched = 0;
    for (int64_t r = 0; r < rows; r++) {
        bool is_hit = false, moved = grad[3 * r] != 0 || grad[3 * r + 1] != 0 || grad[3 * r + 2] != 0;
        for (int i = 0; i < t.tokens; i++) is_hit |= (int64_t)hit[i] == r;
        if (moved) assert_true(is_hit);
        touched += moved;
    }
    assert_true(touched > 5 && touched <= t.tokens);
    free(hit);
    free(grad);
    tiny_free(&t);
}

static double *gradient_of(const char *sets, const char *path, int64_t *n)
{
    struct tiny t = tiny_new(sets, NULL, MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    plan_backward(t.plan, 0);
    const struct node *leaf = NULL;
    for (int i = 0; i < t.graph->n && !leaf; i++)
        if (t.graph->node[i]->leaf == tiny_leaf(&t, path) && t.graph->node[i]->region == REGION_MICRO)
            leaf = t.graph->node[i];
    assert_non_null(leaf);
    *n = shape_count(leaf->shape);
    double *g = xmalloc((size_t)*n * sizeof *g);
    assert_true(plan_read_grad(t.plan, leaf, g));
    tiny_free(&t);
    return g;
}

/* M1, M1d: a weight of 0 leaves the trunk's gradients alone; the shared head's gradient is linear in the weight. */
static void test_mtp_weight(void **state)
{
    (void)state;
    static const char *const path[] = { "layers.1.attention.q.weight", "embed.weight", "head.weight" };
    for (int i = 0; i < COUNT(path); i++) {
        int64_t n;
        double *none = gradient_of(TEXT({"head.tied": false}), path[i], &n);
        double *zero = gradient_of(TEXT({"head.tied": false, "head.mtp": {"module": "sequential", "weight": 0}}),
                                   path[i], &n);
        double *some = gradient_of(TEXT({"head.tied": false, "head.mtp": {"module": "sequential", "weight": 0.3}}),
                                   path[i], &n);
        double *more = gradient_of(TEXT({"head.tied": false, "head.mtp": {"module": "sequential", "weight": 1}}),
                                   path[i], &n);
        check_near(none, zero, n, 1e-6);
        assert_true(distance(none, more, n) > 1e-4);
        for (int64_t k = 0; k < n; k++) more[k] = none[k] + 0.3 * (more[k] - none[k]);
        check_near(some, more, n, 1e-5);
        free(none);
        free(zero);
        free(some);
        free(more);
    }
}

/* M1c: tokens 0..5: rows 0..3 of depth 1 count, with inputs 1..4 and targets 2..5. */
static void test_mtp_shift(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"head.mtp": "sequential"}), NULL, MODE_EVAL, 1, 6);
    tiny_start(&t, 1);
    for (int i = 0; i < 6; i++) {
        t.ids[i] = i;
        t.target[i] = i < 5 ? i + 1 : 0;
    }
    tiny_forward(&t);
    struct node *trunk = tiny_find(&t, &op_cross_entropy, 0), *deeper = tiny_find(&t, &op_cross_entropy, trunk->id + 1);
    struct node *ids = tiny_find(&t, &op_shift, trunk->id), *sum = tiny_find(&t, &op_weighted_sum, deeper->id);
    double *in = tiny_read(&t, ids), *target = tiny_read(&t, deeper->in[2]), *counts = tiny_read(&t, sum->in[1]);
    assert_int_equal(shape_count(sum->in[1]->shape), 5);    /* the last token sees none ahead: it has no row */
    for (int i = 0; i < 5; i++) assert_true(counts[i] == (i < 4));
    for (int i = 0; i < 4; i++) assert_true(in[i] == i + 1 && target[i] == i + 2);
    free(in);
    free(target);
    free(counts);
    tiny_free(&t);
}

/* The embedding that depth 1 reads for a token is the trunk's for that token, n-gram history and all. */
static void test_mtp_reads_over_encoding(void **state)
{
    (void)state;
    struct tiny t = tiny_new(tiny_welm, NULL, MODE_EVAL, 1, 6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    int first = 0;
    while (t.graph->node[first]->op != &op_embed || t.graph->node[first]->in[0]->leaf->role != ROLE_TABLE) first++;
    const struct leaf *table = t.graph->node[first]->in[0]->leaf;
    int second = first + 1;
    while (t.graph->node[second]->op != &op_embed || t.graph->node[second]->in[0]->leaf != table) second++;
    double *now = tiny_read(&t, t.graph->node[first]), *ahead = tiny_read(&t, t.graph->node[second]);
    int64_t width = shape_last(t.graph->node[first]->shape);
    check_equal(now + width, ahead, 5 * width);
    free(now);
    free(ahead);
    tiny_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_factorised),
        RUN(empty_tables), RUN(ngram_reach), RUN(table_rows), RUN(rows_not_hit), RUN(mtp_weight), RUN(mtp_shift),
        RUN(mtp_reads_over_encoding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
