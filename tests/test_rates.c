/* Which weight moves how fast, decays, begins how wide, and is held to what. */
#include "tiny_pair.h"
#include "graph/ops/update.h"

/* The change of a weight's first value in a step of AdamW, whose first step is lr whatever the gradient is. */
static double moved(const char *train_sets, const char *path)
{
    struct tiny t = tiny_new(TEXT({"layers": 3}), train_sets, MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    double before = (double)tiny_weight(&t, path)[0];
    tiny_step(&t, 0);
    double after = (double)tiny_weight(&t, path)[0];
    tiny_free(&t);
    return fabs(after - before);
}

#define TRAIN(...) \
    TEXT({"optim": {"module": "adamw", "lr": 0.01, "decay": 0}, "schedule": "constant", "rates": __VA_ARGS__})

static void test_by_layer(void **state)
{
    (void)state;
    static const double want[] = { 0.25, 0.5, 1 };
    for (int l = 0; l < 3; l++) {
        char path[64];
        snprintf(path, sizeof path, "layers.%d.attention.v.weight", l);
        assert_float_equal(moved(TRAIN([{"module": "layers", "first": 0.25}]), path), 0.01 * want[l], 1e-5);
    }
    assert_float_equal(moved(TRAIN([{"module": "layers", "first": 0.25}]), "embed.weight"),
                       moved(TRAIN([]), "embed.weight"), 1e-7);
}

/* Factors of several are multiplied. */
static void test_by_role(void **state)
{
    (void)state;
    static const char *const both = TRAIN([{"module": "roles", "v": 3, "router": 0}, {"module": "layers", "last": 2}]);
    assert_float_equal(moved(both, "layers.2.attention.v.weight"), 0.06, 1e-5);
    assert_float_equal(moved(both, "layers.2.attention.out.weight"), 0.02, 1e-5);
    assert_true(moved(both, "layers.2.ffn.router.weight") == 0);
}

/* Muon: step and decay alike. */
static void test_of_muon(void **state)
{
    (void)state;
    double once = moved(TEXT({"optim": {"module": "muon", "lr": 0.01}, "schedule": "constant"}),
                        "layers.0.attention.q.weight"),
           twice = moved(TEXT({"optim": {"module": "muon", "lr": 0.01}, "schedule": "constant",
                               "rates": [{"module": "roles", "q": 2}]}), "layers.0.attention.q.weight");
    assert_float_equal(twice, 2 * once, 1e-6);
}

/* Of lr alone, what decay moves: gradients of a weight that nothing reads are 0. By role, and as asked for. */
static void test_decay_sets(void **state)
{
    (void)state;
    static const struct { const char *optim; bool matrix, gain, table; } set[] = {
        { TEXT({"optim": {"module": "adamw", "decay": 0.1}}), true, false, false },
        { TEXT({"optim": {"module": "adamw", "decay": 0.1, "decay_gains": true}}), true, true, false },
        { TEXT({"optim": {"module": "adamw", "decay": 0.1, "decay_tables": true}}), true, false, true },
        { TEXT({"optim": {"module": "muon", "decay": 0.1, "decay_tables": true}}), true, false, true },
    };
    for (int i = 0; i < COUNT(set); i++) {
        struct tiny t = tiny_new(TEXT({"embed": {"module": "over_encoding", "rows": 7, "width": 3},
                                       "head.tied": false}), set[i].optim, MODE_TRAIN, 2, 6);
        for (int k = 0; k < t.graph->n; k++) {
            const struct node *n = t.graph->node[k];
            bool adam = n->op == &op_adamw;
            if (!adam && n->op != &op_muon) continue;
            double decay = adam ? ((const struct adamw_attr *)n->attr)->decay
                                : ((const struct muon_attr *)n->attr)->decay;
            enum role role = n->in[0]->leaf->role;
            bool table = role == ROLE_TABLE || role == ROLE_EMBED, gain = role == ROLE_GAIN;
            assert_true(decay == ((gain ? set[i].gain : table ? set[i].table : set[i].matrix) ? 0.1 : 0));
        }
        tiny_free(&t);
    }
}

static double std_of(const char *sets, const char *path)
{
    struct tiny t = tiny_new(sets, NULL, MODE_EVAL, 2, 6);
    double std = tiny_leaf(&t, path)->init.std;
    tiny_free(&t);
    return std;
}

#define INIT(...) TEXT({"head.tied": false, "layers": 2, "init": {__VA_ARGS__}})

static void test_schemes(void **state)
{
    (void)state;
    static const struct { const char *sets, *path; double std; } want[] = {
        { INIT("module": "normal"), "layers.1.attention.out.weight", 0.01 },
        { INIT("module": "llama"), "embed.weight", 1 },
        { INIT("module": "llama"), "head.weight", 0.35355339059327379 },
        { INIT("module": "llama"), "layers.0.attention.q.weight", 0.02 },
        { INIT("module": "llama"), "layers.0.ffn.experts.gate.weight", 0.02 },
        { INIT("module": "llama"), "layers.0.ffn.experts.up.weight", 0.01 },
        { INIT("module": "llama"), "layers.1.attention.out.weight", 0.01 },
        { INIT("module": "llama", "depth": "layer"), "layers.0.attention.out.weight", 0.014142135623730951 },
        { INIT("module": "llama", "depth": "layer"), "layers.1.ffn.experts.down.weight", 0.01 },
        { INIT("module": "fan"), "embed.weight", 1 },
        { INIT("module": "fan"), "layers.0.attention.q.weight", 0.35355339059327379 },
        { INIT("module": "fan"), "layers.0.ffn.experts.down.weight", 0.40824829046386302 },
        { INIT("module": "fan", "fan": "both"), "layers.0.attention.k.weight", 0.40824829046386302 },
        { TEXT({"init": "llama"}), "embed.weight", 0.35355339059327379 },
        { TEXT({"init": {"module": "fan", "embed": 0.5}}), "embed.weight", 0.5 },
        { TEXT({"init": {"module": "fan", "fan": "both"}, "layers": 2, "residual": {"module": "post", "deep": true}}),
          "layers.0.attention.v.weight", 0.40824829046386302 * 0.5 },
    };
    for (int i = 0; i < COUNT(want); i++)
        if (fabs(std_of(want[i].sets, want[i].path) - want[i].std) > 1e-12)
            fail_msg("%s %s: %.12g, expected %.12g", want[i].sets, want[i].path, std_of(want[i].sets, want[i].path),
                     want[i].std);
}

/* After a step, vectors along the stream are 1 long: rows of what reads it, columns of what writes to it. */
static void test_unit_vectors(void **state)
{
    (void)state;
    static const struct { const char *path; int rows, cols; bool columns; } of[] = {
        { "embed.weight", 11, 8, false }, { "layers.0.attention.q.weight", 8, 8, false },
        { "layers.1.attention.out.weight", 8, 8, true }, { "layers.2.ffn.experts.up.weight", 24, 8, false },
    };
    struct tiny t = tiny_new(NULL, TEXT({"constraint": "unit_norm"}), MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    real gain = tiny_weight(&t, "final_norm.gain")[0];
    tiny_step(&t, 0);
    for (int i = 0; i < COUNT(of); i++) {
        const real *w = tiny_weight(&t, of[i].path);
        int n = of[i].columns ? of[i].cols : of[i].rows, length = of[i].columns ? of[i].rows : of[i].cols;
        for (int v = 0; v < n; v++) {
            double sum = 0;
            for (int k = 0; k < length; k++) {
                double x = (double)(of[i].columns ? w[k * of[i].cols + v] : w[v * of[i].cols + k]);
                sum += x * x;
            }
            assert_float_equal(sum, 1, 1e-5);
        }
    }
    /* of a stack each matrix by itself */
    const real *down = tiny_weight(&t, "layers.0.ffn.experts.down.weight");
    for (int e = 0; e < 4; e++)
        for (int c = 0; c < 6; c++) {
            double sum = 0;
            for (int k = 0; k < 8; k++) sum += pow((double)down[(e * 8 + k) * 6 + c], 2);
            assert_float_equal(sum, 1, 1e-5);
        }
    assert_float_equal(tiny_weight(&t, "final_norm.gain")[0], gain, 0.01);
    tiny_free(&t);
}

/* One expert of full capacity is a feed-forward times its score; of less, the tokens with the largest keys alone. */
static void test_depth_mixture(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"layers": 1, "ffn": {"module": "moe", "experts": 1, "d_ff": 6, "router":
        {"score": "sigmoid", "normalize": "none", "top_k": 1,
         "select": {"module": "expert_choice", "capacity": 0.4}}}}), NULL, MODE_TRAIN, 2, 6);
    double tokens;
    tiny_start(&t, 1);
    tiny_forward(&t);
    tiny_metric(&t, "expert_tokens", 0, &tokens);
    assert_true(tokens == 2 * 3);                           /* of each sequence ceil(0.4 * 6) */
    tiny_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_layer), cmocka_unit_test(test_by_role), cmocka_unit_test(test_of_muon),
        cmocka_unit_test(test_decay_sets), cmocka_unit_test(test_schemes), cmocka_unit_test(test_unit_vectors),
        cmocka_unit_test(test_depth_mixture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
