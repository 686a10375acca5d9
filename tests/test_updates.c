/* What changes weights: AdamW, Muon, QK-clip, averages, the balancing bias, and the norm that may stop them. */
#include "run_graph.h"
#include "backend/codes.h"
#include "backend/rounds.h"
#include <math.h>

static struct node *values(struct run *r, const char *name, struct shape shape)
{
    return graph_input(r->graph, name, DTYPE_REAL, shape);
}

static void test_adamw_two_steps(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *w = values(&r, "w", SHAPE(1)), *grad = values(&r, "grad", SHAPE(1)), *m = values(&r, "m", SHAPE(1)),
                *v = values(&r, "v", SHAPE(1));
    struct node *lr = values(&r, "lr", SHAPE(1)), *step = values(&r, "step", SHAPE(1)),
                *clip = values(&r, "clip", SHAPE(2));
    struct node *sums = adamw(r.graph, w, grad, m, v, lr, step, clip, NULL, NULL,
                              (struct adamw_attr){ .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1, .rate = 2,
                                                   .along = 1 });
    struct node *ratio = update_ratio(r.graph, 2, (struct node *[]){ sums, sums }),
                *cosine = graph_result(r.graph, ratio, 1);
    run_start(&r, 1);
    run_fill(&r, w, 1);
    run_fill(&r, m, 0);
    run_fill(&r, v, 0);
    run_fill(&r, lr, 0.05);                                 /* times the rate of 2 */
    run_fill(&r, step, 1);
    run_fill(&r, grad, 1);
    run_fill(&r, clip, 0.5, 1);
    run_forward(&r);
    assert_reals(run_reals(&r, m), 1e-6, .05);
    assert_reals(run_reals(&r, v), 1e-6, .0125);
    assert_reals(run_reals(&r, w), 1e-6, .89);
    assert_reals(run_reals(&r, sums), 1e-6, .0121, 1, -.11);
    assert_reals(run_reals(&r, ratio), 1e-6, .11);
    assert_reals(run_reals(&r, cosine), 1e-6, -1);
    run_fill(&r, step, 2);
    run_fill(&r, grad, -.25);
    run_fill(&r, clip, 1, 1);
    run_forward(&r);
    assert_reals(run_reals(&r, m), 1e-6, .02);
    assert_reals(run_reals(&r, v), 1e-6, .015);
    assert_reals(run_reals(&r, w), 1e-6, .85426306);
    run_free(&r);
}

/* A gradient that stays moves a weight by lr, whatever its size; none moves nothing. */
static void test_adamw_is_scale_free(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *w = values(&r, "w", SHAPE(4)), *grad = values(&r, "grad", SHAPE(4)), *m = values(&r, "m", SHAPE(4)),
                *v = values(&r, "v", SHAPE(4));
    struct node *lr = values(&r, "lr", SHAPE(1)), *step = values(&r, "step", SHAPE(1)),
                *clip = values(&r, "clip", SHAPE(2));
    adamw(r.graph, w, grad, m, v, lr, step, clip, NULL, NULL,
          (struct adamw_attr){ .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-12, .rate = 1 });
    run_start(&r, 1);
    run_fill(&r, w, 1, 1, 1, 1);
    run_fill(&r, m, 0, 0, 0, 0);
    run_fill(&r, v, 0, 0, 0, 0);
    run_fill(&r, grad, 100, -1e-3, .5, 0);
    run_fill(&r, lr, 0.01);
    run_fill(&r, clip, 1, 1);
    for (int i = 1; i <= 5; i++) {
        run_fill(&r, step, i);
        run_forward(&r);
    }
    assert_reals(run_reals(&r, w), 1e-5, .95, 1.05, .95, 1);
    assert_true(run_reals(&r, w)[3] == 1);
    run_free(&r);
}

/* eps stands outside the root: with m^ = v^ = 1 and eps = 1/2 the step is lr / 1.5. */
static void test_adamw_eps(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *w = values(&r, "w", SHAPE(1)), *grad = values(&r, "grad", SHAPE(1)), *m = values(&r, "m", SHAPE(1)),
                *v = values(&r, "v", SHAPE(1));
    struct node *lr = values(&r, "lr", SHAPE(1)), *step = values(&r, "step", SHAPE(1)),
                *clip = values(&r, "clip", SHAPE(2));
    adamw(r.graph, w, grad, m, v, lr, step, clip, NULL, NULL,
          (struct adamw_attr){ .beta1 = 0.9, .beta2 = 0.95, .eps = 0.5, .rate = 1 });
    run_start(&r, 1);
    run_fill(&r, w, 1);
    run_fill(&r, m, 0);
    run_fill(&r, v, 0);
    run_fill(&r, lr, 0.3);
    run_fill(&r, step, 1);
    run_fill(&r, grad, 1);
    run_fill(&r, clip, 1, 1);
    run_forward(&r);
    assert_reals(run_reals(&r, w), 1e-6, .8);
    run_free(&r);
}

/* Muon from weights and momentum of zero, without decay and with scale -1: w becomes NS(grad). */
static void orthogonal(struct shape shape, int steps, int threads, const real *grad, real *made)
{
    struct run r = run_new();
    struct node *w = values(&r, "w", shape), *g = values(&r, "grad", shape), *m = values(&r, "m", shape);
    struct node *lr = values(&r, "lr", SHAPE(1)), *clip = values(&r, "clip", SHAPE(2));
    struct node *sums = muon(r.graph, w, g, m, lr, clip, NULL, NULL,
                             (struct muon_attr){ .momentum = 0.95, .scale = -1, .nesterov = 1, .steps = steps });
    run_start(&r, threads);
    int64_t n = shape_count(shape);
    for (int64_t i = 0; i < n; i++) run_reals(&r, w)[i] = run_reals(&r, m)[i] = 0;
    memcpy(run_reals(&r, g), grad, (size_t)n * sizeof *grad);
    run_fill(&r, lr, 1);
    run_fill(&r, clip, 1, 1);
    run_forward(&r);
    memcpy(made, run_reals(&r, w), (size_t)n * sizeof *made);
    double squares = 0;
    for (int64_t i = 0; i < n; i++) squares += (double)made[i] * (double)made[i];
    assert_reals(run_reals(&r, sums), 1e-5 * squares, squares, 0, 0);
    run_free(&r);
}

static void normal_values(real *x, int64_t n, uint64_t stream)
{
    for (int64_t i = 0; i < n; i++) x[i] = (real)key_normal((struct key){ 5, PURPOSE_TEST, stream, 0 }, (uint64_t)i);
}

static void test_newton_schulz_values(void **state)
{
    static const double orbit[][2] = {
        { .948683, .316228 }, { .751846, .944672 }, { 1.048416, .756801 }, { .681856, 1.041391 }, { 1.134332, .682469 },
        { .753033, 1.133706 }
    };
    static const double scalar[][2] = {
        { 1, .69644 }, { .5, .76544 }, { .1, .71212 }, { .03, 1.12233 }, { .01, .69892 }, { .003, 1.11036 },
        { .001, .47054 }, { 1e-4, .04847 }
    };
    (void)state;
    real made[9];
    for (int steps = 0; steps < COUNT(orbit); steps++) {
        orthogonal(SHAPE(2, 2), steps, 1, (real[]){ 3, 0, 0, 1 }, made);
        assert_reals(made, 1e-5, orbit[steps][0], 0, 0, orbit[steps][1]);
    }
    for (int i = 0; i < COUNT(scalar); i++) {
        double a = scalar[i][0], b = sqrt(1 - a * a);       /* singular values a and b: the matrix has norm 1 */
        orthogonal(SHAPE(2, 2), 5, 1, (real[]){ (real)a, 0, 0, (real)b }, made);
        assert_reals(made, 1e-5, scalar[i][1]);
    }
    orthogonal(SHAPE(2, 2), 1, 1, (real[]){ 1, 0, 0, 0 }, made);
    assert_reals(made, 1e-5, .701, 0, 0, 0);
    orthogonal(SHAPE(3, 3), 5, 1, (real[]){ 0, 0, 0, 0, 0, 0, 0, 0, 0 }, made);
    assert_reals(made, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
}

static void test_newton_schulz_of_rank_one(void **state)
{
    enum { ROWS = 7, COLS = 12 };
    (void)state;
    real left[ROWS], right[COLS], u[ROWS * COLS], made[ROWS * COLS];
    double norm = 0, expected[ROWS * COLS];
    normal_values(left, ROWS, 1);
    normal_values(right, COLS, 2);
    for (int i = 0; i < ROWS * COLS; i++) {
        u[i] = left[i / COLS] * right[i % COLS];
        norm += (double)u[i] * (double)u[i];
    }
    for (int i = 0; i < ROWS * COLS; i++) expected[i] = .69644 * (double)u[i] / sqrt(norm);
    orthogonal(SHAPE(ROWS, COLS), 5, 1, u, made);
    /* Rounding makes singular values of what should be 0, and each step multiplies small ones by 3.4445. */
    assert_near(made, ROWS * COLS, expected, pow(3.4445, 5) * 0x1p-24);
}

static void test_newton_schulz_transposed_and_scaled(void **state)
{
    enum { ROWS = 130, COLS = 70, SIZE = ROWS * COLS };
    (void)state;
    static real u[SIZE], transposed[SIZE], louder[SIZE], made[SIZE], made_transposed[SIZE], made_louder[SIZE];
    normal_values(u, SIZE, 3);
    for (int r = 0; r < ROWS; r++) for (int c = 0; c < COLS; c++) transposed[c * ROWS + r] = u[r * COLS + c];
    for (int i = 0; i < SIZE; i++) louder[i] = 1000 * u[i];
    orthogonal(SHAPE(ROWS, COLS), 5, 1, u, made);
    orthogonal(SHAPE(COLS, ROWS), 5, 1, transposed, made_transposed);
    orthogonal(SHAPE(ROWS, COLS), 5, 2, louder, made_louder);
    double length = 0;
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLS; c++) {
            double value = (double)made[r * COLS + c];
            assert_near(&made_transposed[c * ROWS + r], 1, &value, 1e-6);
            assert_near(&made_louder[r * COLS + c], 1, &value, 1e-5);
            length += value * value;
        }
    /* All COLS singular values lie in a band around 1. */
    assert_true(length > COLS * .682 * .682 && length < COLS * 1.134 * 1.134);
}

static void test_stack_is_its_matrices(void **state)
{
    enum { STACK = 35, ROWS = 120, COLS = 90, SIZE = ROWS * COLS };  /* long enough that two threads do meet */
    (void)state;
    static real u[STACK * SIZE], together[STACK * SIZE], alone[SIZE];
    normal_values(u, STACK * SIZE, 4);
    orthogonal(SHAPE(STACK, ROWS, COLS), 5, 2, u, together);
    for (int i = 0; i < STACK; i++) {
        orthogonal(SHAPE(ROWS, COLS), 5, 1, u + i * SIZE, alone);
        assert_memory_equal(alone, together + i * SIZE, sizeof alone);
    }
}

/* M = mu M + g;  w -= lr (scale NS(u) + decay w): on a 1x1 matrix NS(u) is .69644 sign(u). */
static void check_momentum(int nesterov, double momentum, double grad, double expected_sign)
{
    struct run r = run_new();
    struct node *w = values(&r, "w", SHAPE(1, 1)), *g = values(&r, "grad", SHAPE(1, 1)),
                *m = values(&r, "m", SHAPE(1, 1));
    struct node *lr = values(&r, "lr", SHAPE(1)), *clip = values(&r, "clip", SHAPE(2));
    struct node *sums = muon(r.graph, w, g, m, lr, clip, NULL, NULL,
                             (struct muon_attr){ .momentum = 0.5, .decay = 0.1, .scale = 0.2, .nesterov = nesterov,
                                                 .steps = 5 });
    run_start(&r, 1);
    run_fill(&r, w, 2);
    run_fill(&r, g, 2 * grad);
    run_fill(&r, m, momentum);
    run_fill(&r, lr, 0.1);
    run_fill(&r, clip, 0.5, 1);
    run_forward(&r);
    assert_reals(run_reals(&r, m), 1e-6, 0.5 * momentum + grad);
    double change = -0.1 * (0.2 * .69644 * expected_sign + 0.1 * 2);
    assert_reals(run_reals(&r, w), 1e-5, 2 + change);
    assert_reals(run_reals(&r, sums), 1e-5, change * change, 4, 2 * change);
    run_free(&r);
}

static void test_muon_momentum(void **state)
{
    (void)state;
    check_momentum(0, 4, -1, 1);                            /* M = 1 */
    check_momentum(1, 4, -1, -1);                           /* -1 + M/2 = -1/2 */
    check_momentum(1, 4, 1, 1);
}

static const struct bias_step_attr by_sign = { 1e-3, -1, 1, BIAS_SIGN, false };

static void test_bias_step(void **state)
{
    (void)state;
    static const double expected[4] = { -.001, -.001, 0, .001 };
    struct run r = run_new();
    struct node *bias = values(&r, "bias", SHAPE(4)), *counts = values(&r, "counts", SHAPE(4)),
                *clip = values(&r, "clip", SHAPE(2));
    struct node *range = bias_step(r.graph, bias, counts, clip, NULL, by_sign);
    run_start(&r, 1);
    run_fill(&r, bias, 0, 0, 0, 0);
    run_fill(&r, counts, 3, 3, 2, 0);
    run_fill(&r, clip, 1, 1);
    run_forward(&r);
    assert_near(run_reals(&r, bias), 4, expected, 1e-8);
    assert_reals(run_reals(&r, range), 1e-8, 0.0);          /* of the biases before the step */
    run_fill(&r, clip, 1, 0);
    run_forward(&r);
    assert_near(run_reals(&r, bias), 4, expected, 1e-8);
    assert_reals(run_reals(&r, range), 1e-8, .002);
    run_free(&r);
}

/* Golden: the steps of one batch by each rule, (3, 3, 2, 0) for a mean of 2; kept within bounds; towards targets. */
static void test_bias_rules(void **state)
{
    (void)state;
    static const struct { struct bias_step_attr a; bool target; double want[4]; } kind[] = {
        { { 1e-3, -1, 1, BIAS_SIGN, true }, false, { -.00075, -.00075, .00025, .00125 } },
        { { 1e-3, -1, 1, BIAS_PROPORTIONAL, false }, false, { -.0005, -.0005, 0, .001 } },
        { { 1e-3, -1, 1, BIAS_PROPORTIONAL, true }, false, { -.0005, -.0005, 0, .001 } },
        { { 1e-3, -.0004, .0007, BIAS_PROPORTIONAL, false }, false, { -.0004, -.0004, 0, .0007 } },
        { { 1e-3, -1, 1, BIAS_SIGN, false }, true, { .001, 0, -.001, 0 } },
        { { 1e-3, -1, 1, BIAS_PROPORTIONAL, false }, true, { .00025, 0, -.001, 0 } },
    };
    for (int i = 0; i < COUNT(kind); i++) {
        struct run r = run_new();
        struct node *bias = values(&r, "bias", SHAPE(4)), *counts = values(&r, "counts", SHAPE(4)),
                    *clip = values(&r, "clip", SHAPE(2)), *target = kind[i].target ? values(&r, "target", SHAPE(4))
                                                                                   : NULL;
        bias_step(r.graph, bias, counts, clip, target, kind[i].a);
        run_start(&r, 1);
        run_fill(&r, bias, 0, 0, 0, 0);
        run_fill(&r, counts, 3, 3, 2, 0);
        run_fill(&r, clip, 1, 1);
        if (target) run_fill(&r, target, 4, 3, 1, 0);
        run_forward(&r);
        assert_near(run_reals(&r, bias), 4, kind[i].want, 1e-8);
        run_free(&r);
    }
}

/* Rows, or columns, of length 1, zeros as they are; a step that does not count leaves all. */
static void test_unit_norm(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *a = values(&r, "a", SHAPE(2, 2)), *b = values(&r, "b", SHAPE(2, 2, 2)),
                *clip = values(&r, "clip", SHAPE(2)), *of_a = unit_norm(r.graph, a, clip, false),
                *of_b = unit_norm(r.graph, b, clip, true);
    run_start(&r, 2);
    for (int go = 0; go < 2; go++) {
        run_fill(&r, a, 3, 4, 0, 0);
        run_fill(&r, b, 3, 1, 4, 0, 0, 2, 0, 0);
        run_fill(&r, clip, .5, go);
        run_forward(&r);
        if (go) {
            assert_reals(run_reals(&r, a), 1e-7, .6, .8, 0, 0);
            assert_reals(run_reals(&r, b), 1e-7, .6, 1, .8, 0, 0, 1, 0, 0);
        } else {
            assert_reals(run_reals(&r, a), 0, 3, 4, 0, 0);
            assert_reals(run_reals(&r, b), 0, 3, 1, 4, 0, 0, 2, 0, 0);
        }
        assert_reals(run_reals(&r, of_a), 1e-6, go * sqrt(12.5));
        assert_reals(run_reals(&r, of_b), 1e-6, go * sqrt(7.5));
    }
    run_free(&r);
}

/* Golden: a largest score of 250 under a limit of 100 is a factor of .4, of which queries and keys get the root. */
static void test_clip_heads(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *q = values(&r, "q", SHAPE(4, 2)), *k = values(&r, "k", SHAPE(2, 2)),
                *most = values(&r, "most", SHAPE(4)), *clip = values(&r, "clip", SHAPE(2));
    struct clip_heads_attr shared = { 100, 0.5, 2 }, own = { 100, 1, 4 };
    struct node *lone = values(&r, "lone", SHAPE(4, 1));
    struct node *share = clip_heads(r.graph, q, most, clip, shared);
    clip_heads(r.graph, k, most, clip, shared);
    struct node *of_own = clip_heads(r.graph, lone, most, clip, own);
    run_start(&r, 1);
    for (int go = 0; go < 2; go++) {
        double root = go ? .6324555320 : 1, whole = go ? .4 : 1, half = go ? .5 : 1;
        run_fill(&r, q, 1, 2, 3, 4, .1, .2, .3, -.4);
        run_fill(&r, k, 1, -2, .7, .3);
        run_fill(&r, lone, 1, 1, 1, 1);
        run_fill(&r, most, 200, 250, 100, -3);
        run_fill(&r, clip, .5, go);
        run_forward(&r);
        assert_reals(run_reals(&r, q), 1e-6, root, 2 * root, 3 * root, 4 * root);
        assert_reals(run_reals(&r, k), 1e-6, root, -2 * root);
        assert_reals(run_reals(&r, lone), 1e-6, half, whole, 1, 1);
        const real rest[] = { (real).1, (real).2, (real).3, (real)-.4 };
        /* A largest score of the limit is none above it */
        assert_memory_equal(run_reals(&r, q) + 4, rest, sizeof rest);
        assert_true(run_reals(&r, k)[2] == (real).7 && run_reals(&r, k)[3] == (real).3);
        assert_reals(run_reals(&r, share), 1e-7, go * .5);
        assert_reals(run_reals(&r, of_own), 1e-7, go * .5);
    }
    run_free(&r);
}

static void test_average(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *mean = values(&r, "mean", SHAPE(3)), *w = values(&r, "w", SHAPE(3)),
                *clip = values(&r, "clip", SHAPE(2)), *rate = values(&r, "rate", SHAPE(1));
    struct node *moved = average(r.graph, mean, w, clip, rate);
    run_start(&r, 1);
    run_fill(&r, mean, 1, 2, 1e30);
    run_fill(&r, w, 3, -2, .1);
    run_fill(&r, clip, .5, 1);
    run_fill(&r, rate, .25);
    run_forward(&r);
    assert_reals(run_reals(&r, mean), 1e-6, 1.5, 1);
    assert_reals(run_reals(&r, moved), 0, .25);
    run_fill(&r, clip, .5, 0);
    run_forward(&r);
    assert_reals(run_reals(&r, mean), 1e-6, 1.5, 1);
    assert_reals(run_reals(&r, moved), 0, 0.0);
    run_fill(&r, clip, .5, 1);
    run_fill(&r, rate, 1);
    run_forward(&r);
    assert_memory_equal(run_reals(&r, mean), run_reals(&r, w), 3 * sizeof(real));    /* w + (1e30 - w) would not be */
    run_free(&r);
}

static void check_clip(double value, double targets, double most, double norm, double factor, double go)
{
    struct run r = run_new();
    struct node *count = values(&r, "targets", SHAPE(1));
    struct node *a = values(&r, "a", SHAPE(2)), *b = values(&r, "b", SHAPE(1, 1));
    struct node *length = global_norm(r.graph, 2, (struct node *[]){ a, b }),
                *clip = clip_norm(r.graph, length, count, most);
    run_start(&r, 1);
    run_fill(&r, a, 2, value);
    run_fill(&r, b, 4);
    run_fill(&r, count, targets);
    run_forward(&r);
    if (isfinite(norm)) assert_reals(run_reals(&r, length), 1e-6 * norm, norm);
    else assert_false(isfinite(run_reals(&r, length)[0]));
    assert_true(run_reals(&r, clip)[1] == (real)go);
    if (go != 0) assert_reals(run_reals(&r, clip), 1e-6, factor);
    run_free(&r);
}

static void test_clip(void **state)
{
    (void)state;
    check_clip(4, 1, 3, 6, .5, 1);
    check_clip(4, 7, 6.5, 6, 1, 1);
    check_clip(4, 7, 0, 6, 1, 1);
    check_clip(4, 0, 3, 6, 0, 0);
    check_clip(INFINITY, 7, 1, INFINITY, 0, 0);
    check_clip(-INFINITY, 7, 0, INFINITY, 0, 0);
    check_clip(NAN, 7, 1, NAN, 0, 0);
    check_clip(1e30, 7, 0, 1e30, 1, 1);                     /* its square is no float */
}

/* All updates of one step on one graph; bits of everything they may change. */
static void all_updates(int threads, double go, bool run, real *kept)
{
    struct run r = run_new();
    struct shape shape = SHAPE(150, 130), stack = SHAPE(5, 20, 30), vector = SHAPE(37);
    struct node *changed[] = {
        values(&r, "w", shape), values(&r, "m", shape), values(&r, "v", shape), values(&r, "u", stack),
        values(&r, "n", stack), values(&r, "x", shape), values(&r, "y", shape), values(&r, "bias", vector)
    };
    struct node *grad = values(&r, "grad", shape), *stack_grad = values(&r, "stack_grad", stack),
                *counts = values(&r, "counts", vector);
    struct node *lr = values(&r, "lr", SHAPE(1)), *step = values(&r, "step", SHAPE(1)),
                *clip = values(&r, "clip", SHAPE(2));
    struct muon_attr at = { .momentum = 0.95, .decay = 0.1, .scale = 0.2, .nesterov = 1, .steps = 5 };
    struct node *norm = global_norm(r.graph, 2, (struct node *[]){ grad, stack_grad });
    struct node *sums[] = {
        adamw(r.graph, changed[0], grad, changed[1], changed[2], lr, step, clip, NULL, NULL,
              (struct adamw_attr){ .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1, .rate = 1 }),
        muon(r.graph, changed[3], stack_grad, changed[4], lr, clip, NULL, NULL, at),
        muon(r.graph, changed[5], grad, changed[6], lr, clip, NULL, NULL, at)
    };
    bias_step(r.graph, changed[7], counts, clip, NULL, by_sign);
    run_start(&r, threads);
    for (int i = 0; i < COUNT(changed); i++) run_normal(&r, changed[i], (uint64_t)i);
    for (int64_t i = 0; i < shape_count(shape); i++)
        run_reals(&r, changed[2])[i] = (real)fabs((double)run_reals(&r, changed[2])[i]);
    run_normal(&r, grad, 20);
    run_normal(&r, stack_grad, 21);
    run_normal(&r, counts, 22);
    run_fill(&r, lr, 0.01);
    run_fill(&r, step, 3);
    run_fill(&r, clip, 0.5, go);
    if (go == 0) run_reals(&r, grad)[7] = NAN;
    if (run) run_forward(&r);
    for (int i = 0; i < COUNT(changed); i++) {
        int64_t n = shape_count(changed[i]->shape);
        memcpy(kept, run_reals(&r, changed[i]), (size_t)n * sizeof *kept);
        kept += n;
    }
    for (int i = 0; run && i < 3; i++, kept += 3) memcpy(kept, run_reals(&r, sums[i]), 3 * sizeof *kept);
    if (run && go == 0) assert_reals(kept - 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    if (run) *kept = run_reals(&r, norm)[0];
    run_free(&r);
}

enum { CHANGED = 5 * 150 * 130 + 2 * 5 * 20 * 30 + 37, KEPT = CHANGED + 10 };

static void test_skipped_step(void **state)
{
    (void)state;
    static real before[KEPT], after[KEPT];
    all_updates(1, 0, false, before);
    all_updates(1, 0, true, after);
    assert_memory_equal(before, after, CHANGED * sizeof(real));
}

static void test_threads_keep_bits(void **state)
{
    (void)state;
    static real before[KEPT], one[KEPT], two[KEPT];
    all_updates(1, 1, false, before);
    all_updates(1, 1, true, one);
    all_updates(2, 1, true, two);
    assert_memory_equal(one, two, sizeof one);
    for (int i = 0; i < CHANGED; i++) assert_true(one[i] != before[i]);
}

/* Every code is what its value is coded as, the two zeros but one; values go up with them, to 1; and a value of its bin
   is no further from it than half the bin, of those that can be told from 0. */
static void test_codes(void **state)
{
    (void)state;
    for (int positive = 0; positive < 2; positive++) {
        int numbers = positive ? 2 * CODE_SIGN : CODE_SIGN;
        real last = 0;
        for (int code = positive ? 2 : 1; code < numbers; code++) {
            real value = code_value((uint8_t)code, positive);
            assert_true(value > last);
            assert_int_equal(code_of(value, positive), code);
            if (!positive) assert_int_equal(code_of(-value, false), code | CODE_SIGN);
            if (!positive) assert_true(code_value((uint8_t)(code | CODE_SIGN), false) == -value);
            last = value;
        }
        assert_true(last == 1 && code_of(0, positive) == 0 && code_value(0, positive) == 0);
        for (int i = 1; i < 1000; i++) {
            real x = (real)pow(10, -6 * i / 1000.0), near = code_value(code_of(x, positive), positive);
            assert_true(fabs((double)(near - x)) < (positive ? 0.25 : 0.5) * 0.9 * (double)x / 0.1);
            assert_true(x < (real)0.1 || fabs((double)(near - x)) < 0.9 / (positive ? 128 : 64));
        }
    }
    assert_true(code_of((real)1e-30, true) != 0 && code_of((real)1e-30, false) == 0);
}

/* Each pair once, and nobody twice in a round. */
static void test_rounds(void **state)
{
    (void)state;
    for (int n = 1; n < 12; n++) {
        int met[12][12] = { { 0 } };
        for (int round = 0; round < rounds_of(n); round++) {
            unsigned there = 0;
            for (int k = 0; k < rounds_pairs(n); k++) {
                struct round_pair p = rounds_pair(n, round, k);
                assert_true(p.low >= 0 && p.low < p.high && p.high < n + n % 2);
                assert_false(there >> p.low & 1 || there >> p.high & 1);
                there |= 1u << p.low | 1u << p.high;
                met[p.low][p.high]++;
            }
        }
        for (int i = 0; i < n; i++)
            for (int k = i + 1; k < n; k++) assert_int_equal(met[i][k], 1);
    }
}

static void test_messages(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *w = values(&r, "w", SHAPE(3, 4)), *other = values(&r, "other", SHAPE(4, 3)),
                *flat = values(&r, "flat", SHAPE(4));
    struct node *lr = values(&r, "lr", SHAPE(1)), *clip = values(&r, "clip", SHAPE(2)),
                *ids = graph_input(r.graph, "ids", DTYPE_I32, SHAPE(3, 4));
    struct adamw_attr adam = { .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1, .rate = 1 };
    struct muon_attr at = { .momentum = 0.95, .decay = 0.1, .scale = 0.2, .nesterov = 1, .steps = 5 };
    check_message(r.graph, adamw(r.graph, w, other, w, w, lr, lr, clip, NULL, NULL, adam),
                  "'grad' is [4,3], [..] is needed: .. is [3,4] in 'w'");
    check_message(r.graph, adamw(r.graph, w, w, w, w, lr, lr, lr, NULL, NULL, adam), "'clip' is [1], [2] is needed");
    check_message(r.graph, muon(r.graph, w, w, other, lr, clip, NULL, NULL, at),
                  "'m' is REAL [4,3]: of a weight [3,4] it is REAL of that shape, U8 [12,2] or U8 [1,260]");
    at.heads = 2;
    check_message(r.graph, muon(r.graph, w, w, w, lr, clip, NULL, NULL, at),
                  "2 heads do not divide the rows of a weight [3,4]");
    at.heads = 0;
    check_message(r.graph, dion(r.graph, w, w, w, w, lr, lr, (struct dion_attr){ .scale = 1 }), "'clip' is [1]");
    check_message(r.graph, dion(r.graph, w, w, w, values(&r, "q", SHAPE(4, 4)), lr, clip, (struct dion_attr){ 0 }),
                  "'q' has 16 values: of each of 1 matrices it has 1 to 3 rows of 4");
    check_message(r.graph, soap(r.graph, (struct soap){ w, w, w, w, lr, clip, lr, w, NULL, NULL, NULL },
                                (struct soap_attr){ .every = 1 }), "'left' has a basis, and nothing else");
    check_message(r.graph, soap(r.graph, (struct soap){ w, w, w, w, lr, clip, lr, w, w, NULL, NULL },
                                (struct soap_attr){ .every = 1 }), "'left' and its basis are of 1 matrices [3,3]");
    adam.masked = adam.lazy = 1;
    check_message(r.graph, adamw(r.graph, w, w, w, w, lr, lr, clip, NULL, NULL, adam),
                  "what is lazy is neither masked nor on a sphere");
    adam.masked = adam.lazy = 0;
    struct node *halves = graph_input(r.graph, "halves", DTYPE_U8, SHAPE(12, 2));
    check_message(r.graph, adamw(r.graph, w, w, halves, w, lr, lr, clip, NULL, NULL, adam),
                  "m, v and largest must be kept alike");
    check_message(r.graph, lion(r.graph, flat, flat, halves, lr, clip, (struct lion_attr){ .rate = 1 }),
                  "lion: 'm' is U8 [12,2]: of a weight [4] it is REAL of that shape, U8 [4,2] or U8 [1,260]");
    check_message(r.graph, muon(r.graph, w, w, w, lr, clip, flat, NULL, at), "neurons have v, and nothing else");
    at.neurons = NEURONS_ROW;
    check_message(r.graph, muon(r.graph, w, w, w, lr, clip, flat, NULL, at), "'v' has 4 values, 3 are needed");
    at.neurons = NEURONS_SHORT;
    check_message(r.graph, muon(r.graph, w, w, w, lr, clip, flat, flat, at), "'radius' has 4 values, 1 are needed");
    check_message(r.graph, adamw(r.graph, w, w, w, w, lr, lr, clip, flat, NULL, adam),
                  "a radius for each matrix is needed: there are 4");
    check_message(r.graph, bias_step(r.graph, flat, values(&r, "counts", SHAPE(5)), clip, NULL, by_sign),
                  "'counts' is [5], [E] is needed: E is 4 in 'bias', not 5");
    check_message(r.graph, clip_heads(r.graph, w, flat, clip, (struct clip_heads_attr){ 100, 0.5, 2 }),
                  "2 groups do not divide 3 rows and 4 heads");
    check_message(r.graph, clip_heads(r.graph, other, flat, clip, (struct clip_heads_attr){ 0, 0.5, 2 }),
                  "limit = 0, it must be above 0");
    check_message(r.graph, average(r.graph, w, other, clip, lr),
                  "'w' is [4,3], [..] is needed: .. is [3,4] in 'average'");
    check_message(r.graph, average(r.graph, w, w, lr, lr), "'clip' is [1], [2] is needed");
    check_message(r.graph, global_norm(r.graph, 2, (struct node *[]){ w, ids }), "'grads[1]' is I32, REAL is needed");
    check_message(r.graph, global_norm(r.graph, 0, NULL), "there are no grads");
    check_message(r.graph, clip_norm(r.graph, lr, NULL, -1), "most = -1, it must be at least 0");
    check_message(r.graph, update_ratio(r.graph, 1, &lr), "'changes[0]' is [1], [3] is needed");
    graph_free(r.graph);
    leaves_free(r.leaves);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adamw_two_steps), cmocka_unit_test(test_adamw_is_scale_free),
        cmocka_unit_test(test_adamw_eps), cmocka_unit_test(test_newton_schulz_values),
        cmocka_unit_test(test_newton_schulz_of_rank_one), cmocka_unit_test(test_newton_schulz_transposed_and_scaled),
        cmocka_unit_test(test_stack_is_its_matrices), cmocka_unit_test(test_muon_momentum),
        cmocka_unit_test(test_bias_step), cmocka_unit_test(test_bias_rules), cmocka_unit_test(test_clip_heads),
        cmocka_unit_test(test_unit_norm),
        cmocka_unit_test(test_average),
        cmocka_unit_test(test_clip), cmocka_unit_test(test_skipped_step), cmocka_unit_test(test_threads_keep_bits),
        cmocka_unit_test(test_codes), cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
