/* Routers and balance: derivatives by published values, what constants may change, experts cut into shards, counts of
   whole steps. */
#include "tiny_pair.h"
#include "graph/ops.h"

/* A few ops on router logits z [T,4], the value of what they make, and the derivative of the sum of made * r by z. */
typedef struct node *recipe(struct graph *g, struct node *z);
enum { MOST = 16, EXPERTS = 4 };
struct result { double made[MOST], grad[MOST], loss; };

static struct result derive(recipe *make, int tokens, const double *z, const double *r)
{
    struct leaves *leaves = leaves_new();
    struct graph *g = graph_new(leaves);
    struct plan *plan;
    struct err e;
    struct result out;
    real values[MOST];
    g->keep = true;
    struct node *logits = graph_weight(g, "z", ROLE_ROUTER, SHAPE(tokens, EXPERTS),
                                       (struct init){ .kind = INIT_CONSTANT });
    struct node *made = make(g, logits), *by = graph_input(g, "r", DTYPE_REAL, made->shape), *loss = dot(g, made, by);
    graph_loss(g, "loss", loss, 1, false);
    if (plan_new(&plan, g, (struct plan_how){ &backend_cpu, PRECISION_FP32, RECOMPUTE_NONE }, &e))
        fail_msg("%s", e.text);
    struct state *state = state_new(leaves, &backend_cpu, 1);
    plan_bind(plan, state, NULL);
    for (int i = 0; i < tokens * EXPERTS; i++) values[i] = (real)z[i];
    state_put(state, logits->leaf, values);
    for (int64_t i = 0; i < shape_count(made->shape); i++) values[i] = (real)r[i];
    state_put(state, by->leaf, values);
    plan_begin(plan, 0, 1, 1);
    plan_forward(plan, 0);
    plan_backward(plan, 0);
    plan_read(plan, made, out.made);
    plan_read(plan, loss, &out.loss);
    assert_true(plan_read_grad(plan, logits, out.grad));
    plan_free(plan);
    state_free(state);
    graph_free(g);
    leaves_free(leaves);
    return out;
}

static void see(const double *got, int n, const double *want, double tolerance)
{
    for (int i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= tolerance)) fail_msg("value %d is %.8f, expected %.8f", i, got[i], want[i]);
}
#define SEE(got, tolerance, ...) see(got, COUNT(((double[]){ __VA_ARGS__ })), (double[]){ __VA_ARGS__ }, tolerance)

static struct node *chosen(struct graph *g, struct node *score, int k) { return pick(g, score, topk(g, score, k)); }
static struct node *by_softmax(struct graph *g, struct node *z) { return chosen(g, softmax(g, z), 2); }
static struct node *by_sigmoid(struct graph *g, struct node *z) { return chosen(g, sigmoid(g, z), 2); }
static struct node *by_softmax_after(struct graph *g, struct node *z) { return normalize(g, by_softmax(g, z), 1e-20); }
static struct node *by_sigmoid_after(struct graph *g, struct node *z)
{
    return scale(g, normalize(g, by_sigmoid(g, z), 1e-20), 2.5);
}
static struct node *by_logits_first(struct graph *g, struct node *z) { return softmax(g, chosen(g, z, 2)); }
static struct node *by_switch(struct graph *g, struct node *z) { return chosen(g, softmax(g, z), 1); }
static struct node *z_loss(struct graph *g, struct node *z) { return mean_rows(g, square(g, logsumexp(g, z))); }
static struct node *balance_loss(struct graph *g, struct node *z)
{
    struct node *p = softmax(g, z);
    return dot(g, load(g, graph_result(g, dispatch(g, topk(g, p, 2), EXPERTS, 0), 3)), mean_rows(g, p));
}

static const double one[] = { 2, 1, 0, -1 }, pull[] = { 1, -1 };

/* Gates of one token and their derivatives. Where gates are of the chosen alone, so is the gradient. */
static void test_gates(void **state)
{
    (void)state;
    struct result r = derive(by_softmax, 1, one, pull);
    SEE(r.made, 1e-5, .643914, .236883);
    SEE(r.grad, 1e-5, .381821, -.333302, -.035470, -.013049);
    assert_true(fabs(r.grad[0] + r.grad[1] + r.grad[2] + r.grad[3]) < 1e-6);
    r = derive(by_softmax_after, 1, one, pull);
    SEE(r.made, 1e-5, .731059, .268941);
    SEE(r.grad, 1e-5, .393224, -.393224, 0, 0);
    r = derive(by_sigmoid_after, 1, one, pull);
    SEE(r.made, 1e-5, 1.366123, 1.133877);
    SEE(r.grad, 1e-5, .147718, -.333276, 0, 0);
    r = derive(by_sigmoid, 1, one, pull);
    SEE(r.made, 1e-5, .880797, .731059);
    SEE(r.grad, 1e-5, .104994, -.196612, 0, 0);
    r = derive(by_switch, 1, one, pull);
    SEE(r.made, 1e-5, .643914);
}

/* The two routes to gates that sum to 1, to the last place that float holds. */
static void test_two_routes(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        double z[EXPERTS], r[2];
        for (int e = 0; e < EXPERTS; e++)
            z[e] = 3 * key_normal((struct key){ 1, PURPOSE_TEST, 0, (uint64_t)i }, (uint64_t)e);
        for (int e = 0; e < 2; e++) r[e] = key_normal((struct key){ 2, PURPOSE_TEST, 0, (uint64_t)i }, (uint64_t)e);
        struct result a = derive(by_softmax_after, 1, z, r), b = derive(by_logits_first, 1, z, r);
        see(a.made, 2, b.made, 1e-6);
        see(a.grad, EXPERTS, b.grad, 2e-6);
    }
}

/* I9: a constant on all logits is nothing to softmax, and something to sigmoid and to the z-loss. */
static void test_constant_on_logits(void **state)
{
    (void)state;
    static const struct { recipe *make; bool same; } kind[] = { { by_softmax, true }, { by_softmax_after, true },
                                                                { by_sigmoid, false }, { z_loss, false } };
    double moved[EXPERTS];
    for (int e = 0; e < EXPERTS; e++) moved[e] = one[e] + 3;
    for (int i = 0; i < COUNT(kind); i++) {
        struct result a = derive(kind[i].make, 1, one, pull), b = derive(kind[i].make, 1, moved, pull);
        assert_int_equal(fabs(a.loss - b.loss) < 1e-6, kind[i].same);
    }
}

static void test_z_loss(void **state)
{
    (void)state;
    struct result r = derive(z_loss, 1, one, pull);
    SEE(r.made, 2e-5, 5.954526);
    SEE(r.grad, 2e-5, 3.142546, 1.156078, .425297, .156458);
    double level[EXPERTS];
    for (int e = 0; e < EXPERTS; e++) level[e] = one[e] - 2.440190;
    r = derive(z_loss, 1, level, pull);
    SEE(r.made, 1e-9, 0);
    SEE(r.grad, 1e-5, 0, 0, 0, 0);
}

/* The balance loss of four tokens, of equal logits, and of tokens that all want the same two experts, the first above
   all: E / k. */
static void test_balance_loss(void **state)
{
    (void)state;
    static const double four[] = { 2, 1, 0, -1, 2, 0, 1, -1, 0, 2, 1, -1, 1, 2, -1, 0 }, equal[16] = { 0 };
    static const double collapsed[] = { 40, 20, 0, 0, 40, 20, 0, 0, 40, 20, 0, 0, 40, 20, 0, 0 };
    struct result r = derive(balance_loss, 4, four, pull);
    SEE(r.made, 1e-5, 1.357134);
    SEE(r.grad, 1e-5, .014755, .005428, -.008896, -.011287);
    r = derive(balance_loss, 4, equal, pull);
    SEE(r.made, 1e-6, 1);
    r = derive(balance_loss, 4, collapsed, pull);
    SEE(r.made, 1e-6, EXPERTS / 2.0);
}

/* Even counts pull nobody, whatever the probabilities. */
static void test_balance_at_rest(void **state)
{
    (void)state;
    static const double even[] = { .3, .2, .1, 0, 0, .1, .2, .3, .3, .2, .1, 0, 0, .1, .2, .3 };
    struct result r = derive(balance_loss, 4, even, pull);
    SEE(r.made, 1e-6, 1);
    for (int i = 0; i < 16; i++) assert_true(fabs(r.grad[i]) < 1e-7);
}

/* I6: every expert cut in two along its hidden width, router rows doubled: twice as many are chosen, and nothing
   changes. Sigmoid gates stay as they are; softmax ones halve, which the scale makes good. */
static void test_fine_grained_experts(void **state)
{
    (void)state;
    static const char *const whole[] = { TEXT({"ffn.router.score": "sigmoid"}), TEXT({"ffn.router.score": "softmax"}) };
    static const char *const cut[] = {
        TEXT({"ffn.experts": 8, "ffn.d_ff": 3, "ffn.router.score": "sigmoid", "ffn.router.top_k": 4}),
        TEXT({"ffn.experts": 8, "ffn.d_ff": 3, "ffn.router.score": "softmax", "ffn.router.top_k": 4,
              "ffn.router.scale": 2}),
    };
    enum { D = 8, F = 6, HALF = 3 };
    for (int i = 0; i < 2; i++) {
        struct pair p = pair_new(whole[i], cut[i]);
        for (int l = 0; l < 3; l++) {
            char path[3][64], router[64];
            static const char *const name[] = { "gate", "up", "down" };
            for (int n = 0; n < 3; n++)
                snprintf(path[n], sizeof path[n], "layers.%d.ffn.experts.%s.weight", l, name[n]);
            snprintf(router, sizeof router, "layers.%d.ffn.router.weight", l);
            for (int e = 0; e < 8; e++) {
                memcpy(tiny_weight(&p.b, router) + e * D, tiny_weight(&p.a, router) + e / 2 * D, D * sizeof(real));
                for (int n = 0; n < 2; n++)
                    memcpy(tiny_weight(&p.b, path[n]) + e * HALF * D,
                           tiny_weight(&p.a, path[n]) + (e / 2 * F + e % 2 * HALF) * D, HALF * D * sizeof(real));
                for (int row = 0; row < D; row++)
                    memcpy(tiny_weight(&p.b, path[2]) + (e * D + row) * HALF,
                           tiny_weight(&p.a, path[2]) + (e / 2 * D + row) * F + e % 2 * HALF, HALF * sizeof(real));
            }
        }
        pair_run(&p);
        check_near(p.x, p.y, p.n, 2e-6);
        pair_free(&p);
    }
}

/* Gates that are normalised after the choice sum to the scale, whatever a bias does to the choice. */
static void test_sum_of_gates(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"ffn.router": {"score": "sigmoid", "normalize": "after", "scale": 2.5, "top_k": 3},
                                   "ffn.balance": ["bias"]}), NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    for (int e = 0; e < 4; e++) tiny_weight(&t, "layers.0.ffn.router.bias")[e] = (real)(e % 2 ? 0.3 : -0.3);
    tiny_forward(&t);
    double *gate = tiny_read(&t, tiny_find(&t, &op_combine, 0)->in[3]);
    for (int token = 0; token < t.tokens; token++)
        assert_true(fabs(gate[3 * token] + gate[3 * token + 1] + gate[3 * token + 2] - 2.5) < 1e-6);
    free(gate);
    tiny_free(&t);
}

/* Even gates are one over the number of experts that a token goes to, whatever their scores, times the scale; at 0 that
   of sums of unlike experts. */
static void test_even_gates(void **state)
{
    (void)state;
    static const struct { const char *sets; int width; double sum; } kind[] = {
        { TEXT({"ffn.router": {"normalize": "even", "top_k": 3}, "ffn.balance": ["z_loss"]}), 3, 1 },
        { TEXT({"ffn.router": {"normalize": "even", "scale": 2}, "ffn.balance": ["z_loss"]}), 2, 2 },
        { TEXT({"ffn.router": {"normalize": "even", "scale": 0}, "ffn.balance": ["z_loss"]}), 2, M_SQRT2 },
        { TEXT({"ffn.router": {"normalize": "even", "score": "relu", "select": {"module": "top_k", "most": 4}},
                "ffn.balance": ["z_loss"]}), 4, 1 },
        { TEXT({"ffn.router": {"normalize": "even", "top_k": 1, "logits": "none", "select": "hash"}}), 1, 1 },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny t = tiny_new(kind[i].sets, NULL, MODE_EVAL, 2, 6);
        tiny_start(&t, 1);
        tiny_forward(&t);
        const struct node *combined = tiny_find(&t, &op_combine, 0);
        double *gate = tiny_read(&t, combined->in[3]), *row = tiny_read(&t, combined->in[2]);
        int width = kind[i].width, fewer = 0;
        assert_int_equal(shape_last(combined->in[3]->shape), width);
        for (int token = 0; token < t.tokens; token++) {
            int n = 0;
            for (int j = 0; j < width; j++) n += row[width * token + j] >= 0;
            for (int j = 0; j < width; j++)
                if (row[width * token + j] >= 0) assert_float_equal(gate[width * token + j], kind[i].sum / n, 1e-3);
            fewer += n < width;
        }
        assert_true((fewer > 0) == (width == 4));
        free(gate);
        free(row);
        tiny_free(&t);
    }
}

/* Without logits there is no router: no weight of it, equal scores. */
static void test_no_logits(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"ffn.router": {"normalize": "even", "top_k": 1, "logits": "none",
                                                  "select": "hash"}}), NULL, MODE_TRAIN, 2, 6);
    double mean[4], most;
    tiny_start(&t, 1);
    tiny_step(&t, 0);
    for (int i = 0; i < t.leaves->n; i++) assert_null(strstr(t.leaves->leaf[i]->path, "router"));
    tiny_metric(&t, "router_prob_mean", 1, mean);
    tiny_metric(&t, "router_logit_max", 1, &most);
    SEE(mean, 1e-6, .25, .25, .25, .25);
    assert_true(most == 0);
    tiny_free(&t);
}

static void check_same_weights(const struct tiny *a, const struct tiny *b)
{
    for (int i = 0; i < a->leaves->n; i++) {
        const struct leaf *l = a->leaves->leaf[i];
        if (l->kind == LEAF_WEIGHT)
            assert_memory_equal(state_data(a->state, l), tiny_weight(b, l->path), leaf_bytes(l));
    }
}

/* A bias that never moves is no balancing: ten steps leave the same bits. */
static void test_bias_without_step(void **state)
{
    (void)state;
    struct tiny a = tiny_new(TEXT({"ffn.router.score": "sigmoid", "ffn.balance": [{"module": "bias", "gamma": 0}]}),
                             NULL, MODE_TRAIN, 2, 6);
    struct tiny b = tiny_new(TEXT({"ffn.router.score": "sigmoid"}), NULL, MODE_TRAIN, 2, 6);
    tiny_start(&a, 1);
    tiny_start(&b, 1);
    for (int step = 0; step < 10; step++) {
        tiny_step(&a, step);
        tiny_step(&b, step);
    }
    assert_true(tiny_loss(&a, "lm") == tiny_loss(&b, "lm"));
    check_same_weights(&a, &b);
    tiny_free(&a);
    tiny_free(&b);
}

/* The bias moves by the counts of the whole step: four sequences at once, or in two micro-batches whose own counts
   would move it otherwise. */
static void test_bias_counts_whole_steps(void **state)
{
    (void)state;
    static const char *const sets = TEXT({"layers": 1, "ffn.router": {"score": "sigmoid", "top_k": 1},
                                          "ffn.balance": [{"module": "bias", "gamma": 0.01}]});
    struct tiny whole = tiny_new(sets, TEXT({"optim.lr": 0}), MODE_TRAIN, 4, 6),
                part = tiny_new(sets, TEXT({"optim.lr": 0}), MODE_TRAIN, 2, 6);
    tiny_start(&whole, 2);
    tiny_start(&part, 2);
    double all[4], halves[4], sum = 0;
    tiny_step(&whole, 0);
    plan_begin(part.plan, 0, 1000, 2);
    for (int pass = 0; pass < 2; pass++)
        for (int micro = 0; micro < 2; micro++) {
            memcpy(part.ids, whole.ids + 12 * micro, 12 * sizeof *part.ids);
            tiny_put(&part);
            if (pass == 0) { plan_ahead(part.plan, micro); continue; }
            plan_forward(part.plan, micro);
            plan_backward(part.plan, micro);
        }
    plan_update(part.plan);
    tiny_metric(&whole, "expert_tokens", 0, all);
    tiny_metric(&part, "expert_tokens", 0, halves);
    for (int e = 0; e < 4; e++) {
        real moved = tiny_weight(&whole, "layers.0.ffn.router.bias")[e];
        assert_true(all[e] == halves[e] && moved == tiny_weight(&part, "layers.0.ffn.router.bias")[e]);
        assert_true(moved == (real)(0.01 * ((6 > all[e]) - (6 < all[e]))));
        sum += all[e];
    }
    assert_true(sum == 24);
    tiny_free(&whole);
    tiny_free(&part);
}

/* What is logged of a router: probabilities sum to 1, entropy and logits of a router that knows nothing. */
static void test_metrics_of_equal_logits(void **state)
{
    (void)state;
    static const char *const kind[] = { TEXT({"ffn.router.score": "softmax"}), TEXT({"ffn.router.score": "sigmoid"}) };
    for (int i = 0; i < 2; i++) {
        struct tiny t = tiny_new(kind[i], NULL, MODE_EVAL, 2, 6);
        double mean[4], entropy, most, squares;
        tiny_start(&t, 1);
        tiny_forward(&t);
        tiny_metric(&t, "router_prob_mean", 1, mean);
        assert_true(fabs(mean[0] + mean[1] + mean[2] + mean[3] - 1) < 1e-6);
        tiny_metric(&t, "router_token_entropy", 1, &entropy);
        assert_true(entropy > 0 && entropy < log(4));
        tiny_scale_all(&t, "router.weight", 0);
        tiny_forward(&t);
        tiny_metric(&t, "router_prob_mean", 1, mean);
        tiny_metric(&t, "router_token_entropy", 1, &entropy);
        tiny_metric(&t, "router_logit_max", 1, &most);
        tiny_metric(&t, "router_lse2", 1, &squares);
        SEE(mean, 1e-6, .25, .25, .25, .25);
        assert_true(fabs(entropy - log(4)) < 1e-6 && most == 0 && fabs(squares - log(4) * log(4)) < 1e-6);
        tiny_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(gates), RUN(two_routes), RUN(constant_on_logits), RUN(z_loss), RUN(balance_loss), RUN(balance_at_rest),
        RUN(fine_grained_experts), RUN(sum_of_gates), RUN(even_gates), RUN(no_logits), RUN(bias_without_step),
        RUN(bias_counts_whole_steps), RUN(metrics_of_equal_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
