/* Attention to a window and to compressed entries: entries by their golden values, the module by its formula, what it
   sees and keeps. */
#include "tiny_pair.h"
#include "graph/ops/rows.h"
#include "graph/ops/tokens.h"

#define KIND(...) "{\"attention\": {\"module\": \"compressed\", \"heads\": 4, \"head_dim\": 4, \"q_rank\": 5, \
                   \"groups\": 2, \"out_rank\": 3, " #__VA_ARGS__ "}}"
#define HCA KIND("window": 2, "pool": 3)
#define CSA KIND("window": 2, "pool": 1, "overlap": true, "top_k": 2, "index_heads": 2, "index_dim": 4)

/* ---- entries ---- */

struct small { struct leaves *leaves; struct graph *graph; struct plan *plan; struct state *state; struct node *y; };

/* Entries of rows [kv | gate] = waves of (6,4), of windows of two, without a bias. */
static struct small small_new(bool overlap)
{
    struct small s = { .leaves = leaves_new() };
    struct err e;
    s.graph = graph_new(s.leaves);
    s.graph->keep = true;
    struct node *c = graph_weight(s.graph, "c", ROLE_MIX, SHAPE(6, 4), init_constant(0)),
                *z = graph_weight(s.graph, "z", ROLE_MIX, SHAPE(6, 4), init_constant(0)),
                *start = graph_input(s.graph, "start", DTYPE_I32, SHAPE(1, 6));
    if (!overlap) c = columns(s.graph, c, 0, 2), z = columns(s.graph, z, 0, 2);
    s.y = pool_windows(s.graph, c, z, NULL, start, NULL, NULL, NULL, 2, overlap);
    if (s.graph->failed) fail_msg("%s", s.graph->err.text);
    if (plan_new(&s.plan, s.graph, (struct plan_how){ &backend_cpu, PRECISION_FP32, RECOMPUTE_NONE }, &e))
        fail_msg("%s", e.text);
    s.state = state_new(s.leaves, &backend_cpu, 1);
    plan_bind(s.plan, s.state, NULL);
    state_fill(s.state, 1);
    for (int which = 0; which < 2; which++) {
        real *x = state_data(s.state, leaves_find(s.leaves, which ? "z" : "c"));
        for (int i = 0; i < 24; i++) x[i] = (real)(which ? sin(0.9 * i + 0.2) : sin(0.7 * i + 0.1));
    }
    memset(state_data(s.state, leaves_find(s.leaves, "start")), 0, 6 * sizeof(int32_t));
    plan_begin(s.plan, 0, 1, 1);
    plan_forward(s.plan, 0);
    return s;
}

static void small_free(struct small *s)
{
    plan_free(s->plan);
    state_free(s->state);
    graph_free(s->graph);
    leaves_free(s->leaves);
}

static void test_golden_entries(void **state)
{
    (void)state;
    static const double golden[2][6] = {
        { .142743, .565278, -.374948, .135628, -.597573, .139539 },
        { .659823, -.064553, .137112, -.027962, -.081129, -.080568 },
    };
    for (int overlap = 0; overlap < 2; overlap++) {
        struct small s = small_new(overlap);
        double y[6];
        plan_read(s.plan, s.y, y);
        check_near(y, golden[overlap], 6, 2e-6);
        small_free(&s);
    }
}

/* ---- the module ---- */

enum { D = 8, S = 6, H = 4, W = 4, RANK = 5, GROUPS = 2, OUT = 3 };

static void multiply(const double *x, int n, const real *w, int out, double *y)
{
    for (int o = 0; o < out; o++) {
        y[o] = 0;
        for (int i = 0; i < n; i++) y[o] += x[i] * w[o * n + i];
    }
}

static void normalise(double *x, int n)
{
    double square = 0;
    for (int i = 0; i < n; i++) square += x[i] * x[i] / n;
    for (int i = 0; i < n; i++) x[i] /= sqrt(square + 1e-6);
}

static void rotate(double *x, double by)
{
    for (int i = 0; i < W / 2; i++) {
        double angle = by * pow(10000, -2.0 * i / W), a = x[i], b = x[i + W / 2];
        x[i] = a * cos(angle) - b * sin(angle);
        x[i + W / 2] = b * cos(angle) + a * sin(angle);
    }
}

static const real *weight(struct tiny *t, const char *name)
{
    char path[80];
    snprintf(path, sizeof path, "layers.0.attention.%s", name);
    return tiny_weight(t, path);
}

/* What the first layer writes for one sequence, [S,D], with all entries: m tokens each, gains of 1. */
static void layer(struct tiny *t, const double *u, int m, int window, double *out)
{
    double q[S][H * W], kv[S][W], entry[S][W];
    for (int s = 0; s < S; s++) {
        double latent[RANK];
        multiply(u + s * D, D, weight(t, "q_down.weight"), RANK, latent);
        normalise(latent, RANK);
        multiply(latent, RANK, weight(t, "q.weight"), H * W, q[s]);
        multiply(u + s * D, D, weight(t, "kv.weight"), W, kv[s]);
        normalise(kv[s], W);
        rotate(kv[s], s);
        for (int h = 0; h < H; h++) normalise(q[s] + h * W, W), rotate(q[s] + h * W, s);
    }
    for (int i = 0; i < S / m; i++) {
        double sum[W] = { 0 };
        memset(entry[i], 0, sizeof entry[i]);
        for (int j = 0; j < m; j++) {
            double c[W], z[W];
            multiply(u + (i * m + j) * D, D, weight(t, "entry.value.weight"), W, c);
            multiply(u + (i * m + j) * D, D, weight(t, "entry.weight.weight"), W, z);
            for (int w = 0; w < W; w++) {
                double p = exp(z[w] + weight(t, "entry.bias")[j * W + w]);
                entry[i][w] += p * c[w];
                sum[w] += p;
            }
        }
        for (int w = 0; w < W; w++) entry[i][w] /= sum[w];
        normalise(entry[i], W);
        rotate(entry[i], i * m);
    }
    for (int s = 0; s < S; s++) {
        double heads[H * W] = { 0 }, joined[GROUPS * OUT];
        for (int h = 0; h < H; h++) {
            double all = exp(weight(t, "sink")[h]);
            for (int k = 0; k < S + S / m; k++) {
                const double *key = k < S ? kv[k] : entry[k - S];
                double z = 0;
                if (k < S ? k > s || k <= s - window : (k - S + 1) * m > s + 1) continue;
                for (int w = 0; w < W; w++) z += q[s][h * W + w] * key[w] / sqrt(W);
                all += exp(z);
                for (int w = 0; w < W; w++) heads[h * W + w] += exp(z) * key[w];
            }
            for (int w = 0; w < W; w++) heads[h * W + w] /= all;
            rotate(heads + h * W, -s);
        }
        for (int i = 0; i < GROUPS; i++)
            multiply(heads + i * H * W / GROUPS, H * W / GROUPS,
                     weight(t, i ? "out_group.1.weight" : "out_group.0.weight"), OUT, joined + i * OUT);
        multiply(joined, GROUPS * OUT, weight(t, "out.weight"), D, out + s * D);
    }
}

static void test_formula(void **state)
{
    (void)state;
    struct tiny t = tiny_new(HCA, NULL, MODE_EVAL, 1, S);
    tiny_start(&t, 1);
    for (int h = 0; h < H; h++) tiny_weight(&t, "layers.0.attention.sink")[h] = (real)(0.4 * h - 0.5);
    for (int i = 0; i < 3 * W; i++) tiny_weight(&t, "layers.0.attention.entry.bias")[i] = (real)sin(1.3 * i);
    tiny_forward(&t);
    double want[S * D], *u = tiny_read(&t, tiny_user(&t, "layers.0.attention.kv.weight")->in[0]),
           *got = tiny_read(&t, tiny_user(&t, "layers.0.attention.out.weight"));
    layer(&t, u, 3, 2, want);
    check_near(got, want, S * D, 1e-5);
    free(u);
    free(got);
    tiny_free(&t);
}

/* A choice of all entries is all entries. */
static void test_choice_of_all(void **state)
{
    (void)state;
    struct pair p = pair_new(KIND("window": 2, "pool": 2, "top_k": 3, "index_dim": 4),
                             KIND("window": 2, "pool": 2));
    pair_run(&p);
    check_near(p.x, p.y, p.n, 2e-6);
    pair_free(&p);
    p = pair_new(KIND("window": 2, "pool": 1, "top_k": 2, "index_dim": 4), KIND("window": 2, "pool": 1));
    pair_run(&p);
    assert_true(distance(p.x, p.y, p.n) > 1e-4);
    pair_free(&p);
}

/* An entry is seen by who is its last token or after it: no later token reaches an earlier one, in any kind. */
static void test_causality(void **state)
{
    (void)state;
    static const char *const sets[] = { HCA, CSA, KIND("window": 1, "pool": 2, "overlap": true) };
    for (int i = 0; i < COUNT(sets); i++) {
        struct tiny t = decoder(sets[i]);
        double *before = logits_of(&t);
        for (int j = 0; j < t.seq; j++) {
            int old = t.ids[j];
            t.ids[j] = other_token(&t, old);
            double *after = logits_of(&t);
            for (int row = 0; row < j; row++) assert_true(equal_rows(before, after, t.model.vocab, row));
            assert_false(equal_rows(before, after, t.model.vocab, j));
            t.ids[j] = old;
            free(after);
        }
        free(before);
        tiny_free(&t);
    }
}

/* Where no window is whole nothing is seen beyond the window of tokens; a document's first windows are its own. */
static void test_documents(void **state)
{
    (void)state;
    static const char *const sets[] = { HCA, CSA, KIND("window": 1, "pool": 2, "overlap": true) };
    for (int i = 0; i < COUNT(sets); i++) {
        struct tiny t = decoder(sets[i]);
        for (int k = 3; k < t.seq; k++) t.start[k] = 3;
        double *before = logits_of(&t);
        for (int k = 0; k < 3; k++) t.ids[k] = other_token(&t, t.ids[k]);
        double *after = logits_of(&t);
        for (int row = 0; row < t.seq; row++) assert_int_equal(equal_rows(before, after, t.model.vocab, row), row >= 3);
        free(before);
        free(after);
        tiny_free(&t);
    }
}

static void test_decoding(void **state)
{
    (void)state;
    static const char *const sets[] = {
        HCA, CSA, KIND("window": 1, "pool": 2, "overlap": true), KIND("window": 9, "pool": 3, "overlap": true),
        KIND("window": 2, "pool": 2, "overlap": true, "top_k": 1, "index_dim": 4),
    };
    for (int i = 0; i < COUNT(sets); i++) {
        struct tiny whole = decoder(sets[i]);
        decoded_alike(&whole, sets[i]);
        tiny_free(&whole);
    }
}

/* A window of tokens, a share of an entry, the rows of the windows that are not yet entries; with overlap and indexer:
   of both, of twice the channels. */
static void test_kept(void **state)
{
    (void)state;
    static const struct { const char *sets; double token; int64_t fixed; } kind[] = {
        { HCA, 2 * (2.0 * 4 + 2 * 4) / 6 * 3, 3 * 4 * 2 * (2 * 4) },
        { CSA, 2 * (2.0 * 4 + 6 * 4 + 6 * 4) / 6 * 3, 3 * 4 * (1 * (2 * 8) + 1 * (2 * 8)) },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny t = tiny_new(kind[i].sets, NULL, MODE_DECODE, 2, 6);
        struct cache_bytes bytes = model_cache_bytes(t.leaves, 2, 6, 2);
        assert_int_equal(bytes.per_token, (int64_t)kind[i].token);
        assert_int_equal(bytes.fixed, kind[i].fixed);
        tiny_free(&t);
    }
}

/* Where the whole head rotates it is one whether its two sides grow or the scores of both: what values carry of it is
   taken back. */
static void test_sharper(void **state)
{
    (void)state;
    static const char *const attention = HCA, *const how[] = { "rotated", "scores", "none" };
    char sets[3][400];
    for (int i = 0; i < 3; i++)
        snprintf(sets[i], sizeof sets[i], "%.*s, \"position\": {\"module\": \"rope\", \"stretch\": \"linear\", "
                 "\"factor\": 40, \"temperature\": \"%s\"}}", (int)strlen(attention) - 1, attention, how[i]);
    for (int i = 0; i < 3; i += 2) {
        struct pair p = pair_new(sets[i], sets[1]);
        pair_run(&p);
        if (i) assert_true(distance(p.x, p.y, p.n) > 1e-4);
        else check_near(p.x, p.y, p.n, 1e-5);
        pair_free(&p);
    }
}

static void test_rules(void **state)
{
    (void)state;
    tiny_refused(TEXT({"attention": {"module": "compressed", "groups": 3}}), "groups = 3: must divide heads = 4");
    tiny_refused(TEXT({"attention": {"module": "compressed"}, "position": "relative"}), "gives logits of distance");
    tiny_refused(TEXT({"attention": {"module": "compressed", "pool": 7}}), "6 positions hold no such window");
    tiny_refused(TEXT({"attention": {"module": "compressed", "pool": 2, "window": 4096}}), "names at most 4096");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(golden_entries), RUN(formula), RUN(choice_of_all), RUN(causality), RUN(documents), RUN(decoding), RUN(kept),
        RUN(sharper), RUN(rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
