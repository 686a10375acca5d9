/* Latent attention in double: by hand, as it is trained and as it is decoded; where it is multi-head attention; its
   gradients beside what it may have. */
#include "tiny_pair.h"
#include "tiny_gradient.h"

#define MLA(...) TEXT({"attention": {"module": "mla", "heads": 3, "nope_dim": 4, "rope_dim": 2, "value_dim": 5, \
                                     "kv_rank": 6, __VA_ARGS__}})
enum { H = 3, N = 4, P = 2, M = 5, R = 6, D = 8, S = 6, B = 2, SECOND = 3 };

static double *whole(const struct tiny *t, const char *name, double *to)
{
    char path[64];
    snprintf(path, sizeof path, "layers.0.attention.%s", name);
    const real *w = tiny_weight(t, path);
    for (int64_t i = 0; i < tiny_count(t, path); i++) to[i] = (double)w[i];
    return to;
}

/* to [n] = w x, of w [n,d] */
static void product(const double *w, const double *x, int n, int d, double *to)
{
    for (int i = 0; i < n; i++) {
        to[i] = 0;
        for (int k = 0; k < d; k++) to[i] += w[i * d + k] * x[k];
    }
}

static void norm(double *x, const double *gain, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += x[i] * x[i];
    for (int i = 0; i < n; i++) x[i] *= gain[i] / sqrt(sum / n + 1e-6);
}

/* The one pair that P has, at position p: its frequency is 1. */
static void rotate(double *x, int p)
{
    double a = x[0], b = x[1];
    x[0] = a * cos(p) - b * sin(p);
    x[1] = a * sin(p) + b * cos(p);
}

static struct { double q_down[R * D], q_gain[R], q[H * N * D], q_rope[H * P * D], kv_down[R * D], kv_gain[R],
                       k_rope[P * D], k_up[H * N * R], v_up[H * M * R]; } w;

/* Heads of the first layer, [T,H,M], of what it reads, u [T,D]; q_rank: that of the latent of queries, 0: there is
   none. */
static void by_hand(const struct tiny *t, const double *u, int q_rank, double *heads)
{
    int wide = q_rank ? q_rank : D;
    if (q_rank) whole(t, "q_down.weight", w.q_down), whole(t, "q_norm.gain", w.q_gain);
    whole(t, "q.weight", w.q), whole(t, "q_rope.weight", w.q_rope), whole(t, "kv_down.weight", w.kv_down);
    whole(t, "kv_norm.gain", w.kv_gain), whole(t, "k_rope.weight", w.k_rope), whole(t, "k_up.weight", w.k_up);
    whole(t, "v_up.weight", w.v_up);
    static double q[B * S][H][N], q_rope[B * S][H][P], k[B * S][H][N], k_rope[B * S][P], v[B * S][H][M];
    for (int i = 0; i < B * S; i++) {
        double c[R], x[D];
        int p = i % S - t->start[i];
        memcpy(x, u + i * D, sizeof x);
        product(w.kv_down, x, R, D, c), norm(c, w.kv_gain, R);
        product(w.k_rope, x, P, D, k_rope[i]), rotate(k_rope[i], p);
        product(w.k_up, c, H * N, R, k[i][0]), product(w.v_up, c, H * M, R, v[i][0]);
        if (q_rank) product(w.q_down, u + i * D, wide, D, x), norm(x, w.q_gain, wide);
        product(w.q, x, H * N, wide, q[i][0]), product(w.q_rope, x, H * P, wide, q_rope[i][0]);
        for (int h = 0; h < H; h++) rotate(q_rope[i][h], p);
    }
    memset(heads, 0, B * S * H * M * sizeof *heads);
    for (int i = 0; i < B * S; i++)
        for (int h = 0; h < H; h++) {
            double p[S], sum = 0;
            int first = i / S * S + t->start[i];
            for (int j = first; j <= i; j++) {
                double z = 0;
                for (int d = 0; d < N; d++) z += q[i][h][d] * k[j][h][d];
                for (int d = 0; d < P; d++) z += q_rope[i][h][d] * k_rope[j][d];
                sum += p[j - first] = exp(z / sqrt(N + P));
            }
            for (int j = first; j <= i; j++)
                for (int d = 0; d < M; d++) heads[(i * H + h) * M + d] += p[j - first] / sum * v[j][h][d];
        }
}

static struct tiny started(const char *sets, enum mode mode)
{
    struct tiny t = tiny_new(sets, NULL, mode, B, S);
    tiny_start(&t, 3);
    for (int l = 0; l < 3; l++)
        for (int i = 0; i < R; i++) {
            char path[64];
            snprintf(path, sizeof path, "layers.%d.attention.kv_norm.gain", l);
            if (leaves_find(t.leaves, path)) tiny_weight(&t, path)[i] = (real)(1 + 0.1 * i);
            snprintf(path, sizeof path, "layers.%d.attention.q_norm.gain", l);
            if (leaves_find(t.leaves, path) && i < tiny_count(&t, path)) tiny_weight(&t, path)[i] = (real)(1 - 0.1 * i);
        }
    for (int i = S + SECOND; i < B * S; i++) t.start[i] = SECOND;       /* two documents in the second sequence */
    return t;
}

/* What a layer's output projection reads, [T,H M]. */
static double *heads_of(struct tiny *t, int layer)
{
    char path[64];
    snprintf(path, sizeof path, "layers.%d.attention.out.weight", layer);
    return tiny_read(t, tiny_user(t, path)->in[0]);
}

static void test_by_hand(void **state)
{
    (void)state;
    static const struct { const char *sets; int q_rank; } kind[] = { { MLA("q_rank": 0), 0 }, { MLA("q_rank": 5), 5 } };
    for (int i = 0; i < 2; i++)
        for (enum mode mode = MODE_EVAL; mode <= MODE_DECODE; mode++) {
            struct tiny t = started(kind[i].sets, mode);
            double want[B * S * H * M];
            tiny_forward(&t);
            double *u = tiny_read(&t, tiny_user(&t, "layers.0.attention.kv_down.weight")->in[0]),
                   *heads = heads_of(&t, 0);
            by_hand(&t, u, kind[i].q_rank, want);
            check_near(want, heads, B * S * H * M, 1e-12);
            free(u);
            free(heads);
            tiny_free(&t);
        }
}

/* ---- what is trained is what is decoded ---- */

/* What stands beside latents; without positions too. */
static const char *const beside[] = {
    MLA("q_rank": 5), MLA("gate": "head"), MLA("gate": "element"), MLA("sink": "head"), MLA("sink": "token"),
    MLA("softcap": 2), MLA("mask": {"module": "window", "size": 3}), MLA("mask": {"module": "chunk", "size": 2}),
    MLA("kv": {"module": "mirror", "pairs": [2, 0]}), MLA("kv": {"module": "cla", "share": 2}), MLA("rope_dim": 0),
    MLA("rope_dim": 0, "kv": "cla", "gate": "head", "sink": "token", "softcap": 3, "q_rank": 3),
};

static void test_absorbed(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(beside); i++) {
        struct tiny trained = started(beside[i], MODE_EVAL), decoded = started(beside[i], MODE_DECODE);
        tiny_forward(&trained);
        tiny_forward(&decoded);
        for (int l = 0; l < 3; l++) {
            double *a = heads_of(&trained, l), *b = heads_of(&decoded, l);
            check_near(a, b, B * S * H * M, 1e-12);
            free(a);
            free(b);
        }
        tiny_free(&trained);
        tiny_free(&decoded);
    }
}

static void test_gradients(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(beside); i++) {
        struct tiny t = tiny_new(beside[i], NULL, MODE_TRAIN, B, S);
        tiny_start(&t, 1);
        check_gradient(&t, beside[i]);
        tiny_free(&t);
    }
}

/* Latents that are the input itself, whose norm is 1 already: keys and values of heads are projections of it. */
static void test_is_multi_head(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"attention": {"module": "mla", "heads": 2, "nope_dim": 4, "rope_dim": 0,
                                                 "value_dim": 4, "kv_rank": 8, "eps": 1e-12}, "norm.eps": 1e-12,
                                   "position": "none"}),
                             TEXT({"attention": {"module": "gqa", "heads": 2, "kv_heads": 2, "head_dim": 4},
                                   "norm.eps": 1e-12, "position": "none"}));
    for (int l = 0; l < 3; l++) {
        static const char *const from[] = { "k_up", "v_up", "q", "out" }, *const to[] = { "k", "v", "q", "out" };
        char path[64];
        snprintf(path, sizeof path, "layers.%d.attention.kv_down.weight", l);
        for (int i = 0; i < D * D; i++) tiny_weight(&p.a, path)[i] = i / D == i % D;
        for (int i = 0; i < COUNT(from); i++) {
            char other[64];
            snprintf(path, sizeof path, "layers.%d.attention.%s.weight", l, from[i]);
            snprintf(other, sizeof other, "layers.%d.attention.%s.weight", l, to[i]);
            assert_int_equal(tiny_count(&p.a, path), tiny_count(&p.b, other));
            memcpy(tiny_weight(&p.b, other), tiny_weight(&p.a, path), (size_t)(D * D) * sizeof(real));
        }
    }
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-10);
    pair_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = { RUN(by_hand), RUN(absorbed), RUN(is_multi_head), RUN(gradients) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
