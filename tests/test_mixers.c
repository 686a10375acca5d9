/* Mixers in linear time: what Mamba-2, Kimi Delta Attention, GLA and fixed decays compute from their weights, how these
   begin, what decoding keeps of them, and that every published name builds, learns and decodes. */
#include "tiny_pair.h"
#include "bind.h"

#define MAMBA TEXT({"module": "mamba2", "heads": 4, "head_dim": 3, "state": 5, "groups": 2, "conv": 3})
#define TWO "{\"module\": \"gated_delta\", \"heads\": 2, \"value_heads\": 2, \"key_dim\": 4, \"value_dim\": 3, "
#define KIMI(decay) TWO "\"decay\": {\"module\": \"softplus\", \"per\": \"channel\", \"rank\": 2, " decay "}, " \
    "\"gate\": {\"module\": \"element\", \"rank\": 2, \"bias\": true}}"
#define SUM(decay, gate) \
    TWO "\"delta\": false, \"unit\": false, \"beta\": false, \"conv\": 0, \"decay\": " decay ", \"gate\": \"" gate "\"}"
#define WITH(mixer) "{\"attention\": " mixer "}"

enum { D = 8, S = 6, N = 4, M = 3, MOST = 40 };

static double sigma(double x) { return 1 / (1 + exp(-x)); }
static double silu_of(double x) { return x * sigma(x); }
static double soft(double x) { return log1p(exp(x)); }

static const real *weight_of(struct tiny *t, const char *name)
{
    char path[96];
    snprintf(path, sizeof path, "layers.0.attention.%s", name);
    return tiny_weight(t, path);
}

/* y [S,n] = u W^T, u [S,d]. */
static void times(struct tiny *t, const char *name, const double *u, int d, int n, double *y)
{
    const real *w = weight_of(t, name);
    for (int i = 0; i < S * n; i++) {
        y[i] = 0;
        for (int c = 0; c < d; c++) y[i] += u[i / n * d + c] * w[i % n * d + c];
    }
}

/* silu of the convolution of x [S,n] and a bias, in place. */
static void convolve(const real *taps, const real *bias, int kw, int n, double *x)
{
    for (int i = S - 1; i >= 0; i--)
        for (int c = 0; c < n; c++) {
            double z = bias ? bias[c] : 0;
            for (int j = 0; j < kw && j <= i; j++) z += taps[c * kw + kw - 1 - j] * x[(i - j) * n + c];
            x[i * n + c] = silu_of(z);
        }
}

static void unit(double *x, int rows)
{
    for (int i = 0; i < rows; i++) {
        double sum = 1e-6;
        for (int c = 0; c < N; c++) sum += x[i * N + c] * x[i * N + c];
        for (int c = 0; c < N; c++) x[i * N + c] /= sqrt(sum);
    }
}

/* Weights that begin equal are made unequal. */
static void uneven(struct tiny *t, const char *name, int n)
{
    real *w = (real *)weight_of(t, name);
    for (int i = 0; i < n; i++) w[i] += (real)(0.3 * sin(1 + 2 * i));
}

static void see(struct tiny *t, const char *first, const double *want)
{
    char path[96];
    snprintf(path, sizeof path, "layers.0.attention.%s.weight", first);
    double *got = tiny_read(t, tiny_user(t, "layers.0.attention.out.weight"));
    check_near(got, want, S * D, 1e-5);
    free(got);
}

static double *input_of(struct tiny *t, const char *first)
{
    char path[96];
    snprintf(path, sizeof path, "layers.0.attention.%s.weight", first);
    return tiny_read(t, tiny_user(t, path)->in[0]);
}

static struct tiny whole_of(const char *sets)
{
    struct tiny t = tiny_new(sets, NULL, MODE_EVAL, 1, S);
    tiny_start(&t, 1);
    return t;
}

/* ---- Mamba-2 ---- */

static void test_mamba2(void **state)
{
    (void)state;
    enum { HEADS = 4, X = HEADS * M, STATE = 5, GROUPS = 2, WIDE = X / GROUPS, BC = GROUPS * STATE };
    enum { ALL = 2 * X + 2 * BC };
    struct tiny t = whole_of(WITH(MAMBA));
    uneven(&t, "in.conv.bias", X + 2 * BC);
    uneven(&t, "A", HEADS);
    uneven(&t, "D", HEADS);
    uneven(&t, "gated_norm.gain", X);
    tiny_forward(&t);
    double *u = input_of(&t, "in"), in[S * ALL], mixed[S * (X + 2 * BC)], dt[S * HEADS], y[S * X], want[S * D];
    times(&t, "in.weight", u, D, ALL, in);
    times(&t, "dt.weight", u, D, HEADS, dt);
    for (int i = 0; i < S; i++) memcpy(mixed + i * (X + 2 * BC), in + i * ALL + X, (X + 2 * BC) * sizeof *in);
    convolve(weight_of(&t, "in.conv"), weight_of(&t, "in.conv.bias"), 3, X + 2 * BC, mixed);
    for (int h = 0; h < HEADS; h++) {
        double memory[STATE][M] = { 0 };
        for (int i = 0; i < S; i++) {
            const double *x = mixed + i * (X + 2 * BC) + h * M, *key = mixed + i * (X + 2 * BC) + X + h / 2 * STATE,
                         *query = key + BC;
            double step = soft(dt[i * HEADS + h] + weight_of(&t, "dt")[h]),
                   keep = exp(-exp(weight_of(&t, "A")[h]) * step);
            for (int m = 0; m < M; m++) {
                double o = weight_of(&t, "D")[h] * x[m];
                for (int n = 0; n < STATE; n++) {
                    memory[n][m] = keep * memory[n][m] + step * key[n] * x[m];
                    o += memory[n][m] * query[n];
                }
                y[i * X + h * M + m] = o * silu_of(in[i * ALL + h * M + m]);
            }
        }
    }
    for (int row = 0; row < S * GROUPS; row++) {
        const real *gain = weight_of(&t, "gated_norm.gain") + row % GROUPS * WIDE;
        double *of = y + row * WIDE, square = 0;
        for (int c = 0; c < WIDE; c++) square += of[c] * of[c];
        for (int c = 0; c < WIDE; c++) of[c] *= gain[c] / sqrt(square / WIDE + 1e-5);
    }
    times(&t, "out.weight", y, X, D, want);
    see(&t, "in", want);
    free(u);
    tiny_free(&t);
}

/* ---- memories of two heads, with decays of each row ---- */

/* joined [S,2 M]: RMSNorm of what is read, of the gain. keep [S,2,N], beta [S,2]. */
static void remember(struct tiny *t, const double *q, const double *k, const double *v, const double *keep,
                     const double *beta, bool delta, double *joined)
{
    for (int h = 0; h < 2; h++) {
        double memory[N][M] = { 0 };
        for (int i = 0; i < S; i++) {
            int row = i * 2 + h;
            double *o = joined + row * M, square = 0;
            for (int m = 0; m < M; m++) {
                double seen = 0;
                for (int n = 0; n < N; n++) seen += (memory[n][m] *= keep[row * N + n]) * k[row * N + n];
                for (int n = 0; n < N; n++)
                    memory[n][m] += beta[row] * k[row * N + n] * (v[row * M + m] - (delta ? seen : 0));
                o[m] = 0;
                for (int n = 0; n < N; n++) o[m] += memory[n][m] * q[row * N + n] / sqrt(N);
                square += o[m] * o[m];
            }
            for (int m = 0; m < M; m++) o[m] *= weight_of(t, "head_norm.gain")[m] / sqrt(square / M + 1e-6);
        }
    }
}

static void check_kimi(const char *sets, double bound)
{
    struct tiny t = whole_of(sets);
    uneven(&t, "A", 2);
    uneven(&t, "dt", 2 * N);
    uneven(&t, "gate.bias", 2 * M);
    uneven(&t, "head_norm.gain", M);
    tiny_forward(&t);
    double *u = input_of(&t, "q"), q[S * 2 * N], k[S * 2 * N], v[S * 2 * M], keep[S * 2 * N], beta[S * 2], down[S * 2],
           gate[S * 2 * M], joined[S * 2 * M], want[S * D];
    times(&t, "q.weight", u, D, 2 * N, q);
    times(&t, "k.weight", u, D, 2 * N, k);
    times(&t, "v.weight", u, D, 2 * M, v);
    convolve(weight_of(&t, "q.conv"), NULL, 4, 2 * N, q);
    convolve(weight_of(&t, "k.conv"), NULL, 4, 2 * N, k);
    convolve(weight_of(&t, "v.conv"), NULL, 4, 2 * M, v);
    unit(q, S * 2);
    unit(k, S * 2);
    times(&t, "a_down.weight", u, D, 2, down);
    times(&t, "a.weight", down, 2, 2 * N, keep);
    for (int i = 0; i < S * 2 * N; i++) {
        double rate = exp(weight_of(&t, "A")[i / N % 2]), f = keep[i] + weight_of(&t, "dt")[i % (2 * N)];
        keep[i] = exp(bound > 0 ? -bound * sigma(rate * f) : -rate * soft(f));
    }
    times(&t, "b.weight", u, D, 2, beta);
    for (int i = 0; i < S * 2; i++) beta[i] = sigma(beta[i]);
    remember(&t, q, k, v, keep, beta, true, joined);
    times(&t, "gate_down.weight", u, D, 2, down);
    times(&t, "gate.weight", down, 2, 2 * M, gate);
    for (int i = 0; i < S * 2 * M; i++) joined[i] *= sigma(gate[i] + weight_of(&t, "gate.bias")[i % (2 * M)]);
    times(&t, "out.weight", joined, 2 * M, D, want);
    see(&t, "q", want);
    free(u);
    tiny_free(&t);
}

static void test_kda(void **state)
{
    (void)state;
    check_kimi(WITH(KIMI("\"least\": 1")), 0);
    check_kimi(WITH(KIMI("\"bound\": 5")), 5);
}

/* GLA's decays by channels; RetNet's and Lightning's by heads, the latter's in the first of 3 layers. */
static void check_sum(const char *sets, const char *decay, bool gated)
{
    struct tiny t = whole_of(sets);
    if (!decay) uneven(&t, "decay.bias", 2 * N);
    uneven(&t, "head_norm.gain", M);
    tiny_forward(&t);
    double *u = input_of(&t, "q"), q[S * 2 * N], k[S * 2 * N], v[S * 2 * M], keep[S * 2 * N], beta[S * 2], down[S * 16],
           gate[S * 2 * M], joined[S * 2 * M], want[S * D];
    times(&t, "q.weight", u, D, 2 * N, q);
    times(&t, "k.weight", u, D, 2 * N, k);
    times(&t, "v.weight", u, D, 2 * M, v);
    for (int i = 0; i < S * 2; i++) beta[i] = 1;
    if (!decay) {
        times(&t, "decay_down.weight", u, D, 16, down);
        times(&t, "decay.weight", down, 16, 2 * N, keep);
        for (int i = 0; i < S * 2 * N; i++)
            keep[i] = exp(log(sigma(keep[i] + weight_of(&t, "decay.bias")[i % (2 * N)])) / 16);
    }
    for (int i = 0; i < S * 2 * N && decay; i++)
        keep[i] = !strcmp(decay, "none") ? 1 : !strcmp(decay, "retnet") ? 1 - exp2(-5 - i / N % 2)
                                         : exp(-exp2(-4 * (1 + i / N % 2)) * (1 + 1e-5));
    remember(&t, q, k, v, keep, beta, false, joined);
    if (gated) times(&t, "gate.weight", u, D, 2 * M, gate);
    for (int i = 0; i < S * 2 * M && gated; i++) joined[i] *= silu_of(gate[i]);
    times(&t, "out.weight", joined, 2 * M, D, want);
    see(&t, "q", want);
    free(u);
    tiny_free(&t);
}

static void test_sums(void **state)
{
    (void)state;
    check_sum(WITH(SUM("\"none\"", "none")), "none", false);
    check_sum(WITH(SUM("\"fixed\"", "silu")), "retnet", true);
    check_sum(WITH(SUM("{\"module\": \"fixed\", \"by\": \"slopes\"}", "silu")), "slopes", true);
    check_sum(WITH(SUM("\"log_sigmoid\"", "silu")), NULL, true);
}

/* ---- values at first, and what is kept ---- */

/* Rates within 1 and 16, one where they are bounded; steps within 0.001 and 0.1; D is 1. No weight decay, no Muon. */
static void test_first_values(void **state)
{
    (void)state;
    static const struct { const char *sets; double low, high; int heads, steps; } kind[] = {
        { WITH(MAMBA), 1, 16, 4, 4 }, { WITH(KIMI("\"least\": 1")), 1, 16, 2, 8 },
        { WITH(KIMI("\"bound\": 5")), 1, 1, 2, 8 },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny t = tiny_new(kind[i].sets, NULL, MODE_TRAIN, 2, S);
        tiny_start(&t, 3);
        for (int h = 0; h < kind[i].heads; h++) {
            double rate = exp(weight_of(&t, "A")[h]);
            assert_true(rate > kind[i].low - 1e-5 && rate < kind[i].high + 1e-5);
            struct init rule = leaves_find(t.leaves, "layers.0.attention.A")->init;
            if (kind[i].high > kind[i].low) assert_true(rule.value == kind[i].low && rule.std == 15);
            if (i == 0) assert_true(weight_of(&t, "D")[h] == 1);
        }
        for (int k = 0; k < kind[i].steps; k++) {
            double step = soft(weight_of(&t, "dt")[k]);
            assert_true(step > 0.000999 && step < 0.100001);
        }
        static const char *const outside[] = { "A", "dt", "D", "in.conv", "q.conv", "gate.bias", "in.conv.bias" };
        for (int k = 0; k < COUNT(outside); k++) {
            char path[96];
            snprintf(path, sizeof path, "layers.0.attention.%s", outside[k]);
            const struct leaf *leaf = leaves_find(t.leaves, path);
            if (!leaf) continue;
            enum role role = leaf->role;
            assert_true(role_rule[role].outside && (role == ROLE_TAPS || role_rule[role].exempt));
        }
        tiny_free(&t);
    }
}

/* Nothing for a token; for a sequence the memories and what a convolution reads again, in 4 bytes each, however far it
   may be rolled back. Qwen3-Next: 2 MiB, and 3 (2 * 16 * 128 + 32 * 128) inputs. */
static void test_state(void **state)
{
    (void)state;
    static const struct { const char *sets; int64_t values; } kind[] = {
        { WITH(MAMBA), 4 * 5 * 3 + 2 * (12 + 2 * 10) }, { WITH(KIMI("\"least\": 1")), 2 * 4 * 3 + 3 * (16 + 6) },
        { WITH(SUM("\"fixed\"", "silu")), 2 * 4 * 3 },
        { WITH(TEXT({"module": "gated_delta", "heads": 16, "value_heads": 32, "key_dim": 128, "value_dim": 128})),
          (2 << 20) / 4 + 3 * (2 * 16 * 128 + 32 * 128) },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny t = tiny_new(kind[i].sets, NULL, MODE_DECODE, 2, S);
        struct cache_bytes bytes = model_cache_bytes(t.leaves, 2, S, 2);
        assert_int_equal(bytes.per_token, 0);
        assert_int_equal(bytes.fixed, 3 * 4 * kind[i].values);
        tiny_free(&t);
    }
}

static void test_refused(void **state)
{
    (void)state;
    tiny_refused(WITH(TEXT({"module": "mamba2", "heads": 3, "groups": 2})), "must divide heads = 3");
    tiny_refused(WITH(KIMI("\"least\": 1, \"bound\": 5")), "rates begin at 1");
    tiny_refused(TEXT({"attention": {"module": "gated_delta", "delta": false, "negative_eigenvalues": true}}),
                 "without delta");
    tiny_refused(TEXT({"attention": {"module": "gated_delta", "beta": false, "negative_eigenvalues": true}}),
                 "nothing to double");
}

/* ---- names ---- */

/* Small, and so that all of it is there. */
static char *small(const json_t *row)
{
    json_t *attention = json_deep_copy(json_object_get(row, "attention")), *sets = json_object();
    if (json_is_string(attention)) attention = json_pack("{s:s}", "module", json_string_value(attention));
    bool mamba = strcmp(json_string_value(json_object_get(attention, "module")), "mamba2") == 0;
    json_object_set_new(attention, mamba ? "head_dim" : "value_dim", json_integer(M));
    json_object_set_new(attention, mamba ? "state" : "key_dim", json_integer(N));
    json_object_set_new(sets, "attention", attention);
    char *text = json_dumps(sets, 0);
    json_decref(sets);
    return text;
}

static void test_names(void **state)
{
    (void)state;
    json_t *list = script_mixers(), *row;
    struct hash seen[32];
    size_t i;
    json_array_foreach(list, i, row) {
        char *sets = small(row);
        struct tiny t = tiny_new(sets, NULL, MODE_TRAIN, 2, S), whole = decoder(sets);
        tiny_start(&t, 1);
        seen[i] = graph_fingerprint(t.graph, 1000);
        for (size_t k = 0; k < i; k++) assert_false(hash_equal(seen[i], seen[k]));
        tiny_step(&t, 0);
        double first = tiny_loss(&t, "lm");
        for (int step = 1; step < 12; step++) tiny_step(&t, step);
        double last = tiny_loss(&t, "lm");
        if (!(last < first)) fail_msg("%s: %g, then %g", json_string_value(json_object_get(row, "name")), first, last);
        decoded_alike(&whole, sets);
        tiny_free(&whole);
        tiny_free(&t);
        free(sets);
    }
    assert_true(i >= 9);
    json_decref(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(mamba2), RUN(kda), RUN(sums), RUN(first_values), RUN(state), RUN(refused), RUN(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
