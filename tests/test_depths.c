/* Mixture-of-Depths: which tokens a block runs on, what they see of each other, and what that adds. */
#include "tiny_pair.h"
#include "graph/ops.h"

/* One layer; sequences whose second half is another document. */
static struct tiny one_layer(const char *sets, bool documents)
{
    char all[400];
    snprintf(all, sizeof all, "{\"layers\": 1%s}", sets);
    struct tiny t = tiny_new(all, NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    for (int i = 0; documents && i < t.tokens; i++) t.start[i] = i % 6 < 3 ? 0 : 3;
    return t;
}

/* What the layer hands on, [T,D]; and what it read. Malloc'd. */
static double *written(struct tiny *t)
{
    tiny_forward(t);
    return tiny_read(t, tiny_user(t, "final_norm.gain")->in[0]);
}
static double *embedded(struct tiny *t) { return tiny_read(t, tiny_find(t, &op_embed, 0)); }

/* Which token each row of the block is, [B,C]. Malloc'd. */
static double *taken(struct tiny *t) { return tiny_read(t, graph_result(t->graph, tiny_find(t, &op_dispatch, 0), 1)); }

/* A block that takes all tokens is the block itself, of whose change the gate lets a share through; with documents. */
static void test_takes_all(void **state)
{
    (void)state;
    struct tiny a = one_layer(", \"block\": {\"module\": \"depths\", \"capacity\": 1, \"gate\": \"sigmoid\"}", true),
                b = one_layer("", true);
    tiny_copy(&a, &b);
    tiny_scale(&a, "layers.0.depths.router.weight", 0);
    double *x = written(&a), *y = written(&b), *first = embedded(&b);
    for (int i = 0; i < 2 * 6 * 8; i++) assert_true(fabs(x[i] - (first[i] + y[i]) / 2) < 1e-6);
    assert_true(distance(x, first, 2 * 6 * 8) > 1e-2);
    free(x); free(y); free(first);
    tiny_free(&a);
    tiny_free(&b);
}

/* The tokens with the largest r, in their order; r times what the block adds; the others pass by to the bit. */
static void test_takes_the_largest(void **state)
{
    (void)state;
    struct tiny t = one_layer(", \"block\": {\"module\": \"depths\", \"capacity\": 0.4}", false);    /* 3 of 6 */
    double *x = written(&t), *first = embedded(&t), *row = taken(&t),
           *r = tiny_read(&t, tiny_user(&t, "layers.0.depths.router.weight"));
    for (int sequence = 0; sequence < 2; sequence++)
        for (int i = 0; i < 6; i++) {
            int token = 6 * sequence + i, above = 0, place = -1;
            for (int k = 0; k < 6; k++) above += r[6 * sequence + k] > r[token];
            for (int k = 0; k < 3; k++) if (row[3 * sequence + k] == token) place = k;
            assert_int_equal(place >= 0, above < 3);
            assert_int_equal(equal_rows(x, first, 8, token), place < 0);
            for (int k = 0; k < place; k++) assert_true(row[3 * sequence + k] < token);
        }
    tiny_scale(&t, "layers.0.depths.router.weight", 0.5);   /* the same tokens, half of what it added */
    double *half = written(&t);
    for (int i = 0; i < 2 * 6 * 8; i++) assert_true(fabs(half[i] - (first[i] + x[i]) / 2) < 1e-6);
    free(x); free(first); free(row); free(r); free(half);
    tiny_free(&t);
}

/* Without positions the tokens that are taken are a shorter sequence, with their documents. */
static void test_sequences_of_their_own(void **state)
{
    (void)state;
    struct tiny a = one_layer(", \"position\": \"none\", \"block\": {\"module\": \"depths\", \"capacity\": 0.5, "
                              "\"gate\": \"sigmoid\"}", true), b = { 0 };
    tiny_scale(&a, "layers.0.depths.router.weight", 1e-4);  /* an order, and gates of 1/2 */
    double *x = written(&a), *row = taken(&a), *first = embedded(&a);
    b = tiny_new(TEXT({"layers": 1, "position": "none"}), NULL, MODE_EVAL, 2, 3);
    tiny_start(&b, 1);
    tiny_copy(&b, &a);
    for (int i = 0; i < 6; i++) {
        b.ids[i] = a.ids[(int)row[i]];
        b.start[i] = 0;
        for (int k = i / 3 * 3; k < i; k++) b.start[i] += row[k] < 6 * (i / 3) + 3 && row[i] >= 6 * (i / 3) + 3;
    }
    double *y = written(&b);
    for (int i = 0; i < 6; i++)
        for (int c = 0; c < 8; c++) {
            double before = first[8 * (int)row[i] + c];
            assert_true(fabs(x[8 * (int)row[i] + c] - (before + y[8 * i + c]) / 2) < 1e-4);
        }
    free(x); free(row); free(first); free(y);
    tiny_free(&a);
    tiny_free(&b);
}

/* A token is rotated by its position in its document, whoever is taken beside it. */
static void test_positions_are_kept(void **state)
{
    (void)state;
    struct tiny a = one_layer(", \"block\": {\"module\": \"depths\", \"capacity\": 0.5}", true),
                b = one_layer("", true);
    tiny_copy(&b, &a);
    double *x = written(&a), *y = written(&b), *row = taken(&a);
    struct node *some = tiny_find(&a, &op_rope, 0), *all = tiny_find(&b, &op_rope, 0);
    int64_t width = shape_count(all->shape) / 12;
    double *q = tiny_read(&a, some), *whole = tiny_read(&b, all);
    assert_int_equal(shape_count(some->shape), 6 * width);
    for (int i = 0; i < 6; i++) check_near(q + i * width, whole + (int)row[i] * width, width, 1e-5);
    free(x); free(y); free(row); free(q); free(whole);
    tiny_free(&a);
    tiny_free(&b);
}

/* What only fills up a batch is taken last. */
static void test_fill_is_taken_last(void **state)
{
    (void)state;
    struct tiny t = one_layer(", \"block\": {\"module\": \"depths\", \"capacity\": 0.5}", false);
    for (int i = 6; i < 12; i++) t.present[i] = i < 9;
    double *x = written(&t), *row = taken(&t);
    for (int i = 3; i < 6; i++) assert_int_equal((int)row[i], 3 + i);
    free(x); free(row);
    tiny_free(&t);
}

/* A token uses a share of the layer's weights, and FLOPs fall with it. */
static void test_counts(void **state)
{
    (void)state;
    struct tiny a = one_layer(", \"ffn\": {\"module\": \"dense\", \"d_ff\": 6}, \"block\": {\"module\": \"depths\", "
                              "\"capacity\": 0.5}", false),
                b = one_layer(", \"ffn\": {\"module\": \"dense\", \"d_ff\": 6}", false);
    struct counts some = model_count(a.leaves), all = model_count(b.leaves);
    int64_t layer = 0;
    for (int i = 0; i < b.leaves->n; i++) {
        const struct leaf *l = b.leaves->leaf[i];
        if (l->kind == LEAF_WEIGHT && l->layer == 0) layer += shape_count(l->decl.shape);
    }
    assert_int_equal(some.total, all.total + 8);            /* the router */
    assert_int_equal(some.active, all.active - layer / 2 + 8);
    tiny_free(&a);
    tiny_free(&b);
}

static void test_refused(void **state)
{
    (void)state;
    tiny_refused(TEXT({"block": "depths", "residual": "mhc"}), "its residual knows the whole stream");
    tiny_refused(TEXT({"block": "depths", "attention.kv": "mirror"}), "attention reads what another layer made");
    tiny_refused(TEXT({"block": "depths", "attention.value": "residual"}), "attention reads what another layer made");
    tiny_refused(TEXT({"block": {"module": "depths", "block": "depths"}}), "its block takes tokens out by itself");
    tiny_refused(TEXT({"block": {"module": "depths", "block": "shortcut"}}), "is added in the next");
    tiny_refused(TEXT({"block": {"module": "depths", "capacity": 0}}), "block.capacity");
}

int main(void)
{
    const struct CMUnitTest tests[] = { RUN(takes_all), RUN(takes_the_largest), RUN(sequences_of_their_own),
                                        RUN(positions_are_kept), RUN(fill_is_taken_last), RUN(counts), RUN(refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
