/* Values and laws of single ops: norms, rotary positions, rows, tables, caches, experts' rows, carries,
   exponentials. */
#include "op_check.h"
#include "cpu/vec_math.h"

#define HERE(CASE) \
    CASE(rmsnorm, golden, rmsnorm(g, real_in(g, 1, 4), real_in(g, 4), 1e-6, false)) \
    CASE(rmsnorm, centred, rmsnorm(g, real_in(g, 1, 4), real_in(g, 4), 1e-6, true)) \
    CASE(rmsnorm, free, rmsnorm(g, act_in(g, 50, 37), real_in(g, 37), 0, false)) \
    CASE(rope, golden, rope(g, real_in(g, 2, 1, 4), int_in(g, SHAPE(1, 2), 0, 0), NULL, ROPE(4, FIRST, 1e4))) \
    CASE(rope, last, rope(g, real_in(g, 2, 1, 6), int_in(g, SHAPE(1, 2), 0, 0), NULL, ROPE(4, LAST, 1e4))) \
    CASE(rope, proportional, rope(g, real_in(g, 2, 1, 8), int_in(g, SHAPE(1, 2), 0, 0), NULL, \
                                  ROPE(4, PROPORTIONAL, 1e4))) \
    CASE(rope, whole_last, rope(g, act_in(g, 6, 2, 8), int_in(g, SHAPE(2, 3), 0, 0, 2, 0, 0, 0), NULL, \
                                ROPE(8, LAST, 1e4))) \
    CASE(rope, whole_first, rope(g, act_in(g, 6, 2, 8), int_in(g, SHAPE(2, 3), 0, 0, 2, 0, 0, 0), NULL, \
                                 ROPE(8, FIRST, 1e4))) \
    CASE(rope, whole_proportional, rope(g, act_in(g, 6, 2, 8), int_in(g, SHAPE(2, 3), 0, 0, 2, 0, 0, 0), NULL, \
                                        ROPE(8, PROPORTIONAL, 1e4))) \
    CASE(rope, none, rope(g, act_in(g, 6, 2, 8), int_in(g, SHAPE(2, 3), 0, 0, 2, 0, 0, 0), NULL, ROPE(0, LAST, 1e4))) \
    CASE(rope, near, rope(g, act_in(g, 40, 1, 8), count_in(g, SHAPE(1, 40), zero), int_in(g, SHAPE(1), 0), \
                          ROPE(8, LAST, 1e4))) \
    CASE(rope, long, rope(g, real_in(g, 200, 1, 4), count_in(g, SHAPE(1, 200), zero), NULL, ROPE(4, FIRST, 1e4))) \
    CASE(rope, far, rope(g, act_in(g, 40, 1, 8), count_in(g, SHAPE(1, 40), zero), int_in(g, SHAPE(1), 37), \
                         ROPE(8, LAST, 1e4))) \
    CASE(embed, misses, embed(g, real_in(g, 9, 5), int_in(g, SHAPE(2, 3), 4, 0, 4, 2, 4, 0))) \
    CASE(row_entropy, golden, row_entropy(g, positive_in(g, 3, 4))) \
    CASE(softmax, far, softmax(g, real_in(g, 2, 3))) \
    CASE(logsumexp, golden, logsumexp(g, real_in(g, 1, 4))) \
    CASE(weighted_sum, some, weighted_sum(g, real_in(g, 4), positive_in(g, 2, 2))) \
    CASE(divide, some, divide(g, real_in(g, 4), positive_in(g, 4))) \
    CASE(slice, some, slice(g, real_in(g, 2, 3), 2)) \
    CASE(shift, left, shift(g, int_in(g, SHAPE(2, 3), 1, 2, 3, 4, 5, 6), 1)) \
    CASE(shift, right, shift(g, int_in(g, SHAPE(2, 3), 1, 2, 3, 4, 5, 6), -2)) \
    CASE(shift, beyond, shift(g, int_in(g, SHAPE(2, 3), 1, 2, 3, 4, 5, 6), 7)) \
    CASE(take, some, take(g, int_in(g, SHAPE(2, 3), 5, 6, 7, 8, 9, 1), int_in(g, SHAPE(2, 2), 0, 2, 5, -1))) \
    CASE(taken_starts, documents, taken_starts(g, int_in(g, SHAPE(2, 6), 0, 0, 2, 2, 2, 2, 0, 0, 0, 3, 3, 3), \
                                     int_in(g, SHAPE(2, 3), 1, 3, 5, 6, 9, 11))) \
    CASE(cache, integers, cache(g, int_in(g, SHAPE(2, 4), 1, 2, 3, 4, 5, 6, 7, 8), \
                                int_in(g, SHAPE(2, 2), 10, 20, 30, 40), \
                                int_in(g, SHAPE(2, 2), 0, 0, 0, 0), int_in(g, SHAPE(1), 1))) \
    CASE(gather, nobodys, gather(g, act_in(g, 3, 2), int_in(g, SHAPE(4), 4, 1, -1, -1), \
                                 int_in(g, SHAPE(3, 2), -1, 1, -1, -1, 0, -1))) \
    CASE(grouped_matmul, nobodys, grouped_matmul(g, ragged_in(g, 2, 4, 2), real_in(g, 2, 2, 2), \
                                                 int_in(g, SHAPE(3), 0, 1, 2))) \
    CASE(head_matmul, golden, head_matmul(g, real_in(g, 2, 2, 2), real_in(g, 2, 1, 2), false)) \
    CASE(head_matmul, transposed, head_matmul(g, real_in(g, 2, 2, 2), real_in(g, 2, 2, 1), true)) \
    CASE(sigmoid, values, sigmoid(g, real_in(g, 4))) \
    CASE(max_all, values, max_all(g, real_in(g, 3, 3))) \
    CASE(rms, values, rms(g, real_in(g, 4))) \
    CASE(outside, values, outside(g, real_in(g, 5), -1, 2)) \
    CASE(carry, sum, carry(g, real_in(g, 2), CARRY_SUM)) \
    CASE(carry, mean, carry(g, real_in(g, 2), CARRY_MEAN)) \
    CASE(carry, largest, carry(g, real_in(g, 2), CARRY_MAX)) \
    CASE(carry, latest, carry(g, real_in(g, 2), CARRY_LAST)) \
    CASE(carry, integers, carry(g, int_in(g, SHAPE(2), 3, 16777216), CARRY_SUM))

static int32_t zero(int64_t i) { (void)i; return 0; }
HERE(BENCH_BUILD)

/* ---- norms ---- */

static void test_rmsnorm(void **state)
{
    (void)state;
    OPEN(b, rmsnorm, golden);
    PUT(b, 0, 1, 2, 3, 4);
    PUT(b, 1, 1, 1, 1, 1);
    bench_forward(&b);
    SEE(b.out[0], 1e-6, .365148, .730297, 1.095445, 1.460593);
    OPEN(c, rmsnorm, centred);                              /* 1 + w is the gain */
    PUT(c, 0, 1, 2, 3, 4);
    PUT(b, 1, 1.5, .25, 0, -2);
    PUT(c, 1, .5, -.75, -1, -3);
    bench_forward(&b);
    bench_forward(&c);
    same(&b.out[0], &c.out[0]);
    bench_close(&b);
    bench_close(&c);
}

/* Without eps the norm does not see the size of a row, so the gradient has no part along it. */
static void test_rmsnorm_has_no_scale(void **state)
{
    (void)state;
    OPEN(b, rmsnorm, free);
    OPEN(c, rmsnorm, free);
    for (int64_t i = 0; i < 50 * 37; i++) tensor_set(&c.in[0], i, 4 * tensor_get(&b.in[0], i));
    bench_forward(&b);
    bench_forward(&c);
    same(&b.out[0], &c.out[0]);
    bench_backward(&b);
    for (int64_t t = 0; t < 50; t++) {
        double along = 0, size = 0;
        for (int64_t i = t * 37; i < t * 37 + 37; i++) {
            along += tensor_get(&b.din[0], i) * tensor_get(&b.in[0], i);
            size += fabs(tensor_get(&b.din[0], i) * tensor_get(&b.in[0], i));
        }
        assert_true(size > 0.1 && fabs(along) < 1e-6 * size);
    }
    bench_close(&b);
    bench_close(&c);
}

/* ---- rotary positions ---- */

static void test_rope(void **state)
{
    (void)state;
    OPEN(b, rope, golden);
    PUT(b, 0, 1, 2, 3, 4, 1, 2, 3, 4);
    bench_forward(&b);
    SEE(b.out[0], 1e-6, 1, 2, 3, 4, -1.984111, 1.959901, 2.462378, 4.0198);
    bench_close(&b);
    OPEN(c, rope, last);
    PUT(c, 0, 5, 6, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4);
    bench_forward(&c);
    SEE(c.out[0], 1e-6, 5, 6, 1, 2, 3, 4, 5, 6, -1.984111, 1.959901, 2.462378, 4.0198);
    bench_close(&c);
    OPEN(d, rope, proportional);                            /* pairs (0,4) and (1,5); angles 1 and 1/10 */
    PUT(d, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8);
    bench_forward(&d);
    SEE(d.out[0], 1e-6, 1, 2, 3, 4, 5, 6, 7, 8, cos(1) - 5 * sin(1), 2 * cos(.1) - 6 * sin(.1), 3, 4,
        5 * cos(1) + sin(1), 6 * cos(.1) + 2 * sin(.1), 7, 8);
    bench_close(&d);
}

/* Each position has its own angle, wherever the table that holds them was cut. */
static void test_rope_of_a_long_sequence(void **state)
{
    (void)state;
    OPEN(b, rope, long);
    for (int64_t i = 0; i < 800; i++) tensor_set(&b.in[0], i, i % 4 < 2);
    bench_forward(&b);
    for (int64_t p = 0; p < 200; p++) {
        double want[] = { cos((double)p), cos((double)p / 100), sin((double)p), sin((double)p / 100) };
        for (int i = 0; i < 4; i++) assert_true(fabs(tensor_get(&b.out[0], 4 * p + i) - want[i]) <= 6e-8);
    }
    bench_close(&b);
}

/* All of a head is the same head from either end; none of it is the head as it was. */
static void test_rope_of_all_and_none(void **state)
{
    (void)state;
    OPEN(first, rope, whole_first);
    OPEN(last, rope, whole_last);
    OPEN(proportional, rope, whole_proportional);
    OPEN(none, rope, none);
    bench_forward(&first);
    bench_forward(&last);
    bench_forward(&proportional);
    bench_forward(&none);
    same(&first.out[0], &last.out[0]);
    same(&first.out[0], &proportional.out[0]);
    same(&none.out[0], &none.in[0]);
    for (int64_t i = 0; i < 16; i++) {    /* positions 0: the first token, and the third, which begins a document */
        assert_true(tensor_get(&first.out[0], i) == tensor_get(&first.in[0], i));
        assert_true(tensor_get(&first.out[0], 32 + i) == tensor_get(&first.in[0], 32 + i));
    }
    for (int64_t h = 0; h < 12; h++) {
        double before = 0, after = 0;
        for (int64_t i = 8 * h; i < 8 * h + 8; i++) {
            before += tensor_get(&first.in[0], i) * tensor_get(&first.in[0], i);
            after += tensor_get(&first.out[0], i) * tensor_get(&first.out[0], i);
        }
        assert_true(fabs(after / before - 1) < 1e-6);
    }
    bench_close(&first);
    bench_close(&last);
    bench_close(&proportional);
    bench_close(&none);
}

/* A score depends on the distance alone: 37 positions further on nothing has changed. */
static void test_rope_is_relative(void **state)
{
    (void)state;
    OPEN(near, rope, near);
    OPEN(far, rope, far);
    bench_forward(&near);
    bench_forward(&far);
    for (int64_t t = 1; t < 40; t++) {
        double here = 0, there = 0;
        for (int64_t i = 0; i < 8; i++) {
            here += tensor_get(&near.out[0], 8 * t + i) * tensor_get(&near.out[0], i);
            there += tensor_get(&far.out[0], 8 * t + i) * tensor_get(&far.out[0], i);
        }
        assert_true(fabs(here - there) < 2e-5);
    }
    bench_close(&near);
    bench_close(&far);
}

/* ---- rows ---- */

static void test_rows(void **state)
{
    (void)state;
    OPEN(e, row_entropy, golden);
    PUT(e, 0, .643914, .236883, .087144, .032059, 2, 2, 2, 2, 0, 0, 3, 0);
    bench_forward(&e);
    SEE(e.out[0], 2e-6, .947537, log(4), 0);
    bench_close(&e);
    OPEN(s, softmax, far);
    PUT(s, 0, 1000, 1000, -INFINITY, -1000, -1001, -1090);
    bench_forward(&s);
    SEE(s.out[0], 1e-7, .5, .5, 0, 1 / (1 + exp(-1)), 1 / (1 + exp(1)), 0);
    assert_true(tensor_get(&s.out[0], 2) == 0 && tensor_get(&s.out[0], 5) == 0);
    bench_close(&s);
    OPEN(l, logsumexp, golden);
    PUT(l, 0, 2, 1, 0, -1);
    bench_forward(&l);
    SEE(l.out[0], 1e-6, 2.440190);
    bench_close(&l);
}

static void test_to_one_number(void **state)
{
    (void)state;
    OPEN(w, weighted_sum, some);
    PUT(w, 0, 1, 2, 3, 4);
    PUT(w, 1, 0, 1, 1, 2);
    bench_forward(&w);
    SEE(w.out[0], 1e-6, 13);
    bench_close(&w);
    OPEN(d, divide, some);
    PUT(d, 0, 1, 0, 3, -4);
    PUT(d, 1, 2, 0, 1, 8);                                  /* nothing over nothing: no value, and no gradient */
    bench_forward(&d);
    tensor_normal(&d.dout[0], 1);
    bench_backward(&d);
    SEE(d.out[0], 1e-6, 0.5, NAN, 3, -0.5);
    assert_true(tensor_get(&d.din[0], 1) == 0 && tensor_get(&d.din[0], 2) == tensor_get(&d.dout[0], 2));
    bench_close(&d);
    OPEN(s, slice, some);
    PUT(s, 0, 1, 2, 3, 4, 5, 6);
    bench_forward(&s);
    SEE(s.out[0], 0, 1, 2, 4, 5);
    bench_close(&s);
    OPEN(m, max_all, values);
    PUT(m, 0, -5, -3, -4, -9, -8, -7, -6, -2.5, -11);
    bench_forward(&m);
    SEE(m.out[0], 0, -2.5);
    PUT(m, 0, -5, -3, NAN, -9, -8, -7, -6, -2.5, -11);
    bench_forward(&m);
    SEE(m.out[0], 0, NAN);
    bench_close(&m);
    OPEN(r, rms, values);
    PUT(r, 0, 1, -1, 3, 5);
    bench_forward(&r);
    SEE(r.out[0], 1e-6, 3);
    bench_close(&r);
    OPEN(o, outside, values);
    PUT(o, 0, -1, 2, 2.5, -1.5, NAN);
    bench_forward(&o);
    SEE(o.out[0], 1e-7, .6);
    bench_close(&o);
}

/* ---- tables and tokens ---- */

static void test_embed_leaves_other_rows(void **state)
{
    (void)state;
    OPEN(b, embed, misses);
    bench_forward(&b);
    bench_backward(&b);
    for (int64_t i = 0; i < 9 * 5; i++) {
        bool hit = i / 5 == 0 || i / 5 == 2 || i / 5 == 4;
        assert_true((tensor_get(&b.din[0], i) != 0) == hit);
    }
    bench_close(&b);
}

static void test_shift(void **state)
{
    (void)state;
    OPEN(left, shift, left);
    OPEN(right, shift, right);
    OPEN(beyond, shift, beyond);
    bench_forward(&left);
    bench_forward(&right);
    bench_forward(&beyond);
    SEE(left.out[0], 0, 2, 3, 0, 5, 6, 0);
    SEE(right.out[0], 0, 0, 0, 1, 0, 0, 4);
    SEE(beyond.out[0], 0, 0, 0, 0, 0, 0, 0);
    bench_close(&left);
    bench_close(&right);
    bench_close(&beyond);
}

/* Positions 1 | 1, 3 and 0 | 0, 2 in their documents: a place less its origin. */
static void test_taken(void **state)
{
    (void)state;
    OPEN(t, take, some);
    OPEN(p, taken_starts, documents);
    bench_forward(&t);
    bench_forward(&p);
    SEE(t.out[0], 0, 5, 7, 1, 0);
    SEE(p.out[0], 0, 0, 1, 1, 0, 1, 1);
    SEE(p.out[1], 0, -1, 0, -1, 0, 1, 0);
    SEE(p.out[2], 0, 0);
    bench_close(&t);
    bench_close(&p);
}

static void test_cache(void **state)
{
    (void)state;
    OPEN(b, cache, integers);
    bench_forward(&b);
    SEE(b.in[0], 0, 1, 10, 20, 4, 5, 30, 40, 8);            /* the value is the buffer */
    bench_close(&b);
}

/* ---- experts' rows ---- */

/* What lies behind the last expert's rows reaches no gradient, whatever it is. */
static void test_rows_of_nobody(void **state)
{
    (void)state;
    OPEN(b, gather, nobodys);
    PUT(b, 0, 1, 2, 3, 4, 5, 6);
    bench_forward(&b);
    SEE(b.out[0], 0, 5, 6, 1, 2, 0, 0, 0, 0);
    put(&b.dout[0], 8, (double[]){ 1, 2, 3, 4, NAN, NAN, NAN, NAN });
    bench_backward(&b);
    SEE(b.din[0], 0, 3, 4, 0, 0, 1, 2);
    bench_close(&b);
    OPEN(c, grouped_matmul, nobodys);
    PUT(c, 0, 1, 2, 3, 4, NAN, NAN, NAN, NAN);
    PUT(c, 1, 1, 0, 0, 1, 2, 0, 0, 2);                      /* the same, twice as much */
    bench_forward(&c);
    SEE(c.out[0], 0, 1, 2, 6, 8, 0, 0, 0, 0);
    put(&c.dout[0], 8, (double[]){ 1, 2, 3, 4, NAN, NAN, NAN, NAN });
    bench_backward(&c);
    SEE(c.din[0], 0, 1, 2, 6, 8, 0, 0, 0, 0);
    SEE(c.din[1], 0, 1, 2, 2, 4, 9, 12, 12, 16);
    bench_close(&c);
}

/* ---- over the micro-batches ---- */

static void carry_thrice(struct bench *b)
{
    static const double x[3][2] = { { 1, -2 }, { 5, -7 }, { 3, -1 } };
    for (int micro = 0; micro < 3; micro++) {
        b->step = (struct step){ 1, micro, 3 };
        put(&b->in[0], 2, x[micro]);
        bench_call(b, b->kernels->forward);
    }
}

static void test_carry(void **state)
{
    (void)state;
    OPEN(sum, carry, sum);
    OPEN(mean, carry, mean);
    OPEN(largest, carry, largest);
    OPEN(latest, carry, latest);
    OPEN(integers, carry, integers);
    carry_thrice(&sum);
    carry_thrice(&mean);
    carry_thrice(&largest);
    carry_thrice(&latest);
    bench_forward(&integers);
    SEE(sum.out[0], 0, 9, -10);
    SEE(mean.out[0], 0, 9, -10);                            /* a sum, which its reader divides */
    SEE(largest.out[0], 0, 5, -1);
    SEE(latest.out[0], 0, 3, -1);
    SEE(integers.out[0], 0, 3, 16777216);
    bench_close(&sum);
    bench_close(&mean);
    bench_close(&largest);
    bench_close(&latest);
    bench_close(&integers);
}

/* ---- exponentials ---- */

static void test_exp_and_log(void **state)
{
    (void)state;
    for (int i = -86900; i <= 88700; i++) {
        double x = (real)(i * 1e-3), want = exp((real)x);
        if (!(fabs(vec_exp((real)x) - want) <= 2e-7 * want))
            fail_msg("e^%g is %g, expected %g", x, (double)vec_exp((real)x), want);
    }
    for (int i = 1; i <= 100000; i++) {
        double x = (real)(i * 1e-4), want = log((real)x);
        if (!(fabs(vec_log((real)x) - want) <= 2e-7 * fmax(fabs(want), .1)))
            fail_msg("ln %g is %g, expected %g", x, (double)vec_log((real)x), want);
    }
    assert_true(vec_exp(-INFINITY) == 0 && vec_exp((real)-1e30) == 0 && isinf(vec_exp(INFINITY)) &&
                isinf(vec_exp(90)) && isnan(vec_exp(NAN)));
    OPEN(b, sigmoid, values);
    PUT(b, 0, 0, -200, 200, 1);
    bench_forward(&b);
    SEE(b.out[0], 1e-7, .5, 0, 1, 1 / (1 + exp(-1)));
    bench_close(&b);
}

/* Two heads of two tokens, to one value each and back: row (t,h) of x meets matrix h. */
static void test_head_matmul(void **state)
{
    (void)state;
    OPEN(b, head_matmul, golden);
    OPEN(t, head_matmul, transposed);
    struct bench *both[] = { &b, &t };
    for (int i = 0; i < 2; i++) {                           /* a column lies as a row does */
        PUT(*both[i], 0, 1, 2, 3, 4, 5, 6, 7, 8);
        PUT(*both[i], 1, 10, 1, -1, 2);
        put(&both[i]->dout[0], 4, (double[]){ 1, 2, 3, 4 });
        bench_forward(both[i]);
        bench_backward(both[i]);
        SEE(both[i]->out[0], 0, 12, 5, 56, 9);
        SEE(both[i]->din[0], 0, 10, 1, -2, 4, 30, 3, -4, 8);
        SEE(both[i]->din[1], 0, 1 + 15, 2 + 18, 6 + 28, 8 + 32);
        bench_close(both[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rmsnorm), cmocka_unit_test(test_rmsnorm_has_no_scale), cmocka_unit_test(test_rope),
        cmocka_unit_test(test_rope_of_a_long_sequence), cmocka_unit_test(test_rope_of_all_and_none),
        cmocka_unit_test(test_rope_is_relative), cmocka_unit_test(test_rows), cmocka_unit_test(test_to_one_number),
        cmocka_unit_test(test_embed_leaves_other_rows), cmocka_unit_test(test_shift), cmocka_unit_test(test_taken),
        cmocka_unit_test(test_cache), cmocka_unit_test(test_rows_of_nobody), cmocka_unit_test(test_carry),
        cmocka_unit_test(test_exp_and_log), cmocka_unit_test(test_head_matmul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
