/* A mesh of ranks: who belongs to a group, what ops do over it, leaves of which ranks have parts, and a pipeline that
   runs both ways. Launches itself with mpirun where there is one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>
#include "graph/ops.h"
#include "graph/stages.h"
#include "launch.h"
#include "plan/pipeline.h"
#include "plan/plan.h"

static const char *self;

/* ---- groups ---- */

static void test_groups(void **state)
{
    struct mesh m = { .size = { [AXIS_TP] = 2, [AXIS_CP] = 3, [AXIS_EP] = 2, [AXIS_NODES] = 2, [AXIS_PP] = 2 } };
    struct place p = { m, 0 };
    char text[64];
    (void)state;
    assert_int_equal(mesh_ranks(&p.mesh), 48);
    assert_string_equal(mesh_text(&p.mesh, text), "pp2.nodes2.ep2.cp3.tp2");
    for (unsigned over = 0; over <= OVER_ALL; over++)
        for (p.rank = 0; p.rank < 48; p.rank++) {
            int n = place_group(&p, over), last = -1;
            assert_int_equal(n * place_group(&p, OVER_ALL & ~over), 48);
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

/* A pipeline with two sides: each rank has one place along it, and shares its layers with the one that is as far from
   the other end. */
static void test_sides(void **state)
{
    struct place p = { { .size = { [AXIS_EP] = 3, [AXIS_SIDE] = 2, [AXIS_PP] = 4 } }, 0 };
    (void)state;
    for (p.rank = 0; p.rank < 24; p.rank++)
        for (int along = 0; along < 8; along++) {
            struct place at = { p.mesh, place_at(&p, along) }, mirrored = { p.mesh, place_at(&p, 7 - along) };
            assert_int_equal(place_along(&at), along);
            assert_int_equal(place_index(&at, OVER_EP), place_index(&p, OVER_EP));
            assert_int_equal(place_index(&at, OVER_PP), place_index(&mirrored, OVER_PP));
            assert_int_equal(place_index(&at, OVER_SIDE), along >= 4);
        }
    struct place one = { { .size = { [AXIS_DP] = 2, [AXIS_PP] = 4 } }, 5 };
    assert_int_equal(place_along(&one), 2);
    assert_int_equal(place_at(&one, 3), 7);
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

static void net_plan(struct net *n, struct node *y)
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
}

/* Sums of gradients over ranks are under way when backward is done. */
static void backward(struct net *n, int micro)
{
    plan_backward(n->plan, micro);
    backend_cpu.meet(NULL);
}

static void net_step(struct net *n)
{
    plan_begin(n->plan, 0, 1, 1);
    plan_forward(n->plan, 0);
    backward(n, 0);
}

static void net_run(struct net *n, struct node *y)
{
    net_plan(n, y);
    net_step(n);
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
    backward(&n, 0);
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

/* ---- copies of experts, on two nodes of two ranks, each of which has two experts and room for one more ---- */

enum { NODES = 2, NEAR = 2, OWN = 2, ALL = NODES * NEAR * OWN, SPARE = 1, EACH = OWN + SPARE };
static const real loads[ALL + 1] = { 10, 1, 5, 1, 2, 9, 4, 1, 99 };    /* the last expert computes nothing */
static const int copied[RANKS * SPARE] = { 2, 0, 6, 5 };

/* The gradient of what a rank has of an expert, and what its copy sends. */
static double copied_gradient(int rank, int64_t i)
{
    double sum = (double)number(rank, i, 1);
    for (int r = 0; r < RANKS; r++)
        if (copied[r] == rank * OWN + i / D) sum += (double)number(r, OWN * D + i % D, 1);
    return sum;
}

static void copies(void)
{
    int me = comm_here()->rank, from = copied[me];
    struct net n = net_begin(OWN);
    struct node *load = graph_input(n.graph, "load", DTYPE_REAL, SHAPE(ALL + 1)),
                *placed = place_copies(n.graph, load, (struct place_copies_attr){ ALL, NODES, NEAR, SPARE }),
                *y = with_copies(n.graph, n.x, placed, SPARE, OVER_NEAR);
    net_plan(&n, y);
    state_put(n.state, load->leaf, loads);
    net_step(&n);
    double *table = values_of(&n, placed, false), *out = values_of(&n, y, false), *dx = values_of(&n, n.x, true);
    for (int r = 0; r < RANKS; r++) expect(table[r], copied[r], "a copy", r);
    for (int i = 0; i < EACH * D; i++) {
        real home = i < OWN * D ? number(me, i, 0) : number(from / OWN, from % OWN * D + i % D, 0);
        if ((real)out[i] != home) expect(INFINITY, (double)home, "a weight of a copy", i);
    }
    for (int i = 0; i < OWN * D; i++) expect(dx[i], over_data(copied_gradient, i), "a gradient of copies", i);
    free(table);
    free(out);
    free(dx);
    net_end(&n);
}

/* Three experts of a token; some are none, or the one that computes nothing. */
enum { WIDE = 3 };
static int32_t chosen_of(int64_t i) { return (int32_t)((4 * (i / WIDE) + 3 * (i % WIDE)) % (ALL + 2)) - 1; }

/* The expert that a place computes. */
static int at_place(int place) { return place % EACH < OWN ? place / EACH * OWN + place % EACH : copied[place / EACH]; }

/* Each choice has a place where its expert is computed, each in turn. */
static void check_places(const double *place)
{
    int turns[RANKS * EACH] = { 0 };
    for (int i = 0; i < TOKENS * WIDE; i++) {
        int want = chosen_of(i);
        bool none = want < 0 || want >= ALL;
        expect(none ? place[i] : at_place((int)place[i]), none ? -1 : want, "the expert at a place", i);
        if (!none) turns[(int)place[i]]++;
    }
    for (int p = 0; p < RANKS * EACH; p++)
        for (int q = 0; q < p; q++)
            if (at_place(p) == at_place(q) && abs(turns[p] - turns[q]) > 1) expect(turns[p], turns[q], "turns", p);
}

/* Nodes of a token differ, and its choices are among what it wants there, each once. */
static void check_nodes(const double *place, const double *node, const double *number_at, const double *pair)
{
    for (int t = 0; t < TOKENS; t++) {
        int found = 0, wanted = 0;
        for (int j = 0; j < WIDE; j++) wanted += place[t * WIDE + j] >= 0;
        if (node[t * NODES] >= 0) expect(node[t * NODES] != node[t * NODES + 1], 1, "nodes of a token", t);
        for (int i = 0; i < NODES * WIDE; i++) {
            int at = t * NODES * WIDE + i, j = (int)pair[at];
            if (j < 0) { expect(number_at[at], 0, "no expert", at); continue; }
            expect(node[t * NODES + i / WIDE] * NEAR * EACH + number_at[at] - 1, place[t * WIDE + j], "a place", at);
            found++;
        }
        expect(found, wanted, "experts of a token", t);
    }
}

static void places(void)
{
    struct net n = net_begin(1);
    struct graph *g = n.graph;
    struct node *load = graph_input(g, "load", DTYPE_REAL, SHAPE(ALL + 1)),
                *index = graph_input(g, "index", DTYPE_I32, SHAPE(TOKENS, WIDE)),
                *placed = place_copies(g, load, (struct place_copies_attr){ ALL, NODES, NEAR, SPARE }),
                *sorted = dispatch(g, index, ALL, 0),
                *place = spread(g, index, sorted, graph_result(g, sorted, 2), graph_result(g, placed, 1), OVER_EP),
                *node = choose_nodes(g, place, (struct choose_nodes_attr){ RANKS * EACH, NODES, NODES }),
                *number_at = graph_result(g, node, 1), *pair = graph_result(g, node, 2),
                *away = rows_away(g, dispatch(g, node, NODES, 0), OVER_NODES);
    net_plan(&n, n.x);
    int32_t chosen[TOKENS * WIDE];
    for (int i = 0; i < TOKENS * WIDE; i++) chosen[i] = chosen_of(i);
    state_put(n.state, load->leaf, loads);
    state_put(n.state, index->leaf, chosen);
    net_step(&n);
    double *at = values_of(&n, place, false), *to = values_of(&n, node, false), *rows = values_of(&n, away, false),
           *numbers = values_of(&n, number_at, false), *pairs = values_of(&n, pair, false), leave = 0;
    int me = place_index(&comm_here()->place, OVER_NODES);
    for (int i = 0; i < TOKENS * NODES; i++) leave += to[i] >= 0 && to[i] != me;
    check_places(at);
    check_nodes(at, to, numbers, pairs);
    expect(rows[0], leave, "rows that leave a node", 0);
    free(at);
    free(to);
    free(rows);
    free(numbers);
    free(pairs);
    net_end(&n);
}

/* ---- a pipeline that runs both ways ---- */

enum { WAYS = 2, IN_FLIGHT = 4, VALUES = 3 * D };
static const enum carry carried[] = { CARRY_SUM, CARRY_MAX, CARRY_LAST };

static real of_micro(int micro, int64_t i, int which) { return number(0, micro * VALUES + i, which); }

/* Stage 0 adds a row to x, stage 1 another; its product with t is the loss, so t is the gradient of both. */
struct ways { struct node *seen[WAYS][COUNT(carried)], *gradient[WAYS]; };
static struct ways ways_build(struct net *n)
{
    struct graph *g = n->graph;
    struct ways w;
    struct node *row[WAYS], *y = n->x = graph_input(g, "x", DTYPE_REAL, SHAPE(VALUES / D, D));
    n->t = graph_input(g, "t", DTYPE_REAL, y->shape);
    for (g->layer = 0; g->layer < WAYS; g->layer++) {
        row[g->layer] = graph_weight(g, g->layer ? "1" : "0", ROLE_SCALAR, SHAPE(D), (struct init){ .value = 0.25 });
        y = add_row(g, y, row[g->layer]);
        for (int k = 0; k < COUNT(carried); k++) w.seen[g->layer][k] = carry(g, y, carried[k]);
    }
    graph_loss(g, "l", dot(g, y, n->t), 1, true);
    graph_stages(g);
    g->region = REGION_UPDATE;
    for (int stage = 0; stage < WAYS; stage++)
        w.gradient[stage] = carry(g, graph_grad_of(g, row[stage]->leaf), CARRY_LAST);
    graph_homes(g);
    return w;
}

/* After stage `stage`, of all micro-batches. Sums are over the two ranks that see other tokens as well. */
static double seen_by(enum carry how, int stage, int64_t i)
{
    double sum = 0, most = -INFINITY, last = 0;
    for (int micro = 0; micro < IN_FLIGHT; micro++) {
        last = (double)of_micro(micro, i, 0) + 0.25 * (stage + 1);
        sum += 2 * last;
        most = fmax(most, last);
    }
    return how == CARRY_SUM ? sum : how == CARRY_MAX ? most : last;
}

/* Half of the micro-batches enters at either end. */
static void both_ways(void)
{
    static int home[WAYS];                                  /* each rank has both stages, of another copy each */
    struct net n = { .leaves = leaves_new() };
    n.leaves->here = comm_here()->place;
    n.leaves->stages = (struct stages){ .n = WAYS, .home = home, .schedule = PIPELINE_DUALPIPE, .micros = IN_FLIGHT };
    n.graph = graph_new(n.leaves);
    struct ways w = ways_build(&n);
    struct err e;
    if (plan_new(&n.plan, n.graph, (struct plan_how){ .backend = &backend_cpu }, &e)) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    n.state = state_new(n.leaves, &backend_cpu, 1);
    state_fill(n.state, 17);
    plan_bind(n.plan, n.state, NULL);
    double rows[D] = { 0 };
    for (int micro = 0; micro < IN_FLIGHT; micro++)
        for (int which = 0; which < 2; which++) {
            real value[VALUES];
            for (int i = 0; i < VALUES; i++) value[i] = of_micro(micro, i, which);
            for (int i = 0; which && i < VALUES; i++) rows[i % D] += 2 * (double)value[i];
            state_stage(n.state, which ? n.t->leaf : n.x->leaf, micro, IN_FLIGHT, value);
        }
    for (int step = 0; step < 2; step++) {                  /* what the first leaves is not added to */
        plan_begin(n.plan, step, 2, IN_FLIGHT);
        if (!plan_step(n.plan, NULL)) exit(1);
    }
    for (int stage = 0; stage < WAYS; stage++) {
        for (int k = 0; k < COUNT(carried); k++) {
            double *got = values_of(&n, w.seen[stage][k], false);
            for (int i = 0; i < VALUES; i++) expect(got[i], seen_by(carried[k], stage, i), "both ways, a value", i);
            free(got);
        }
        double *got = values_of(&n, w.gradient[stage], false);
        for (int i = 0; i < D; i++) expect(got[i], rows[i], "both ways, a gradient", i);
        free(got);
    }
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

/* ---- a weight that all have, and of which each reads a part ---- */

enum { ROWS = 6, COLUMNS = 8 };

/* Where value i of a rank's part lies in the whole. */
static int64_t of_part(int rank, int64_t i, int dim)
{
    int64_t half = rank % 2, n = dim ? COLUMNS / 2 : COLUMNS;
    return (dim ? i / n : half * ROWS / 2 + i / n) * COLUMNS + (dim ? half * n : 0) + i % n;
}

static void divided(int dim)
{
    int me = comm_here()->rank;
    struct net n = { .leaves = leaves_new() };
    n.leaves->here = comm_here()->place;
    struct graph *g = n.graph = graph_new(n.leaves);
    g->keep = true;
    n.x = graph_weight(g, "x", ROLE_Q, SHAPE(ROWS, COLUMNS), drawn);
    struct node *part = own_part(g, n.x, OVER_EP, dim), *all = all_columns(g, detach(g, part), OVER_EP);
    net_run(&n, part);
    double *y = values_of(&n, part, false), *dx = values_of(&n, n.x, true), *beside = values_of(&n, all, false),
           want[ROWS * COLUMNS] = { 0 };
    int64_t width = shape_last(part->shape), wide = 2 * width;
    for (int i = 0; i < ROWS * COLUMNS / 2; i++) {
        expect(y[i], (double)number(me, of_part(me, i, dim), 0), "of a part, value", i);
        for (int rank = 0; rank < RANKS; rank++) want[of_part(rank, i, dim)] += (double)number(rank, i, 1);
        for (int k = 0; k < 2; k++)
            expect(beside[i / width * wide + k * width + i % width],
                   (double)number(peer(me, k), of_part(peer(me, k), i, dim), 0), "of columns side by side, value", i);
    }
    for (int i = 0; i < ROWS * COLUMNS; i++) expect(dx[i], want[i], "a gradient of parts", i);
    free(y);
    free(dx);
    free(beside);
    net_end(&n);
}

/* ---- a weight that is gathered once a step, and one that is gathered wherever it is read ---- */

enum { MICROS = 3 };

static int64_t calls_of(struct plan *p, const char *op)
{
    int count;
    int64_t calls = 0;
    struct op_time *time = plan_times(p, &count);
    for (int i = 0; i < count; i++) if (strcmp(time[i].name, op) == 0) calls = time[i].calls;
    free(time);
    return calls;
}

/* Its square times t of each micro-batch: the gradient is 2 w times the sum of t over them and over ranks. */
static void gathered(struct node *(*by)(struct graph *, struct node *, unsigned), const char *name, int64_t calls)
{
    int me = comm_here()->rank;
    struct net n = { .leaves = leaves_new() };
    struct err e;
    n.leaves->here = comm_here()->place;
    struct graph *g = n.graph = graph_new(n.leaves);
    struct partition cut = { .shard = OVER_EP | OVER_DP };
    n.x = graph_weight_cut(g, "w", ROLE_Q, SHAPE(RANKS * N, D), drawn, cut);
    n.t = graph_input(g, "t", DTYPE_REAL, SHAPE(RANKS * N, D));
    graph_loss(g, "l", dot(g, square(g, by(g, n.x, OVER_EP | OVER_DP)), n.t), 1, true);
    if (plan_new(&n.plan, g, (struct plan_how){ .backend = &backend_cpu }, &e)) exit(1);
    n.state = state_new(n.leaves, &backend_cpu, 1);
    state_fill(n.state, 17);
    plan_bind(n.plan, n.state, NULL);
    plan_timing(n.plan, true);
    plan_begin(n.plan, 0, 1, MICROS);
    for (int micro = 0; micro < MICROS; micro++) {
        real t[RANKS * N * D];
        for (int i = 0; i < RANKS * N * D; i++) t[i] = number(me, i, micro);
        state_put(n.state, n.t->leaf, t);
        plan_forward(n.plan, micro);
        backward(&n, micro);
    }
    expect((double)calls_of(n.plan, name), (double)calls, name, 0);
    double *w = values_of(&n, n.x, false), *dw = values_of(&n, n.x, true);
    for (int i = 0; i < N * D; i++) {
        double sum = 0;
        for (int k = 0; k < RANKS * MICROS; k++) sum += (double)number(k % RANKS, me * N * D + i, k / RANKS);
        expect(dw[i], 2 * w[i] * sum, "a gradient of what was gathered", i);
    }
    free(w);
    free(dw);
    net_end(&n);
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
    for (int dim = 0; dim < 2; dim++) divided(dim);
    gathered(all_gather, "all_gather", 1 + MICROS);         /* and sums of parts, back */
    gathered(regather, "regather", 3 * MICROS);
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
    comm_divide(&(struct mesh){ .size = { [AXIS_EP] = NEAR, [AXIS_NODES] = NODES } });
    copies();
    places();
    parts(SHAPE(8, 3, 5), 0, OVER_EP, 0);
    comm_divide(&(struct mesh){ .size = { [AXIS_EP] = 2, [AXIS_SIDE] = 2 } });
    both_ways();
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
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_groups), cmocka_unit_test(test_sides),
                                        cmocka_unit_test(test_ranks) };
    self = word[0];
    if (n == 2 && strcmp(word[1], "ranks") == 0) return be_rank();
    return cmocka_run_group_tests_name("mesh", tests, NULL, NULL);
}
