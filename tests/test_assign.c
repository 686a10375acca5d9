/* Tokens that are assigned to experts as a whole: plans of transport (S-BASE, expert choice with a cap) and auctions
   (BASE). Published values, what must hold for any values, and the best assignment, by another way. */
#include "run_graph.h"
#include "tiny_pair.h"

#include <math.h>

/* A further output. */
static const real *output(const struct run *r, const struct node *n, int number)
{
    return r->value[n->id][number].data;
}

static void see(const double *got, const double *want, int n, double tolerance)
{
    for (int i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= tolerance)) fail_msg("value %d is %.9g, expected %.9g", i, got[i], want[i]);
}
#define SEE(got, tolerance, ...) see(got, (double[]){ __VA_ARGS__ }, COUNT(((double[]){ __VA_ARGS__ })), tolerance)

/* ---- plans ---- */

/* Plans of `rows` x `columns` values; malloc'd. */
struct plan_of { double *plan, cycles; };

static struct plan_of plan_new_of(const double *value, int rows, int columns, struct transport_attr a, int threads)
{
    struct run r = run_new();
    struct node *x = graph_input(r.graph, "x", DTYPE_REAL, SHAPE(rows, columns)), *y = transport(r.graph, x, a);
    run_start(&r, threads);
    run_values(&r, x, rows * columns, value);
    run_forward(&r);
    struct plan_of p = { xmalloc((size_t)(rows * columns) * sizeof(double)), output(&r, y, 1)[0] };
    double cut = a.most > 0 ? log(a.most) : INFINITY;
    for (int i = 0; i < rows * columns; i++) p.plan[i] = exp(fmin((double)run_reals(&r, y)[i], cut));
    run_free(&r);
    return p;
}

static double *normals(int n, uint64_t stream)              /* malloc'd */
{
    double *x = xmalloc((size_t)n * sizeof *x);
    for (int i = 0; i < n; i++) x[i] = key_normal((struct key){ 5, PURPOSE_TEST, stream, 0 }, (uint64_t)i);
    return x;
}

static double row_sum(const double *x, int columns, int t)
{
    double sum = 0;
    for (int e = 0; e < columns; e++) sum += x[t * columns + e];
    return sum;
}

static double column_sum(const double *x, int rows, int columns, int e)
{
    double sum = 0;
    for (int t = 0; t < rows; t++) sum += x[t * columns + e];
    return sum;
}

/* Sums that are both equalities, of mass 1 in each group. */
static struct transport_attr sinkhorn_of(int groups, int rows, int columns)
{
    return (struct transport_attr){ .groups = groups, .iterations = 100, .row = 1.0 / rows, .column = 1.0 / columns,
                                    .temperature = 1, .tolerance = 1e-6 };
}

/* Four tokens, two experts. */
static void test_published_plan(void **state)
{
    (void)state;
    static const double z[] = { 1, 0, 2, 0, 0, .5, 0, 1.5 };
    struct plan_of p = plan_new_of(z, 4, 2, sinkhorn_of(1, 4, 2), 1);
    SEE(p.plan, 1e-5, .169795, .080205, .212988, .037012, .080205, .169795, .037012, .212988);
    for (int t = 0; t < 4; t++) assert_int_equal(p.plan[2 * t] > p.plan[2 * t + 1], t < 2);
    free(p.plan);
}

enum { ROWS = 300, COLUMNS = 19, GROUPS = 2, GROUP = ROWS / GROUPS };

static void check_sums(int threads)
{
    double *z = normals(ROWS * COLUMNS, 1);
    for (int i = 0; i < ROWS * COLUMNS; i++) z[i] *= 3;
    struct transport_attr a = sinkhorn_of(GROUPS, GROUP, COLUMNS);
    a.tolerance = 1e-4;
    struct plan_of p = plan_new_of(z, ROWS, COLUMNS, a, threads);
    for (int t = 0; t < ROWS; t++) assert_float_equal(row_sum(p.plan, COLUMNS, t) * GROUP, 1, 1e-3);
    for (int g = 0; g < GROUPS; g++)
        for (int e = 0; e < COLUMNS; e++)
            assert_float_equal(column_sum(p.plan + g * GROUP * COLUMNS, GROUP, COLUMNS, e) * COLUMNS, 1, 1e-4);
    assert_true(p.cycles > 2 && p.cycles < 100);
    free(p.plan);
    a.tolerance = 0;
    a.iterations = 7;
    p = plan_new_of(z, ROWS, COLUMNS, a, threads);
    assert_true(p.cycles == 7);
    free(p.plan);
    free(z);
}

static void test_sums(void **state)
{
    (void)state;
    check_sums(1);
    check_sums(2);
}

static void test_equal_values(void **state)
{
    (void)state;
    double z[12];
    for (int i = 0; i < 12; i++) z[i] = -7;
    struct plan_of p = plan_new_of(z, 4, 3, sinkhorn_of(1, 4, 3), 1);
    for (int i = 0; i < 12; i++) assert_float_equal(p.plan[i], 1 / 12.0, 1e-6);
    free(p.plan);
}

/* Numbers that are added to rows and to columns change nothing. */
static void test_shifts(void **state)
{
    (void)state;
    enum { N = 30, E = 5 };
    double *z = normals(N * E, 2), shifted[N * E];
    for (int i = 0; i < N * E; i++) shifted[i] = z[i] + 7 * (i / E % 4) - 30 * (i % E);
    struct plan_of p = plan_new_of(z, N, E, sinkhorn_of(1, N, E), 1),
                   q = plan_new_of(shifted, N, E, sinkhorn_of(1, N, E), 1);
    see(q.plan, p.plan, N * E, 2e-6);
    free(p.plan);
    free(q.plan);
    free(z);
}

/* Tokens go where the plan has most of them: a favourite has far fewer than it would have. */
static void test_even_choice(void **state)
{
    (void)state;
    enum { N = 1000, E = 8 };
    for (int k = 1; k < 3; k++) {
        double *z = normals(N * E, 12);
        int load[2][E] = { { 0 } }, most[2] = { 0, 0 };
        for (int i = 0; i < N * E; i++) z[i] += i % E == 3 ? 2 : 0;
        struct run r = run_new();
        struct node *x = graph_input(r.graph, "x", DTYPE_REAL, SHAPE(N, E)), *plain = topk(r.graph, x, k),
                    *even = topk(r.graph, transport(r.graph, x, sinkhorn_of(1, N, E)), k);
        run_start(&r, 1);
        run_values(&r, x, N * E, z);
        run_forward(&r);
        for (int i = 0; i < N * k; i++) {
            load[0][run_ints(&r, plain)[i]]++;
            load[1][run_ints(&r, even)[i]]++;
        }
        for (int e = 0; e < E; e++)
            for (int i = 0; i < 2; i++) most[i] = load[i][e] > most[i] ? load[i][e] : most[i];
        assert_true(most[0] > 3 * N * k / E && most[1] < 1.15 * N * k / E);
        run_free(&r);
        free(z);
    }
}

/* A cold plan is a choice: of 4 tokens for 2 experts with room for 2 the best one. */
static void test_cold_plan(void **state)
{
    (void)state;
    static const double z[] = { 1, 0, 2, 0, 1.5, .5, 3, 2.9 };
    struct transport_attr a = sinkhorn_of(1, 4, 2);
    a.temperature = 0.05;
    a.row = 1;
    a.column = 2;
    struct plan_of p = plan_new_of(z, 4, 2, a, 1);
    SEE(p.plan, 1e-3, .5, .5, 1, 0, .5, .5, 0, 1);          /* tokens 0 and 2 lose as much */
    free(p.plan);
}

/* What is not finite has no share, and costs the others nothing. */
static void test_masked(void **state)
{
    (void)state;
    static const double z[] = { 1, 0, NAN, NAN, 2, 0, -INFINITY, -INFINITY, 0, .5, INFINITY, NAN, 0, 1.5 };
    struct transport_attr a = sinkhorn_of(1, 4, 2);
    struct plan_of p = plan_new_of(z, 7, 2, a, 1);
    SEE(p.plan, 1e-5, .169795, .080205, 0, 0, .212988, .037012, 0, 0, .080205, .169795, 0, 0, .037012, .212988);
    free(p.plan);
}

/* ---- plans with caps ---- */

static struct transport_attr capped_of(int groups, double cap, double each, double temperature)
{
    return (struct transport_attr){ .groups = groups, .iterations = 20000, .capped = true, .row = cap, .column = each,
                                    .most = 1, .temperature = temperature, .tolerance = 1e-5 };
}

/* Shares of experts, as a softmax over experts. */
static double *shares(int n, int e, uint64_t stream)
{
    double *x = normals(n * e, stream);
    for (int t = 0; t < n; t++) {
        double sum = 0;
        for (int i = 0; i < e; i++) sum += x[t * e + i] = exp(2 * x[t * e + i]);
        for (int i = 0; i < e; i++) x[t * e + i] /= sum;
    }
    return x;
}

static void test_constraints(void **state)
{
    (void)state;
    enum { N = 40, E = 6, EACH = 14, CAP = 3 };
    double *s = shares(2 * N, E, 3);
    struct plan_of p = plan_new_of(s, 2 * N, E, capped_of(2, CAP, EACH, 0.05), 2);
    int full = 0;
    for (int t = 0; t < 2 * N; t++) {
        assert_true(row_sum(p.plan, E, t) < CAP + 1e-2);
        full += row_sum(p.plan, E, t) > CAP - 1e-2;
    }
    for (int g = 0; g < 2; g++)
        for (int e = 0; e < E; e++)
            assert_float_equal(column_sum(p.plan + g * N * E, N, E, e), EACH, 2e-2);
    assert_true(full > 0 && full < 2 * N);                  /* the cap binds some */
    free(p.plan);
    free(s);
}

/* The plan is exactly e^(s / temperature), cut, with a price on rows and columns; and it is the plan with the largest
   <s, A> + temperature H(A): no exchange between two rows and two columns makes it larger. */
static void test_exchanges(void **state)
{
    (void)state;
    enum { N = 12, E = 4, EACH = 5, CAP = 2 };
    const double temperature = 0.1;
    double *s = shares(N, E, 4);
    struct plan_of p = plan_new_of(s, N, E, capped_of(1, CAP, EACH, temperature), 1);
    for (int t = 0; t < N; t++)
        for (int u = 0; u < N; u++)
            for (int e = 0; e < E; e++)
                for (int f = 0; f < E; f++) {
                    double at[] = { p.plan[t * E + e], p.plan[u * E + f], p.plan[t * E + f], p.plan[u * E + e] };
                    if (at[0] > 0.99 || at[1] > 0.99 || at[2] < 0.01 || at[3] < 0.01) continue;
                    double gain = s[t * E + e] + s[u * E + f] - s[t * E + f] - s[u * E + e] -
                                  temperature * log(at[0] * at[1] / (at[2] * at[3]));
                    assert_true(gain < 1e-2);
                }
    free(p.plan);
    free(s);
}

/* Tokens of each expert by the plan, and by trying all: the same sum, no token above its cap. */
enum { FEW = 5, THREE = 3, EACH = 3, CAP = 2 };

static int ones(int x) { return x ? x % 2 + ones(x / 2) : 0; }

static double best_choice(const double *s)
{
    double best = -INFINITY;
    for (int code = 0; code < 1 << FEW * THREE; code++) {
        double sum = 0;
        bool legal = true;
        int has[FEW] = { 0 };
        for (int e = 0; e < THREE; e++) legal &= ones(code >> FEW * e & ((1 << FEW) - 1)) == EACH;
        for (int i = 0; i < FEW * THREE && legal; i++)
            if (code >> i & 1) sum += s[i % FEW * THREE + i / FEW], has[i % FEW]++;
        for (int t = 0; t < FEW; t++) legal &= has[t] <= CAP;
        if (legal && sum > best) best = sum;
    }
    return best;
}

static void test_best_choice(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        double *s = shares(FEW, THREE, 10 + seed), sum = 0;
        struct run r = run_new();
        struct node *x = graph_input(r.graph, "x", DTYPE_REAL, SHAPE(FEW, THREE)),
                    *y = transport(r.graph, x, capped_of(1, CAP, EACH, 1e-3)),
                    *index = topk_columns(r.graph, y, 1, EACH);
        run_start(&r, 1);
        run_values(&r, x, FEW * THREE, s);
        run_forward(&r);
        for (int t = 0; t < FEW; t++) {
            int has = 0;
            for (int e = 0; e < THREE; e++)
                if (run_ints(&r, index)[t * THREE + e] == e) sum += s[t * THREE + e], has++;
            if (has > CAP) fail_msg("seed %d: token %d has %d experts", (int)seed, t, has);
        }
        assert_float_equal(sum, best_choice(s), 1e-6);
        run_free(&r);
        free(s);
    }
}

/* A cap that no token can reach changes nothing. */
static void test_wide_cap(void **state)
{
    (void)state;
    enum { N = 50, E = 6, WIDE = 17 };
    double *s = shares(N, E, 6);
    struct run r = run_new();
    struct node *x = graph_input(r.graph, "x", DTYPE_REAL, SHAPE(N, E)), *plain = topk_columns(r.graph, x, 1, WIDE),
                *capped = topk_columns(r.graph, transport(r.graph, x, capped_of(1, E, WIDE, 1e-2)), 1, WIDE);
    run_start(&r, 1);
    run_values(&r, x, N * E, s);
    run_forward(&r);
    assert_memory_equal(run_ints(&r, plain), run_ints(&r, capped), N * E * sizeof(int32_t));
    run_free(&r);
    free(s);
}

/* ---- the best assignment, by shortest paths (Kuhn 1955) ---- */

/* The largest sum of values when each of n rows has a slot of its own; of_slot: the column of each slot. */
static double hungarian(const double *value, int n, int columns, const int *of_slot)
{
    double u[n + 1], v[n + 1], least[n + 1], sum = 0;
    int row[n + 1], from[n + 1];
    bool seen[n + 1];
    memset(u, 0, sizeof u);
    memset(v, 0, sizeof v);
    memset(row, 0, sizeof row);
    for (int t = 1; t <= n; t++) {
        int at = 0;
        row[0] = t;
        for (int j = 0; j <= n; j++) least[j] = INFINITY, seen[j] = false;
        do {
            int next = 0;
            double step = INFINITY;
            seen[at] = true;
            for (int j = 1; j <= n; j++) {
                if (seen[j]) continue;
                double cost = -value[(row[at] - 1) * columns + of_slot[j - 1]] - u[row[at]] - v[j];
                if (cost < least[j]) least[j] = cost, from[j] = at;
                if (least[j] < step) step = least[j], next = j;
            }
            for (int j = 0; j <= n; j++)
                if (seen[j]) u[row[j]] += step, v[j] -= step;
                else least[j] -= step;
            at = next;
        } while (row[at] != 0);
        for (; at != 0; at = from[at]) row[at] = row[from[at]];
    }
    for (int j = 1; j <= n; j++) sum += value[(row[j] - 1) * columns + of_slot[j - 1]];
    return sum;
}

static void test_hungarian(void **state)
{
    (void)state;
    enum { N = 6 };
    static const int slot[N] = { 0, 1, 2, 3, 4, 5 };
    for (uint64_t seed = 0; seed < 5; seed++) {
        double *x = normals(N * N, 40 + seed), best = -INFINITY;
        for (int code = 0; code < 46656; code++) {                      /* 6^6 */
            double sum = 0;
            int used = 0, rest = code;
            for (int t = 0; t < N; t++, rest /= N) used |= 1 << rest % N, sum += x[t * N + rest % N];
            if (used == (1 << N) - 1 && sum > best) best = sum;
        }
        assert_float_equal(hungarian(x, N, N, slot), best, 1e-9);
        free(x);
    }
}

/* ---- auctions ---- */

struct assigned { int32_t to[512]; double rounds, left; };

static struct assigned assign_rows(const double *value, int rows, int columns, struct assign_attr a)
{
    struct assigned s;
    struct run r = run_new();
    struct node *x = graph_input(r.graph, "x", DTYPE_REAL, SHAPE(rows, columns)), *index = assign(r.graph, x, a);
    run_start(&r, 2);
    run_values(&r, x, rows * columns, value);
    run_forward(&r);
    assert_true(rows <= COUNT(s.to));
    memcpy(s.to, run_ints(&r, index), (size_t)rows * sizeof *s.to);
    s.rounds = output(&r, index, 1)[0];
    s.left = output(&r, index, 2)[0];
    run_free(&r);
    return s;
}

/* Every column has n / E, or one more: as many of these as are left. */
static void check_loads(const int32_t *to, int rows, int columns, int *load)
{
    int more = 0;
    memset(load, 0, (size_t)columns * sizeof *load);
    for (int t = 0; t < rows; t++) {
        assert_true(to[t] >= 0 && to[t] < columns);
        load[to[t]]++;
    }
    for (int e = 0; e < columns; e++) {
        assert_in_range(load[e], rows / columns, rows / columns + 1);
        more += load[e] > rows / columns;
    }
    assert_int_equal(more, rows % columns);
}

static double largest_range(const double *x, int rows, int columns)
{
    double range = 0;
    for (int t = 0; t < rows; t++) {
        double low = INFINITY, high = -INFINITY;
        for (int e = 0; e < columns; e++) low = fmin(low, x[t * columns + e]), high = fmax(high, x[t * columns + e]);
        range = fmax(range, high - low);
    }
    return range;
}

/* Values as float holds them, and a favourite that many rows have. */
static void check_auction(int rows, int columns, double eps, double favour, uint64_t seed)
{
    int load[columns], slot[rows], n = 0;
    double *x = normals(rows * columns, 100 + seed), sum = 0;
    for (int i = 0; i < rows * columns; i++) x[i] = (float)(x[i] + (i % columns == 1 ? favour : 0));
    struct assigned s = assign_rows(x, rows, columns, (struct assign_attr){ 1, 100000, eps });
    check_loads(s.to, rows, columns, load);
    assert_true(s.left == 0);
    for (int e = 0; e < columns; e++) for (int k = 0; k < load[e]; k++) slot[n++] = e;
    for (int t = 0; t < rows; t++) sum += x[t * columns + s.to[t]];
    double best = hungarian(x, rows, columns, slot), lost = rows * eps * largest_range(x, rows, columns);
    if (!(sum <= best + 1e-4 && sum >= best - lost - 1e-4))
        fail_msg("%d x %d: sum %g, the best is %g and %g may be lost", rows, columns, sum, best, lost);
    free(x);
}

static void test_auctions(void **state)
{
    (void)state;
    static const int size[][2] = { { 6, 6 }, { 12, 3 }, { 40, 4 }, { 41, 4 },
                                   { 43, 4 }, { 5, 8 }, { 7, 1 }, { 60, 16 } };
    for (int i = 0; i < COUNT(size); i++)
        for (uint64_t seed = 0; seed < 4; seed++) {
            check_auction(size[i][0], size[i][1], 0.02, 0, seed);
            check_auction(size[i][0], size[i][1], 0.001, 0, seed);      /* below 1 / n of a gain: the best */
            check_auction(size[i][0], size[i][1], 0.02, 4, seed);
        }
}

/* Where rows cannot be shared out evenly, the columns that most of them like best have one more. */
static void test_who_has_more(void **state)
{
    (void)state;
    enum { N = 14, E = 4 };
    int load[E];
    double *x = normals(N * E, 13);
    for (int i = 0; i < N * E; i++) x[i] += i % E == 1 || i % E == 3 ? 9 : 0;
    struct assigned s = assign_rows(x, N, E, (struct assign_attr){ 1, 1000, 0.02 });
    check_loads(s.to, N, E, load);
    assert_true(load[1] == 4 && load[3] == 4);
    free(x);
}

/* Rounds that end early leave loads as exact. */
static void test_rounds(void **state)
{
    (void)state;
    enum { N = 62, E = 8 };
    int load[E];
    double *x = normals(N * E, 7), before = 1;
    for (int i = 0; i < N; i++) x[i * E] += 2;
    for (int rounds = 0; rounds < 40; rounds += 1 + rounds) {
        struct assigned s = assign_rows(x, N, E, (struct assign_attr){ 1, rounds, 0.02 });
        check_loads(s.to, N, E, load);
        assert_true(s.rounds <= rounds && s.left <= before && (rounds > 0 || s.left == 1));
        before = s.left;
    }
    assert_true(before < 0.2);
    free(x);
}

/* NaN is a row's smallest value, infinity its largest; loads are exact whatever the values are. */
static void test_not_finite(void **state)
{
    (void)state;
    enum { N = 12, E = 3 };
    int load[E];
    double x[N * E], *z = normals(N * E, 8);
    for (int i = 0; i < N * E; i++) x[i] = NAN;
    struct assigned s = assign_rows(x, N, E, (struct assign_attr){ 1, 1000, 0.02 });
    check_loads(s.to, N, E, load);
    for (int i = 0; i < N * E; i++) x[i] = i % E == 2 ? (i / E < 4 ? INFINITY : -INFINITY) : (float)z[i];
    x[4 * E] = NAN;
    s = assign_rows(x, N, E, (struct assign_attr){ 1, 1000, 0.02 });
    check_loads(s.to, N, E, load);
    for (int i = 0; i < N * E; i++) {
        int t = i / E;
        double other = z[E * t + (t == 4)], low = fmin(other, z[E * t + 1]), high = fmax(other, z[E * t + 1]);
        x[i] = i % E == 2 ? (t < 4 ? high : low) : z[i];
    }
    x[4 * E] = (float)z[4 * E + 1];
    struct assigned same = assign_rows(x, N, E, (struct assign_attr){ 1, 1000, 0.02 });
    assert_memory_equal(s.to, same.to, N * sizeof *s.to);
    free(z);
}

/* Groups do not know of each other; what is added to a row changes nothing; equal values fill columns in turn. */
static void test_groups(void **state)
{
    (void)state;
    enum { N = 20, E = 4 };
    double *x = normals(3 * N * E, 9), even[N * E] = { 0 };
    int load[E];
    for (int i = 0; i < 3 * N * E; i++) x[i] = (float)round(64 * x[i]) / 64;
    struct assigned all = assign_rows(x, 3 * N, E, (struct assign_attr){ 3, 1000, 0.02 });
    for (int g = 0; g < 3; g++) {
        struct assigned one = assign_rows(x + g * N * E, N, E, (struct assign_attr){ 1, 1000, 0.02 });
        assert_memory_equal(one.to, all.to + g * N, N * sizeof *one.to);
    }
    for (int i = 0; i < 3 * N * E; i++) x[i] += 2 * (i / E % 7);
    struct assigned moved = assign_rows(x, 3 * N, E, (struct assign_attr){ 3, 1000, 0.02 });
    assert_memory_equal(moved.to, all.to, 3 * N * sizeof *all.to);
    struct assigned alike = assign_rows(even, N, E, (struct assign_attr){ 1, 1000, 0.02 });
    check_loads(alike.to, N, E, load);
    for (int t = 0; t < N; t++) assert_int_equal(alike.to[t], t / (N / E));
    free(x);
}

/* ---- in a model ---- */

#define BASE(...) \
    TEXT({"ffn.router": {"score": "sigmoid", "top_k": 1, "select": {"module": "base" __VA_ARGS__}}})
#define SINKHORN(k, ...) \
    TEXT({"ffn.router": {"score": "sigmoid", "top_k": k, "select": {"module": "sinkhorn" __VA_ARGS__}}})

/* In training all experts have as many tokens, of the micro-batch or of each sequence. */
static void test_loads_in_training(void **state)
{
    (void)state;
    double counts[4], rounds;
    static const char *const sets[] = { BASE(), BASE(, "scope": "sequence") };
    for (int i = 0; i < 2; i++) {
        struct tiny t = tiny_new(sets[i], NULL, MODE_TRAIN, 2, 6);
        tiny_start(&t, 1);
        tiny_forward(&t);
        for (int l = 0; l < 3; l++) {
            tiny_metric(&t, "expert_tokens", l, counts);
            for (int e = 0; e < 4; e++) {
                if (i == 0) assert_true(counts[e] == 3);
                else assert_in_range((int)counts[e], 2, 4);             /* 6 tokens: 2 2 1 1, twice */
            }
            tiny_metric(&t, "router_plan_rounds", l, &rounds);
            assert_true(rounds >= 1 && rounds < 1000);
            tiny_metric(&t, "router_plan_left", l, &rounds);
            assert_true(rounds == 0);
        }
        tiny_free(&t);
    }
}

/* Outside training the choice is that of the largest keys. */
static void test_evaluation(void **state)
{
    (void)state;
    static const char *const plain = TEXT({"ffn.router": {"score": "sigmoid", "top_k": 1}});
    static const char *const sets[] = { BASE(), SINKHORN(1) };
    for (enum mode mode = MODE_EVAL; mode <= MODE_DECODE; mode++)
        for (int i = 0; i < 2; i++) {
            struct tiny a = tiny_new(plain, NULL, mode, 2, 6), b = tiny_new(sets[i], NULL, mode, 2, 6);
            assert_true(tiny_same(&a, &b));
            assert_int_equal(model_looks_ahead(&b.model), AHEAD_TRAINING);
            tiny_free(&a);
            tiny_free(&b);
        }
}

/* The gate is the score of the expert that was chosen, whoever chose; only it gets a gradient. */
static void test_gates(void **state)
{
    (void)state;
    static const char *const sets[] = { BASE(), SINKHORN(1), SINKHORN(2) };
    for (int i = 0; i < 3; i++) {
        struct tiny t = tiny_new(sets[i], NULL, MODE_TRAIN, 2, 6);
        tiny_start(&t, 1);
        tiny_forward(&t);
        const struct node *combined = tiny_find(&t, &op_combine, 0);
        struct node *choice = tiny_find(&t, i ? &op_topk : &op_assign, 0);
        double *gate = tiny_read(&t, combined->in[3]), *index = tiny_read(&t, choice),
               *logits = tiny_read(&t, tiny_user(&t, "layers.0.ffn.router.weight"));
        int k = (int)choice->shape.dim[1];
        for (int j = 0; j < t.tokens * k; j++)
            assert_float_equal(gate[j], 1 / (1 + exp(-logits[j / k * 4 + (int)index[j]])), 1e-5);
        free(gate);
        free(index);
        free(logits);
        tiny_free(&t);
    }
}

/* Experts that choose under a cap: no token has more, no expert more than before; a cap of all is none. */
static void test_capped_experts(void **state)
{
    (void)state;
    enum { E = 4, SEQ = 30, ROOM = SEQ * 2 / E };
    double most[3] = { 0 };
    for (int cap = 0; cap < 4; cap++) {
        char sets[256];
        if (cap == 1) continue;
        snprintf(sets, sizeof sets,
                 TEXT({"layers": 1, "seq": 30, "ffn.router.select": {"module": "expert_choice", "cap": %d}}), cap);
        struct tiny t = tiny_new(sets, NULL, MODE_EVAL, 2, SEQ);
        tiny_start(&t, 1);
        tiny_scale_all(&t, "router.weight", 3);
        tiny_forward(&t);
        double *index = tiny_read(&t, tiny_find(&t, cap ? &op_drop_zero : &op_topk_columns, 0)), load[E] = { 0 },
               all = 0;
        for (int i = 0; i < t.tokens; i++) {
            int k = cap ? cap : E;
            double has = 0;
            for (int j = i * k; j < (i + 1) * k; j++)
                if (index[j] >= 0) has++, load[(int)index[j]]++;
            most[cap ? cap - 1 : 0] = fmax(most[cap ? cap - 1 : 0], has);
            all += has;
        }
        for (int e = 0; e < E; e++) assert_true(load[e] <= 2 * ROOM && (cap || load[e] == 2 * ROOM));
        if (!(all > 0.75 * 2 * E * ROOM)) fail_msg("a cap of %d leaves %g of %d choices", cap, all, 2 * E * ROOM);
        free(index);
        tiny_free(&t);
    }
    assert_true(most[0] == 4 && most[1] == 2 && most[2] == 3);
    static const char *const wide = TEXT({"ffn.router.select": {"module": "expert_choice", "cap": 4}}),
                      *const plain = TEXT({"ffn.router.select": "expert_choice"});
    struct tiny all = tiny_new(wide, NULL, MODE_EVAL, 2, 6), none = tiny_new(plain, NULL, MODE_EVAL, 2, 6);
    assert_true(tiny_same(&all, &none));
    tiny_free(&all);
    tiny_free(&none);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct { const char *sets, *words; } refused[] = {
        { TEXT({"ffn.router.select": "base"}), "assigns a token to one expert" },
        { TEXT({"ffn.router": {"select": "base", "top_k": 1}, "ffn.balance": ["bias"]}), "keeps the load even" },
        { TEXT({"ffn.router.select": "sinkhorn", "ffn.balance": ["gate_pro"]}), "keeps the load even" },
        { TEXT({"ffn.router.select": "sinkhorn", "ffn.balance": ["quantile"]}), "keeps the load even" },
        { TEXT({"ffn.router.select": {"module": "expert_choice", "cap": 1}}), "has top_k = 2 experts in the mean" },
    };
    for (int i = 0; i < COUNT(refused); i++) tiny_refused(refused[i].sets, refused[i].words);
    struct run r = run_new();
    struct node *x = graph_input(r.graph, "x", DTYPE_REAL, SHAPE(6, 3));
    check_message(r.graph, transport(r.graph, x, sinkhorn_of(4, 6, 3)), "6 rows cannot be divided into 4 groups");
    check_message(r.graph, assign(r.graph, x, (struct assign_attr){ 4, 10, 0.02 }), "cannot be divided into 4 groups");
    check_message(r.graph, assign(r.graph, x, (struct assign_attr){ 1, 10, 0 }), "eps = 0");
    graph_free(r.graph);
    leaves_free(r.leaves);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(published_plan), RUN(sums), RUN(equal_values), RUN(shifts), RUN(even_choice), RUN(cold_plan), RUN(masked),
        RUN(constraints), RUN(exchanges), RUN(best_choice), RUN(wide_cap), RUN(hungarian), RUN(auctions),
        RUN(who_has_more), RUN(rounds), RUN(not_finite), RUN(groups), RUN(loads_in_training), RUN(evaluation),
        RUN(gates), RUN(capped_experts), RUN(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
