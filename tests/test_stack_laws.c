/* Laws of single parts within the stack: counts of attention, one token alone, norms and rotation, tied matrices,
   layers that differ, further tokens. */
#include "tiny_pair.h"
#include "graph/ops/products.h"
#include "graph/ops/rows.h"

/* A8: parameters of an attention layer by formula, at the usual and at other widths. */
static void test_attention_counts(void **state)
{
    (void)state;
    static const struct { const char *sets; int heads, kv_heads, head_dim, gate, gains; } kind[] = {
        { TEXT({"attention.heads": 2, "attention.kv_heads": 2}), 2, 2, 4, 0, 0 },
        { TEXT({"attention.heads": 6, "attention.kv_heads": 2}), 6, 2, 4, 0, 0 },
        { TEXT({"attention.heads": 6, "attention.kv_heads": 1, "attention.gate": "head"}), 6, 1, 4, 6, 0 },
        { TEXT({"attention.heads": 3, "attention.kv_heads": 3, "attention.head_dim": 10, "attention.gate": "element"}),
          3, 3, 10, 30, 0 },
        { TEXT({"attention.qk_norm": "k"}), 2, 1, 4, 0, 4 },
        { TEXT({"attention.qk_norm": "qk", "attention.kv": "mirror"}), 2, 1, 4, 0, 8 },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny t = tiny_new(kind[i].sets, NULL, MODE_EVAL, 2, 6);
        int64_t n = 0, wide = kind[i].heads * kind[i].head_dim, d = 8;
        for (int k = 0; k < t.leaves->n; k++) {
            const struct leaf *l = t.leaves->leaf[k];
            if (l->kind == LEAF_WEIGHT && strncmp(l->path, "layers.2.attention.", 19) == 0)
                n += shape_count(l->decl.shape);
        }
        assert_int_equal(n, 2 * d * wide + 2 * d * kind[i].kv_heads * kind[i].head_dim + d * kind[i].gate +
                                kind[i].gains + d);
        tiny_free(&t);
    }
}

/* A4: one token alone attends to itself: each head gives the value of its group. */
static void test_one_token(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"attention.heads": 4, "attention.kv_heads": 2}), NULL, MODE_EVAL, 3, 1);
    tiny_start(&t, 1);
    tiny_forward(&t);
    struct node *core = tiny_find(&t, &op_attention, 0);
    double *v = tiny_read(&t, core->in[2]), *heads = tiny_read(&t, core);
    for (int token = 0; token < 3; token++)
        for (int h = 0; h < 4; h++) check_equal(heads + (token * 4 + h) * 4, v + (token * 2 + h / 2) * 4, 4);
    free(v);
    free(heads);
    tiny_free(&t);
}

/* A10: gains of 1 make norm and rotation change places; gains that differ within a pair do not. */
static void test_norm_and_rope_commute(void **state)
{
    (void)state;
    for (int uneven = 0; uneven < 2; uneven++) {
        struct tiny t = tiny_new(TEXT({"attention.qk_norm": "qk"}), NULL, MODE_EVAL, 2, 6);
        tiny_start(&t, 1);
        real *gain = tiny_weight(&t, "layers.0.attention.q_norm.gain");
        for (int i = 0; i < 4; i++) gain[i] = uneven && i < 2 ? 2 : 1;
        tiny_forward(&t);
        struct node *norm = tiny_user(&t, "layers.0.attention.q_norm.gain");
        double *raw = tiny_read(&t, norm->in[0]), *rotated = tiny_read(&t, tiny_find(&t, &op_rope, norm->id)), most = 0;
        for (int token = 0; token < t.tokens; token++)
            for (int h = 0; h < 2; h++) {
                const double *x = raw + (token * 2 + h) * 4, *y = rotated + (token * 2 + h) * 4;
                double rms = sqrt((x[0] * x[0] + x[1] * x[1] + x[2] * x[2] + x[3] * x[3]) / 4 + 1e-6);
                for (int i = 0; i < 2; i++) {               /* pairs (i, i + 2), rotated first and then normalised */
                    double angle = token % t.seq * (i ? 0.01 : 1), a = x[i] * cos(angle) - x[i + 2] * sin(angle),
                           b = x[i + 2] * cos(angle) + x[i] * sin(angle);
                    most = fmax(most, fmax(fabs(y[i] - gain[i] * a / rms), fabs(y[i + 2] - gain[i + 2] * b / rms)));
                }
            }
        assert_true(uneven ? most > 0.1 : most < 1e-5);
        free(raw);
        free(rotated);
        tiny_free(&t);
    }
}

/* The gradient of a weight in a started training model. */
static double *gradient(struct tiny *t, const char *path)
{
    for (int i = 0; i < t->graph->n; i++) {
        const struct node *n = t->graph->node[i];
        if (n->region != REGION_MICRO || !n->leaf || strcmp(n->leaf->path, path) != 0) continue;
        double *g = xmalloc((size_t)shape_count(n->shape) * sizeof *g);
        assert_true(plan_read_grad(t->plan, n, g));
        return g;
    }
    fail_msg("nothing uses '%s'", path);
    return NULL;
}

static struct tiny started(const char *sets)
{
    struct tiny t = tiny_new(sets, NULL, MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    return t;
}

static void derive(struct tiny *t)
{
    tiny_forward(t);
    plan_backward(t->plan, 0);
}

/* A9b: the gradient of a head's gate is the sum over the columns of an element gate that are tied. */
static void test_gradient_of_tied_gates(void **state)
{
    (void)state;
    static const char path[] = "layers.1.attention.gate.weight";
    struct tiny head = started(TEXT({"attention.gate": "head"})),
                element = started(TEXT({"attention.gate": "element"}));
    for (int l = 0; l < 3; l++) {
        char all[64];
        snprintf(all, sizeof all, "layers.%d.attention.gate.weight", l);
        for (int r = 0; r < 8; r++)
            memcpy(tiny_weight(&element, all) + 8 * r, tiny_weight(&head, all) + 8 * (r / 4), 8 * sizeof(real));
    }
    derive(&head);
    derive(&element);
    double *one = gradient(&head, path), *each = gradient(&element, path), sum[16] = { 0 };
    for (int r = 0; r < 8; r++) for (int c = 0; c < 8; c++) sum[8 * (r / 4) + c] += each[8 * r + c];
    for (int i = 0; i < 16; i++) assert_true(fabs(sum[i] - one[i]) < 1e-6 && one[i] != 0);
    free(one);
    free(each);
    tiny_free(&head);
    tiny_free(&element);
}

/* E1: the gradient of a tied matrix is what embedding and head of an untied twin with equal weights get together. */
static void test_tied_gradient(void **state)
{
    (void)state;
    struct tiny tied = started(TEXT({"head.tied": true})), twin = started(TEXT({"head.tied": false}));
    memcpy(tiny_weight(&twin, "head.weight"), tiny_weight(&tied, "embed.weight"),
           (size_t)tiny_count(&tied, "embed.weight") * sizeof(real));
    derive(&tied);
    derive(&twin);
    assert_true(tiny_loss(&tied, "lm") == tiny_loss(&twin, "lm"));
    double *both = gradient(&tied, "embed.weight"), *in = gradient(&twin, "embed.weight"),
           *out = gradient(&twin, "head.weight");
    for (int64_t i = 0; i < tiny_count(&tied, "embed.weight"); i++) assert_true(fabs(both[i] - in[i] - out[i]) < 1e-6);
    assert_true(distance(both, in, tiny_count(&tied, "embed.weight")) > 1e-3 &&
                distance(both, out, tiny_count(&tied, "embed.weight")) > 1e-3);
    free(both);
    free(in);
    free(out);
    tiny_free(&tied);
    tiny_free(&twin);
}

/* E1b: a factor on the embedding is an embedding that is larger. */
static void test_embedding_scale(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"embed.scale": 4, "head.tied": false}), TEXT({"head.tied": false}));
    tiny_scale(&p.b, "embed.weight", 4);
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

/* A13c, D3: what is said of every layer alike is said once; a layer without rotation, or with a dense ffn, is that
   layer alone. */
static void test_layers_that_differ(void **state)
{
    (void)state;
    static const char *const alike[][2] = {
        { TEXT({"position": {"layers": ["rope", "rope", "rope"]}}), "{}" },
        { TEXT({"residual": {"layers": ["post", "post", "post"]}}), TEXT({"residual": "post"}) },
        { TEXT({"ffn": {"layers": [{"module": "moe", "experts": 4, "d_ff": 6},
                                   {"module": "moe", "experts": 4, "d_ff": 6},
                                   {"module": "moe", "experts": 4, "d_ff": 6}]}}), "{}" },
    };
    for (int i = 0; i < COUNT(alike); i++) {
        struct tiny a = tiny_new(alike[i][0], NULL, MODE_TRAIN, 2, 6),
                    b = tiny_new(alike[i][1], NULL, MODE_TRAIN, 2, 6);
        assert_true(tiny_same(&a, &b));
        tiny_free(&a);
        tiny_free(&b);
    }
    struct tiny t = tiny_new(TEXT({"position": {"layers": ["rope", "none", "rope"]},
                                   "ffn": {"layers": [{"module": "dense", "d_ff": 10},
                                                      {"module": "moe", "experts": 4, "d_ff": 6}, "dense"]},
                                   "attention": {"layers": [
                                       {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4,
                                        "mask": {"module": "window", "size": 2}},
                                       {"module": "gqa", "heads": 4, "kv_heads": 2, "head_dim": 4},
                                       {"module": "gqa", "heads": 2, "kv_heads": 2, "head_dim": 6}]}}),
                             NULL, MODE_TRAIN, 2, 6);
    int rotated = 0, dense = 0;
    for (int i = 0; i < t.graph->n; i++) rotated += t.graph->node[i]->op == &op_rope;
    for (int l = 0; l < 3; l++) {
        char path[64];
        snprintf(path, sizeof path, "layers.%d.ffn.router.weight", l);
        dense += leaves_find(t.leaves, path) == NULL;
    }
    assert_int_equal(rotated, 4);
    assert_int_equal(dense, 2);
    assert_int_equal(tiny_leaf(&t, "layers.0.ffn.gate.weight")->decl.shape.dim[0], 10);
    assert_int_equal(tiny_leaf(&t, "layers.1.attention.q.weight")->decl.shape.dim[0], 16);
    assert_int_equal(tiny_leaf(&t, "layers.2.attention.v.weight")->decl.shape.dim[0], 12);
    tiny_free(&t);
}

/* M1e: a second depth leaves the first as it is, and both share the weight. */
static void test_depths_share(void **state)
{
    (void)state;
    struct tiny one = started(TEXT({"head.mtp": {"module": "sequential", "depth": 1, "weight": 0.4}})),
                two = started(TEXT({"head.mtp": {"module": "sequential", "depth": 2, "weight": 0.4}}));
    tiny_forward(&one);
    tiny_forward(&two);
    struct node *first[2], *trunk;
    for (int i = 0; i < 2; i++) {
        struct tiny *t = i ? &two : &one;
        trunk = tiny_find(t, &op_cross_entropy, 0);
        first[i] = tiny_find(t, &op_cross_entropy, trunk->id + 1);
    }
    double *a = tiny_read(&one, first[0]), *b = tiny_read(&two, first[1]), objective;
    check_equal(a, b, shape_count(first[0]->shape));
    tiny_metric(&two, "objective", -1, &objective);
    assert_float_equal(objective, tiny_loss(&two, "lm") + 0.2 * tiny_loss(&two, "mtp"), 1e-6);
    assert_true(tiny_loss(&two, "mtp") > tiny_loss(&one, "mtp"));               /* the sum over the depths */
    free(a);
    free(b);
    tiny_free(&one);
    tiny_free(&two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(attention_counts), RUN(one_token), RUN(norm_and_rope_commute), RUN(gradient_of_tied_gates),
        RUN(tied_gradient), RUN(embedding_scale), RUN(layers_that_differ), RUN(depths_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
