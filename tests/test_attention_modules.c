/* Attention and what fills its slots: heads, gates, positions, windows, mirrors. */
#include "tiny_pair.h"
#include "graph/ops/products.h"
#include "graph/ops/rows.h"

/* The core against the formula: softmax over the past of q k / sqrt(head_dim), times v, two heads on one key head. */
static void test_formula(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"position": "none"}), NULL, MODE_EVAL, 1, 6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    struct node *core = tiny_find(&t, &op_attention, 0);
    double *q = tiny_read(&t, core->in[0]), *k = tiny_read(&t, core->in[1]), *v = tiny_read(&t, core->in[2]),
           *out = tiny_read(&t, core);
    for (int i = 0; i < 6; i++)
        for (int head = 0; head < 2; head++) {
            double want[4] = { 0 }, sum = 0;
            for (int j = 0; j <= i; j++) {
                double s = 0;
                for (int d = 0; d < 4; d++) s += q[(i * 2 + head) * 4 + d] * k[j * 4 + d];
                sum += s = exp(s / 2);
                for (int d = 0; d < 4; d++) want[d] += s * v[j * 4 + d];
            }
            for (int d = 0; d < 4; d++) want[d] /= sum;
            check_near(out + (i * 2 + head) * 4, want, 4, 1e-5);
        }
    free(q);
    free(k);
    free(v);
    free(out);
    tiny_free(&t);
}

/* Keys are normalised before they rotate: with a gain that differs between the two of a pair the order matters. */
static void test_norm_before_rope(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"attention.qk_norm": "qk"}), NULL, MODE_EVAL, 2, 6);
    static const char *const gain[] = { "layers.0.attention.q_norm.gain", "layers.0.attention.k_norm.gain" };
    for (int i = 0; i < 2; i++) {
        struct node *norm = tiny_user(&t, gain[i]);
        assert_ptr_equal(tiny_find(&t, &op_rope, norm->id)->in[0], norm);
        assert_ptr_equal(tiny_find(&t, &op_attention, 0)->in[i], tiny_find(&t, &op_rope, norm->id));
    }
    tiny_free(&t);
}

/* A8b: more heads whose output columns are 0 are not there; the shared weights are drawn alike. */
static void test_wide_attention(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"attention.heads": 4}), TEXT({"attention.heads": 2}));
    for (int l = 0; l < 3; l++) {
        char path[64];
        snprintf(path, sizeof path, "layers.%d.attention.out.weight", l);
        real *wide = tiny_weight(&p.a, path), *narrow = tiny_weight(&p.b, path);
        for (int r = 0; r < 8; r++)
            for (int c = 0; c < 16; c++) wide[16 * r + c] = c < 8 ? narrow[8 * r + c] : 0;
    }
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-6);
    pair_free(&p);
}

/* A9: closed-form gates. Weights of 0 and mult 2 open every gate to 1. */
static void test_gate_of_one(void **state)
{
    (void)state;
    static const char *const gated[] = {
        TEXT({"attention.gate": {"module": "head", "mult": 2}}),
        TEXT({"attention.gate": {"module": "element", "mult": 2}}),
    };
    for (int i = 0; i < 2; i++) {
        struct pair p = pair_new(gated[i], "{}");
        tiny_scale_all(&p.a, "attention.gate.weight", 0);
        pair_run(&p);
        check_equal(p.x, p.y, p.n);
        pair_free(&p);
    }
}

/* What is reported as the gate is what the heads are multiplied by. */
static void test_gate_mean(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"attention.gate": {"module": "head", "mult": 1.5}}), NULL, MODE_EVAL, 2, 6);
    double mean[2];
    tiny_start(&t, 1);
    tiny_scale_all(&t, "attention.gate.weight", 0);
    tiny_forward(&t);
    tiny_metric(&t, "head_gate_mean", 1, mean);
    assert_true(mean[0] == 0.75 && mean[1] == 0.75);
    tiny_free(&t);
}

/* A9b: an element gate whose columns are tied within each head is the head gate. */
static void test_tied_element_gate(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"attention.gate": "head"}), TEXT({"attention.gate": "element"}));
    for (int l = 0; l < 3; l++) {
        char path[64];
        snprintf(path, sizeof path, "layers.%d.attention.gate.weight", l);
        const real *head = tiny_weight(&p.a, path);
        real *element = tiny_weight(&p.b, path);
        for (int r = 0; r < 8; r++) memcpy(element + 8 * r, head + 8 * (r / 4), 8 * sizeof *element);
    }
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-6);
    pair_free(&p);
}

/* A9c: a gate driven far open is no gate; driven shut, attention writes nothing. One input of every row is held
   positive. */
static void test_gate_extremes(void **state)
{
    (void)state;
    for (int open = 0; open < 2; open++) {
        struct pair p = pair_new(TEXT({"layers": 1, "attention.gate": "head"}), TEXT({"layers": 1}));
        real *embed = tiny_weight(&p.a, "embed.weight"), *gate = tiny_weight(&p.a, "layers.0.attention.gate.weight");
        for (int r = 0; r < p.a.model.vocab; r++) embed[8 * r] = 1;
        for (int i = 0; i < 16; i++) gate[i] = i % 8 ? 0 : open ? 1e5f : -1e5f;
        tiny_copy(&p.b, &p.a);
        if (!open) tiny_scale(&p.b, "layers.0.attention.out.weight", 0);
        pair_run(&p);
        check_equal(p.x, p.y, p.n);
        pair_free(&p);
    }
}

/* A12: all of the head rotating, the three ways of choosing a part are one; none rotating is NoPE. */
static void test_whole_rope(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"position.where": "first"}), TEXT({"position.where": "last"}));
    assert_true(tiny_same(&p.a, &p.b));
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
    p = pair_new(TEXT({"position.where": "proportional"}), TEXT({"position.where": "last"}));
    assert_true(tiny_same(&p.a, &p.b));
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
    p = pair_new(TEXT({"position": {"module": "rope", "where": "proportional", "fraction": 0.5}}),
                 TEXT({"position": {"module": "rope", "where": "first", "fraction": 0.5}}));
    pair_run(&p);
    assert_true(distance(p.x, p.y, p.n) > 1e-4);
    pair_free(&p);
}

/* A13: without positions the last row of one layer does not know the order of the others. */
static void test_no_position(void **state)
{
    (void)state;
    static const char *const kind[] = { TEXT({"layers": 1, "position": "none"}), TEXT({"layers": 1}) };
    for (int rope = 0; rope < 2; rope++) {
        struct tiny t = decoder(kind[rope]);
        for (int i = 0; i < 3; i++) t.ids[i] = i;
        double *before = logits_of(&t);
        t.ids[0] = 2;
        t.ids[2] = 0;
        double *after = logits_of(&t),
               most = distance(before + 5 * t.model.vocab, after + 5 * t.model.vocab, t.model.vocab);
        assert_true(rope ? most > 1e-4 : most < 1e-5);
        free(before);
        free(after);
        tiny_free(&t);
    }
}

/* A14: a window as long as the sequence is no window. */
static void test_wide_window(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"attention.mask": {"module": "window", "size": 6}}), "{}");
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

/* A14b, A14c: how far a token reaches: size - 1 positions a layer. */
static void test_window_reach(void **state)
{
    (void)state;
    static const struct { const char *sets; int reach; } kind[] = {
        { TEXT({"layers": 1, "attention.mask": {"module": "window", "size": 1}}), 0 },
        { TEXT({"layers": 1, "attention.mask": {"module": "window", "size": 3}}), 2 },
        { TEXT({"layers": 2, "attention.mask": {"module": "window", "size": 2}}), 2 },
        { TEXT({"layers": 3, "attention.mask": {"module": "window", "size": 2}}), 3 },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny t = decoder(kind[i].sets);
        double *before = logits_of(&t);
        t.ids[0] = other_token(&t, t.ids[0]);
        double *after = logits_of(&t);
        for (int row = 0; row < t.seq; row++)
            assert_int_equal(equal_rows(before, after, t.model.vocab, row), row > kind[i].reach);
        free(before);
        free(after);
        tiny_free(&t);
    }
}

/* A14b: a window of one is the value of the position itself: queries and keys do not matter. */
static void test_window_of_one(void **state)
{
    (void)state;
    static const char *const sets = TEXT({"attention.mask": {"module": "window", "size": 1}});
    struct pair p = pair_new(sets, sets);
    tiny_scale_all(&p.a, "q.weight", -3);
    tiny_scale_all(&p.a, "k.weight", 5);
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    tiny_scale_all(&p.a, "v.weight", 2);
    tiny_scale_all(&p.b, "attention.out.weight", 2);
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-5);
    pair_free(&p);
}

/* The explicit pairs of a U are the U; with an MTP block, that block reads layer 0. */
static void test_mirror_pairs(void **state)
{
    (void)state;
    static const char *const kind[][2] = {
        { TEXT({"layers": 6, "attention.kv": "mirror"}),
          TEXT({"layers": 6, "attention.kv": {"module": "mirror", "pairs": [5, 0, 4, 1]}}) },
        { TEXT({"layers": 6, "head.mtp": "sequential", "attention.kv": "mirror"}),
          TEXT({"layers": 6, "head.mtp": "sequential", "attention.kv": {"module": "mirror", "pairs": [6, 0, 5, 1]}}) },
    };
    for (int i = 0; i < 2; i++) {
        struct tiny a = tiny_new(kind[i][0], NULL, MODE_TRAIN, 2, 6), b = tiny_new(kind[i][1], NULL, MODE_TRAIN, 2, 6);
        assert_true(tiny_same(&a, &b));
        tiny_free(&a);
        tiny_free(&b);
    }
}

/* A15c: the reader's keys and values come from the source's normalised input, its queries and gate from its own. */
static void test_mirror_edge(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"attention.kv": "mirror", "attention.gate": "head"}), NULL, MODE_EVAL, 2, 6);
    const struct node *source = tiny_user(&t, "layers.0.attention.q.weight")->in[0],
                      *own = tiny_user(&t, "layers.2.attention.q.weight")->in[0];
    assert_ptr_equal(tiny_user(&t, "layers.2.attention.k.weight")->in[0], source);
    assert_ptr_equal(tiny_user(&t, "layers.2.attention.v.weight")->in[0], source);
    assert_ptr_not_equal(own, source);
    assert_ptr_equal(tiny_user(&t, "layers.2.attention.gate.weight")->in[0], own);
    assert_ptr_equal(tiny_user(&t, "layers.1.attention.k.weight")->in[0],
                     tiny_user(&t, "layers.1.attention.q.weight")->in[0]);
    tiny_free(&t);
}

/* A15e: with the source's projections a reader has the source's keys and values. */
static void test_mirror_with_equal_weights(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"attention.kv": "mirror"}), NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    static const char *const name[] = { "k", "v" };
    for (int i = 0; i < 2; i++) {
        char from[64], to[64];
        snprintf(from, sizeof from, "layers.0.attention.%s.weight", name[i]);
        snprintf(to, sizeof to, "layers.2.attention.%s.weight", name[i]);
        memcpy(tiny_weight(&t, to), tiny_weight(&t, from), (size_t)tiny_count(&t, to) * sizeof(real));
        tiny_forward(&t);
        double *x = tiny_read(&t, tiny_user(&t, from)), *y = tiny_read(&t, tiny_user(&t, to));
        check_equal(x, y, shape_count(tiny_user(&t, to)->shape));
        free(x);
        free(y);
    }
    tiny_free(&t);
}

/* Biases begin at 0, where they are nothing. Shares of attention sum to 1, so that a bias on values is one on the
   output: their product with its matrix. */
static void test_biases(void **state)
{
    (void)state;
    enum { D = 8, W = 4, H = 2 };
    struct pair p = pair_new(TEXT({"layers": 1, "attention.bias": "all"}), TEXT({"layers": 1}));
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
    p = pair_new(TEXT({"layers": 1, "attention.bias": "qkv"}), TEXT({"layers": 1, "attention.bias": "all"}));
    const real *out = tiny_weight(&p.b, "layers.0.attention.out.weight");
    real *value = tiny_weight(&p.a, "layers.0.attention.v.bias"),
         *sum = tiny_weight(&p.b, "layers.0.attention.out.bias");
    for (int i = 0; i < W; i++) value[i] = (real)(0.2 * (i + 1));
    for (int row = 0; row < D; row++)
        for (int i = 0; i < H * W; i++) sum[row] += out[row * H * W + i] * value[i % W];
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-6);
    for (int i = 0; i < W; i++) sum[i] = 0;
    pair_run(&p);
    assert_true(distance(p.x, p.y, p.n) > 1e-3);
    pair_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(formula), RUN(norm_before_rope), RUN(wide_attention), RUN(gate_of_one), RUN(gate_mean),
        RUN(tied_element_gate), RUN(gate_extremes), RUN(whole_rope), RUN(no_position), RUN(wide_window),
        RUN(window_reach), RUN(window_of_one), RUN(mirror_pairs), RUN(mirror_edge), RUN(mirror_with_equal_weights),
        RUN(biases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
