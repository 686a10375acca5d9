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
                *all = repeat(r.graph, graph_result(r.graph, counts, 1), 4),
                *load = divide(r.graph, scale(r.graph, counts, 4), all),
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
                *pairs = count_chosen(r.graph, index, 4, 2, 2, false),
                *tokens = count_chosen(r.graph, index, 4, 2, 2, true);
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

/* Late in a run biases stay; as factors they begin at 1. */
static void test_forms_of_bias(void **state)
{
    (void)state;
    struct tiny t = trained(TEXT({"layers": 1, "ffn.router.score": "sigmoid", "ffn.balance":
                                  [{"module": "bias", "gamma": 0.25, "form": "multiply", "length": 0.5}]}), 2);
    double bias[4] = { 1, 1, 1, 1 }, tokens[4];
    for (int step = 0; step < 6; step++) {
        for (int e = 0; e < 4; e++) assert_float_equal(tiny_weight(&t, "layers.0.ffn.router.bias")[e], bias[e], 1e-6);
        for (int i = 0; i < t.tokens; i++) t.ids[i] = (t.ids[i] * 3 + step) % t.model.vocab;
        tiny_step_of(&t, step, 6);
        tiny_metric(&t, "expert_tokens", 0, tokens);
        for (int e = 0; e < 4 && step < 3; e++) bias[e] += 0.25 * ((6 > tokens[e]) - (6 < tokens[e]));
        const struct node *key = tiny_find(&t, &op_topk, 0)->in[0], *score = key->in[0];
        double *got = tiny_read(&t, key), *of = tiny_read(&t, score), *by = tiny_read(&t, key->in[1]);
        assert_true(key->op == &op_mul_row);
        if (step == 5)
            for (int i = 0; i < 4 * t.tokens; i++) assert_float_equal(got[i], of[i] * by[i % 4], 1e-6);
        free(got);
        free(of);
        free(by);
    }
    assert_true(bias[0] != 1 || bias[1] != 1);
    tiny_free(&t);
}

/* 1.5 of 3 experts of a token compute, in the mean: each of these 4 has its part as target, and the 3 idle ones the
   rest, as one. */
static void test_bias_of_idle_experts(void **state)
{
    (void)state;
    static const char *const sets[] = {
        TEXT({"layers": 1, "ffn.copy": 1, "ffn.zero": 2, "ffn.router": {"score": "sigmoid", "top_k": 3}, "ffn.balance":
              [{"module": "bias", "gamma": 0.02, "computed": 1.5}]}),
        TEXT({"layers": 1, "ffn.copy": 1, "ffn.zero": 2, "ffn.router": {"score": "sigmoid", "top_k": 3}, "ffn.balance":
              [{"module": "bias", "gamma": 0.02, "computed": 1.5, "ema": 0.5, "rule": "proportional"}]}),
    };
    for (int i = 0; i < 2; i++) {
        struct tiny t = trained(sets[i], 2);
        double bias[7] = { 0 }, mean[7] = { 0 }, tokens[7], computed = 0, experts;
        for (int step = 0; step < 200; step++) {
            tiny_step(&t, step);
            tiny_metric(&t, "expert_tokens", 0, tokens);
            for (int e = 0; e < 7; e++) mean[e] += (i ? 0.5 : 1) * (tokens[e] - mean[e]);
            double sum = 0, idle = (mean[4] + mean[5] + mean[6]) / 3;
            for (int e = 0; e < 7; e++) sum += mean[e];
            for (int e = 0; e < 7; e++) {
                double want = e < 4 ? sum * 0.5 / 4 : sum * 0.5 / 3, lack = want - (e < 4 ? mean[e] : idle);
                bias[e] += 0.02 * (i ? lack / want : (lack > 1e-4) - (lack < -1e-4));
                if (step < 10) assert_float_equal(tiny_weight(&t, "layers.0.ffn.router.bias")[e], bias[e], 1e-5);
            }
            const real *now = tiny_weight(&t, "layers.0.ffn.router.bias");
            assert_true(now[4] == now[5] && now[4] == now[6]);
            tiny_metric(&t, "router_token_experts", 0, &experts);
            if (step >= 150) computed += experts / 50;
        }
        if (!(fabs(computed - 1.5) < 0.2)) fail_msg("%g of 1.5 experts compute", computed);
        tiny_free(&t);
    }
    tiny_refused(TEXT({"ffn.balance": [{"module": "bias", "computed": 1}]}), "there are no idle experts");
    tiny_refused(TEXT({"ffn.copy": 2, "ffn.balance": [{"module": "bias", "computed": 3}]}), "has only 2 experts");
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

/* ---- entropies ---- */

/* What two tokens of 4 experts tell: nothing when they are alike, log 4 when 4 tokens are sure of one expert each. The
   weights are those of minus the mutual information. */
static void test_mutual_information(void **state)
{
    (void)state;
    static const struct { double z[16], token, marginal; } kind[] = {
        { { 40, 0, 0, 0, 0, 40, 0, 0, 0, 0, 40, 0, 0, 0, 0, 40 }, 0, 1.386294 },
        { { 2, 1, 0, -1, 2, 1, 0, -1, 2, 1, 0, -1, 2, 1, 0, -1 }, .947537, .947537 },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct run r = run_new();
        struct node *z = graph_input(r.graph, "z", DTYPE_REAL, SHAPE(4, 4)), *p = softmax(r.graph, z),
                    *token = mean_rows(r.graph, row_entropy(r.graph, p)),
                    *marginal = row_entropy(r.graph, view(r.graph, mean_rows(r.graph, p), SHAPE(1, 4)));
        run_start(&r, 1);
        for (int k = 0; k < 16; k++) run_reals(&r, z)[k] = (real)kind[i].z[k];
        run_forward(&r);
        assert_reals(run_reals(&r, token), 1e-5, kind[i].token);
        assert_reals(run_reals(&r, marginal), 1e-5, kind[i].marginal);
        run_free(&r);
    }
}

/* A weight above 0 lowers its entropy in a few steps, one below raises it. */
static void test_signs_of_entropy(void **state)
{
    (void)state;
    static const char *const sets[] = {
        TEXT({"layers": 1, "ffn.balance": [{"module": "entropy", "token": 5, "marginal": 0}]}),
        TEXT({"layers": 1, "ffn.balance": [{"module": "entropy", "token": -5, "marginal": 0}]}),
        TEXT({"layers": 1, "ffn.balance": [{"module": "entropy", "token": 0, "marginal": 5}]}),
        TEXT({"layers": 1, "ffn.balance": [{"module": "entropy", "token": 0, "marginal": -5}]}),
    };
    for (int i = 0; i < COUNT(sets); i++) {
        struct tiny t = tiny_new(sets[i], TEXT({"optim.lr": 0.01}), MODE_TRAIN, 2, 6);
        const char *loss = i < 2 ? "token_entropy" : "marginal_entropy";
        tiny_start(&t, 2);
        tiny_step(&t, 0);
        double first = tiny_loss(&t, loss);
        for (int step = 1; step < 10; step++) tiny_step(&t, step);
        assert_int_equal(tiny_loss(&t, loss) < first, i % 2 == 0);
        tiny_free(&t);
    }
}

/* ---- the router's rows ---- */

static void fill_wave(real *x, int n, double by, double from)
{
    for (int i = 0; i < n; i++) x[i] = (real)sin(by * i + from);
}

/* Golden: the sum of squares of cosines of different rows, and their mean; rows at right angles have none. */
static void test_orthogonal(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *w = graph_input(r.graph, "w", DTYPE_REAL, SHAPE(4, 3)), *rows = l2norm(r.graph, w, 1e-20),
                *cosine = matmul(r.graph, rows, rows, DTYPE_REAL),
                *loss = offset(r.graph, dot(r.graph, cosine, cosine), -4);
    run_start(&r, 1);
    fill_wave(run_reals(&r, w), 12, .7, .1);
    run_forward(&r);
    assert_reals(run_reals(&r, loss), 1e-5, 4.941496);
    run_free(&r);
    struct tiny t = trained(TEXT({"layers": 1, "ffn.balance": ["orthogonal"]}), 2);
    real *router = tiny_weight(&t, "layers.0.ffn.router.weight");       /* [4,8] */
    tiny_step(&t, 0);
    assert_true(tiny_loss(&t, "orthogonal") > 1e-3);
    for (int i = 0; i < 32; i++) router[i] = i / 8 == i % 8 ? 3 : 0;
    tiny_step(&t, 0);
    assert_float_equal(tiny_loss(&t, "orthogonal"), 0, 1e-6);
    tiny_free(&t);
}

/* It is of the step: two micro-batches have the gradient of one. */
static double step_of_pieces(const char *sets, int pieces)
{
    struct tiny t = trained(sets, 4 / pieces);
    plan_begin(t.plan, 0, 1000, pieces);
    for (int pass = pieces > 1 ? 0 : 1; pass < 2; pass++)
        for (int micro = 0; micro < pieces; micro++) {
            for (int i = 0; i < t.tokens; i++) {
                t.ids[i] = (7 * (micro * t.tokens + i) + 3) % t.model.vocab;
                t.target[i] = (t.ids[i] + 1) % t.model.vocab;
            }
            tiny_put(&t);
            if (pass == 0) { plan_ahead(t.plan, micro); continue; }
            plan_forward(t.plan, micro);
            plan_backward(t.plan, micro);
        }
    plan_update(t.plan);
    double norm = gradient_norm(&t);
    tiny_free(&t);
    return norm;
}

static void test_orthogonal_once_a_step(void **state)
{
    (void)state;
    static const char *const sets = TEXT({"layers": 1, "ffn.balance": [{"module": "orthogonal", "weight": 10}]});
    double one = step_of_pieces(sets, 1), two = step_of_pieces(sets, 2);
    assert_float_equal(one, two, 1e-5 * one);
    assert_true(fabs(one - step_of_pieces(TEXT({"layers": 1}), 1)) > 1e-2);
}

/* Golden: partners 3, 3, 1, 0 of four rows; of logits that fall, the third and the fourth lose. */
static void test_partners(void **state)
{
    (void)state;
    struct run r = run_new();
    struct graph *g = r.graph;
    struct node *w = graph_input(g, "w", DTYPE_REAL, SHAPE(4, 3)), *z = graph_input(g, "z", DTYPE_REAL, SHAPE(1, 4)),
                *ones = graph_input(g, "ones", DTYPE_REAL, SHAPE(4, 2)), *rows = l2norm(g, w, 1e-20),
                *pair = topk(g, matmul(g, rows, rows, DTYPE_REAL), 2),
                *lead = subtract(g, matmul(g, z, scatter(g, ones, pair, 4), DTYPE_REAL), scale(g, z, 2)),
                *weaker = clamp(g, scale(g, lead, 1e30), 0, 1);
    run_start(&r, 1);
    fill_wave(run_reals(&r, w), 12, .7, .1);
    run_fill(&r, z, .9, .8, .7, .6);
    run_fill(&r, ones, 1, 1, 1, 1, 1, 1, 1, 1);
    run_forward(&r);
    static const int32_t want[] = { 0, 3, 1, 3, 2, 1, 3, 0 };
    assert_memory_equal(run_ints(&r, pair), want, sizeof want);
    assert_reals(run_reals(&r, weaker), 0, 0.0, 0.0, 1.0, 1.0);
    run_free(&r);
}

/* Without penalty nothing changes, bit for bit, and with one expert for a token neither: a first choice has the largest
   logit, so its partner's is not larger. With two, the second may be another. */
static void test_penalty(void **state)
{
    (void)state;
    static const char *const sets[][2] = {
        { "{}", TEXT({"ffn.balance": [{"module": "gate_pro", "penalty": 0}]}) },
        { TEXT({"ffn.router.top_k": 1}),
          TEXT({"ffn.router.top_k": 1, "ffn.balance": [{"module": "gate_pro", "penalty": 9}]}) },
        { "{}", TEXT({"ffn.balance": [{"module": "gate_pro", "penalty": 9}]}) },
    };
    for (int i = 0; i < COUNT(sets); i++) {
        struct pair p = pair_new(sets[i][0], sets[i][1]);
        pair_run(&p);
        assert_int_equal(memcmp(p.x, p.y, (size_t)p.n * sizeof *p.x) == 0, i < 2);
        pair_free(&p);
    }
}

/* ---- prices ---- */

/* Golden: loads of 8 tokens on 4 experts and prices less their mean, of one batch that stays. From the second step on
   prices stay, and a token is at the edge of two experts. */
static void test_prices(void **state)
{
    (void)state;
    static const double skew[] = { 1, .5, 0, -.5 }, loads[][4] = { { 6, 6, 2, 2 }, { 5, 5, 3, 3 } }, prices[][4] = {
        { .507075, .207215, -.012646, -.701644 }, { .562173, .188849, -.031012, -.72001 },
        { .562173, .188849, -.031012, -.72001 }
    };
    double price[4] = { 0 };
    for (int step = 0; step < 3; step++) {
        struct run r = run_new();
        struct graph *g = r.graph;
        struct node *z = graph_input(g, "z", DTYPE_REAL, SHAPE(8, 4)),
                    *less = graph_input(g, "less", DTYPE_REAL, SHAPE(4)), *key = add_row(g, z, less),
                    *counts = count_chosen(g, topk(g, key, 2), 4, 4, 1, false),
                    *alpha = columns(g, pick(g, key, topk(g, key, 3)), 2, 1),
                    *over = subtract(g, z, repeat(g, view(g, alpha, SHAPE(8)), 4)),
                    *least = graph_result(g, topk_columns(g, over, 1, 5), 1);
        run_start(&r, 1);
        for (int i = 0; i < 32; i++) run_reals(&r, z)[i] = (real)(sin(.7 * i + .1) + skew[i % 4]);
        for (int e = 0; e < 4; e++) run_reals(&r, less)[e] = (real)-price[e];
        run_forward(&r);
        double mean = 0;
        for (int e = 0; e < 4; e++) mean += (double)run_reals(&r, least)[e] / 4;
        for (int e = 0; e < 4; e++) {
            price[e] = (double)run_reals(&r, least)[e] - mean;
            assert_float_equal(price[e], prices[step][e], 2e-5);
            if (step < 2) assert_true((double)run_reals(&r, counts)[e] == loads[step][e]);
        }
        run_free(&r);
    }
}

/* A batch that stays, of a skewed router: the load becomes even, and the module does what the ops above do. */
static void test_prices_even_the_load(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"layers": 1, "vocab": 97, "ffn.router.top_k": 1, "ffn.balance": ["quantile"]}),
                             TEXT({"optim.lr": 0}), MODE_TRAIN, 32, 6);
    tiny_start(&t, 1);
    real *embed = tiny_weight(&t, "embed.weight"), *router = tiny_weight(&t, "layers.0.ffn.router.weight");
    for (int v = 0; v < 97; v++) embed[8 * v] = 1;
    router[0] += 2;                                         /* everybody likes expert 0 */
    double tokens[4], most = 0, sum = 0;
    for (int step = 0; step < 12; step++) {
        tiny_step(&t, step);
        tiny_metric(&t, "expert_tokens", 0, tokens);
        most = fmax(fmax(tokens[0], tokens[1]), fmax(tokens[2], tokens[3]));
        if (step == 0) assert_true(most > 150);
    }
    assert_true(most <= 1.05 * 48);                         /* MaxVio at most .05 */
    for (int e = 0; e < 4; e++) sum += (double)tiny_weight(&t, "layers.0.ffn.router.price")[e];
    assert_float_equal(sum, 0, 1e-5);
    tiny_scale_all(&t, "router.weight", 0);                 /* equal logits: prices are equal, and stay */
    for (int step = 12; step < 14; step++) tiny_step(&t, step);
    for (int e = 0; e < 4; e++) assert_float_equal(tiny_weight(&t, "layers.0.ffn.router.price")[e], 0, 1e-6);
    tiny_free(&t);
}

static void test_refused(void **state)
{
    (void)state;
    tiny_refused(TEXT({"ffn.balance": [{"module": "switch_aux", "groups": 3}]}), "balance.switch_aux = divides");
    tiny_refused(TEXT({"ffn.balance": ["bias", "gate_pro"]}), "balance.gate_pro = moves the key, as 'bias' does");
    tiny_refused(TEXT({"ffn.balance": ["quantile", "z_loss"]}), "makes the load even by itself");
    tiny_refused(TEXT({"ffn.balance": ["quantile"], "ffn.router.top_k": 4}), "at most 3");
    tiny_refused(TEXT({"ffn.balance": ["quantile"], "ffn.router.select": "expert_choice"}), "keeps the load even");
    tiny_refused(TEXT({"ffn.balance": [{"module": "switch_aux", "groups": 2, "per_token": 3}]}), "only 2 devices");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(sequence_loss), RUN(counts_of_devices), RUN(devices), RUN(scope_of_sequences), RUN(scope_of_steps),
        RUN(counts), RUN(bias_settings), RUN(forms_of_bias), RUN(bias_of_idle_experts),
        RUN(bias_before_drops), RUN(mutual_information), RUN(signs_of_entropy), RUN(orthogonal),
        RUN(orthogonal_once_a_step), RUN(partners), RUN(penalty), RUN(prices), RUN(prices_even_the_load), RUN(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
