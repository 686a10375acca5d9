/* The ops of residual streams a block of rows at a time, as chains run them, and whole: the same bits. */
#include "graph/ops.h"
#include "plan/plan_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { T = 600, N = 3, D = 24, WEIGHTS = 6 };

static struct node *weight(struct graph *g, const char *path, struct shape s)
{
    return graph_weight(g, path, ROLE_MIX, s, (struct init){ .kind = INIT_NORMAL, .std = 0.7 });
}

/* Streams mixed by a matrix of each token that is computed, by one that is a weight, and by one for all. */
static void build(struct graph *g, struct node *w[WEIGHTS])
{
    struct node *x = w[0] = weight(g, "x", SHAPE(T, D)), *logits = w[1] = weight(g, "logits", SHAPE(T, N * N + 2)),
                *own = w[2] = weight(g, "own", SHAPE(T, 2, N)), *shared = w[3] = weight(g, "shared", SHAPE(N, 2)),
                *row = w[4] = weight(g, "row", SHAPE(D)), *by = w[5] = weight(g, "by", SHAPE(1));
    struct node *square = view(g, columns(g, logits, 1, N * N), SHAPE(T, N, N));
    struct node *mixed = mix_streams(g, repeat(g, mul_row(g, x, row), N), sinkhorn(g, square, 20, 1e-6));
    struct node *two = mix_streams(g, mul_scalar(g, l2norm(g, mixed, 1e-6), by), own);          /* [T,2,D] */
    struct node *three = tanh_of(g, mix_streams(g, two, shared));                               /* [T,N,D] */
    graph_loss(g, "loss", dot(g, three, graph_input(g, "target", DTYPE_REAL, SHAPE(T, N, D))), 1, false);
}

/* Gradients; gives how many calls of mix_streams ran in chains. */
static int run(bool whole, double *grad[WEIGHTS])
{
    struct leaves *l = leaves_new();
    struct graph *g = graph_new(l);
    struct node *w[WEIGHTS];
    struct plan *p;
    struct err e;
    int chained = 0;
    build(g, w);
    if (g->failed) fail_msg("%s", g->err.text);
    g->keep = whole;
    assert_int_equal(plan_new(&p, g, (struct plan_how){ &backend_cpu, PRECISION_FP32, RECOMPUTE_NONE }, &e), 0);
    for (int i = 0; i < p->forward.n + p->backward.n; i++) {
        const struct call *c = i < p->forward.n ? &p->forward.call[i] : &p->backward.call[i - p->forward.n];
        chained += c->node->op == &op_mix_streams && c->chain != NONE;
    }
    struct state *s = state_new(l, &backend_cpu, 2);
    state_fill(s, 7);
    real target[T * N * D];
    for (int i = 0; i < T * N * D; i++) target[i] = (real)(i % 7 - 3);
    state_put(s, leaves_find(l, "target"), target);
    plan_bind(p, s, NULL);
    plan_begin(p, 0, 1, 1);
    plan_forward(p, 0);
    plan_backward(p, 0);
    for (int i = 0; i < WEIGHTS; i++) {
        grad[i] = xcalloc((size_t)shape_count(w[i]->shape), sizeof **grad);
        assert_true(plan_read_grad(p, w[i], grad[i]));
    }
    plan_free(p);
    state_free(s);
    graph_free(g);
    leaves_free(l);
    return chained;
}

static void test_chains(void **state)
{
    (void)state;
    static const int count[WEIGHTS] = { T * D, T * (N * N + 2), T * 2 * N, N * 2, D, 1 };
    double *whole[WEIGHTS], *rows[WEIGHTS];
    assert_int_equal(run(true, whole), 0);
    assert_true(run(false, rows) >= 4);
    for (int i = 0; i < WEIGHTS; i++) {
        double size = 0;
        for (int k = 0; k < count[i]; k++) {
            size += whole[i][k] * whole[i][k];
            if (whole[i][k] != rows[i][k])
                fail_msg("weight %d, gradient %d: %g, by rows %g", i, k, whole[i][k], rows[i][k]);
        }
        assert_true(size > 0 && size < 1e12);
        free(whole[i]);
        free(rows[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_chains) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
