/* Balance by REINFORCE, in double: the mean of the estimator over all that could have been drawn is the gradient of the
   expected reward, whatever is expected; what is expected well makes it quieter; who is rewarded for it finds the best
   of four arms; rewards of a whole model are those of the right tokens; an evaluation draws nothing. */
#include "tiny_pair.h"
#include "model/building.h"

enum { E = 4, D = 3, MOST = 64 };

/* The module alone, after a layer that is made of inputs: one row a token. */
struct bench {
    struct tiny settings; struct leaves *leaves; struct graph *graph; struct plan *plan; struct state *state;
    struct building own; struct build build; struct pick balance, noise; int tokens;
};

static const void *field(struct pick p, enum param_type type, unsigned slot)
{
    for (const struct param *row = p.module->params; row && row->name; row++)
        if (row->type == type && row->slot == slot) return (const char *)p.conf + row->offset;
    fail_msg("%s has no such slot", p.module->name);
    return NULL;
}

static void bench_new(struct bench *x, const char *sets, int tokens)
{
    char why[256];
    json_t *model = tiny_json(&model_schema, tiny_base, sets), *train = json_object();
    *x = (struct bench){ .tokens = tokens };
    if (!tiny_load(&x->settings, model, train, why)) fail_msg("%s", why);
    json_decref(model);
    json_decref(train);
    struct pick ffn = x->settings.model.ffn.pick[0];
    x->balance = ((const struct picks *)field(ffn, PARAM_SLOTS, SLOT_BALANCE))->pick[0];
    x->noise = module_part(ffn, SLOT_NOISE);
    x->leaves = leaves_new();
    x->graph = graph_new(x->leaves);
    x->graph->keep = true;
    x->build = (struct build){ .graph = x->graph, .arena = x->settings.arena, .mode = MODE_TRAIN,
                               .conf = &x->settings.model, .train = &x->settings.train, .batch = 1, .seq = tokens,
                               .tokens = tokens, .width = D, .vocab = 11, .layers = 1, .blocks = 1, .path = "layer",
                               .metric_prefix = "", .own = &x->own };
    x->build.weight = inputs_node(x->graph, "", INPUT_weight, 1, tokens);
}

static struct node *input(struct bench *x, const char *name, enum dtype dtype, int64_t width)
{
    return graph_input(x->graph, name, dtype, SHAPE(x->tokens, width));
}

/* Logits z of a choice that was drawn, and what it came to. */
static void bench_add(struct bench *x, struct node *z, struct node *drawn, struct node *index, struct node *loss)
{
    struct node *u = graph_weight(x->graph, "u", ROLE_MIX, SHAPE(x->tokens, D), init_constant(0));
    struct routing r = { .experts = E, .k = (int)shape_last(index->shape), .input = u, .logits = z,
                         .noisy = { .choice = z, .gate = z, .drawn = drawn }, .index = index, .chosen = index };
    struct err e;
    x->balance.module->balance(&x->build, x->balance, &r);
    build_keep(&x->build, -1, "head.loss", view(x->graph, loss, SHAPE(x->tokens)));
    build_run_finish(&x->build);
    if (x->graph->failed) fail_msg("%s", x->graph->err.text);
    if (plan_new(&x->plan, x->graph, (struct plan_how){ &backend_cpu, PRECISION_FP32, RECOMPUTE_NONE }, &e))
        fail_msg("%s", e.text);
    x->state = state_new(x->leaves, &backend_cpu, 1);
    plan_bind(x->plan, x->state, NULL);
    state_fill(x->state, 1);
}

static real *bench_value(struct bench *x, const char *path)
{
    struct leaf *l = leaves_find(x->leaves, path);
    if (!l) fail_msg("no leaf '%s'", path);
    return state_data(x->state, l);
}

static void bench_run(struct bench *x, int step)
{
    plan_begin(x->plan, step, 1000, 1);
    plan_forward(x->plan, 0);
    plan_backward(x->plan, 0);
}

static void bench_free(struct bench *x)
{
    plan_free(x->plan);
    state_free(x->state);
    graph_free(x->graph);
    leaves_free(x->leaves);
    arena_free(x->settings.arena);
}

/* ---- all that could have been drawn ---- */

/* Orders of K of the experts, and how good each is. */
struct actions { int n, k, chosen[MOST][2]; double reward[MOST]; };

static struct actions actions_of(int k)
{
    struct actions a = { .k = k };
    for (int i = 0; i < E; i++)
        for (int j = 0; j < (k == 2 ? E : 1); j++) {
            if (k == 2 && i == j) continue;
            a.reward[a.n] = -2.5 + sin(1.7 * i + 0.6 * j * (k - 1));
            a.chosen[a.n][0] = i;
            a.chosen[a.n++][1] = j;
        }
    return a;
}

/* How likely an order is: each in its turn, of what is left. */
static double probability(const struct actions *a, int i, const double *z)
{
    double left = 0, p = 1;
    for (int e = 0; e < E; e++) left += exp(z[e]);
    for (int j = 0; j < a->k; j++) {
        double own = exp(z[a->chosen[i][j]]);
        p *= own / left;
        left -= own;
    }
    return p;
}

static double expected_reward(const struct actions *a, const double *z)
{
    double sum = 0;
    for (int i = 0; i < a->n; i++) sum += probability(a, i, z) * a->reward[i];
    return sum;
}

/* Gradient of each token's logits, each as heavy as its order is likely, so that their sum is the mean. */
static void enumerate(struct bench *x, const struct actions *a, const double *z, double (*grad)[E])
{
    double all[MOST * E];
    for (int i = 0; i < a->n; i++) {
        for (int e = 0; e < E; e++) bench_value(x, "z")[i * E + e] = (real)z[e];
        for (int j = 0; j < a->k; j++) ((int32_t *)(void *)bench_value(x, "index"))[i * a->k + j] = a->chosen[i][j];
        for (int d = 0; d < D; d++) bench_value(x, "u")[i * D + d] = (real)(0.3 * d - 0.5);
        bench_value(x, "loss")[i] = (real)-a->reward[i];
        bench_value(x, "weight")[i] = (real)probability(a, i, z);
    }
    bench_run(x, 0);
    struct node *logits = graph_leaf(x->graph, leaves_find(x->leaves, "z"));
    for (int i = 0; i < x->graph->n; i++)
        if (x->graph->node[i]->leaf == logits->leaf && x->graph->node[i]->region == REGION_MICRO)
            logits = x->graph->node[i];
    assert_true(plan_read_grad(x->plan, logits, all));
    memcpy(grad, all, (size_t)(a->n * E) * sizeof *all);
}

static void enumerated(struct bench *x, const char *sets, const struct actions *a)
{
    bench_new(x, sets, a->n);
    struct node *z = graph_weight(x->graph, "z", ROLE_ROUTER, SHAPE(a->n, E), init_constant(0));
    bench_add(x, z, z, input(x, "index", DTYPE_I32, a->k), input(x, "loss", DTYPE_REAL, 1));
}

static const double logits[E] = { 0.7, -0.4, 1.1, 0.2 };

/* The mean of the estimator is minus the gradient of the expected reward, whatever V is. */
static void check_mean(const char *sets, int k, const char *baseline, double expected)
{
    struct actions a = actions_of(k);
    struct bench x;
    double grad[MOST][E];
    enumerated(&x, sets, &a);
    *bench_value(&x, baseline) = (real)expected;
    enumerate(&x, &a, logits, grad);
    for (int e = 0; e < E; e++) {
        double z[E], side[2], sum = 0;
        for (int s = 0; s < 2; s++) {
            memcpy(z, logits, sizeof z);
            z[e] += s ? -1e-5 : 1e-5;
            side[s] = expected_reward(&a, z);
        }
        for (int i = 0; i < a.n; i++) sum += grad[i][e];
        double want = -(side[0] - side[1]) / 2e-5;
        if (!(fabs(sum - want) < 1e-8)) fail_msg("%d drawn, V %g: %.10g for %.10g", k, expected, sum, want);
    }
    bench_free(&x);
}

static const char *const by_mean = TEXT({"ffn.router": {"noise": "gumbel", "top_k": 1}, "ffn.balance":
    [{"module": "reinforce", "weight": 1, "baseline": "mean"}]});
static const char *const by_value = TEXT({"ffn.router": {"noise": "gumbel", "top_k": 1}, "ffn.balance":
    [{"module": "reinforce", "weight": 1, "value": 3}]});

static void test_mean_of_estimator(void **state)
{
    (void)state;
    static const double expected[] = { 0, -2.5, 7 };
    for (int k = 1; k <= 2; k++)
        for (int i = 0; i < COUNT(expected); i++) {
            check_mean(by_mean, k, "layer.router.reward", expected[i]);
            check_mean(by_value, k, "layer.router.value.offset", expected[i]);
        }
}

/* What is expected well changes no mean, which the test before shows, and makes squares less. */
static void test_variance(void **state)
{
    (void)state;
    struct actions a = actions_of(1);
    double squares[2] = { 0 };
    for (int good = 0; good < 2; good++) {
        struct bench x;
        double grad[MOST][E];
        enumerated(&x, by_mean, &a);
        *bench_value(&x, "layer.router.reward") = (real)(good ? expected_reward(&a, logits) : 0);
        enumerate(&x, &a, logits, grad);
        for (int i = 0; i < a.n; i++)
            for (int e = 0; e < E; e++) squares[good] += grad[i][e] * grad[i][e] / probability(&a, i, logits);
        bench_free(&x);
    }
    assert_true(squares[1] < 0.2 * squares[0]);
}

/* V goes to the mean reward: its loss is 3 (V - R)^2 / 2 on average, its gradient 3 times the mean of V - R. The token
   has none of it. */
static void test_value(void **state)
{
    (void)state;
    struct actions a = actions_of(1);
    struct bench x;
    double grad[MOST][E], slope[D], offset_slope, objective;
    enumerated(&x, by_value, &a);
    for (int d = 0; d < D; d++) bench_value(&x, "layer.router.value.weight")[d] = (real)(0.2 * (d + 1));
    *bench_value(&x, "layer.router.value.offset") = (real)-1.5;
    enumerate(&x, &a, logits, grad);
    double v = -1.5, mean = expected_reward(&a, logits), half = 0;
    for (int d = 0; d < D; d++) v += 0.2 * (d + 1) * (0.3 * d - 0.5);
    for (int i = 0; i < a.n; i++) half += probability(&a, i, logits) * (v - a.reward[i]) * (v - a.reward[i]) / 2;
    for (int i = 0; i < x.graph->n; i++) {
        struct node *n = x.graph->node[i];
        if (!n->leaf) continue;
        if (strcmp(n->leaf->path, "layer.router.value.weight") == 0) assert_true(plan_read_grad(x.plan, n, slope));
        if (strcmp(n->leaf->path, "layer.router.value.offset") == 0)
            assert_true(plan_read_grad(x.plan, n, &offset_slope));
        if (strcmp(n->leaf->path, "u") == 0) assert_false(plan_read_grad(x.plan, n, grad[0]));
    }
    assert_true(fabs(offset_slope - 3 * (v - mean)) < 1e-9);
    for (int d = 0; d < D; d++) assert_true(fabs(slope[d] - 3 * (v - mean) * (0.3 * d - 0.5)) < 1e-9);
    objective = 0;
    for (int i = 0; i < x.graph->n_losses; i++) {
        double value;
        if (strcmp(x.graph->loss[i].name, "value") != 0) continue;
        plan_read(x.plan, x.graph->loss[i].value, &value);
        objective += value;
    }
    assert_true(fabs(objective - half) < 1e-9);
    bench_free(&x);
}

/* Divided by the root mean square that was held from before. */
static void test_standardized(void **state)
{
    (void)state;
    struct actions a = actions_of(1);
    double grad[2][MOST][E];
    for (int i = 0; i < 2; i++) {
        struct bench x;
        enumerated(&x, i ? TEXT({"ffn.router": {"noise": "gumbel", "top_k": 1}, "ffn.balance":
            [{"module": "reinforce", "weight": 1, "baseline": "mean", "standardize": true}]}) : by_mean, &a);
        if (i) *bench_value(&x, "layer.router.advantage2") = (real)6.25;
        enumerate(&x, &a, logits, grad[i]);
        bench_free(&x);
    }
    for (int i = 0; i < a.n; i++)
        for (int e = 0; e < E; e++) assert_true(fabs(grad[0][i][e] - 2.5 * grad[1][i][e]) < 1e-12);
}

/* ---- four arms ---- */

/* Draws of what the module thinks of them, and steps down its gradient. */
static void test_bandit(void **state)
{
    (void)state;
    enum { TOKENS = 32, STEPS = 400 };
    static const double reward[E] = { -2, -1.5, -3, -1 };
    struct bench x;
    bench_new(&x, by_value, TOKENS);
    struct graph *g = x.graph;
    struct node *w = graph_weight(g, "arms", ROLE_SCALAR, SHAPE(E), init_constant(0)),
                *z = add_row(g, input(&x, "zeros", DTYPE_REAL, E), w);
    struct noisy n = x.noise.module->noise(&x.build, x.noise, z, z);
    struct node *index = topk(g, n.choice, 1), *loss = scale(g, pick(g, input(&x, "table", DTYPE_REAL, E), index), -1);
    bench_add(&x, z, n.drawn, index, loss);
    struct inputs in = inputs_new(1, TOKENS);
    for (int i = 0; i < TOKENS; i++) {
        bench_value(&x, "weight")[i] = 1;
        for (int e = 0; e < E; e++) bench_value(&x, "table")[i * E + e] = (real)reward[e];
    }
    memset(bench_value(&x, "zeros"), 0, TOKENS * E * sizeof(real));
    for (int step = 0; step < STEPS; step++) {
        inputs_noise(in, 5, step, 1);
        state_put(x.state, leaves_find(x.leaves, "noise_key"), in.noise_key);
        bench_run(&x, step);
        for (int i = 0; i < g->n; i++) {
            const struct node *leaf = g->node[i];
            double slope[MOST];
            if (!leaf->leaf || leaf->leaf->kind != LEAF_WEIGHT || strcmp(leaf->leaf->path, "u") == 0) continue;
            assert_true(plan_read_grad(x.plan, leaf, slope));
            real *value = state_data(x.state, leaf->leaf);
            for (int64_t k = 0; k < shape_count(leaf->shape); k++) value[k] -= (real)(0.3 * slope[k]);
        }
    }
    const real *arm = bench_value(&x, "arms");
    double sum = 0;
    for (int e = 0; e < E; e++) sum += exp((double)arm[e]);
    if (!(exp((double)arm[3]) / sum > 0.9)) fail_msg("the best arm has %g", exp((double)arm[3]) / sum);
    assert_true(fabs((double)*bench_value(&x, "layer.router.value.offset") + 1) < 0.15);
    inputs_free(in);
    bench_free(&x);
}

/* ---- in a model ---- */

static const char *const whole = TEXT({"ffn.router": {"noise": "gumbel", "top_k": 1, "normalize": "even"},
    "ffn.balance": ["reinforce"], "head.mtp": {"module": "sequential", "depth": 2}});

static const char *const hot = TEXT({"ffn.router": {"noise": {"module": "gumbel", "temperature": 2}, "top_k": 1},
    "ffn.balance": ["reinforce"], "head.mtp": {"module": "sequential", "depth": 2}});

/* Of a layer or block the mean over the tokens that count of -A log p(a). At first V is -log vocab. */
static double loss_of_layer(struct tiny *t, const struct node *chosen, double temperature, double *const *loss)
{
    const struct node *noisy = chosen->in[0]->in[0], *z = noisy->in[0];
    assert_true(chosen->in[0]->op == &op_softmax && noisy->op == &op_add);
    int rows = (int)z->shape.dim[0], ahead = t->seq - rows / t->batch, n = 0;
    double *logit = tiny_read(t, z), *index = tiny_read(t, chosen), sum = 0;
    for (int row = 0; row < rows; row++) {
        int at = row / (t->seq - ahead) * t->seq + row % (t->seq - ahead);
        double all = 0, counts = 1;
        for (int k = 0; k <= ahead; k++) counts *= (double)t->weight[at + k];
        for (int e = 0; e < E; e++) all += exp(logit[row * E + e] / temperature);
        if (counts == 0) continue;
        sum -= (log(11) - loss[ahead][row]) * (logit[row * E + (int)index[row]] / temperature - log(all));
        n++;
    }
    free(logit);
    free(index);
    return sum / n;
}

static void test_rewards_of_a_model(void **state)
{
    (void)state;
    for (int temperature = 1; temperature <= 2; temperature++) {
        struct tiny t = tiny_new(temperature == 1 ? whole : hot, NULL, MODE_TRAIN, 2, 6);
        double want = 0, *loss[3] = { NULL };
        int depth = 0, layers = 0;
        tiny_start(&t, 3);
        t.weight[1] = 0;
        tiny_forward(&t);
        for (int i = 0; i < t.graph->n; i++)
            if (t.graph->node[i]->op == &op_cross_entropy) loss[depth++] = tiny_read(&t, t.graph->node[i]);
        assert_int_equal(depth, 3);
        for (int i = 0; i < t.graph->n; i++) {
            if (t.graph->node[i]->op != &op_topk) continue;
            want += loss_of_layer(&t, t.graph->node[i], temperature, loss);
            layers++;
        }
        assert_int_equal(layers, 5);
        double got = tiny_loss(&t, "reinforce");
        if (!(fabs(got - want) < 1e-9)) fail_msg("temperature %d: %.12g for %.12g", temperature, got, want);
        for (int k = 0; k < 3; k++) free(loss[k]);
        tiny_free(&t);
    }
}

/* Gates are 1, so that nothing but the reward reaches the router: without it there is no gradient. */
static void test_only_reward(void **state)
{
    (void)state;
    for (int on = 0; on < 2; on++) {
        struct tiny t = tiny_new(on ? whole : TEXT({"ffn.router": {"noise": "gumbel", "top_k": 1, "normalize": "even"},
            "ffn.balance": [{"module": "reinforce", "weight": 0}]}), NULL, MODE_TRAIN, 2, 6);
        double grad[4 * 8], most = 0;
        tiny_start(&t, 1);
        tiny_forward(&t);
        plan_backward(t.plan, 0);
        assert_true(plan_read_grad(t.plan, tiny_user(&t, "layers.1.ffn.router.weight")->in[1], grad));
        for (int i = 0; i < COUNT(grad); i++) most = fmax(most, fabs(grad[i]));
        assert_true(on ? most > 1e-6 : most == 0);
        const struct node *gates = tiny_find(&t, &op_combine, 0)->in[3];
        double *gate = tiny_read(&t, gates);
        for (int i = 0; i < t.tokens; i++) assert_true(gate[i] == 1);
        free(gate);
        tiny_free(&t);
    }
}

/* The likeliest expert, and nothing of rewards. */
static void test_evaluation(void **state)
{
    (void)state;
    struct tiny t = tiny_new(whole, NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    for (int i = 0; i < t.graph->n; i++) {
        assert_true(t.graph->node[i]->op != &op_noise);
        if (t.graph->node[i]->op != &op_topk) continue;
        double *score = tiny_read(&t, t.graph->node[i]->in[0]), *index = tiny_read(&t, t.graph->node[i]);
        for (int row = 0; row < t.graph->node[i]->shape.dim[0]; row++)
            for (int e = 0; e < E; e++) assert_true(score[row * E + (int)index[row]] >= score[row * E + e]);
        free(score);
        free(index);
    }
    for (int i = 0; i < t.graph->n_probes; i++) {
        assert_null(strstr(t.graph->probe[i].name, "reinforce"));
        assert_null(strstr(t.graph->probe[i].name, "advantage"));
    }
    assert_null(leaves_find(t.leaves, "layers.0.ffn.router.value.weight"));
    tiny_free(&t);
}

/* Who is drawn must be known, by these logits alone. */
static void test_refusals(void **state)
{
    (void)state;
    static const struct { const char *sets, *words; } refused[] = {
        { TEXT({"ffn.balance": ["reinforce"]}), "needs experts that are drawn" },
        { TEXT({"ffn.router.noise": "normal", "ffn.balance": ["reinforce"]}), "needs experts that are drawn" },
        { TEXT({"ffn.router.noise": {"module": "gumbel", "temperature": 0}, "ffn.balance": ["reinforce"]}),
          "needs experts that are drawn" },
        { TEXT({"ffn.router.noise": "gumbel", "ffn.balance": ["reinforce", "bias"]}), "moves it" },
        { TEXT({"ffn.router": {"noise": "gumbel", "score": "relu"}, "ffn.balance": ["reinforce"]}),
          "the largest logits" },
        { TEXT({"ffn.router": {"noise": "gumbel", "top_k": 4}, "ffn.balance": ["reinforce"]}), "every one of 4" },
        { TEXT({"ffn.router.normalize": "even"}), "would get no gradient" },
        { TEXT({"ffn.router.normalize": "even", "ffn.balance": ["bias"]}), "would get no gradient" },
        { TEXT({"ffn.router.normalize": "even", "ffn.balance": ["importance", "z_loss"]}), "has no gradient" },
        { TEXT({"ffn.router": {"normalize": "even", "noise": "learned"}, "ffn.balance": ["z_loss"]}), "tell nothing" },
        { TEXT({"ffn.router.logits": "none"}), "chooses by them" },
        { TEXT({"ffn.router": {"logits": "none", "select": "hash"}, "ffn.balance": ["z_loss"]}), "are none" },
        { TEXT({"ffn.router": {"logits": "none", "select": "hash", "noise": "normal"}}), "there are no logits" },
        { TEXT({"ffn.router": {"logits": "none", "select": "hash", "bias": true}}), "there are no logits" },
    };
    for (int i = 0; i < COUNT(refused); i++) tiny_refused(refused[i].sets, refused[i].words);
    tiny_refused(TEXT({"ffn.router": {"top_k": 1, "normalize": "after"}, "ffn.balance": ["z_loss"]}), "no gradient");
    struct tiny legal = tiny_new(TEXT({"ffn.router": {"top_k": 1, "normalize": "after", "noise": "gumbel"},
                                       "ffn.balance": ["reinforce"]}), NULL, MODE_TRAIN, 2, 6);
    tiny_start(&legal, 1);
    tiny_free(&legal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(mean_of_estimator), RUN(variance), RUN(value), RUN(standardized), RUN(bandit), RUN(rewards_of_a_model),
        RUN(only_reward), RUN(evaluation), RUN(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
