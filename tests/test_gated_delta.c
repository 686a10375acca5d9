/* The gated delta module: its formula from the weights, what it counts and keeps, layers of it among others. */
#include "tiny_pair.h"

#define GATED TEXT({"module": "gated_delta", "heads": 1, "value_heads": 2, "key_dim": 4, "value_dim": 3})
#define WIDE TEXT({"module": "gated_delta", "heads": 2, "value_heads": 6, "key_dim": 5, "value_dim": 4, "conv": 3})
#define NEGATIVE TEXT({"module": "gated_delta", "heads": 1, "value_heads": 2, "key_dim": 4, "value_dim": 3, \
                       "negative_eigenvalues": true})

enum { D = 8, S = 6, N = 4, HV = 2, M = 3, TAPS = 4 };

static double sigma(double x) { return 1 / (1 + exp(-x)); }
static double product(const double *x, const real *w)
{
    double y = 0;
    for (int i = 0; i < D; i++) y += x[i] * w[i];
    return y;
}

/* y [S,n] = silu(conv(u W)), heads of `unit` channels then on the unit sphere (0: not). */
static void project(struct tiny *t, const char *name, const double *u, int n, int unit, double *y)
{
    char path[64];
    snprintf(path, sizeof path, "layers.0.attention.%s.weight", name);
    const real *w = tiny_weight(t, path);
    snprintf(path, sizeof path, "layers.0.attention.%s.conv", name);
    const real *taps = tiny_weight(t, path);
    for (int i = 0; i < S; i++)
        for (int c = 0; c < n; c++) {
            double z = 0;
            for (int j = 0; j < TAPS && j <= i; j++)
                z += taps[c * TAPS + TAPS - 1 - j] * product(u + (i - j) * D, w + c * D);
            y[i * n + c] = z * sigma(z);
        }
    for (int i = 0; unit && i < S * n / unit; i++) {
        double sum = 1e-6;
        for (int c = 0; c < unit; c++) sum += y[i * unit + c] * y[i * unit + c];
        for (int c = 0; c < unit; c++) y[i * unit + c] /= sqrt(sum);
    }
}

/* What the first layer writes, [S,D], by the recurrence. */
static void layer(struct tiny *t, const double *u, double most, double *out)
{
    double q[S * N], k[S * N], v[S * HV * M], memory[HV][N][M] = { 0 };
    const real *wa = tiny_weight(t, "layers.0.attention.a.weight"),
               *wb = tiny_weight(t, "layers.0.attention.b.weight"),
               *wg = tiny_weight(t, "layers.0.attention.gate.weight"),
               *wo = tiny_weight(t, "layers.0.attention.out.weight"),
               *a = tiny_weight(t, "layers.0.attention.A"), *dt = tiny_weight(t, "layers.0.attention.dt"),
               *gain = tiny_weight(t, "layers.0.attention.head_norm.gain");
    project(t, "q", u, N, N, q);
    project(t, "k", u, N, N, k);
    project(t, "v", u, HV * M, 0, v);
    for (int i = 0; i < S; i++) {
        double joined[HV * M];
        for (int h = 0; h < HV; h++) {
            double keep = exp(-exp(a[h]) * log1p(exp(product(u + i * D, wa + h * D) + dt[h]))),
                   beta = most * sigma(product(u + i * D, wb + h * D)), o[M] = { 0 }, square = 0;
            for (int m = 0; m < M; m++) {
                double seen = 0;
                for (int n = 0; n < N; n++) seen += (memory[h][n][m] *= keep) * k[i * N + n];
                for (int n = 0; n < N; n++) memory[h][n][m] += beta * k[i * N + n] * (v[(i * HV + h) * M + m] - seen);
                for (int n = 0; n < N; n++) o[m] += memory[h][n][m] * q[i * N + n] / sqrt(N);
                square += o[m] * o[m];
            }
            for (int m = 0; m < M; m++) {
                double gate = product(u + i * D, wg + (h * M + m) * D);
                joined[h * M + m] = gain[m] * o[m] / sqrt(square / M + 1e-6) * gate * sigma(gate);
            }
        }
        for (int d = 0; d < D; d++) {
            out[i * D + d] = 0;
            for (int c = 0; c < HV * M; c++) out[i * D + d] += wo[d * HV * M + c] * joined[c];
        }
    }
}

static void check_formula(const char *sets, double most)
{
    struct tiny t = tiny_new(sets, NULL, MODE_EVAL, 1, S);
    tiny_start(&t, 1);
    for (int m = 0; m < M; m++) tiny_weight(&t, "layers.0.attention.head_norm.gain")[m] = (real)(1 + 0.3 * m);
    for (int h = 0; h < HV; h++) tiny_weight(&t, "layers.0.attention.A")[h] = (real)(h - 1);
    for (int h = 0; h < HV; h++) tiny_weight(&t, "layers.0.attention.dt")[h] = (real)(0.5 - h);
    tiny_forward(&t);
    double want[S * D], *u = tiny_read(&t, tiny_user(&t, "layers.0.attention.q.weight")->in[0]),
           *got = tiny_read(&t, tiny_user(&t, "layers.0.attention.out.weight"));
    layer(&t, u, most, want);
    check_near(got, want, S * D, 1e-5);
    free(u);
    free(got);
    tiny_free(&t);
}

static void test_formula(void **state)
{
    (void)state;
    check_formula("{\"attention\": " GATED "}", 1);
    check_formula("{\"attention\": " NEGATIVE "}", 2);
}

/* D (2HN + 2HV M + 2HV) + HV M D + conv (2HN + HV M), a gain of M, A and dt of HV each, and the norm before it, of D;
   a memory and the inputs of
   conv - 1 tokens for a sequence, however far it may be rolled back, and nothing for a token. */
static void test_counts(void **state)
{
    (void)state;
    static const struct { const char *sets; int h, hv, n, m, conv; } kind[] = {
        { "{\"attention\": " GATED "}", 1, 2, 4, 3, 4 }, { "{\"attention\": " WIDE "}", 2, 6, 5, 4, 3 },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny t = tiny_new(kind[i].sets, NULL, MODE_DECODE, 2, 6);
        int64_t h = kind[i].h, hv = kind[i].hv, n = kind[i].n, m = kind[i].m, mixed = 2 * h * n + hv * m, count = 0;
        for (int k = 0; k < t.leaves->n; k++) {
            const struct leaf *l = t.leaves->leaf[k];
            if (l->kind == LEAF_WEIGHT && strncmp(l->path, "layers.2.attention.", 19) == 0)
                count += shape_count(l->decl.shape);
        }
        assert_int_equal(count, D * (mixed + hv * m + 2 * hv) + hv * m * D + kind[i].conv * mixed + m + 2 * hv + D);
        struct cache_bytes bytes = model_cache_bytes(t.leaves, 2, 6, 2);
        assert_int_equal(bytes.per_token, 0);
        assert_int_equal(bytes.fixed, 3 * 4 * (hv * n * m + (kind[i].conv - 1) * mixed));
        tiny_free(&t);
    }
}

/* Steps of 0.001 to 0.1 and rates up to 16, other ones for each head; taps as torch's. */
static void test_first_values(void **state)
{
    (void)state;
    struct tiny t = tiny_new("{\"attention\": " WIDE "}", NULL, MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    const real *a = tiny_weight(&t, "layers.1.attention.A"), *dt = tiny_weight(&t, "layers.1.attention.dt"),
               *taps = tiny_weight(&t, "layers.1.attention.q.conv");
    for (int h = 0; h < 6; h++) {
        double step = log1p(exp(dt[h]));
        assert_true(exp(a[h]) > 0 && exp(a[h]) < 16.00001);
        assert_true(step > 0.000999 && step < 0.100001);
        assert_true(h == 0 || (a[h] != a[h - 1] && dt[h] != dt[h - 1]));
    }
    double most = 0;
    for (int i = 0; i < 30; i++) most = fmax(most, fabs(taps[i]));
    assert_true(most > 0.4 && most < 0.5774);
    assert_true(role_rule[ROLE_TAPS].outside && role_rule[ROLE_SCALAR].exempt);
    tiny_free(&t);
}

/* Positions say nothing to it; values of 0 leave nothing to read. */
static void test_degenerate(void **state)
{
    (void)state;
    struct tiny rotary = tiny_new("{\"attention\": " GATED "}", NULL, MODE_TRAIN, 2, 6),
                plain = tiny_new("{\"position\": \"none\", \"attention\": " GATED "}", NULL, MODE_TRAIN, 2, 6);
    assert_true(tiny_same(&rotary, &plain));
    tiny_start(&plain, 1);
    tiny_scale_all(&plain, "attention.v.weight", 0);
    tiny_forward(&plain);
    double *out = tiny_read(&plain, tiny_user(&plain, "layers.0.attention.out.weight"));
    for (int i = 0; i < 12 * D; i++) assert_true(out[i] == 0);
    free(out);
    tiny_free(&rotary);
    tiny_free(&plain);
}

/* Two of it to one layer of attention that mirrors the first of them: token by token as in one pass. */
static void test_hybrid(void **state)
{
    (void)state;
    static const char hybrid[] = "{\"attention\": {\"layers\": [" GATED ", " GATED ", " TEXT(
        {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4, "kv": {"module": "mirror", "pairs": [2, 0]}}) "]}}";
    struct tiny whole = decoder(hybrid), last = { 0 };
    double *all = logits_of(&whole);
    int v = whole.model.vocab;
    for (int i = 0; i < 6; i++) {
        struct tiny one = tiny_new(hybrid, NULL, MODE_DECODE, 2, 1);
        tiny_start(&one, 1);
        if (i) {
            tiny_copy(&one, &last);
            tiny_free(&last);
        }
        *one.pos = i;
        for (int b = 0; b < 2; b++) one.ids[b] = whole.ids[b * 6 + i];
        double *some = logits_of(&one);
        for (int b = 0; b < 2; b++) check_near(some + b * v, all + (b * 6 + i) * v, v, 1e-5);
        free(some);
        last = one;
    }
    free(all);
    tiny_free(&last);
    tiny_free(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formula), cmocka_unit_test(test_counts), cmocka_unit_test(test_first_values),
        cmocka_unit_test(test_degenerate), cmocka_unit_test(test_hybrid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
