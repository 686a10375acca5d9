/* L1 that adapts: its loss by hand, where lambda goes and where it ends, how many experts a token then has, who is
   chosen by a score above 0. */
#include "tiny_pair.h"
#include "graph/ops/elementwise.h"
#include "graph/ops/routing.h"

enum { E = 4, TOKENS = 12 };

static struct tiny started(const char *sets, const char *train, enum mode mode)
{
    struct tiny t = tiny_new(sets, train, mode, 2, 6);
    tiny_start(&t, 2);
    return t;
}

/* Scores of the layers, one after the other. */
static double *scores_of(struct tiny *t, int layer)
{
    for (int i = 0, n = 0; i < t->graph->n; i++)
        if (t->graph->node[i]->op == &op_relu && n++ == layer) return tiny_read(t, t->graph->node[i]);
    fail_msg("no scores of layer %d", layer);
    return NULL;
}

/* What all layers have above 0, that of each expert in the first two, and the loss with factors f. */
struct sums { double used, load[2][E], loss; };

static struct sums sums_of(struct tiny *t, double f[2][E])
{
    struct sums s = { 0 };
    for (int layer = 0; layer < 2; layer++) {
        double *score = scores_of(t, layer);
        for (int i = 0; i < TOKENS * E; i++) {
            s.used += score[i] > 0;
            s.load[layer][i % E] += score[i] > 0;
            s.loss += f[layer][i % E] * score[i] / TOKENS / 2;
        }
        free(score);
    }
    return s;
}

static double lambda_of(struct tiny *t) { return exp((double)*tiny_weight(t, "layers.0.ffn.router.lambda")); }

/* Both layers have one lambda. In the first step f is 1, in the second what the first counted. */
static void test_by_hand(void **state)
{
    (void)state;
    static const char *const sets[] = {
        TEXT({"layers": 2, "ffn.router": {"score": "relu", "select": {"module": "top_k", "most": 4}, "top_k": 1},
              "ffn.balance": [{"module": "l1", "start": 0.5, "alpha": 2, "balance": false}]}),
        TEXT({"layers": 2, "ffn.router": {"score": "relu", "select": {"module": "top_k", "most": 4}, "top_k": 1},
              "ffn.balance": [{"module": "l1", "start": 0.5, "alpha": 2}]}),
    };
    for (int balance = 0; balance < 2; balance++) {
        struct tiny t = started(sets[balance], TEXT({"optim.lr": 0}), MODE_TRAIN);
        double f[2][E] = { { 1, 1, 1, 1 }, { 1, 1, 1, 1 } }, lambda = 0.5;
        assert_null(leaves_find(t.leaves, "layers.1.ffn.router.lambda"));
        for (int step = 0; step < 3; step++) {
            double seen;
            for (int i = 0; i < t.tokens; i++) t.ids[i] = (t.ids[i] * 3 + step) % t.model.vocab;
            tiny_step(&t, step);
            struct sums s = sums_of(&t, f);
            assert_float_equal(tiny_loss(&t, "l1"), lambda * s.loss, 1e-5);
            tiny_metric(&t, "router_lambda", 1, &seen);
            assert_float_equal(seen, lambda, 1e-6);
            assert_true(s.used != 2 * TOKENS);
            lambda *= s.used > 2 * TOKENS ? 2 : 0.5;
            assert_float_equal(lambda_of(&t), lambda, 1e-5 * lambda);
            for (int layer = 0; layer < 2 && balance; layer++)
                for (int e = 0; e < E; e++) f[layer][e] = E * s.load[layer][e] / TOKENS;
        }
        tiny_free(&t);
    }
}

/* With as many as there are wanted, it can but fall; and no step moves it where alpha is 1. */
static void test_ends(void **state)
{
    (void)state;
    struct tiny t = started(TEXT({"ffn.router": {"score": "relu", "top_k": 4},
                                  "ffn.balance": [{"module": "l1", "alpha": 10}]}), NULL, MODE_TRAIN);
    for (int step = 0; step < 4; step++) tiny_step(&t, step);
    assert_float_equal(log(lambda_of(&t)), log(1e-10), 1e-5);
    tiny_free(&t);
    t = started(TEXT({"ffn.router": {"score": "relu", "top_k": 1}, "ffn.balance": [{"module": "l1", "start": 50,
                      "alpha": 10}]}), TEXT({"optim.lr": 0}), MODE_TRAIN);
    for (int step = 0; step < 4; step++) tiny_step(&t, step);
    assert_float_equal(log(lambda_of(&t)), log(100), 1e-5);
    tiny_free(&t);
    t = started(TEXT({"ffn.router.score": "relu", "ffn.balance": [{"module": "l1", "alpha": 1}]}), NULL, MODE_TRAIN);
    for (int step = 0; step < 4; step++) tiny_step(&t, step);
    assert_float_equal(log(lambda_of(&t)), log(1e-8), 1e-5);
    tiny_free(&t);
}

/* Layers with other settings have their own lambda. */
static void test_two_lambdas(void **state)
{
    (void)state;
    struct tiny t = started(TEXT({"ffn": {"layers": [
        {"module": "moe", "experts": 4, "d_ff": 6, "router": {"score": "relu"}, "balance": ["l1"]},
        {"module": "moe", "experts": 4, "d_ff": 6, "router": {"score": "relu"},
         "balance": [{"module": "l1", "start": 1e-3}]},
        {"module": "moe", "experts": 4, "d_ff": 6, "router": {"score": "relu"}, "balance": ["l1"]}]}}), NULL,
        MODE_TRAIN);
    tiny_step(&t, 0);
    assert_non_null(leaves_find(t.leaves, "layers.0.ffn.router.lambda"));
    assert_non_null(leaves_find(t.leaves, "layers.1.ffn.router.lambda"));
    assert_null(leaves_find(t.leaves, "layers.2.ffn.router.lambda"));
    tiny_free(&t);
}

/* Half of 16 experts at first, then about two. */
static void test_reaches_its_aim(void **state)
{
    (void)state;
    struct tiny t = started(TEXT({"layers": 1, "ffn.experts": 16, "ffn.router": {"score": "relu", "top_k": 2,
        "select": {"module": "top_k", "most": 16}}, "ffn.balance": [{"module": "l1", "start": 1e-4}]}),
        TEXT({"optim.lr": 0.01, "schedule": "constant"}), MODE_TRAIN);
    double experts, first, mean = 0;
    tiny_step(&t, 0);
    tiny_metric(&t, "router_token_experts", 0, &first);
    assert_true(first > 5);
    for (int step = 1; step < 400; step++) {
        tiny_step(&t, step);
        tiny_metric(&t, "router_token_experts", 0, &experts);
        if (step >= 300) mean += experts / 100;
    }
    if (!(fabs(mean - 2) < 0.5)) fail_msg("a token has %g experts", mean);
    tiny_free(&t);
}

/* Logits have a deviation of 0.3 sqrt(8): a bias of -0.674 of it leaves a quarter of the experts a score at first. */
static void test_starts_near_its_aim(void **state)
{
    (void)state;
    static const char *const sets[] = {
        TEXT({"layers": 1, "ffn.experts": 64, "ffn.router": {"score": "relu", "top_k": 16,
                                                             "select": {"module": "top_k", "most": 64}}}),
        TEXT({"layers": 1, "ffn.experts": 64, "ffn.router": {"score": "relu", "top_k": 16, "bias": true,
              "bias_start": -0.572, "select": {"module": "top_k", "most": 64}}}),
    };
    for (int i = 0; i < 2; i++) {
        struct tiny t = started(sets[i], NULL, MODE_EVAL);
        double experts;
        tiny_forward(&t);
        tiny_metric(&t, "router_token_experts", 0, &experts);
        if (!(fabs(experts - (i ? 16 : 32)) < 4)) fail_msg("a token has %g experts", experts);
        tiny_free(&t);
    }
    tiny_refused(TEXT({"ffn.router.bias_start": -1}), "there is no bias");
}

/* Evaluation knows of no lambda. */
static void test_evaluation(void **state)
{
    (void)state;
    struct tiny t = started(TEXT({"ffn.router.score": "relu", "ffn.balance": ["l1"]}), NULL, MODE_EVAL);
    tiny_forward(&t);
    for (int i = 0; i < t.leaves->n; i++) assert_null(strstr(t.leaves->leaf[i]->path, "lambda"));
    for (int i = 0; i < t.graph->n_probes; i++) assert_null(strstr(t.graph->probe[i].name, "l1"));
    tiny_free(&t);
}

/* All above 0 and no other; of more than `most` the largest, and the rest is counted. */
static void test_positive(void **state)
{
    (void)state;
    static const char *const sets[] = {
        TEXT({"layers": 1, "ffn.router": {"score": "relu", "top_k": 1, "select": {"module": "top_k", "most": 4}}}),
        TEXT({"layers": 1, "ffn.router": {"score": "relu", "top_k": 1, "select": {"module": "top_k", "most": 2}}}),
    };
    for (int i = 0; i < 2; i++) {
        struct tiny t = started(sets[i], NULL, MODE_TRAIN);
        tiny_forward(&t);
        int most = i ? 2 : 4, cut = 0;
        double *score = scores_of(&t, 0), *index = tiny_read(&t, tiny_find(&t, &op_drop_zero, 0)), experts, told = 0;
        double used = 0;
        for (int token = 0; token < TOKENS; token++) {
            int above = 0, got = 0;
            for (int e = 0; e < E; e++) above += score[token * E + e] > 0;
            for (int j = 0; j < most; j++) {
                int e = (int)index[token * most + j];
                got += e >= 0;
                assert_true(e < 0 || score[token * E + e] > 0);
            }
            assert_int_equal(got, above < most ? above : most);
            used += got;
            cut += above - got;
        }
        tiny_metric(&t, "router_token_experts", 0, &experts);
        assert_float_equal(experts, used / TOKENS, 1e-6);
        if (i) tiny_metric(&t, "router_token_cut", 0, &told);
        assert_float_equal(told, (double)cut / TOKENS, 1e-6);
        assert_true((cut > 0) == (i == 1));
        free(score);
        free(index);
        tiny_free(&t);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    tiny_refused(TEXT({"ffn.balance": ["l1"]}), "needs scores that may be 0");
    tiny_refused(TEXT({"ffn.router": {"score": "relu", "normalize": "before"}, "ffn.balance": ["l1"]}),
                 "needs scores that may be 0");
    tiny_refused(TEXT({"ffn.router.select": {"module": "top_k", "most": 3}}), "all scores but those of relu");
    tiny_refused(TEXT({"ffn.router": {"score": "relu", "select": {"module": "top_k", "most": 1}}}), "in the mean");
    tiny_refused(TEXT({"ffn.router": {"score": "relu", "select": {"module": "top_k", "most": 3, "groups": 2}}}),
                 "all of the 2 groups");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(by_hand), RUN(ends), RUN(two_lambdas), RUN(reaches_its_aim), RUN(starts_near_its_aim), RUN(evaluation),
        RUN(positive), RUN(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
