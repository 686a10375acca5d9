/* A mesh of ranks: who belongs to a group, what ops do over it, and leaves of which ranks have parts. Launches itself
   with mpirun where there is one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>
#include "graph/ops.h"
#include "launch.h"
#include "plan/plan.h"

static const char *self;

/* ---- groups ---- */

static void test_groups(void **state)
{
    struct place p = { { .size = { [AXIS_TP] = 2, [AXIS_CP] = 3, [AXIS_EP] = 2, [AXIS_PP] = 2 } }, 0 };
    char text[64];
    (void)state;
    assert_int_equal(mesh_ranks(&p.mesh), 24);
    assert_string_equal(mesh_text(&p.mesh, text), "pp2.ep2.cp3.tp2");
    for (unsigned over = 0; over <= OVER_ALL; over++)
        for (p.rank = 0; p.rank < 24; p.rank++) {
            int n = place_group(&p, over), last = -1;
            assert_int_equal(n * place_group(&p, OVER_ALL & ~over), 24);
            assert_int_equal(place_member(&p, over, place_index(&p, over)), p.rank);
            for (int i = 0; i < n; i++) {
                struct place other = { p.mesh, place_member(&p, over, i) };
                assert_true(other.rank > last);
                last = other.rank;
                assert_int_equal(place_index(&other, OVER_ALL & ~over), place_index(&p, OVER_ALL & ~over));
            }
        }
    struct place alone = { { { 0 } }, 0 };
    assert_int_equal(place_group(&alone, OVER_ALL), 1);
    assert_string_equal(mesh_text(&alone.mesh, text), "1");
}

/* ---- what each of four ranks does ---- */

enum { RANKS = 4, N = 6, D = 5 };

static void expect(double got, double want, const char *what, int64_t i)
{
    if (fabs(got - want) <= 1e-5 * (1 + fabs(want))) return;
    fprintf(stderr, "rank %d: %s %lld is %g, not %g\n", comm_here()->rank, what, (long long)i, got, want);
    exit(1);
}

/* Different for each rank. */
static real number(int rank, int64_t i, int which)
{
    return (real)(key_uniform((struct key){ (uint64_t)rank, PURPOSE_TEST, (uint64_t)which, 0 }, (uint64_t)i) - 0.5);
}

/* A graph of x and what multiplies the result, t: the loss is their product, so t is its gradient. */
struct net { struct leaves *leaves; struct graph *graph; struct plan *plan; struct state *state; struct node *x, *t; };

static struct net net_begin(int64_t rows)
{
    struct net n = { .leaves = leaves_new() };
    n.leaves->here = comm_here()->place;
    n.graph = graph_new(n.leaves);
    n.graph->keep = true;
    n.x = graph_weight(n.graph, "x", ROLE_EMBED, SHAPE(rows, D), (struct init){ .value = 0 });
    return n;
}

static void net_run(struct net *n, struct node *y)
{
    struct err e;
    struct graph *g = n->graph;
    n->t = graph_input(g, "t", DTYPE_REAL, y->shape);
    graph_loss(g, "l", dot(g, y, n->t), 1, true);
    if (plan_new(&n->plan, g, (struct plan_how){ .backend = &backend_cpu }, &e)) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    n->state = state_new(n->leaves, &backend_cpu, 1);
    plan_bind(n->plan, n->state, NULL);
    for (int which = 0; which < 2; which++) {
        const struct leaf *l = which ? n->t->leaf : n->x->leaf;
        int64_t count = shape_count(l->decl.shape);
        real *values = xmalloc((size_t)count * sizeof *values);
        for (int64_t i = 0; i < count; i++) values[i] = number(comm_here()->rank, i, which);
        state_put(n->state, l, values);
        free(values);
    }
    plan_begin(n->plan, 0, 1, 1);
    plan_forward(n->plan, 0);
    plan_backward(n->plan, 0);
}

static double *values_of(struct net *n, struct node *of, bool gradient)
{
    double *to = xcalloc((size_t)shape_count(of->shape), sizeof *to);
    if (!gradient) plan_read(n->plan, of, to);
    else if (!plan_read_grad(n->plan, of, to)) exit(1);
    return to;
}

static void net_end(struct net *n)
{
    plan_free(n->plan);
    state_free(n->state);
    graph_free(n->graph);
    leaves_free(n->leaves);
}

/* Gradients of x are added over the ranks that have other tokens, when the step's last micro-batch is done. */
static double over_data(double (*of)(int rank, int64_t i), int64_t i)
{
    double sum = 0;
    for (int rank = 0; rank < RANKS; rank++) sum += of(rank, i);
    return sum;
}

/* Ranks of a group: those over ep are neighbours. */
static int peer(int rank, int k) { return rank / 2 * 2 + k; }

static double gathered_gradient(int rank, int64_t i)
{
    double sum = 0;
    for (int k = 0; k < 2; k++) sum += (double)number(peer(rank, k), rank % 2 * N * D + i, 1);
    return sum;
}
static double own_gradient(int rank, int64_t i) { return (double)number(rank, i, 1); }
static double group_gradient(int rank, int64_t i)
{
    return (double)number(peer(rank, 0), i, 1) + (double)number(peer(rank, 1), i, 1);
}

static void collectives(void)
{
    static struct node *(*const op[])(struct graph *, struct node *, unsigned) = { all_gather, all_reduce,
                                                                                   reduce_gradient };
    static double (*const gradient[])(int, int64_t) = { gathered_gradient, own_gradient, group_gradient };
    int me = comm_here()->rank;
    for (int k = 0; k < COUNT(op); k++) {
        struct net n = net_begin(N);
        struct node *y = op[k](n.graph, n.x, OVER_EP);
        net_run(&n, y);
        double *out = values_of(&n, y, false), *dx = values_of(&n, n.x, true);
        for (int64_t i = 0; i < shape_count(y->shape); i++) {
            double want = k == 0   ? (double)number(peer(me, (int)(i / (N * D))), i % (N * D), 0)
                          : k == 1 ? (double)number(peer(me, 0), i, 0) + (double)number(peer(me, 1), i, 0)
                                   : (double)number(me, i, 0);
            expect(out[i], want, y->op->name, i);
        }
        for (int64_t i = 0; i < N * D; i++) expect(dx[i], over_data(gradient[k], i), "a gradient", i);
        free(out);
        free(dx);
        net_end(&n);
    }
}

/* Of BATCH sequences each rank of a group has N / BATCH tokens. Where value i of a part lies in the whole. */
enum { BATCH = 3 };
static int64_t in_whole(int part, int64_t i)
{
    int64_t each = N / BATCH * D;
    return (i / each * 2 + part) * each + i % each;
}

static double part_gradient(int rank, int64_t i)
{
    double sum = 0;
    for (int k = 0; k < 2; k++) sum += (double)number(peer(rank, k), in_whole(rank % 2, i), 1);
    return sum;
}

static void sequences(void)
{
    struct net n = net_begin(N);
    struct node *start = graph_input(n.graph, "start", DTYPE_I32, SHAPE(BATCH, N / BATCH)),
                *y = gather_sequences(n.graph, n.x, start, OVER_EP);
    net_run(&n, y);
    double *out = values_of(&n, y, false), *dx = values_of(&n, n.x, true);
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < N * D; i++)
            expect(out[in_whole(k, i)], (double)number(peer(comm_here()->rank, k), i, 0), "of whole sequences", i);
    for (int64_t i = 0; i < N * D; i++) expect(dx[i], over_data(part_gradient, i), "a gradient of sequences", i);
    free(out);
    free(dx);
    net_end(&n);
}

/* To the experts of others and back, through a square: x^2, whose gradient is 2 x t. Which experts: all, those of one
   rank alone, none. */
static double squared_gradient(int rank, int64_t i) { return 2 * (double)(number(rank, i, 0) * number(rank, i, 1)); }

enum { TOKENS = 7, K = 2, EXPERTS = 6 };
static int32_t choice(int how, int rank, int i)
{
    int32_t first = (int32_t)(key_uniform((struct key){ (uint64_t)rank, PURPOSE_TEST, 9, 0 }, (uint64_t)(i / K)) * 5);
    int32_t any = i % K ? 5 : first;
    return how == 0 ? any : how == 1 ? (int32_t)(3 + i % K) : -1;
}

static void check_counts(struct net *n, struct node *counts)
{
    double *at = values_of(n, counts, false);
    float sums[2] = { 0, 0 };
    for (int i = 0; i < EXPERTS; i++) { sums[0] += (float)at[i]; sums[1] += (float)at[EXPERTS + i]; }
    comm_here()->reduce(sums, 2, REDUCE_SUM, OVER_EP);
    expect(sums[1], sums[0], "of what was sent, what came,", 0);
    free(at);
}

static void experts(int how)
{
    int me = comm_here()->rank;
    struct net n = net_begin(TOKENS * K);
    struct graph *g = n.graph;
    struct node *index = graph_input(g, "index", DTYPE_I32, SHAPE(TOKENS, K)),
                *sorted = dispatch(g, index, EXPERTS, 0),
                *order = graph_result(g, sorted, 1), *inverse = graph_result(g, sorted, 2),
                *pairs = view(g, inverse, SHAPE(TOKENS * K, 1)),
                *rows = gather(g, n.x, order, pairs),
                *counts = exchange_counts(g, sorted, 2 * TOKENS * K, OVER_EP),
                *there = to_experts(g, rows, counts),
                *back = from_experts(g, square(g, there), counts, TOKENS * K),
                *y = gather(g, back, view(g, inverse, SHAPE(TOKENS * K)), view(g, order, SHAPE(TOKENS * K, 1)));
    struct err e;
    n.t = graph_input(g, "t", DTYPE_REAL, y->shape);
    graph_loss(g, "l", dot(g, y, n.t), 1, true);
    if (plan_new(&n.plan, g, (struct plan_how){ .backend = &backend_cpu }, &e)) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    n.state = state_new(n.leaves, &backend_cpu, 2);
    plan_bind(n.plan, n.state, NULL);
    real x[TOKENS * K * D], t[TOKENS * K * D];
    int32_t chosen[TOKENS * K];
    for (int i = 0; i < TOKENS * K * D; i++) { x[i] = number(me, i, 0); t[i] = number(me, i, 1); }
    for (int i = 0; i < TOKENS * K; i++) chosen[i] = choice(how, me, i);
    state_put(n.state, n.x->leaf, x);
    state_put(n.state, n.t->leaf, t);
    state_put(n.state, index->leaf, chosen);
    plan_begin(n.plan, 0, 1, 1);
    plan_forward(n.plan, 0);
    plan_backward(n.plan, 0);
    check_counts(&n, counts);
    double *out = values_of(&n, y, false), *dx = values_of(&n, n.x, true);
    for (int i = 0; i < TOKENS * K * D; i++) {
        expect(out[i], how == 2 ? 0 : (double)(x[i] * x[i]), "what experts gave back", i);
        expect(dx[i], how == 2 ? 0 : over_data(squared_gradient, i), "a gradient of experts", i);
    }
    free(out);
    free(dx);
    net_end(&n);
}

/* ---- leaves of which ranks have parts ---- */

static const struct init drawn = { .kind = INIT_NORMAL, .std = 1, .cut = 2 };

/* The same draws however it is cut, and all of them on rank 0. */
static void parts(struct shape whole, int dim, unsigned over, unsigned shard)
{
    const struct comm *c = comm_here();
    int64_t count = shape_count(whole);
    real *want = xmalloc((size_t)count * sizeof *want), *got = xcalloc((size_t)count, sizeof *got);
    for (int cut = 0; cut < 2; cut++) {
        struct leaves *leaves = leaves_new();
        struct graph *g = graph_new(leaves);
        if (cut) leaves->here = c->place;
        struct partition by = { .dim = dim, .over = over, .shard = shard };
        struct node *w = graph_weight_cut(g, "w", ROLE_Q, whole, drawn, by);
        struct state *s = state_new(leaves, &backend_cpu, 1);
        state_fill(s, 17);
        if (!cut) state_get(s, w->leaf, want);
        else if (c->rank == 0) {
            state_get(s, w->leaf, got);
            for (int64_t i = 0; i < count; i++) expect((double)got[i], (double)want[i], "a draw", i);
            for (int64_t i = 0; i < count; i++) got[i] = (real)i;
            state_put(s, w->leaf, got);
            memset(got, 0, (size_t)count * sizeof *got);
            state_get(s, w->leaf, got);
            for (int64_t i = 0; i < count; i++) expect((double)got[i], (double)i, "what was put", i);
        } else
            for (int orders = 0; orders < 3; orders++) state_answer(s, comm_follow());
        state_free(s);
        graph_free(g);
        leaves_free(leaves);
    }
    free(want);
    free(got);
}

static int be_rank(void)
{
    struct err e;
    if (comm_join(&e)) {
        fprintf(stderr, "%s\n", e.text);
        return 7;
    }
    comm_divide(&(struct mesh){ .size = { [AXIS_EP] = 2, [AXIS_DP] = 2 } });
    collectives();
    sequences();
    for (int how = 0; how < 3; how++) experts(how);
    parts(SHAPE(8), 0, OVER_EP, 0);
    parts(SHAPE(6, 70), 0, OVER_EP, 0);
    parts(SHAPE(6, 70), 1, OVER_EP, 0);
    parts(SHAPE(4, 3, 5), 0, OVER_EP, 0);
    parts(SHAPE(2, 4, 3, 5), 0, OVER_EP, 0);
    parts(SHAPE(4, 6, 66), 1, OVER_EP, 0);
    parts(SHAPE(4, 3, 130), 2, OVER_EP, 0);
    parts(SHAPE(8, 6), 0, 0, OVER_EP | OVER_DP);
    parts(SHAPE(8, 3, 5), 0, OVER_EP, OVER_DP);
    parts(SHAPE(8, 3, 5), 0, OVER_DP, OVER_EP);
    fprintf(stderr, "rank %d: all is right\n", comm_here()->rank);
    comm_leave();
    return 0;
}

static void test_ranks(void **state)
{
    char text[8192];
    (void)state;
    if (!can_launch(self)) skip();
    if (!launched_right(self, RANKS, "ranks", text)) fail_msg("%s", text);
}

int main(int n, char **word)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_groups), cmocka_unit_test(test_ranks) };
    self = word[0];
    if (n == 2 && strcmp(word[1], "ranks") == 0) return be_rank();
    return cmocka_run_group_tests_name("mesh", tests, NULL, NULL);
}
