/* How layers follow one another: some more than once with the same weights, attention and ffn side by side; and what is
   kept for later ones. */
#include "model/building.h"
#include "tiny_gradient.h"
#include "tiny_pair.h"

/* ---- order ---- */

static void test_each_once_is_no_order(void **state)
{
    (void)state;
    static const enum mode mode[] = { MODE_TRAIN, MODE_EVAL, MODE_DECODE };
    for (int i = 0; i < COUNT(mode); i++) {
        struct tiny a = tiny_new(TEXT({"order": [0, 1, 2]}), NULL, mode[i], 2, 6),
                    b = tiny_new(NULL, NULL, mode[i], 2, 6);
        assert_true(tiny_same(&a, &b));
        tiny_free(&a);
        tiny_free(&b);
    }
    struct tiny a = tiny_new(TEXT({"order": [0, 2, 1]}), NULL, MODE_TRAIN, 2, 6),
                b = tiny_new(NULL, NULL, MODE_TRAIN, 2, 6);
    assert_false(tiny_same(&a, &b));
    tiny_free(&a);
    tiny_free(&b);
}

static void test_refused_orders(void **state)
{
    (void)state;
    static const struct { const char *order, *why; } wrong[] = {
        { TEXT({"order": [0, 1, 3, 2]}), "order = 3: the last layer is 2" },
        { TEXT({"order": [0, 2, 2]}), "order = layer 1 is not in it: every layer runs at least once" },
        { TEXT({"order": [0, -1, 2]}), "order = -1 is out of range: 0 to 1023" },
        { TEXT({"order": 2}), "order" },
    };
    for (int i = 0; i < COUNT(wrong); i++) tiny_refused(wrong[i].order, wrong[i].why);
}

static const int order[] = { 0, 1, 1, 2 };

/* A weight of the unrolled model, and that of the model in which layer 1 runs twice. */
static const char *shared_path(const char *path, char out[128])
{
    int layer, at = 0;
    if (sscanf(path, "layers.%d%n", &layer, &at) == 1 && at) snprintf(out, 128, "layers.%d%s", order[layer], path + at);
    else snprintf(out, 128, "%s", path);
    return out;
}

/* Adds what backward gives a weight, in the order of its values. */
static void add_gradient(struct tiny *t, const char *path, double *sum)
{
    for (int i = 0; i < t->graph->n; i++) {
        const struct node *n = t->graph->node[i];
        if (!n->leaf || n->leaf->kind != LEAF_WEIGHT || n->region != REGION_MICRO || strcmp(n->leaf->path, path) != 0)
            continue;
        double *g = xcalloc((size_t)shape_count(n->shape), sizeof *g);
        if (!plan_read_grad(t->plan, n, g)) fail_msg("no gradient reaches %s", path);
        for (int64_t k = 0; k < shape_count(n->shape); k++) sum[k] += g[k];
        free(g);
    }
}

/* A layer that runs twice is two with the same weights: the same loss, and of gradients the sum. */
static void test_unrolled(void **state)
{
    (void)state;
    static const char *const with[] = {
        "", ", \"residual\": \"hyper\", \"ffn.balance\": [\"switch_aux\"]",
        ", \"residual\": \"mhc\", \"attention.kv\": \"mirror\", \"head.mtp\": \"sequential\", \"head.tied\": false",
        ", \"block\": \"shortcut\", \"head.mtp\": \"sequential\", \"head.tied\": false",
    };
    for (int i = 0; i < COUNT(with); i++) {
        char text[2][256], path[128];
        snprintf(text[0], sizeof text[0], "{\"order\": [0, 1, 1, 2]%s}", with[i]);
        snprintf(text[1], sizeof text[1], "{\"layers\": 4%s}", with[i]);
        struct tiny a = tiny_new(text[0], NULL, MODE_TRAIN, 2, 6), b = tiny_new(text[1], NULL, MODE_TRAIN, 2, 6);
        tiny_start(&a, 1);
        tiny_start(&b, 1);
        for (int k = 0; k < b.leaves->n; k++) {
            const struct leaf *l = b.leaves->leaf[k];
            if (l->kind == LEAF_WEIGHT) state_put(b.state, l, tiny_weight(&a, shared_path(l->path, path)));
        }
        assert_true(objective(&a) == objective(&b));
        plan_backward(a.plan, 0);
        plan_backward(b.plan, 0);
        for (int k = 0; k < a.leaves->n; k++) {
            const struct leaf *l = a.leaves->leaf[k];
            int64_t n = shape_count(l->decl.shape);
            if (l->kind != LEAF_WEIGHT) continue;
            double *one = xcalloc((size_t)n, sizeof *one), *sum = xcalloc((size_t)n, sizeof *sum);
            add_gradient(&a, l->path, one);
            for (int j = 0; j < b.leaves->n; j++)
                if (b.leaves->leaf[j]->kind == LEAF_WEIGHT &&
                    strcmp(shared_path(b.leaves->leaf[j]->path, path), l->path) == 0)
                    add_gradient(&b, b.leaves->leaf[j]->path, sum);
            for (int64_t v = 0; v < n; v++)
                if (!(fabs(one[v] - sum[v]) <= 2e-6)) fail_msg("%s: %.9g and %.9g", l->path, one[v], sum[v]);
            free(one);
            free(sum);
        }
        tiny_free(&a);
        tiny_free(&b);
    }
}

/* Every pass has caches of its own. */
static void test_decoding(void **state)
{
    (void)state;
    static const char *const kind[] = { TEXT({"order": [0, 1, 1, 2]}),
                                        TEXT({"order": [0, 1, 2, 1, 0], "attention.kv": "mirror", "residual": "mhc"}),
                                        TEXT({"order": [0, 1, 1, 2], "block": "shortcut"}) };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny whole = decoder(kind[i]);
        int caches = 0;
        for (int k = 0; k < whole.leaves->n; k++) {
            const struct leaf *l = whole.leaves->leaf[k];
            caches += l->kind == LEAF_BUFFER && l->transient && l->decl.dtype == DTYPE_REAL;
        }
        assert_int_equal(caches, 2 * model_passes(&whole.model));
        decoded_alike(&whole, kind[i]);
        tiny_free(&whole);
    }
}

/* ---- blocks ---- */

/* What the last layer hands on, [T,D], malloc'd. */
static double *stream_of(struct tiny *t)
{
    tiny_forward(t);
    return tiny_read(t, tiny_user(t, "final_norm.gain")->in[0]);
}

/* Side by side each branch writes what it would alone, and both what they write together. */
static void test_parallel(void **state)
{
    (void)state;
    struct tiny both = decoder(TEXT({"layers": 1, "block": "parallel"})), one[3];
    static const char *const silent[] = { "down.weight", "out.weight" };
    double *x[3], *y = stream_of(&both);
    int64_t n = (int64_t)both.tokens * both.model.d_model;
    assert_null(leaves_find(both.leaves, "layers.0.ffn.norm.gain"));
    for (int i = 0; i < 3; i++) {                           /* sequential: attention alone, ffn alone, neither */
        one[i] = decoder(TEXT({"layers": 1}));
        for (int k = 0; k < 2; k++)
            if (i == 2 || i == k) tiny_scale_all(&one[i], silent[k], 0);
        x[i] = stream_of(&one[i]);
    }
    for (int64_t i = 0; i < n; i++) assert_true(fabs(y[i] - (x[0][i] + x[1][i] - x[2][i])) < 1e-5);
    assert_true(distance(x[0], x[2], n) > 1e-2 && distance(x[1], x[2], n) > 1e-2);
    for (int i = 0; i < 3; i++) {
        free(x[i]);
        tiny_free(&one[i]);
    }
    free(y);
    tiny_free(&both);
}

/* Where one branch is silent the other does not know which block it is in. */
static void test_silent_branches(void **state)
{
    (void)state;
    static const char *const silent[] = { "down.weight", "out.weight" };
    for (int i = 0; i < COUNT(silent); i++) {
        struct pair p = pair_new(TEXT({"block": "parallel"}), NULL);
        pair_run(&p);
        assert_true(distance(p.x, p.y, p.n) > 1e-3);
        tiny_scale_all(&p.a, silent[i], 0);
        tiny_scale_all(&p.b, silent[i], 0);
        pair_run(&p);
        check_near(p.x, p.y, p.n, 1e-6);
        pair_free(&p);
    }
}

/* ---- what crosses layers ---- */

static void test_kept(void **state)
{
    (void)state;
    struct building own = { 0 };
    struct arena *arena = arena_new();
    struct build b = { .arena = arena, .own = &own };
    struct node node[40] = { { .id = 0 } };
    assert_null(build_kept(&b, 0, "x"));
    for (int i = 0; i < 20; i++) {
        build_keep(&b, i - 1, "x", &node[i]);
        build_keep(&b, i - 1, "y", &node[20 + i]);
    }
    for (int i = 0; i < 20; i++) {
        assert_ptr_equal(build_kept(&b, i - 1, "x"), &node[i]);
        assert_ptr_equal(build_kept(&b, i - 1, "y"), &node[20 + i]);
    }
    assert_null(build_kept(&b, 19, "x"));
    assert_null(build_kept(&b, 3, "z"));
    build_keep(&b, 3, "x", &node[0]);                       /* the last one counts */
    assert_ptr_equal(build_kept(&b, 3, "x"), &node[0]);
    assert_ptr_equal(build_kept(&b, 4, "x"), &node[5]);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(each_once_is_no_order), RUN(refused_orders), RUN(unrolled), RUN(decoding), RUN(parallel),
        RUN(silent_branches), RUN(kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
