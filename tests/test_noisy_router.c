/* Noise of a router: what choice, gates and losses of a layer come to, computed again from its logits and its noise;
   without noise and in evaluation it is the router that has none. */
#include "tiny.h"
#include "tiny_pair.h"
#include "graph/ops/elementwise.h"
#include "graph/ops/routing.h"

enum { E = 4, K = 2, TOKENS = 12, D = 8 };

/* What the router of layer 0 made: logits, noise, noisy logits; gates and choice as experts get them. */
struct outcome { double *logits, *drawn, *gate, *index; };

static struct node *of_layer_0(const struct tiny *t, const struct op *op)
{
    struct node *n = tiny_find(t, op, 0);
    assert_true(n->layer <= 0 && strstr(n->path, "layers.0"));
    return n;
}

static struct outcome routed(struct tiny *t)
{
    struct node *combined = of_layer_0(t, &op_combine);
    return (struct outcome){
        .logits = tiny_read(t, tiny_user(t, "layers.0.ffn.router.weight")),
        .drawn = tiny_read(t, of_layer_0(t, &op_noise)),
        .gate = tiny_read(t, combined->in[3]), .index = tiny_read(t, of_layer_0(t, &op_topk)),
    };
}

static void routed_free(struct outcome *r)
{
    free(r->logits);
    free(r->drawn);
    free(r->gate);
    free(r->index);
}

/* The k-th largest of n values, but for number `without`. */
static double largest(const double *x, int n, int k, int without)
{
    for (int i = 0; i < n; i++) {
        int above = 0;
        for (int j = 0; j < n; j++) above += j != without && (x[j] > x[i] || (x[j] == x[i] && j < i));
        if (i != without && above == k - 1) return x[i];
    }
    return NAN;
}

static double cv2_of(const double *x)
{
    double mean = 0, variance = 0;
    for (int e = 0; e < E; e++) mean += x[e] / E;
    for (int e = 0; e < E; e++) variance += (x[e] - mean) * (x[e] - mean) / E;
    return variance / (mean * mean);
}

/* One layer whose noise is a std each: what it chose, its gates, sums of gates and probabilities, and their losses. */
static void check_by_hand(const char *sets, double (*std_of)(const struct tiny *t, int token, int expert))
{
    struct tiny t = tiny_new(sets, NULL, MODE_TRAIN, 2, 6);
    tiny_start(&t, 2);
    if (leaves_find(t.leaves, "layers.0.ffn.router.noise.weight")) {
        real *w = tiny_weight(&t, "layers.0.ffn.router.noise.weight");
        struct key key = { 3, PURPOSE_TEST, 9, 0 };
        for (int i = 0; i < E * D; i++) w[i] = (real)(0.4 * key_normal(key, (uint64_t)i));
    }
    tiny_forward(&t);
    struct outcome r = routed(&t);
    double importance[E] = { 0 }, expected[E] = { 0 }, got[E];
    for (int token = 0; token < TOKENS; token++) {
        double noisy[E], std[E], *z = r.logits + token * E, sum = 0;
        for (int e = 0; e < E; e++) noisy[e] = z[e] + (std[e] = std_of(&t, token, e)) * r.drawn[token * E + e];
        for (int j = 0; j < K; j++) {
            int e = (int)r.index[token * K + j];
            assert_true(fabs(noisy[e] - largest(noisy, E, j + 1, -1)) < 1e-5);
            sum += exp(noisy[e]);
        }
        for (int j = 0; j < K; j++) {
            int e = (int)r.index[token * K + j];
            double gate = exp(noisy[e]) / sum;
            assert_true(fabs(r.gate[token * K + j] - gate) < 1e-5);
            importance[e] += gate;
        }
        for (int e = 0; e < E; e++)
            expected[e] += 0.5 * erfc((largest(noisy, E, K, e) - z[e]) / std[e] / M_SQRT2);
    }
    tiny_metric(&t, "expert_importance", 0, got);
    check_near(importance, got, E, 1e-5);
    tiny_metric(&t, "expert_expected", 0, got);
    check_near(expected, got, E, 1e-5);
    double losses[] = { cv2_of(importance), cv2_of(expected) },
           told[] = { tiny_loss(&t, "importance"), tiny_loss(&t, "load") };
    check_near(losses, told, 2, 1e-5);
    assert_true(losses[0] > 1e-3 && losses[1] > 1e-3);
    routed_free(&r);
    tiny_free(&t);
}

static double learned_std(const struct tiny *t, int token, int expert)
{
    double *x = tiny_read((struct tiny *)t, tiny_user(t, "layers.0.ffn.router.noise.weight")),
           std = log1p(exp(x[token * E + expert])) + 0.01;
    free(x);
    return std;
}

static double equal_std(const struct tiny *t, int token, int expert)
{
    (void)t, (void)token, (void)expert;
    return 1. / E;
}

static double given_std(const struct tiny *t, int token, int expert)
{
    (void)t, (void)token, (void)expert;
    return 0.7;
}

static void test_by_hand(void **state)
{
    (void)state;
    check_by_hand(TEXT({"layers": 1, "ffn.router.normalize": "after", "ffn.balance": ["importance", "load"],
                        "ffn.router.noise": "learned"}), learned_std);
    check_by_hand(TEXT({"layers": 1, "ffn.router.normalize": "after", "ffn.balance": ["importance", "load"],
                        "ffn.router.noise": "normal"}), equal_std);
    check_by_hand(TEXT({"layers": 1, "ffn.router.normalize": "after", "ffn.balance": ["importance", "load"],
                        "ffn.router.noise": {"module": "normal", "std": 0.7}}), given_std);
}

/* Before a step the spread is the same for all, and gates alone, without a load loss, teach the router how wide. */
static void test_width_is_learned(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"ffn.router.noise": "learned", "ffn.router.normalize": "after"}), NULL, MODE_TRAIN,
                             2, 6);
    double std[E];
    tiny_start(&t, 1);
    tiny_step(&t, 0);
    tiny_metric(&t, "router_noise_std", 1, std);
    for (int e = 0; e < E; e++) assert_true(fabs(std[e] - .703147) < 1e-6);
    tiny_step(&t, 1);
    tiny_metric(&t, "router_noise_std", 1, std);
    for (int e = 0; e < E; e++) assert_true(fabs(std[e] - .703147) > 1e-5);
    tiny_free(&t);
}

/* Experts are chosen by noisy logits, and weighed by what they are without. */
static void test_gumbel(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"layers": 1, "ffn.router.noise": {"module": "gumbel", "temperature": 0.5}}), NULL,
                             MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    struct outcome r = routed(&t);
    int moved = 0;
    for (int token = 0; token < TOKENS; token++) {
        double noisy[E], sum = 0, *z = r.logits + token * E;
        for (int e = 0; e < E; e++) {
            noisy[e] = z[e] + 0.5 * r.drawn[token * E + e];
            sum += exp(z[e]);
        }
        for (int j = 0; j < K; j++) {
            int e = (int)r.index[token * K + j];
            assert_true(fabs(noisy[e] - largest(noisy, E, j + 1, -1)) < 1e-5);
            assert_true(fabs(r.gate[token * K + j] - exp(z[e]) / sum) < 1e-6);
            moved += z[e] != largest(z, E, j + 1, -1);
        }
    }
    assert_true(moved > 0);
    routed_free(&r);
    tiny_free(&t);
}

/* One expert a token is a draw from the softmax: counts are within five standard deviations of what it says, those
   of the likeliest experts are not. */
static void test_gumbel_draws(void **state)
{
    (void)state;
    enum { MANY = 512 * 6 };
    struct tiny t = tiny_new(TEXT({"layers": 1, "ffn.router": {"module": "staged", "top_k": 1, "noise": "gumbel"}}),
                             NULL, MODE_TRAIN, 512, 6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    struct outcome r = routed(&t);
    double off = 0, off_likeliest = 0;
    for (int e = 0; e < E; e++) {
        double mean = 0, variance = 0, drawn = 0, likeliest = 0;
        for (int token = 0; token < MANY; token++) {
            double sum = 0, *z = r.logits + token * E;
            for (int i = 0; i < E; i++) sum += exp(z[i]);
            double p = exp(z[e]) / sum;
            mean += p;
            variance += p * (1 - p);
            drawn += r.index[token] == e;
            likeliest += z[e] == largest(z, E, 1, -1);
        }
        off = fmax(off, fabs(drawn - mean) / sqrt(variance));
        off_likeliest = fmax(off_likeliest, fabs(likeliest - mean) / sqrt(variance));
    }
    assert_true(off < 5 && off_likeliest > 5);
    routed_free(&r);
    tiny_free(&t);
}

/* The router reads u with factors on it, the experts u. */
static void test_jitter(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"layers": 1, "ffn.router.noise": {"module": "jitter", "eps": 0.3}}), NULL,
                             MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    struct node *made = tiny_user(&t, "layers.0.ffn.router.weight"), *factors = of_layer_0(&t, &op_offset),
                *u = of_layer_0(&t, &op_gather)->in[0];
    double *logits = tiny_read(&t, made), *factor = tiny_read(&t, factors), *input = tiny_read(&t, u);
    double low = 2, high = 0;
    const real *w = tiny_weight(&t, "layers.0.ffn.router.weight");
    for (int token = 0; token < TOKENS; token++)
        for (int e = 0; e < E; e++) {
            double z = 0;
            for (int d = 0; d < D; d++) z += (double)w[e * D + d] * input[token * D + d] * factor[token * D + d];
            assert_true(fabs(z - logits[token * E + e]) < 1e-5);
        }
    for (int i = 0; i < TOKENS * D; i++) {
        low = fmin(low, factor[i]);
        high = fmax(high, factor[i]);
    }
    assert_true(low > 0.7 && low < 0.75 && high < 1.3 && high > 1.25);
    free(logits);
    free(factor);
    free(input);
    tiny_free(&t);
}

/* ---- where there is no noise ---- */

static const char *const kinds[] = {
    TEXT({"ffn.router.noise": "learned"}), TEXT({"ffn.router.noise": "normal"}), TEXT({"ffn.router.noise": "gumbel"}),
    TEXT({"ffn.router.noise": "jitter"}),
};

/* Evaluation and decoding are those of a router without noise: the same graph, which says the same of the same
   weights. */
static void test_training_alone_is_noisy(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(kinds); i++)
        for (enum mode mode = MODE_TRAIN; mode <= MODE_DECODE; mode++) {
            struct tiny none = tiny_new("{}", NULL, mode, 2, 6), with = tiny_new(kinds[i], NULL, mode, 2, 6);
            assert_int_equal(tiny_same(&none, &with), mode != MODE_TRAIN);
            tiny_start(&none, 1);
            tiny_start(&with, 1);
            tiny_forward(&none);
            tiny_forward(&with);
            if (mode == MODE_EVAL) assert_true(tiny_loss(&none, "lm") == tiny_loss(&with, "lm"));
            if (mode == MODE_TRAIN) assert_true(tiny_loss(&none, "lm") != tiny_loss(&with, "lm"));
            tiny_free(&none);
            tiny_free(&with);
        }
}

/* Noise that is turned down to nothing leaves the bits of top-k of a softmax. */
static void test_no_noise_is_top_k(void **state)
{
    (void)state;
    static const char *const silent[] = {
        TEXT({"ffn.router.noise": {"module": "normal", "std": 1e-30}}),
        TEXT({"ffn.router.noise": {"module": "jitter", "eps": 0}}),
        TEXT({"ffn.router.noise": {"module": "gumbel", "temperature": 0}}),
    };
    for (int i = 0; i < COUNT(silent); i++) {
        struct tiny none = tiny_new("{}", NULL, MODE_TRAIN, 2, 6), with = tiny_new(silent[i], NULL, MODE_TRAIN, 2, 6);
        tiny_start(&none, 1);
        tiny_start(&with, 1);
        for (int step = 0; step < 4; step++) {
            tiny_step(&none, step);
            tiny_step(&with, step);
            if (tiny_loss(&none, "lm") != tiny_loss(&with, "lm")) fail_msg("%s: step %d differs", silent[i], step);
        }
        tiny_free(&none);
        tiny_free(&with);
    }
}

/* ---- cuts and rules ---- */

/* Micro-batch `micro` of the sequences of the whole. */
static void take(struct tiny *part, const struct tiny *whole, int micro)
{
    size_t n = (size_t)part->tokens, keys = 2 * (size_t)part->batch, at = (size_t)micro;
    memcpy(part->ids, whole->ids + n * at, n * sizeof *part->ids);
    memcpy(part->target, whole->target + n * at, n * sizeof *part->target);
    memcpy(part->noise_key, whole->noise_key + keys * at, keys * sizeof *part->noise_key);
    tiny_put(part);
}

static void forward(struct tiny *part, const struct tiny *whole, int first, int n)
{
    plan_begin(part->plan, 0, 1000, n);
    for (int micro = 0; micro < n && n > 1; micro++) {
        take(part, whole, first + micro);
        plan_ahead(part->plan, micro);
    }
    for (int micro = 0; micro < n; micro++) {
        take(part, whole, first + micro);
        plan_forward(part->plan, micro);
    }
}

/* What experts are given does not depend on how a step is cut; the losses are the mean of what each micro-batch has. */
static void test_losses_are_of_micro_batches(void **state)
{
    (void)state;
    static const char *const sets = TEXT({"layers": 1, "ffn.router.noise": "normal",
                                          "ffn.balance": ["importance", "load"]});
    static const char *const metric[] = { "expert_importance", "expert_expected" };
    static const char *const loss[] = { "importance", "load" };
    struct tiny whole = tiny_new(sets, NULL, MODE_TRAIN, 4, 6), part = tiny_new(sets, NULL, MODE_TRAIN, 2, 6);
    tiny_start(&whole, 2);
    tiny_start(&part, 2);
    tiny_forward(&whole);
    for (int i = 0; i < 2; i++) {
        double all[E], parts[E], one[E], mean = 0;
        for (int micro = 0; micro < 2; micro++) {
            forward(&part, &whole, micro, 1);
            tiny_metric(&part, metric[i], 0, one);
            mean += cv2_of(one) / 2;
        }
        forward(&part, &whole, 0, 2);
        tiny_metric(&whole, metric[i], 0, all);
        tiny_metric(&part, metric[i], 0, parts);
        check_near(all, parts, E, 1e-5);
        double told = tiny_loss(&part, loss[i]);
        check_near(&mean, &told, 1, 1e-5);
        assert_true(fabs(told - cv2_of(all)) > 1e-4);
    }
    tiny_free(&whole);
    tiny_free(&part);
}

static void test_load_needs_noise(void **state)
{
    (void)state;
    tiny_refused(TEXT({"ffn.balance": ["load"]}), "ffn.balance.load = needs normal noise on the router's logits");
    tiny_refused(TEXT({"ffn.balance": ["load"], "ffn.router.noise": "gumbel"}), "needs normal noise");
    tiny_refused(TEXT({"ffn.balance": ["load"], "ffn.router.noise": "jitter"}), "needs normal noise");
    tiny_refused(TEXT({"ffn.balance": ["load"], "ffn.router": {"module": "staged", "noise": "normal", "top_k": 4}}),
                  "ffn.balance.load = with router.top_k = 4 every one of 4 experts is chosen: at most 3");
    tiny_refused(TEXT({"ffn.balance": ["bias", "load"],
                        "ffn.router": {"module": "staged", "noise": "normal", "score": "sigmoid"}}),
                  "ffn.balance.load = needs a choice by noisy logits alone, and 'bias' moves it");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(by_hand), RUN(width_is_learned), RUN(gumbel), RUN(gumbel_draws), RUN(jitter), RUN(training_alone_is_noisy),
        RUN(no_noise_is_top_k), RUN(losses_are_of_micro_batches), RUN(load_needs_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
