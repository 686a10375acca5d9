/* Rules that keep experts evenly loaded: published values, what they come to in the limit, whose counts they go by. */
#include "tiny_pair.h"
#include "run_graph.h"

/* Golden: four tokens of one sequence, scored by sigmoid. */
static void test_sequence_loss(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *z = graph_input(r.graph, "z", DTYPE_REAL, SHAPE(4, 4)), *s = sigmoid(r.graph, z),
                *counts = count_chosen(r.graph, topk(r.graph, s, 2), 4, 4, 1, false),
                *load = divide(r.graph, scale(r.graph, counts, 4), repeat(r.graph, graph_result(r.graph, counts, 1), 4)),
                *share = mean_rows(r.graph, normalize(r.graph, s, 1e-20)),
                *loss = dot(r.graph, view(r.graph, load, SHAPE(4)), share);
    run_start(&r, 1);
    run_fill(&r, z, 2, 1, 0, -1, 2, 0, 1, -1, 0, 2, 1, -1, 1, 2, -1, 0);
    run_forward(&r);
    assert_reals(run_reals(&r, load), 1e-6, 1.5, 1.5, 1.0, 0.0);
    assert_reals(run_reals(&r, share), 1e-5, .314249, .314249, .234276, .137225);
    assert_reals(run_reals(&r, loss), 1e-5, 1.177024);
    run_free(&r);
}

/* A token counts once for a device where it is asked so: 4 experts on 2 devices. */
static void test_counts_of_devices(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *index = graph_input(r.graph, "index", DTYPE_I32, SHAPE(4, 2)),
                *pairs = count_chosen(r.graph, index, 4, 2, 2, false), *tokens = count_chosen(r.graph, index, 4, 2, 2, true);
    struct node *all[] = { graph_result(r.graph, pairs, 1), graph_result(r.graph, tokens, 1) };
    static const int32_t chosen[] = { 0, 1, 1, 2, -1, 3, -1, -1 };
    run_start(&r, 1);
    memcpy(run_ints(&r, index), chosen, sizeof chosen);
    run_forward(&r);
    assert_reals(run_reals(&r, pairs), 0, 3.0, 1.0, 0.0, 1.0);
    assert_reals(run_reals(&r, all[0]), 0, 4.0, 1.0);
    assert_reals(run_reals(&r, tokens), 0, 2.0, 1.0, 0.0, 1.0);
    assert_reals(run_reals(&r, all[1]), 0, 2.0, 1.0);
    run_free(&r);
}

static struct tiny trained(const char *sets, int batch)
{
    struct tiny t = tiny_new(sets, TEXT({"optim.lr": 0}), MODE_TRAIN, batch, 6);
    tiny_start(&t, 2);
    return t;
}

static double gradient_norm(struct tiny *t)
{
    double norm;
    tiny_metric(t, "grad_norm", -1, &norm);
    return norm;
}

/* With an expert on each device the loss of devices is that of experts; one device with all of them has 1 and pulls
   nobody. Equal probabilities make each loss 1, but that of communication: all are at one device of 2 that they may
   use. */
static void test_devices(void **state)
{
    (void)state;
    struct tiny t = trained(TEXT({"ffn.balance": [{"module": "switch_aux", "device": 0.1, "groups": 4}]}), 2);
    tiny_step(&t, 0);
    assert_float_equal(tiny_loss(&t, "device"), tiny_loss(&t, "aux"), 2e-6);
    tiny_free(&t);
    struct tiny none = trained("{}", 2);
    t = trained(TEXT({"ffn.balance": [{"module": "switch_aux", "alpha": 0, "device": 1, "scope": "sequence"}]}), 2);
    tiny_step(&t, 0);
    tiny_step(&none, 0);
    assert_float_equal(tiny_loss(&t, "device"), 3, 1e-5);               /* 1 in each layer */
    assert_float_equal(gradient_norm(&t), gradient_norm(&none), 1e-6);
    tiny_free(&none);
    tiny_free(&t);
    t = trained(TEXT({"layers": 1, "ffn.balance": [{"module": "switch_aux", "device": 0.1, "communication": 0.1,
                                                    "groups": 2, "per_token": 2}]}), 2);
    tiny_scale_all(&t, "router.weight", 0);
    tiny_step(&t, 0);
    assert_float_equal(tiny_loss(&t, "device"), 1, 1e-6);
    assert_float_equal(tiny_loss(&t, "communication"), 0.5, 1e-6);      /* all choose experts 0 and 1 */
    tiny_free(&t);
}

/* The loss of sequences is the mean of what each has alone. */
static void test_scope_of_sequences(void **state)
{
    (void)state;
    struct tiny both = trained(TEXT({"ffn.balance": [{"module": "switch_aux", "scope": "sequence"}]}), 2),
                one = trained(TEXT({"ffn.balance": ["switch_aux"]}), 1);
    double alone = 0;
    tiny_step(&both, 0);
    for (int i = 0; i < 2; i++) {
        memcpy(one.ids, both.ids + 6 * i, 6 * sizeof *one.ids);
        tiny_step(&one, 0);
        alone += tiny_loss(&one, "aux") / 2;
    }
    assert_float_equal(tiny_loss(&both, "aux"), alone, 2e-6);
    tiny_free(&both);
    tiny_free(&one);
}

/* What the batch of a step is loaded with, the next goes by: on a batch that stays the same, with weights that stand
   still, that is its own load, and the gradient that of the micro-batch. The first step is pulled nowhere. */
static void test_scope_of_steps(void **state)
{
    (void)state;
    struct tiny own = trained(TEXT({"ffn.balance": [{"module": "switch_aux", "alpha": 1}]}), 4),
                all = trained(TEXT({"ffn.balance": [{"module": "switch_aux", "alpha": 1, "scope": "global"}]}), 4),
                none = trained("{}", 4);
    for (int step = 0; step < 3; step++) {
        tiny_step(&own, step);
        tiny_step(&all, step);
        tiny_step(&none, step);
        double pull = gradient_norm(&all), micro = gradient_norm(&own), free_of = gradient_norm(&none);
        if (step == 0) {
            assert_float_equal(tiny_loss(&all, "aux"), 3, 1e-5);        /* 1 in each layer */
            assert_float_equal(pull, free_of, 1e-6);
            continue;
        }
        assert_float_equal(tiny_loss(&all, "aux"), tiny_loss(&own, "aux"), 1e-5);
        assert_float_equal(pull, micro, 1e-6);
        assert_true(fabs(micro - free_of) > 1e-4);
    }
    tiny_free(&own);
    tiny_free(&all);
    tiny_free(&none);
}

/* A loss goes by all that was chosen, whatever finds room; with a bias that moves the choice, by what the scores alone
   would choose, where that is asked. */
static void test_counts(void **state)
{
    (void)state;
    struct tiny tight = trained(TEXT({"layers": 1, "ffn.balance": ["switch_aux"],
                                      "ffn.dispatch": {"module": "capacity", "factor": 0.3}}), 2),
                one = trained(TEXT({"layers": 1, "ffn.balance": ["switch_aux"]}), 2);
    tiny_step(&tight, 0);
    tiny_step(&one, 0);
    assert_float_equal(tiny_loss(&tight, "aux"), tiny_loss(&one, "aux"), 1e-6);
    tiny_free(&tight);
    tiny_free(&one);
    for (int unbiased = 0; unbiased < 2; unbiased++) {
        struct tiny t = trained(unbiased ? TEXT({"layers": 1, "ffn.router.score": "sigmoid", "ffn.balance":
                                                 ["bias", {"module": "switch_aux", "counts": "unbiased"}]})
                                         : TEXT({"layers": 1, "ffn.router.score": "sigmoid", "ffn.balance":
                                                 ["bias", "switch_aux"]}), 2);
        tiny_step(&t, 0);
        double before = tiny_loss(&t, "aux");
        for (int e = 0; e < 4; e++) tiny_weight(&t, "layers.0.ffn.router.bias")[e] = e < 2 ? 1 : 0;
        tiny_step(&t, 1);
        assert_int_equal(fabs(tiny_loss(&t, "aux") - before) < 1e-6, unbiased);
        tiny_free(&t);
    }
}

/* Steps by what is lacking, of counts averaged over steps, within bounds. */
static void test_bias_settings(void **state)
{
    (void)state;
    struct tiny t = trained(TEXT({"layers": 1, "ffn.router.score": "sigmoid", "ffn.balance":
                                  [{"module": "bias", "gamma": 0.01, "rule": "proportional", "centred": true,
                                    "ema": 0.5, "clip": 0.012}]}), 2);
    double mean[4] = { 0 }, bias[4] = { 0 }, tokens[4];
    for (int step = 0; step < 4; step++) {
        for (int i = 0; i < t.tokens; i++) t.ids[i] = (t.ids[i] * 3 + step) % t.model.vocab;
        tiny_step(&t, step);
        tiny_metric(&t, "expert_tokens", 0, tokens);
        double sum = 0;
        for (int e = 0; e < 4; e++) sum += mean[e] += 0.5 * (tokens[e] - mean[e]);
        for (int e = 0; e < 4; e++) {
            bias[e] = fmax(-0.012, fmin(0.012, bias[e] + 0.01 * (sum / 4 - mean[e]) / (sum / 4)));
            assert_float_equal(tiny_weight(&t, "layers.0.ffn.router.bias")[e], bias[e], 1e-7);
        }
    }
    tiny_free(&t);
}

/* The bias goes by what was chosen, whatever finds room. */
static void test_bias_before_drops(void **state)
{
    (void)state;
    struct tiny tight = trained(TEXT({"layers": 1, "ffn.router.score": "sigmoid", "ffn.balance": ["bias"],
                                      "ffn.dispatch": {"module": "capacity", "factor": 0.3}}), 2),
                free_of = trained(TEXT({"layers": 1, "ffn.router.score": "sigmoid", "ffn.balance": ["bias"]}), 2);
    tiny_step(&tight, 0);
    tiny_step(&free_of, 0);
    for (int e = 0; e < 4; e++)
        assert_true(tiny_weight(&tight, "layers.0.ffn.router.bias")[e] ==
                    tiny_weight(&free_of, "layers.0.ffn.router.bias")[e]);
    tiny_free(&tight);
    tiny_free(&free_of);
}

static void test_refused(void **state)
{
    (void)state;
    tiny_refused(TEXT({"ffn.balance": [{"module": "switch_aux", "groups": 3}]}), "balance.switch_aux = divides experts");
    tiny_refused(TEXT({"ffn.balance": [{"module": "switch_aux", "groups": 2, "per_token": 3}]}), "only 2 devices");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(sequence_loss), RUN(counts_of_devices), RUN(devices), RUN(scope_of_sequences), RUN(scope_of_steps),
        RUN(counts), RUN(bias_settings),
        RUN(bias_before_drops), RUN(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
