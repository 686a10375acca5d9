/* Routers, experts and balance. */
#include "tiny_pair.h"
#include "graph/ops/routing.h"

/* I1: one expert with a gate of 1 is the dense feed-forward. */
static void test_one_expert(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"ffn.experts": 1, "ffn.router": {"top_k": 1, "normalize": "after",
                                                                    "score": "sigmoid"}}),
                             TEXT({"ffn": {"module": "dense", "d_ff": 6}}));
    for (int l = 0; l < 3; l++)
        for (int i = 0; i < 3; i++) {
            static const char *const name[] = { "gate", "up", "down" };
            char from[64], to[64];
            snprintf(from, sizeof from, "layers.%d.ffn.experts.%s.weight", l, name[i]);
            snprintf(to, sizeof to, "layers.%d.ffn.%s.weight", l, name[i]);
            memcpy(tiny_weight(&p.b, to), tiny_weight(&p.a, from), (size_t)tiny_count(&p.b, to) * sizeof(real));
        }
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

/* What a token's experts should give, in double: the router's stages and the experts written out. */
enum { NONE, BEFORE, AFTER };
struct reference {
    int experts, k, width, hidden;
    bool sigmoid;
    int normalize;
    double scale;
    const real *router, *gate, *up, *down;
    real bias[4];
};

static double product(const real *w, const double *x, int n)
{
    double s = 0;
    for (int i = 0; i < n; i++) s += (double)w[i] * x[i];
    return s;
}

static void reference_token(const struct reference *r, const double *u, double *y)
{
    double score[16], sum = 0, most = -1e30, chosen = 0, gate[16];
    bool taken[16] = { 0 };
    for (int e = 0; e < r->experts; e++) most = fmax(most, score[e] = product(r->router + e * r->width, u, r->width));
    for (int e = 0; e < r->experts; e++) sum += score[e] = r->sigmoid ? 1 / (1 + exp(-score[e])) : exp(score[e] - most);
    for (int e = 0; e < r->experts; e++) if (!r->sigmoid || r->normalize == BEFORE) score[e] /= sum;
    for (int i = 0; i < r->width; i++) y[i] = 0;
    int index[16];
    for (int j = 0; j < r->k; j++) {
        int best = -1;
        for (int e = 0; e < r->experts; e++)
            if (!taken[e] && (best < 0 || score[e] + (double)r->bias[e] > score[best] + (double)r->bias[best]))
                best = e;
        taken[index[j] = best] = true;
        chosen += gate[j] = score[best];
    }
    for (int j = 0; j < r->k; j++) {
        double inner[16], g = gate[j] * r->scale / (r->normalize == AFTER ? chosen : 1);
        for (int f = 0; f < r->hidden; f++) {
            int64_t row = (int64_t)(index[j] * r->hidden + f) * r->width;
            double a = product(r->gate + row, u, r->width);
            inner[f] = a / (1 + exp(-a)) * product(r->up + row, u, r->width);
        }
        for (int i = 0; i < r->width; i++)
            y[i] += g * product(r->down + (int64_t)(index[j] * r->width + i) * r->hidden, inner, r->hidden);
    }
}

/* I2, I4 and the published routers: each setting against the formula, token by token. */
static void test_routers(void **state)
{
    (void)state;
    static const struct { const char *sets; int k; bool sigmoid; int normalize; double scale; } kind[] = {
        { TEXT({"ffn.router": {}}), 2, false, NONE, 1 },
        { TEXT({"ffn.router": {"normalize": "after"}}), 2, false, AFTER, 1 },
        { TEXT({"ffn.router": {"top_k": 4, "scale": 16}}), 4, false, NONE, 16 },
        { TEXT({"ffn.router": {"score": "sigmoid"}}), 2, true, NONE, 1 },
        { TEXT({"ffn.router": {"score": "sigmoid", "normalize": "before"}}), 2, true, BEFORE, 1 },
        { TEXT({"ffn.router": {"score": "sigmoid", "normalize": "after", "scale": 2.5}, "ffn.balance": ["bias"]}), 2,
          true, AFTER, 2.5 },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny t = tiny_new(kind[i].sets, NULL, MODE_EVAL, 2, 6);
        struct reference r = { .experts = 4, .k = kind[i].k, .width = 8, .hidden = 6, .sigmoid = kind[i].sigmoid,
                               .normalize = kind[i].normalize,
                               .scale = kind[i].scale };
        tiny_start(&t, 1);
        r.router = tiny_weight(&t, "layers.1.ffn.router.weight");
        r.gate = tiny_weight(&t, "layers.1.ffn.experts.gate.weight");
        r.up = tiny_weight(&t, "layers.1.ffn.experts.up.weight");
        r.down = tiny_weight(&t, "layers.1.ffn.experts.down.weight");
        if (leaves_find(t.leaves, "layers.1.ffn.router.bias"))
            for (int e = 0; e < 4; e++) tiny_weight(&t, "layers.1.ffn.router.bias")[e] = r.bias[e] = (real)(0.2 * e);
        tiny_forward(&t);
        struct node *router = tiny_user(&t, "layers.1.ffn.router.weight");
        double *u = tiny_read(&t, router->in[0]), *y = tiny_read(&t, tiny_find(&t, &op_combine, router->id));
        for (int token = 0; token < t.tokens; token++) {
            double want[8];
            reference_token(&r, u + 8 * token, want);
            check_near(y + 8 * token, want, 8, 1e-5);
        }
        free(u);
        free(y);
        tiny_free(&t);
    }
}

/* I3: experts that are all alike, with gates that sum to 1, are one dense feed-forward whatever the routing. */
static void test_equal_experts(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"ffn.router.normalize": "after"}), TEXT({"ffn": {"module": "dense", "d_ff": 6}}));
    for (int l = 0; l < 3; l++)
        for (int i = 0; i < 3; i++) {
            static const char *const name[] = { "gate", "up", "down" };
            char from[64], to[64];
            snprintf(from, sizeof from, "layers.%d.ffn.%s.weight", l, name[i]);
            snprintf(to, sizeof to, "layers.%d.ffn.experts.%s.weight", l, name[i]);
            int64_t n = tiny_count(&p.b, from);
            for (int e = 0; e < 4; e++)
                memcpy(tiny_weight(&p.a, to) + e * n, tiny_weight(&p.b, from), (size_t)n * sizeof(real));
        }
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-5);
    pair_free(&p);
}

/* I5: two shared experts are one dense feed-forward of twice the width beside the routed ones. */
static void test_shared_experts(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"ffn.shared": {"module": "dense", "n": 2}}),
                             TEXT({"ffn": {"module": "dense", "d_ff": 12}}));
    tiny_scale_all(&p.a, "experts.down.weight", 0);
    for (int l = 0; l < 3; l++)
        for (int i = 0; i < 3; i++) {
            static const char *const name[] = { "gate", "up", "down" };
            char from[64], to[64];
            snprintf(from, sizeof from, "layers.%d.ffn.%s.weight", l, name[i]);
            snprintf(to, sizeof to, "layers.%d.ffn.shared.%s.weight", l, name[i]);
            assert_int_equal(tiny_count(&p.a, to), tiny_count(&p.b, from));
            memcpy(tiny_weight(&p.a, to), tiny_weight(&p.b, from), (size_t)tiny_count(&p.a, to) * sizeof(real));
        }
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
}

/* I7: experts have no names. */
static void test_expert_order(void **state)
{
    (void)state;
    static const char *const sets = TEXT({"layers": 1, "ffn.router.score": "sigmoid", "ffn.balance": ["bias"]});
    struct pair p = pair_new(sets, sets);
    static const int to[] = { 2, 0, 3, 1 };
    static const char *const path[] = { "layers.0.ffn.router.weight", "layers.0.ffn.router.bias",
                                        "layers.0.ffn.experts.gate.weight",
                                        "layers.0.ffn.experts.up.weight", "layers.0.ffn.experts.down.weight" };
    for (int e = 0; e < 4; e++) tiny_weight(&p.a, path[1])[e] = (real)(0.05 * e);
    for (int i = 0; i < COUNT(path); i++) {
        size_t n = (size_t)tiny_count(&p.a, path[i]) / 4;
        const real *from = tiny_weight(&p.a, path[i]);
        for (int e = 0; e < 4; e++)
            memcpy(tiny_weight(&p.b, path[i]) + (size_t)to[e] * n, from + (size_t)e * n, n * sizeof(real));
    }
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-6);
    pair_free(&p);
}

/* Equal logits: the balance loss is 1 a layer, the z-loss is (ln E)^2, and neither pulls the router. */
static void test_losses_of_equal_logits(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"ffn.balance": ["switch_aux", "z_loss"]}), NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    tiny_scale_all(&t, "router.weight", 0);
    tiny_forward(&t);
    assert_float_equal(tiny_loss(&t, "aux"), 3, 1e-5);
    assert_float_equal(tiny_loss(&t, "z"), 3 * log(4) * log(4), 1e-5);
    double tokens[4];
    tiny_metric(&t, "expert_tokens", 0, tokens);            /* ties go to the lower index */
    assert_true(tokens[0] == 12 && tokens[1] == 12 && tokens[2] == 0 && tokens[3] == 0);
    tiny_free(&t);
}

/* The z-loss is of the logits, whatever scores are made of them. */
static void test_z_loss_of_sigmoid(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"ffn.router.score": "sigmoid", "ffn.balance": ["z_loss"]}), NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    double sum = 0;
    for (int layer = 0; layer < 3; layer++) {
        double squared;
        tiny_metric(&t, "router_lse2", layer, &squared);
        sum += squared;
    }
    assert_true(sum > 1);
    assert_float_equal(tiny_loss(&t, "z"), sum, 1e-6 * sum);
    tiny_free(&t);
}

/* The losses enter the objective with their weights. */
static void test_objective(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"head.mtp": {"module": "sequential", "depth": 2, "weight": 0.5},
        "ffn.balance": [{"module": "switch_aux", "alpha": 0.25}, {"module": "z_loss", "coef": 0.125}]}), NULL,
        MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    double objective, balance = 0.25 * tiny_loss(&t, "aux") + 0.125 * tiny_loss(&t, "z");
    tiny_metric(&t, "objective", -1, &objective);
    assert_float_equal(objective, tiny_loss(&t, "lm") + 0.25 * tiny_loss(&t, "mtp") + balance, 1e-5);
    tiny_free(&t);
}

/* A bias that is equal for all experts changes nothing; one that changes the choice leaves the gate the unbiased
   score. */
static void test_bias_moves_the_choice_only(void **state)
{
    (void)state;
    static const char *const sets = TEXT({"layers": 1, "ffn.router.score": "sigmoid", "ffn.balance": ["bias"]});
    struct pair p = pair_new(sets, sets);
    real *bias = tiny_weight(&p.a, "layers.0.ffn.router.bias");
    for (int e = 0; e < 4; e++) bias[e] = 0.5f;
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    bias[3] = 100;
    pair_run(&p);
    assert_true(distance(p.x, p.y, p.n) > 1e-4 && distance(p.x, p.y, p.n) < 10);
    pair_free(&p);
}

/* One step moves each bias by gamma towards the mean count; evaluation moves nothing. */
static void test_bias_step(void **state)
{
    (void)state;
    static const char *const sets = TEXT({"ffn.router.score": "sigmoid",
                                          "ffn.balance": [{"module": "bias", "gamma": 0.01}]});
    struct tiny t = tiny_new(sets, TEXT({"optim.lr": 0}), MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    tiny_step(&t, 0);
    double tokens[4];
    tiny_metric(&t, "expert_tokens", 2, tokens);
    const real *bias = tiny_weight(&t, "layers.2.ffn.router.bias");
    for (int e = 0; e < 4; e++) assert_float_equal(bias[e], 0.01 * ((6 > tokens[e]) - (6 < tokens[e])), 1e-8);
    tiny_free(&t);
    struct tiny eval = tiny_new(sets, NULL, MODE_EVAL, 2, 6);
    tiny_start(&eval, 1);
    tiny_forward(&eval);
    for (int e = 0; e < 4; e++) assert_true(tiny_weight(&eval, "layers.2.ffn.router.bias")[e] == 0);
    tiny_free(&eval);
}

/* A row's biases and their range are of one moment: those that the row's tokens were routed with. */
static void test_bias_of_a_row(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"ffn.router.score": "sigmoid", "ffn.balance": [{"module": "bias", "gamma": 0.01}]}),
                             NULL, MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    for (int step = 0; step < 5; step++) {
        double before[4], bias[4], range;
        for (int e = 0; e < 4; e++) before[e] = tiny_weight(&t, "layers.1.ffn.router.bias")[e];
        tiny_step(&t, step);
        tiny_metric(&t, "router_bias", 1, bias);
        tiny_metric(&t, "router_bias_range", 1, &range);
        double low = bias[0], high = bias[0];
        for (int e = 0; e < 4; e++) {
            assert_true(bias[e] == before[e]);
            low = fmin(low, bias[e]);
            high = fmax(high, bias[e]);
        }
        assert_float_equal(range, high - low, 1e-8);
        assert_true((range > 0) == (step > 0));
    }
    tiny_free(&t);
}

/* With every weight standing still, the bias alone evens the load of a skewed router. */
static void test_bias_balances(void **state)
{
    (void)state;
    static const char *const sets = TEXT({"layers": 1, "ffn.router": {"score": "sigmoid", "top_k": 1},
                                          "ffn.balance": [{"module": "bias", "gamma": 0.01}]});
    struct tiny t = tiny_new(sets, TEXT({"optim.lr": 0}), MODE_TRAIN, 2, 6);
    tiny_start(&t, 1);
    real *embed = tiny_weight(&t, "embed.weight"), *router = tiny_weight(&t, "layers.0.ffn.router.weight");
    for (int r = 0; r < t.model.vocab; r++) embed[8 * r] = 1;
    router[0] += 2;                                         /* everybody likes expert 0 */
    tiny_scale(&t, "layers.0.attention.out.weight", 0);
    double tokens[4], last = 12;
    tiny_step(&t, 0);
    tiny_metric(&t, "expert_tokens", 0, tokens);
    assert_true(tokens[0] == 12);
    for (int step = 1; step < 100; step++) {
        tiny_step(&t, step);
        tiny_metric(&t, "expert_tokens", 0, tokens);
        last = fmax(fmax(tokens[0], tokens[1]), fmax(tokens[2], tokens[3]));
    }
    assert_true(last <= 5);
    tiny_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(one_expert), RUN(routers), RUN(equal_experts), RUN(shared_experts), RUN(expert_order),
        RUN(losses_of_equal_logits), RUN(z_loss_of_sigmoid), RUN(objective), RUN(bias_moves_the_choice_only),
        RUN(bias_step), RUN(bias_of_a_row), RUN(bias_balances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
