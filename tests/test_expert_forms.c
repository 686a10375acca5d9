/* Forms of experts: what they must equal where a form does nothing, or says the same in other words. */
#include "tiny_pair.h"

/* I5: n experts of one width are one of n times the width. */
static void test_shared_number_or_width(void **state)
{
    (void)state;
    struct tiny a = tiny_new(TEXT({"ffn.shared": {"module": "dense", "n": 2}}), NULL, MODE_TRAIN, 2, 6),
                b = tiny_new(TEXT({"ffn.shared": {"module": "dense", "d_ff": 12}}), NULL, MODE_TRAIN, 2, 6);
    assert_true(tiny_same(&a, &b));
    tiny_free(&a);
    tiny_free(&b);
}

/* A gate that knows nothing is a half; one that is wide open is none. */
static void test_gated_shared_experts(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"ffn.shared": {"module": "dense", "gated": true}}), TEXT({"ffn.shared": "dense"}));
    tiny_scale_all(&p.a, "shared_gate.weight", 0);
    pair_run(&p);
    assert_true(distance(p.x, p.y, p.n) > 1e-3);
    tiny_scale_all(&p.b, "shared.down.weight", 0.5);
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-6);
    pair_free(&p);
}

/* Each token its own gate: sigmoid(u w), and its mean is the metric. */
static void test_shared_gate(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"layers": 1, "ffn.shared": {"module": "dense", "gated": true}}), NULL, MODE_EVAL, 2,
                             6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    struct node *logit = tiny_user(&t, "layers.0.ffn.shared_gate.weight"), *times = tiny_find(&t, &op_mul_heads, 0);
    const real *w = tiny_weight(&t, "layers.0.ffn.shared_gate.weight");
    double *u = tiny_read(&t, logit->in[0]), *y = tiny_read(&t, times->in[0]), *gated = tiny_read(&t, times), mean,
           sum = 0;
    for (int token = 0; token < t.tokens; token++) {
        double dot = 0;
        for (int i = 0; i < 8; i++) dot += u[8 * token + i] * (double)w[i];
        for (int i = 0; i < 8; i++)
            assert_float_equal(gated[8 * token + i], y[8 * token + i] / (1 + exp(-dot)), 1e-6);
        sum += 1 / (1 + exp(-dot)) / t.tokens;
    }
    tiny_metric(&t, "layer_shared_gate", 0, &mean);
    assert_float_equal(mean, sum, 1e-6);
    free(u);
    free(y);
    free(gated);
    tiny_free(&t);
}

/* Projections that change nothing leave what is without them. */
static void test_latent_of_the_same_width(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"ffn.latent": {"module": "projected", "width": 8}, "ffn.shared": "dense"}),
                             TEXT({"ffn.shared": "dense"}));
    static const char *const name[] = { "latent_down", "latent_up" };
    for (int l = 0; l < 3; l++)
        for (int i = 0; i < 2; i++) {
            char path[64];
            snprintf(path, sizeof path, "layers.%d.ffn.%s.weight", l, name[i]);
            for (int k = 0; k < 64; k++) tiny_weight(&p.a, path)[k] = k % 9 == 0;
        }
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

/* Behind a norm a factor on all gates is none; without it, it is one. */
static void test_latent_norm(void **state)
{
    (void)state;
    static const char *const sets[2][2] = {
        { TEXT({"norm.eps": 1e-12, "ffn.latent": {"module": "projected", "width": 5}}),
          TEXT({"norm.eps": 1e-12, "ffn.latent": {"module": "projected", "width": 5}, "ffn.router.scale": 3}) },
        { TEXT({"norm.eps": 1e-12, "ffn.latent": {"module": "projected", "width": 5, "norm": true}}),
          TEXT({"norm.eps": 1e-12, "ffn.latent": {"module": "projected", "width": 5, "norm": true},
                "ffn.router.scale": 3}) },
    };
    for (int norm = 0; norm < 2; norm++) {
        struct pair p = pair_new(sets[norm][0], sets[norm][1]);
        pair_run(&p);
        if (norm) check_near(p.x, p.y, p.n, 2e-5);
        else assert_true(distance(p.x, p.y, p.n) > 1e-2);
        pair_free(&p);
    }
}

/* I3 in the latent width: experts that are all alike, with gates that sum to 1, are one feed-forward between the
   projections, whatever the routing. */
static void test_equal_latent_experts(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"ffn.latent": {"module": "projected", "width": 5}, "ffn.router.normalize": "after"}),
                             TEXT({"ffn.latent": {"module": "projected", "width": 5}, "ffn.experts": 1,
                                   "ffn.router": {"top_k": 1, "score": "sigmoid", "normalize": "after"}}));
    for (int l = 0; l < 3; l++)
        for (int i = 0; i < 3; i++) {
            static const char *const matrix[] = { "gate", "up", "down" };
            char path[64];
            snprintf(path, sizeof path, "layers.%d.ffn.experts.%s.weight", l, matrix[i]);
            int64_t n = tiny_count(&p.b, path);
            for (int e = 0; e < 4; e++)
                memcpy(tiny_weight(&p.a, path) + e * n, tiny_weight(&p.b, path), (size_t)n * sizeof(real));
        }
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-5);
    pair_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(shared_number_or_width), RUN(gated_shared_experts), RUN(shared_gate),
        RUN(latent_of_the_same_width), RUN(latent_norm), RUN(equal_latent_experts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
