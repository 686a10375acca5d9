/* Each mixer that op delta_rule is with other settings, beside what its paper says it is: state times decay plus what
   is stored, token by token and in double, with its gradients; sums over pairs of tokens where nothing is predicted.
   With the strongest decays that a bound lets through, all along a chunk, nothing overflows and no digit is lost. */
#include "op_check.h"

enum { T = 150, H = 2, HV = 4, N = 5, M = 3, SHARE = HV / H };
enum { Q, K, V, G, BETA, START };

/* Values of a wave, as the tests of the op have them. */
static double wave(int64_t i, double by, double from) { return sin(by * (double)i + from); }
static double none(int64_t i) { (void)i; return 0; }
static double ones(int64_t i) { (void)i; return 1; }
static double retnet(int64_t i) { return log1p(-exp2(-5 - (double)(i % HV))); }
static double learned(int64_t i) { return -0.1 - 0.5 * fabs(wave(i, 1.3, 0.4)); }
static double bounded(int64_t i) { return i % 31 == 7 ? -0.01 : -5; }
static double lowest(int64_t i) { (void)i; return -5; }
static double strength(int64_t i) { return 0.5 + 0.4 * wave(i, 1.7, 0.5); }
static double twice(int64_t i) { return 2 * strength(i); }
static double step(int64_t i) { return 0.05 + 0.04 * wave(i, 1.7, 0.5); }
static double discrete(int64_t i) { return -8 * step(i); }              /* Mamba-2: g = -e^A step, beta = step */
static int32_t one_document(int64_t i) { (void)i; return 0; }
static int32_t documents(int64_t i) { return i < 9 ? 0 : i < 70 ? 9 : i < 128 ? 70 : 128; }

#define RULE(gate, beta_, start_, delta_, chunk_) \
    delta_rule(g, (struct delta_rule){ .q = real_in(g, T, H, N), .k = real_in(g, T, H, N), .v = real_in(g, T, HV, M), \
               .g = gate, .beta = real_of(g, beta_, T, HV), .start = count_in(g, SHAPE(1, T), start_), \
               .scale = 0.6, .delta = delta_, .chunk = chunk_ })
#define SCALAR(value) real_of(g, value, T, HV)
#define VECTOR(value) real_of(g, value, T, HV, N)

#define HERE(CASE) \
    CASE(delta_rule, linear, RULE(SCALAR(none), ones, documents, 0, 64)) \
    CASE(delta_rule, retnet, RULE(SCALAR(retnet), ones, documents, 0, 64)) \
    CASE(delta_rule, gla, RULE(VECTOR(learned), ones, documents, 0, 64)) \
    CASE(delta_rule, mamba2, RULE(SCALAR(discrete), step, documents, 0, 64)) \
    CASE(delta_rule, delta_net, RULE(SCALAR(none), strength, documents, 1, 64)) \
    CASE(delta_rule, negative, RULE(SCALAR(none), twice, documents, 1, 16)) \
    CASE(delta_rule, gated_delta, RULE(SCALAR(learned), strength, documents, 1, 64)) \
    CASE(delta_rule, kda, RULE(VECTOR(learned), strength, documents, 1, 64)) \
    CASE(delta_rule, kda_short, RULE(VECTOR(learned), strength, documents, 1, 23)) \
    CASE(delta_rule, kda_bounded, RULE(VECTOR(bounded), strength, one_document, 1, 64)) \
    CASE(delta_rule, gla_lowest, RULE(VECTOR(lowest), ones, one_document, 0, 64)) \
    CASE(delta_rule, kda_lowest, RULE(VECTOR(lowest), strength, documents, 1, 64))

HERE(BENCH_BUILD)

static const struct op_case cases[] = { HERE(BENCH_CASE) };

/* ---- the recurrence ---- */

/* Of one value head: states before and after each token, and what is written. */
struct walk { double before[T][N][M], after[T][N][M], u[T][M], r[T][M]; };
struct results { double o[T][HV][M], dq[T][H][N], dk[T][H][N], dv[T][HV][M], dg[T][HV][N], dbeta[T][HV]; };

static double at3(const struct tensor *x, int t, int h, int i) { return tensor_get(x, (t * x->shape.dim[1] + h) *
                                                                                   x->shape.dim[2] + i); }
static bool begins(const struct bench *b, int t) { return tensor_get(&b->in[START], t) == t; }
static double decay(const struct bench *b, int t, int h, int i)
{
    bool vector = b->in[G].shape.rank == 3;
    return exp(vector ? at3(&b->in[G], t, h, i) : tensor_get(&b->in[G], t * HV + h));
}

/* S~ = diag(e^g) S;  r = v - S~^T k or v;  u = beta r;  S = S~ + k u^T;  o = scale S^T q. */
static void go(const struct bench *b, int h, bool delta, struct walk *w, struct results *out)
{
    double s[N][M] = { 0 };
    for (int t = 0; t < T; t++) {
        if (begins(b, t)) memset(s, 0, sizeof s);
        for (int i = 0; i < N; i++) for (int m = 0; m < M; m++) s[i][m] *= decay(b, t, h, i);
        memcpy(w->before[t], s, sizeof s);
        for (int m = 0; m < M; m++) {
            w->r[t][m] = at3(&b->in[V], t, h, m);
            for (int i = 0; i < N && delta; i++) w->r[t][m] -= s[i][m] * at3(&b->in[K], t, h / SHARE, i);
            w->u[t][m] = tensor_get(&b->in[BETA], t * HV + h) * w->r[t][m];
            out->o[t][h][m] = 0;
            for (int i = 0; i < N; i++) {
                s[i][m] += at3(&b->in[K], t, h / SHARE, i) * w->u[t][m];
                out->o[t][h][m] += 0.6 * s[i][m] * at3(&b->in[Q], t, h / SHARE, i);
            }
        }
        memcpy(w->after[t], s, sizeof s);
    }
}

/* From the last token back, by the rules of derivation. */
static void back(const struct bench *b, int h, bool delta, const struct walk *w, struct results *out)
{
    double ds[N][M] = { 0 };
    for (int t = T - 1; t >= 0; t--) {
        double du[M] = { 0 }, beta = tensor_get(&b->in[BETA], t * HV + h);
        for (int i = 0; i < N; i++)
            for (int m = 0; m < M; m++) {
                double dout = at3(&b->dout[0], t, h, m), k = at3(&b->in[K], t, h / SHARE, i);
                ds[i][m] += 0.6 * at3(&b->in[Q], t, h / SHARE, i) * dout;
                out->dq[t][h / SHARE][i] += 0.6 * w->after[t][i][m] * dout;
                out->dk[t][h / SHARE][i] += ds[i][m] * w->u[t][m];
                du[m] += ds[i][m] * k;
            }
        for (int m = 0; m < M; m++) {
            out->dbeta[t][h] += du[m] * w->r[t][m];
            out->dv[t][h][m] = beta * du[m];
        }
        for (int i = 0; i < N; i++)
            for (int m = 0; m < M; m++) {
                if (delta) {
                    out->dk[t][h / SHARE][i] -= w->before[t][i][m] * beta * du[m];
                    ds[i][m] -= at3(&b->in[K], t, h / SHARE, i) * beta * du[m];
                }
                out->dg[t][h][i] += ds[i][m] * w->before[t][i][m];
                ds[i][m] = begins(b, t) ? 0 : ds[i][m] * decay(b, t, h, i);
            }
    }
}

static void near_to(const char *name, const char *what, const struct tensor *x, const double *want)
{
    double most = 1;
    for (int64_t i = 0; i < shape_count(x->shape); i++) most = fmax(most, fabs(want[i]));
    for (int64_t i = 0; i < shape_count(x->shape); i++)
        if (!(fabs(tensor_get(x, i) - want[i]) <= 1e-5 * most))
            fail_msg("%s: %s[%lld] is %.9g, expected %.9g", name, what, (long long)i, tensor_get(x, i), want[i]);
}

/* Queries and keys of length 1. */
static void fill(struct bench *b)
{
    for (int which = Q; which <= K; which++)
        for (int64_t row = 0; row < T * H; row++) {
            double square = 0;
            for (int64_t i = 0; i < N; i++) square += pow(wave(row * N + i, which == Q ? 0.7 : 0.9, 0.1), 2);
            for (int64_t i = 0; i < N; i++)
                tensor_set(&b->in[which], row * N + i, wave(row * N + i, which == Q ? 0.7 : 0.9, 0.1) / sqrt(square));
        }
    for (int64_t i = 0; i < T * HV * M; i++) {
        tensor_set(&b->in[V], i, wave(i, 1.1, 0.3));
        tensor_set(&b->dout[0], i, wave(i, 0.3, 0.9));
    }
}

static void test_recurrence(void **state)
{
    (void)state;
    static struct walk w;
    static struct results want;
    for (int c = 0; c < COUNT(cases); c++) {
        struct bench b;
        bench_open(&b, &cases[c], false, 1);
        fill(&b);
        bench_forward(&b);
        bench_backward(&b);
        bool delta = ((const struct { double scale; int64_t delta, chunk; } *)b.node->attr)->delta;
        memset(&want, 0, sizeof want);
        for (int h = 0; h < HV; h++) {
            go(&b, h, delta, &w, &want);
            back(&b, h, delta, &w, &want);
        }
        double sum[T * HV] = { 0 };
        for (int i = 0; i < T * HV * N; i++) sum[i / N] += (&want.dg[0][0][0])[i];
        near_to(cases[c].name, "o", &b.out[0], &want.o[0][0][0]);
        near_to(cases[c].name, "dq", &b.din[Q], &want.dq[0][0][0]);
        near_to(cases[c].name, "dk", &b.din[K], &want.dk[0][0][0]);
        near_to(cases[c].name, "dv", &b.din[V], &want.dv[0][0][0]);
        near_to(cases[c].name, "dg", &b.din[G], b.in[G].shape.rank == 3 ? &want.dg[0][0][0] : sum);
        near_to(cases[c].name, "dbeta", &b.din[BETA], &want.dbeta[0][0]);
        bench_close(&b);
    }
}

/* ---- sums over pairs of tokens ---- */

/* o_t = scale sum over s of beta_s v_s sum over i of q_t[i] k_s[i] e^(g_s+1 + .. + g_t)[i]: attention without softmax,
   RetNet's and Mamba-2's decay mask, GLA's of channels. */
static double of_pairs(const struct bench *b, int t, int h, int m)
{
    double o = 0, left[N];
    for (int i = 0; i < N; i++) left[i] = 1;
    for (int s = t; s >= (int)tensor_get(&b->in[START], t); s--) {
        double seen = 0;
        for (int i = 0; i < N; i++) {
            seen += at3(&b->in[Q], t, h / SHARE, i) * left[i] * at3(&b->in[K], s, h / SHARE, i);
            left[i] *= decay(b, s, h, i);
        }
        o += 0.6 * seen * tensor_get(&b->in[BETA], s * HV + h) * at3(&b->in[V], s, h, m);
    }
    return o;
}

static void test_pairs(void **state)
{
    (void)state;
    int found = 0;
    for (int c = 0; c < COUNT(cases); c++) {
        struct bench b;
        bench_open(&b, &cases[c], false, 1);
        fill(&b);
        bench_forward(&b);
        static double want[T * HV * M];
        for (int i = 0; i < T * HV * M; i++) want[i] = of_pairs(&b, i / (HV * M), i / M % HV, i % M);
        if (!((const struct { double scale; int64_t delta, chunk; } *)b.node->attr)->delta) {
            near_to(cases[c].name, "o", &b.out[0], want);
            found++;
        }
        bench_close(&b);
    }
    assert_int_equal(found, 5);
}

/* The bits of one chunk size are near those of any other. */
static void test_blocks(void **state)
{
    (void)state;
    struct bench b, s;
    bench_open(&b, &cases[7], false, 1);
    bench_open(&s, &cases[8], false, 1);
    struct bench *both[] = { &b, &s };
    for (int i = 0; i < 2; i++) {
        fill(both[i]);
        bench_forward(both[i]);
        bench_backward(both[i]);
    }
    for (int which = Q; which <= BETA; which++)
        for (int64_t i = 0; i < shape_count(b.din[which].shape); i++)
            assert_true(fabs(tensor_get(&b.din[which], i) - tensor_get(&s.din[which], i)) < 2e-5);
    bench_close(&b);
    bench_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recurrence), cmocka_unit_test(test_pairs), cmocka_unit_test(test_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
