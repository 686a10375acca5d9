/* Values and laws of the ops that residual streams are made of: copies, columns, shared factors, mixing, Sinkhorn. */
#include "op_check.h"
#include "run_graph.h"

#define HERE(CASE) \
    CASE(sinkhorn, golden, sinkhorn(g, real_in(g, 1, 3, 3), 20, 1e-6)) \
    CASE(sinkhorn, few, sinkhorn(g, real_in(g, 40, 4, 4), 5, 1e-6)) \
    CASE(sinkhorn, many, sinkhorn(g, real_in(g, 40, 4, 4), 128, 0)) \
    CASE(sinkhorn, alone, sinkhorn(g, real_in(g, 5, 1, 1), 20, 0)) \
    CASE(l2norm, values, l2norm(g, real_in(g, 2, 2), 11)) \
    CASE(l2norm, free, l2norm(g, act_in(g, 5, 37), 0)) \
    CASE(rmsnorm, bare, rmsnorm(g, act_in(g, 5, 37), NULL, 1e-3, false)) \
    CASE(rmsnorm, ones, rmsnorm(g, act_in(g, 5, 37), real_in(g, 37), 1e-3, false)) \
    CASE(mul_row, values, mul_row(g, real_in(g, 2, 3), real_in(g, 3))) \
    CASE(mul_scalar, values, mul_scalar(g, real_in(g, 2, 3), real_in(g, 1))) \
    CASE(repeat, values, repeat(g, real_in(g, 2, 2), 3)) \
    CASE(columns, front, columns(g, real_in(g, 2, 4), 0, 3)) \
    CASE(columns, back, columns(g, real_in(g, 2, 4), 2, 2)) \
    CASE(mix_streams, values, mix_streams(g, real_in(g, 2, 2, 2), real_in(g, 2, 1, 2))) \
    CASE(mix_streams, shared, mix_streams(g, real_in(g, 2, 2, 2), real_in(g, 3, 2)))

HERE(BENCH_BUILD)

static void wave(struct tensor t, double size, double a, double b)
{
    for (int64_t i = 0; i < shape_count(t.shape); i++) tensor_set(&t, i, size * sin(a * (double)i + b));
}

/* ---- sinkhorn ---- */

static void test_sinkhorn(void **state)
{
    (void)state;
    OPEN(b, sinkhorn, golden);
    wave(b.in[0], 2, .9, .2);
    wave(b.dout[0], 1, .4, .6);
    bench_forward(&b);
    SEE(b.out[0], 1e-6, .135064, .55027, .314665, .810987, .150752, .038261, .053948, .298977, .647073);
    bench_backward(&b);
    SEE(b.din[0], 2e-6, -.04929, -.023891, .073181, .023495, -.013826, -.009669, .025793, .037718, -.06351);
    bench_close(&b);
}

/* How far sums of rows, and of columns, are from 1 at most. */
static void sums(const struct tensor *t, double *rows, double *columns)
{
    int64_t n = shape_last(t->shape);
    *rows = *columns = 0;
    for (int64_t k = 0; k < shape_rows(t->shape); k++) {
        double row = 0, column = 0;
        for (int64_t i = 0; i < n; i++) {
            row += tensor_get(t, k * n + i);
            column += tensor_get(t, k / n * n * n + i * n + k % n);
        }
        *rows = fmax(*rows, fabs(row - 1));
        *columns = fmax(*columns, fabs(column - 1));
    }
}

static void test_sinkhorn_balances(void **state)
{
    (void)state;
    double rows, columns;
    OPEN(few, sinkhorn, few);
    bench_forward(&few);
    sums(&few.out[0], &rows, &columns);
    assert_true(rows > 1e-5 && rows < .1 && columns < 2e-6);
    bench_close(&few);
    OPEN(many, sinkhorn, many);
    bench_forward(&many);
    sums(&many.out[0], &rows, &columns);
    assert_true(rows < 1e-6 && columns < 1e-6);
    bench_close(&many);
    OPEN(alone, sinkhorn, alone);
    bench_forward(&alone);
    SEE(alone.out[0], 0, 1, 1, 1, 1, 1);
    bench_close(&alone);
}

/* ---- norms without a gain ---- */

static void test_l2norm(void **state)
{
    (void)state;
    OPEN(b, l2norm, values);
    PUT(b, 0, 3, 4, 0, -5);                                 /* lengths of root 36 */
    bench_forward(&b);
    SEE(b.out[0], 1e-7, .5, 2 / 3., 0, -5 / 6.);
    bench_close(&b);
    OPEN(c, l2norm, free);
    bench_forward(&c);
    for (int64_t t = 0; t < 5; t++) {
        double length = 0;
        for (int64_t i = 0; i < 37; i++) length += pow(tensor_get(&c.out[0], t * 37 + i), 2);
        assert_true(fabs(length - 1) < 1e-6);
    }
    bench_close(&c);
}

static void test_rmsnorm_without_gain_has_one_of_1(void **state)
{
    (void)state;
    OPEN(bare, rmsnorm, bare);
    OPEN(ones, rmsnorm, ones);
    for (int64_t i = 0; i < 37; i++) tensor_set(&ones.in[1], i, 1);
    bench_forward(&bare);
    bench_forward(&ones);
    same(&bare.out[0], &ones.out[0]);
    bench_backward(&bare);
    bench_backward(&ones);
    same(&bare.din[0], &ones.din[0]);
    bench_close(&bare);
    bench_close(&ones);
}

/* ---- factors, copies, columns ---- */

static void test_factors(void **state)
{
    (void)state;
    OPEN(row, mul_row, values);
    PUT(row, 0, 1, 2, 3, 4, 5, 6);
    PUT(row, 1, 2, 0, -1);
    put(&row.dout[0], 6, (double[]){ 1, 1, 1, 10, 10, 10 });
    bench_forward(&row);
    bench_backward(&row);
    SEE(row.out[0], 0, 2, 0, -3, 8, 0, -6);
    SEE(row.din[0], 0, 2, 0, -1, 20, 0, -10);
    SEE(row.din[1], 0, 41, 52, 63);
    bench_close(&row);
    OPEN(s, mul_scalar, values);
    PUT(s, 0, 1, 2, 3, 4, 5, 6);
    PUT(s, 1, -2);
    put(&s.dout[0], 6, (double[]){ 1, 1, 1, 10, 10, 10 });
    bench_forward(&s);
    bench_backward(&s);
    SEE(s.out[0], 0, -2, -4, -6, -8, -10, -12);
    SEE(s.din[0], 0, -2, -2, -2, -20, -20, -20);
    SEE(s.din[1], 0, 156);
    bench_close(&s);
}

static void test_repeat(void **state)
{
    (void)state;
    OPEN(b, repeat, values);
    PUT(b, 0, 1, 2, 3, 4);
    put(&b.dout[0], 12, (double[]){ 1, 2, 30, 40, 500, 600, 0, 0, 0, 0, 7, 8 });
    bench_forward(&b);
    bench_backward(&b);
    SEE(b.out[0], 0, 1, 2, 1, 2, 1, 2, 3, 4, 3, 4, 3, 4);
    SEE(b.din[0], 0, 531, 642, 7, 8);
    bench_close(&b);
}

/* Readers of one tensor: the first to write its gradient clears what it does not read, the others add. */
static void test_columns(void **state)
{
    (void)state;
    OPEN(front, columns, front);
    OPEN(back, columns, back);
    PUT(front, 0, 1, 2, 3, 4, 5, 6, 7, 8);
    PUT(back, 0, 1, 2, 3, 4, 5, 6, 7, 8);
    put(&front.dout[0], 6, (double[]){ 1, 2, 3, 4, 5, 6 });
    put(&back.dout[0], 4, (double[]){ 10, 20, 30, 40 });
    bench_forward(&front);
    bench_forward(&back);
    SEE(front.out[0], 0, 1, 2, 3, 5, 6, 7);
    SEE(back.out[0], 0, 3, 4, 7, 8);
    bench_backward(&back);
    SEE(back.din[0], 0, 0, 0, 10, 20, 0, 0, 30, 40);
    memcpy(front.din[0].data, back.din[0].data, tensor_bytes(&back.din[0]));
    front.beta[0] = 1;
    bench_backward(&front);
    SEE(front.din[0], 0, 1, 2, 13, 20, 4, 5, 36, 40);
    bench_close(&front);
    bench_close(&back);
}

/* ---- mixing ---- */

static void test_mix_streams(void **state)
{
    (void)state;
    OPEN(b, mix_streams, values);
    PUT(b, 0, 1, 2, 3, 4, 5, 6, 7, 8);
    PUT(b, 1, 1, 10, 0, -1);
    put(&b.dout[0], 4, (double[]){ 1, 2, 3, 4 });
    bench_forward(&b);
    bench_backward(&b);
    SEE(b.out[0], 0, 31, 42, -7, -8);
    SEE(b.din[0], 0, 1, 2, 10, 20, 0, 0, -3, -4);
    SEE(b.din[1], 0, 5, 11, 39, 53);
    bench_close(&b);
    OPEN(c, mix_streams, shared);
    PUT(c, 0, 1, 2, 3, 4, 5, 6, 7, 8);
    PUT(c, 1, 1, 0, 0, 1, 1, -1);
    for (int64_t i = 0; i < 12; i++) tensor_set(&c.dout[0], i, i / 2 == 5);      /* the last stream of token 1 */
    bench_forward(&c);
    bench_backward(&c);
    SEE(c.out[0], 0, 1, 2, 3, 4, -2, -2, 5, 6, 7, 8, -2, -2);
    SEE(c.din[0], 0, 0, 0, 0, 0, 1, 1, -1, -1);
    SEE(c.din[1], 0, 0, 0, 0, 0, 11, 15);
    bench_close(&c);
}

/* ---- a site of manifold-constrained hyper-connections: two streams of width 4, tanh in place of the sublayer ---- */

/* act(alpha mix[from ..] + base[from ..]) */
static struct node *scores(struct graph *g, struct node *mixed, struct node *alpha, struct node *base, int64_t from,
                           int64_t n)
{
    return add_row(g, mul_scalar(g, columns(g, mixed, from, n), alpha), columns(g, base, from, n));
}

static void test_site(void **state)
{
    (void)state;
    struct run r = run_new();
    struct graph *g = r.graph;
    struct node *x = graph_input(g, "x", DTYPE_REAL, SHAPE(1, 2, 4)), *w = graph_input(g, "w", DTYPE_REAL, SHAPE(8, 8)),
                *base = graph_input(g, "base", DTYPE_REAL, SHAPE(8)),
                *alpha = graph_input(g, "alpha", DTYPE_REAL, SHAPE(1));
    struct node *flat = rmsnorm(g, view(g, x, SHAPE(1, 8)), NULL, 1e-6, false), *mixed = matmul(g, flat, w, DTYPE_REAL);
    struct node *pre = offset(g, sigmoid(g, scores(g, mixed, alpha, base, 0, 2)), 1e-6),
                *post = scale(g, sigmoid(g, scores(g, mixed, alpha, base, 2, 2)), 2),
                *res = sinkhorn(g, view(g, scores(g, mixed, alpha, base, 4, 4), SHAPE(1, 2, 2)), 20, 1e-6);
    struct node *u = mix_streams(g, x, view(g, pre, SHAPE(1, 1, 2))), *y = tanh_of(g, u);     /* [1,1,4] */
    struct node *next = add(g, mix_streams(g, x, res), mix_streams(g, y, view(g, post, SHAPE(1, 2, 1))));
    run_start(&r, 1);
    wave(run_value(&r, x), 1, .7, .3);
    wave(run_value(&r, w), .5, .11, .2);
    run_fill(&r, base, 0, 0, 0, 0, 3, 0, 0, 3);
    run_fill(&r, alpha, .01);
    run_forward(&r);
    assert_reals(run_reals(&r, pre), 1e-6, .498643, .500479);
    assert_reals(run_reals(&r, post), 1e-6, 1.003934, 1.004056);
    assert_reals(run_reals(&r, res), 1e-6, .952795, .047199, .047204, .9528);
    assert_reals(run_reals(&r, u), 1e-6, .168169, .113372, .005254, -.105335);
    assert_reals(run_reals(&r, next), 1e-6, .45079, .886203, .903989, .496519, .220845, -.429911, -.879305, -.915244);
    for (int i = 0; i < 4; i++) {                           /* what mixing keeps: the sum of the streams */
        double before = run_reals(&r, x)[i] + run_reals(&r, x)[4 + i],
               after = run_reals(&r, next)[i] + run_reals(&r, next)[4 + i],
               written = (run_reals(&r, post)[0] + run_reals(&r, post)[1]) * run_reals(&r, y)[i];
        assert_true(fabs(after - before - written) < 1e-5);
    }
    run_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sinkhorn), cmocka_unit_test(test_sinkhorn_balances), cmocka_unit_test(test_l2norm),
        cmocka_unit_test(test_rmsnorm_without_gain_has_one_of_1), cmocka_unit_test(test_factors),
        cmocka_unit_test(test_repeat), cmocka_unit_test(test_columns), cmocka_unit_test(test_mix_streams),
        cmocka_unit_test(test_site),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
