/* Multi-token prediction: what a weight of 0 leaves alone, which token is whose input and target, and heads side by
   side. How they decode: test_decode.c. */
#include "tiny_pair.h"
#include "graph/ops/broadcast.h"
#include "graph/ops/products.h"

/* With a feed-forward that nothing routes to, gradients of two losses add up. */
#define DENSE(mtp) "{\"ffn\": {\"module\": \"dense\", \"d_ff\": 6}, \"head.mtp\": " mtp "}"
#define CHAIN(weight) DENSE("{\"module\": \"sequential\", \"depth\": 2, \"weight\": " #weight "}")
#define BESIDE(heads, weight) \
    DENSE("{\"module\": \"parallel\", \"heads\": " #heads ", \"weight\": " #weight "}")
static const char *const off = DENSE("\"none\"");

static struct tiny trained(const char *sets)
{
    struct tiny t = tiny_new(sets, NULL, MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    tiny_put(&t);
    plan_begin(t.plan, 0, 1000, 1);
    plan_forward(t.plan, 0);
    plan_backward(t.plan, 0);
    return t;
}

static real *grad_of(const struct tiny *t, const char *path)
{
    char name[128];
    snprintf(name, sizeof name, "grad.%s", path);
    return state_data(t->state, tiny_leaf(t, name));
}

/* Largest difference of the gradients of the trunk's weights: a + by * (c - a) against b; NULL: a against b. */
static double grads_apart(const struct tiny *a, const struct tiny *b, const struct tiny *c, double by)
{
    double most = 0;
    for (int i = 0; i < a->leaves->n; i++) {
        const struct leaf *l = a->leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT || strncmp(l->path, "mtp.", 4) == 0) continue;
        const real *x = grad_of(a, l->path), *y = grad_of(b, l->path), *z = c ? grad_of(c, l->path) : x;
        for (int64_t k = 0; k < shape_count(l->decl.shape); k++)
            most = fmax(most, fabs((double)x[k] + by * ((double)z[k] - (double)x[k]) - (double)y[k]));
    }
    return most;
}

/* M1: with weight 0 the trunk's gradients are those without; M1d: they are linear in the weight, which the head's and
   the embedding's are part of. */
static void test_gradients(void **state)
{
    (void)state;
    static const char *const by[2][3] = { { CHAIN(0), CHAIN(1), CHAIN(3) },
                                          { BESIDE(2, 0), BESIDE(2, 1), BESIDE(2, 3) } };
    for (int kind = 0; kind < 2; kind++) {
        struct tiny none = trained(off), zero = trained(by[kind][0]), one = trained(by[kind][1]),
                    three = trained(by[kind][2]);
        assert_true(grads_apart(&none, &zero, NULL, 0) == 0);
        assert_true(grads_apart(&none, &one, NULL, 0) > 1e-2);
        assert_true(grads_apart(&none, &three, &one, 3) < 2e-6);
        tiny_free(&none);
        tiny_free(&zero);
        tiny_free(&one);
        tiny_free(&three);
    }
}

/* M2, M1e: no head beyond the first, and depths of weight 0, are the baseline: the same bits; no head at all is its
   graph. */
static void test_none(void **state)
{
    (void)state;
    struct tiny base = tiny_new(off, NULL, MODE_TRAIN, 2, 6),
                none = tiny_new(BESIDE(0, 1), NULL, MODE_TRAIN, 2, 6);
    assert_true(hash_equal(graph_fingerprint(base.graph, 1000), graph_fingerprint(none.graph, 1000)));
    tiny_start(&base, 1);
    tiny_start(&none, 1);
    tiny_step(&base, 0);
    tiny_step(&none, 0);
    for (int i = 0; i < base.leaves->n; i++) {
        const struct leaf *l = base.leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT) continue;
        assert_memory_equal(tiny_weight(&base, l->path), tiny_weight(&none, l->path), leaf_bytes(l));
    }
    tiny_free(&base);
    tiny_free(&none);
}

/* The losses of depth k of a graph, [B*(S-k)] */
static struct node *loss_node(struct tiny *t, int k)
{
    struct node *n = tiny_find(t, &op_cross_entropy, 0);
    for (; k > 0; k--) n = tiny_find(t, &op_cross_entropy, n->id + 1);
    return n;
}

/* M1c: of tokens 0..5 depth 1 has rows 0..3 that count: targets are 2..5. Of heads side by side too. */
static void test_targets(void **state)
{
    (void)state;
    static const char *const kind[] = { TEXT({"head.mtp": "sequential"}),
                                        TEXT({"head.mtp": {"module": "parallel", "heads": 2}}) };
    for (int i = 0; i < 2; i++) {
        struct tiny t = tiny_new(kind[i], NULL, MODE_EVAL, 1, 6);
        tiny_start(&t, 1);
        for (int s = 0; s < 6; s++) { t.ids[s] = s; t.target[s] = s < 5 ? s + 1 : 0; }
        tiny_forward(&t);
        for (int k = 1; k <= 1 + i; k++) {
            struct node *n = loss_node(&t, k);
            assert_int_equal(n->shape.dim[0], 6 - k);
            double *target = tiny_read(&t, n->in[2]),
                   *weight = tiny_read(&t, tiny_find(&t, &op_weighted_sum, n->id)->in[1]);
            for (int row = 0; row < 6 - k; row++) {
                assert_int_equal(weight[row] != 0, row + k + 1 <= 5);
                if (row + k + 1 <= 5) assert_true(target[row] == row + k + 1);
            }
            free(target);
            free(weight);
        }
        tiny_free(&t);
    }
}

/* A head reads its row and those before it; not the tokens that others predict. Its logits are those of the trunk with
   its block in place of the last layer. */
static void test_heads(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"head.mtp": {"module": "parallel", "heads": 1}}), NULL, MODE_EVAL, 2, 6),
                alone = tiny_new("{}", NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    tiny_start(&alone, 1);
    for (int i = 0; i < alone.leaves->n; i++) {
        const struct leaf *l = alone.leaves->leaf[i];
        char path[128];
        if (l->kind != LEAF_WEIGHT || strncmp(l->path, "layers.2.", 9) != 0) continue;
        snprintf(path, sizeof path, "mtp.0.%s", l->path + 9);
        state_put(alone.state, l, tiny_weight(&t, path));
    }
    tiny_forward(&t);
    tiny_forward(&alone);
    double *block = tiny_read(&t, loss_node(&t, 1)->in[0]), *trunk = tiny_read(&alone, loss_node(&alone, 0)->in[0]);
    for (int b = 0; b < 2; b++) check_near(block + b * 5 * 8, trunk + b * 6 * 8, 5 * 8, 1e-6);
    for (int j = 0; j < t.seq; j++) {
        int old = t.ids[j];
        t.ids[j] = other_token(&t, old);
        tiny_forward(&t);
        double *after = tiny_read(&t, loss_node(&t, 1)->in[0]);
        for (int row = 0; row < 5; row++) assert_int_equal(equal_rows(block, after, 8, row), row < j);
        t.ids[j] = old;
        free(after);
    }
    free(block);
    free(trunk);
    tiny_free(&t);
    tiny_free(&alone);
}

/* M2b: a head's loss forward and backward at once, with its logits made once, gives what both walks give. */
static void test_head_by_head(void **state)
{
    (void)state;
    static const char *const sets = TEXT({"head.mtp": {"module": "parallel", "heads": 3}});
    struct tiny walks = trained(sets), joint = tiny_new(sets, NULL, MODE_TRAIN, 2, 6);
    joint.graph->keep = false;
    tiny_start(&joint, 1);
    tiny_put(&joint);
    plan_begin(joint.plan, 0, 1000, 1);
    plan_forward(joint.plan, 0);
    plan_backward(joint.plan, 0);
    assert_true(grads_apart(&walks, &joint, NULL, 0) < 1e-6);
    tiny_free(&walks);
    tiny_free(&joint);
}

/* Parameters: a block of the trunk's kind for each head, and no norm or matrix beside it. */
static void test_parameters(void **state)
{
    (void)state;
    struct tiny base = tiny_new("{}", NULL, MODE_EVAL, 1, 6),
                one = tiny_new(TEXT({"head.mtp": {"module": "parallel", "heads": 1}}), NULL, MODE_EVAL, 1, 6),
                three = tiny_new(TEXT({"head.mtp": {"module": "parallel", "heads": 3}}), NULL, MODE_EVAL, 1, 6),
                deeper = tiny_new(TEXT({"layers": 4}), NULL, MODE_EVAL, 1, 6);
    int64_t block = model_count(deeper.leaves).total - model_count(base.leaves).total;
    assert_int_equal(model_count(one.leaves).total, model_count(base.leaves).total + block);
    assert_int_equal(model_count(three.leaves).total, model_count(base.leaves).total + 3 * block);
    tiny_free(&base);
    tiny_free(&one);
    tiny_free(&three);
    tiny_free(&deeper);
    tiny_refused(TEXT({"head.mtp": {"module": "parallel", "heads": 6}}),
                 "must be below the length of a sequence, seq = 6");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(gradients), RUN(none), RUN(targets), RUN(heads), RUN(head_by_head), RUN(parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
