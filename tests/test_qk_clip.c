/* QK-clip below the model: after the optimizer, on its weights; on the same batch the next largest score is the limit;
   several ranks do what one does with as many micro-batches, averages too.

       test_qk_clip              all
       test_qk_clip ranks what each of several ranks does: launched by mpirun, compares with what it did alone before */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "graph/ops.h"
#include "launch.h"
#include "plan/plan.h"

enum { B = 2, S = 6, T = B * S, D = 8, H = 4, G = 2, W = 4, PIECES = 2, WEIGHTS = 3 };
static const struct { const char *path; enum role role; int rows; double power; } weights[WEIGHTS] = {
    { "q.weight", ROLE_Q, H * W, 0.5 }, { "k.weight", ROLE_K, G * W, 0.5 }, { "v.weight", ROLE_V, G * W, 0 },
};
static const char *self;

static double constant(const void *conf, double scale, int64_t step, int64_t steps)
{
    (void)conf; (void)step; (void)steps;
    return scale;
}

/* Attention whose weights are updated, clipped and averaged. */
struct net {
    struct leaves *leaves;
    struct graph *graph;
    struct node *most, *share[WEIGHTS];
    struct plan *plan;
    struct state *state;
};

static struct node *control(struct graph *g, const char *name, double value)
{
    return graph_control(g, name, (struct control){ constant, NULL, 0, value });
}

static void build_updates(struct net *n, double lr, double limit)
{
    struct graph *g = n->graph;
    struct node *w[WEIGHTS], *grad[WEIGHTS], *rate = control(g, "average_rate", 0.25);
    g->region = REGION_UPDATE;
    for (int i = 0; i < WEIGHTS; i++) {
        struct leaf *l = leaves_find(n->leaves, weights[i].path);
        w[i] = graph_leaf(g, l);
        grad[i] = graph_grad_of(g, l);
    }
    struct node *clip = clip_norm(g, global_norm(g, WEIGHTS, grad), NULL, 0), *step = control(g, "step", 1);
    for (int i = 0; i < WEIGHTS; i++) {
        char m[32], v[32];
        snprintf(m, sizeof m, "m.%d", i);
        snprintf(v, sizeof v, "v.%d", i);
        adamw(g, w[i], grad[i], graph_buffer(g, m, DTYPE_REAL, w[i]->shape, 0),
              graph_buffer(g, v, DTYPE_REAL, w[i]->shape, 0), control(g, "lr", lr), step, clip, NULL, NULL,
              (struct adamw_attr){ .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-3, .rate = 1 });
    }
    for (int i = 0; i < WEIGHTS; i++)
        n->share[i] = weights[i].power > 0 ? clip_heads(g, w[i], n->most, clip,
                                                        (struct clip_heads_attr){ limit, weights[i].power, G }) : NULL;
    for (int i = 0; i < WEIGHTS; i++) average(g, graph_average_of(g, w[i]->leaf), w[i], clip, rate);
}

static struct net net_new(double lr, double limit)
{
    struct net n = { .leaves = leaves_new() };
    n.leaves->here = comm_here()->place;
    struct graph *g = n.graph = graph_new(n.leaves);
    struct node *x = graph_input(g, "x", DTYPE_REAL, SHAPE(T, D)),
                *start = graph_input(g, "start", DTYPE_I32, SHAPE(B, S)), *made[WEIGHTS];
    struct err e;
    for (int i = 0; i < WEIGHTS; i++)
        made[i] = matmul(g, x, graph_weight(g, weights[i].path, weights[i].role, SHAPE(weights[i].rows, D),
                                            (struct init){ .kind = INIT_NORMAL, .std = 1 }), DTYPE_ACT);
    struct node *heads = attention(g, (struct attention){
        .q = view(g, made[0], SHAPE(T, H, W)), .k = view(g, made[1], SHAPE(T, G, W)),
        .v = view(g, made[2], SHAPE(T, G, W)), .start = start, .scale = 1 / sqrt(W) });
    n.most = carry(g, graph_result(g, heads, 1), CARRY_MAX);                    /* [H] */
    graph_loss(g, "l", dot(g, heads, heads), 1, false);
    build_updates(&n, lr, limit);
    if (plan_new(&n.plan, g, (struct plan_how){ &backend_cpu, PRECISION_FP32, RECOMPUTE_NONE }, &e))
        fail_msg("%s", e.text);
    n.state = state_new(n.leaves, &backend_cpu, 1);
    plan_bind(n.plan, n.state, NULL);
    state_fill(n.state, 3);
    return n;
}

static void net_free(struct net *n)
{
    plan_free(n->plan);
    state_free(n->state);
    graph_free(n->graph);
    leaves_free(n->leaves);
}

/* Piece after piece of a batch: of this rank, all those that it has. */
static void step(struct net *n)
{
    const struct comm *c = comm_here();
    int32_t start[T] = { 0 };
    real x[T * D];
    plan_begin(n->plan, 0, 10, PIECES / c->ranks);
    for (int micro = 0; micro < PIECES / c->ranks; micro++) {
        for (int i = 0; i < T * D; i++)
            x[i] = (real)key_normal((struct key){ 4, PURPOSE_TEST, (uint64_t)(c->rank + micro), 0 }, (uint64_t)i);
        state_stage(n->state, leaves_find(n->leaves, "x"), micro, PIECES / c->ranks, x);
        state_stage(n->state, leaves_find(n->leaves, "start"), micro, PIECES / c->ranks, start);
    }
    plan_step(n->plan, NULL);
}

static void read_most(struct net *n, double most[G])
{
    double head[H];
    plan_read(n->plan, n->most, head);
    for (int g = 0; g < G; g++) most[g] = fmax(head[g * H / G], head[g * H / G + 1]);
}

static const struct leaf *leaf(const struct net *n, int i) { return leaves_find(n->leaves, weights[i].path); }
static real *weight(const struct net *n, int i) { return state_data(n->state, leaf(n, i)); }
static real *mean(const struct net *n, int i) { return state_data(n->state, leaves_average(n->leaves, leaf(n, i))); }

static void the_next_largest_score_is_the_limit(void **state)
{
    (void)state;
    double before[G], after[G], share;
    struct net look = net_new(0, 1e9);
    step(&look);
    read_most(&look, before);
    net_free(&look);
    assert_true(before[0] > 0 && before[1] > 0 && before[0] != before[1]);
    for (int both = 0; both < 2; both++) {
        double limit = both ? 0.3 * fmin(before[0], before[1]) : (before[0] + before[1]) / 2;
        struct net n = net_new(0, limit);
        step(&n);
        read_most(&n, after);
        assert_memory_equal(before, after, sizeof before);  /* scores of a step are those of the weights before it */
        for (int i = 0; i < 2; i++) {
            plan_read(n.plan, n.share[i], &share);
            assert_float_equal(share, both ? 1 : 0.5, 0);
        }
        step(&n);
        read_most(&n, after);
        for (int g = 0; g < G; g++) {
            if (before[g] > limit) assert_float_equal(after[g], limit, 1e-6 * limit);
            else assert_true(after[g] == before[g]);
        }
        net_free(&n);
    }
}

/* The optimizer's step comes first, the average last. */
static void clipping_follows_the_optimizer(void **state)
{
    (void)state;
    double most[G], limit = 0.5;
    struct net whole = net_new(0.01, 1e9), n = net_new(0.01, limit);
    real begun[WEIGHTS][H * W * D];
    for (int i = 0; i < WEIGHTS; i++) memcpy(begun[i], weight(&n, i), (size_t)(weights[i].rows * D) * sizeof(real));
    step(&whole);
    step(&n);
    read_most(&n, most);
    assert_true(most[0] > limit && most[1] > limit);
    for (int i = 0; i < WEIGHTS; i++)
        for (int k = 0, count = weights[i].rows * D; k < count; k++) {
            double factor = pow(limit / most[k * G / count], weights[i].power), w = (double)weight(&n, i)[k];
            assert_float_equal(w, (double)weight(&whole, i)[k] * factor, 1e-6);
            assert_float_equal(mean(&n, i)[k], (double)begun[i][k] + 0.25 * (w - (double)begun[i][k]), 1e-6);
        }
    net_free(&whole);
    net_free(&n);
}

/* ---- ranks ---- */

static void check_near(const char *what, const real *got, const real *want, int n)
{
    for (int i = 0; i < n; i++) {
        if (fabs((double)got[i] - (double)want[i]) < 1e-5) continue;
        fprintf(stderr, "rank %d: %s %d is %g, of one rank %g\n", comm_here()->rank, what, i, (double)got[i],
                (double)want[i]);
        exit(1);
    }
}

/* Weights, and averages, which every rank reads while they are in their places. */
static void check_weights(struct net *n, struct net *alone)
{
    for (int i = 0; i < WEIGHTS; i++) check_near(weights[i].path, weight(n, i), weight(alone, i), weights[i].rows * D);
    plan_swap_averages(n->plan);
    for (int i = 0; i < WEIGHTS; i++) check_near("average", weight(n, i), mean(alone, i), weights[i].rows * D);
    plan_swap_averages(n->plan);
    for (int i = 0; i < WEIGHTS; i++) check_near(weights[i].path, weight(n, i), weight(alone, i), weights[i].rows * D);
}

static int be_rank(void)
{
    enum { STEPS = 3 };
    struct net alone = net_new(0.01, 0.5);
    struct err e;
    double share, wanted;
    for (int i = 0; i < STEPS; i++) step(&alone);
    plan_read(alone.plan, alone.share[1], &wanted);
    if (comm_join(&e)) {
        fprintf(stderr, "%s\n", e.text);
        return 7;
    }
    struct net n = net_new(0.01, 0.5);
    for (int i = 0; i < STEPS; i++) step(&n);
    plan_read(n.plan, n.share[1], &share);
    if (share != wanted) {
        fprintf(stderr, "rank %d: a share of %g is clipped, by one rank %g\n", comm_here()->rank, share, wanted);
        return 1;
    }
    check_weights(&n, &alone);
    fprintf(stderr, "rank %d: all is right\n", comm_here()->rank);
    net_free(&n);
    net_free(&alone);
    comm_leave();
    return 0;
}

static void ranks_do_what_one_does(void **state)
{
    char text[8192];
    (void)state;
    if (!can_launch(self)) skip();
    if (!launched_right(self, PIECES, "ranks", text)) fail_msg("%s", text);
}

int main(int n, char **word)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_largest_score_is_the_limit), cmocka_unit_test(clipping_follows_the_optimizer),
        cmocka_unit_test(ranks_do_what_one_does),
    };
    self = word[0];
    if (n == 2 && strcmp(word[1], "ranks") == 0) return be_rank();
    return cmocka_run_group_tests_name("qk_clip", tests, NULL, NULL);
}
