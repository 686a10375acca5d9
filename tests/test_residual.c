/* Residual modules: what a silent branch leaves, and which scales the norms hide. */
#include "tiny_pair.h"

/* B3, N2, N4: with branches that write nothing, three blocks are none (pre, sandwich) or one norm (post, partial). */
static void test_silent_branches(void **state)
{
    (void)state;
    static const struct { const char *three, *one; double tolerance; } kind[] = {
        { TEXT({"residual": "pre"}), TEXT({"residual": "pre", "layers": 1}), 0 },
        { TEXT({"residual": "sandwich"}), TEXT({"residual": "sandwich", "layers": 1}), 0 },
        { TEXT({"residual": "post"}), TEXT({"residual": "post", "layers": 1}), 1e-5 },
        { TEXT({"residual": "partial_post"}), TEXT({"residual": "partial_post", "layers": 1}), 1e-5 },
        { TEXT({"residual": "reordered"}), TEXT({"residual": "reordered", "layers": 1}), 0 },
        { TEXT({"residual": {"module": "post", "deep": true}}),
          TEXT({"residual": {"module": "post", "deep": true}, "layers": 1}), 1e-5 },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct pair p = pair_new(kind[i].three, kind[i].one);
        tiny_scale_all(&p.a, "out.weight", 0);
        tiny_scale_all(&p.a, "down.weight", 0);
        tiny_copy(&p.b, &p.a);
        pair_run(&p);
        check_near(p.x, p.y, p.n, kind[i].tolerance);
        pair_free(&p);
    }
}

/* PostNorm: every block hands on rows of rms 1. */
static void test_post_rows(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"residual": "post", "norm.eps": 1e-12}), NULL, MODE_EVAL, 2, 6);
    double rms;
    tiny_start(&t, 1);
    tiny_forward(&t);
    for (int l = 0; l < 3; l++) {
        tiny_metric(&t, "layer_resid_rms", l, &rms);
        assert_float_equal(rms, 1, 1e-5);
    }
    tiny_free(&t);
}

/* PostNorm ends in a norm: another one follows when asked for, and does nothing to rows of rms 1. All others need
   theirs. */
static void test_final_norm(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"residual": "post", "norm.eps": 1e-12}),
                             TEXT({"residual": {"module": "post", "final_norm": true}, "norm.eps": 1e-12}));
    assert_null(leaves_find(p.a.leaves, "final_norm.gain"));
    tiny_leaf(&p.b, "final_norm.gain");
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-5);
    tiny_scale(&p.b, "final_norm.gain", 2);
    pair_run(&p);
    assert_true(distance(p.x, p.y, p.n) > 1e-3);
    pair_free(&p);
    static const char *const others[] = { TEXT({"residual": "pre"}), TEXT({"residual": "sandwich"}),
                                          TEXT({"residual": "partial_post"}) };
    for (int i = 0; i < COUNT(others); i++) {
        struct tiny t = tiny_new(others[i], NULL, MODE_EVAL, 2, 6);
        tiny_leaf(&t, "final_norm.gain");
        tiny_free(&t);
    }
}

/* N4: output gains of 0 silence a branch as well. */
static void test_sandwich_gain_zero(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"residual": "sandwich"}), TEXT({"residual": "pre", "layers": 1}));
    tiny_scale_all(&p.a, "norm_out.gain", 0);
    tiny_scale_all(&p.b, "out.weight", 0);
    tiny_scale_all(&p.b, "down.weight", 0);
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

static const char *const exact_norm = "\"norm.eps\": 1e-12";

/* How far the logits move when the weights at a path's end are scaled. */
static double moved_by_scaling(const char *sets, const char *suffix)
{
    char text[256];
    snprintf(text, sizeof text, "{%s, %s, \"head.tied\": false}", exact_norm, sets);
    struct tiny t = decoder(text);
    double *before = logits_of(&t);
    tiny_scale_all(&t, suffix, 3);
    double *after = logits_of(&t), most = distance(before, after, logits_count(&t));
    free(before);
    free(after);
    tiny_free(&t);
    return most;
}

/* N4b, N6a, N6d, A10b: what a norm hides, and what it must not hide. */
static void test_scales_that_norms_hide(void **state)
{
    (void)state;
    static const struct { const char *sets, *suffix; bool hidden; } scaled[] = {
        { "\"residual\": \"pre\"", "out.weight", false },
        { "\"residual\": \"sandwich\"", "out.weight", true },
        { "\"residual\": {\"module\": \"sandwich\", \"embed_norm\": true}", "embed.weight", true },
        { "\"residual\": \"sandwich\"", "embed.weight", false },
        { "\"residual\": \"reordered\"", "out.weight", true },
        { "\"residual\": \"reordered\"", "embed.weight", false },
        { "\"residual\": \"partial_post\"", "out.weight", true },
        { "\"residual\": {\"module\": \"partial_post\", \"output_norm\": false}", "out.weight", false },
        { "\"residual\": \"pre\"", "embed.weight", false },
        { "\"residual\": \"partial_post\"", "embed.weight", true },
        { "\"attention.qk_norm\": \"none\"", "k.weight", false },
        { "\"attention.qk_norm\": {\"module\": \"k\", \"eps\": 1e-12}", "k.weight", true },
        { "\"attention.qk_norm\": {\"module\": \"k\", \"eps\": 1e-12}", "q.weight", false },
        { "\"attention.qk_norm\": {\"module\": \"qk\", \"eps\": 1e-12}", "k.weight", true },
        { "\"attention.qk_norm\": {\"module\": \"qk\", \"eps\": 1e-12}", "q.weight", true },
    };
    for (int i = 0; i < COUNT(scaled); i++) {
        double most = moved_by_scaling(scaled[i].sets, scaled[i].suffix);
        if (scaled[i].hidden ? most > 2e-5 : most < 1e-3)
            fail_msg("%s: tripling %s moves logits by %g", scaled[i].sets, scaled[i].suffix, most);
    }
}

/* N6c: on rows of rms 1 the first norm does nothing, so partial post without output norm is pre. */
static void test_partial_post_on_normal_rows(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"layers": 1, "residual": {"module": "partial_post", "output_norm": false},
                                   "norm.eps": 1e-12}),
                             TEXT({"layers": 1, "residual": "pre", "norm.eps": 1e-12}));
    real *w = tiny_weight(&p.a, "embed.weight");
    for (int r = 0; r < p.a.model.vocab; r++) {
        double s = 0;
        for (int i = 0; i < 8; i++) s += (double)w[8 * r + i] * w[8 * r + i];
        for (int i = 0; i < 8; i++) w[8 * r + i] = (real)(w[8 * r + i] / sqrt(s / 8));
    }
    tiny_copy(&p.b, &p.a);
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-5);
    pair_free(&p);
}

/* N6e: all layers listed as PreNorm is PreNorm, the same graph. */
static void test_prenorm_layers(void **state)
{
    (void)state;
    struct tiny a = tiny_new(TEXT({"residual": {"module": "partial_post", "prenorm_layers": [0, 1, 2]}}), NULL,
                             MODE_TRAIN, 2, 6);
    struct tiny b = tiny_new(TEXT({"residual": "pre"}), NULL, MODE_TRAIN, 2, 6);
    assert_true(tiny_same(&a, &b));
    tiny_free(&a);
    tiny_free(&b);
}

/* The output norm's gain starts where it is told to, whichever way the gain is kept. */
static void test_gain_init(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"residual": {"module": "partial_post", "gain_init": 0.25}}),
                             TEXT({"residual": {"module": "partial_post", "gain_init": 0.25},
                                   "norm.zero_centred": true}));
    assert_true(tiny_weight(&p.a, "layers.0.attention.norm_out.gain")[0] == (real)0.25);
    assert_true(tiny_weight(&p.b, "layers.0.attention.norm_out.gain")[0] == (real)-0.75);
    assert_true(tiny_weight(&p.a, "layers.0.ffn.norm.gain")[0] == 1 &&
                tiny_weight(&p.b, "layers.0.ffn.norm.gain")[0] == 0);
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-6);
    pair_free(&p);
}

/* Outputs of branches start narrower where nothing normalises them. */
static void test_initial_widths(void **state)
{
    (void)state;
    static const struct { const char *sets; double ratio; } kind[] = {
        { TEXT({"init": {"module": "normal"}}), 0.40824829046386302 },
        { TEXT({"init": {"module": "normal", "depth_scale": false}}), 1 },
        { TEXT({"init": {"module": "normal"}, "residual": "sandwich"}), 1 },
        { TEXT({"init": {"module": "normal"}, "residual": "post"}), 1 },
        { TEXT({"init": {"module": "normal"}, "residual": "partial_post"}), 1 },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny t = tiny_new(kind[i].sets, NULL, MODE_EVAL, 2, 6);
        double std = tiny_leaf(&t, "layers.1.attention.q.weight")->init.std;
        assert_true(std == 0.02);
        assert_float_equal(tiny_leaf(&t, "layers.1.attention.out.weight")->init.std / std, kind[i].ratio, 1e-12);
        assert_float_equal(tiny_leaf(&t, "layers.1.ffn.experts.down.weight")->init.std / std, kind[i].ratio, 1e-12);
        tiny_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(silent_branches), RUN(post_rows), RUN(final_norm), RUN(sandwich_gain_zero), RUN(scales_that_norms_hide),
        RUN(partial_post_on_normal_rows), RUN(prenorm_layers), RUN(gain_init), RUN(initial_widths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
