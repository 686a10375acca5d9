/* Every op in float: one thread and two give the same bits, bf16 agrees with float, wrong shapes are refused.

       test_ops                    all cases of op_cases.h
       test_ops rope topk          those of these ops, each named before it runs */
#include "graph/signature.h"
#include "op_cases.h"
#include <math.h>

static const struct op_case cases[] = { CASES(BENCH_CASE) LARGE_CASES(BENCH_CASE) };

/* Forward, then backward that adds to gradients that are there. */
static void run(struct bench *b, const struct op_case *c, bool bf16, int threads)
{
    bench_open(b, c, bf16, threads);
    bench_forward(b);
    if (!b->node->op->gradient) return;
    for (int i = 0; i < b->node->n_in; i++) {
        if (!b->din[i].data) continue;
        b->beta[i] = 1;
        tensor_normal(&b->din[i], 200 + i);
    }
    bench_backward(b);
}

static void same_bits(const struct op_case *c, const char *what, int i, const struct tensor *x, const struct tensor *y)
{
    if (x->data && memcmp(x->data, y->data, tensor_bytes(x)) != 0) fail_msg("%s: %s %d differs", c->name, what, i);
}

static void test_threads(void **state)
{
    (void)state;
    int tried = 0;
    for (int j = 0; j < COUNT(cases); j++) {
        if (!bench_is_asked(&cases[j])) continue;
        tried++;
        struct bench one, two;
        run(&one, &cases[j], false, 1);
        run(&two, &cases[j], false, 2);
        for (int i = 0; i < one.node->n_out; i++) same_bits(&cases[j], "output", i, &one.out[i], &two.out[i]);
        for (int i = 0; i < one.node->n_in; i++) {
            same_bits(&cases[j], "input", i, &one.in[i], &two.in[i]);
            same_bits(&cases[j], "gradient", i, &one.din[i], &two.din[i]);
        }
        bench_close(&one);
        bench_close(&two);
    }
    assert_true(tried > 0);
}

/* Forward and backward at once give the bits of one after the other. */
static void test_joint(void **state)
{
    (void)state;
    int tried = 0;
    for (int j = 0; j < COUNT(cases); j++) {
        if (!bench_is_asked(&cases[j])) continue;
        struct bench separate, at_once;
        bench_open(&at_once, &cases[j], false, 2);
        assert_true(at_once.node->op->joins == (at_once.kernels->joint != NULL));
        if (at_once.kernels->joint) {
            run(&separate, &cases[j], false, 1);
            for (int i = 0; i < at_once.node->n_in; i++)
                if (at_once.din[i].data) at_once.beta[i] = 1, tensor_normal(&at_once.din[i], 200 + i);
            bench_joint(&at_once);
            for (int i = 0; i < separate.node->n_out; i++)
                same_bits(&cases[j], "output", i, &separate.out[i], &at_once.out[i]);
            for (int i = 0; i < separate.node->n_in; i++)
                same_bits(&cases[j], "gradient", i, &separate.din[i], &at_once.din[i]);
            bench_close(&separate);
            tried++;
        }
        bench_close(&at_once);
    }
    assert_true(tried > 0 || *bench_words);
}

/* Both start from the same values, so what differs is the rounding of results: at most 1/256 of a value, and of the
   values that were added up to it, which are no larger than the largest of the tensor. */
static void agree(const struct op_case *c, const char *what, int i, const struct tensor *narrow,
                  const struct tensor *wide)
{
    double most = 0;
    if (!wide->data) return;
    for (int64_t j = 0; j < shape_count(wide->shape); j++)
        if (!isinf(tensor_get(wide, j))) most = fmax(most, fabs(tensor_get(wide, j)));
    for (int64_t j = 0; j < shape_count(wide->shape); j++) {
        double got = tensor_get(narrow, j), want = tensor_get(wide, j);
        if (got == want) continue;
        if (!bench_floats(wide) || (!(fabs(got - want) <= most / 128) && !(isnan(got) && isnan(want))))
            fail_msg("%s: %s %d value %lld: %g in bf16, %g in float", c->name, what, i, (long long)j, got, want);
    }
}

static void test_bf16(void **state)
{
    (void)state;
    for (int j = 0; j < COUNT(cases); j++) {
        if (!bench_is_asked(&cases[j])) continue;
        struct bench narrow, wide;
        run(&narrow, &cases[j], true, 1);
        run(&wide, &cases[j], false, 1);
        for (int i = 0; i < wide.node->n_out; i++) agree(&cases[j], "output", i, &narrow.out[i], &wide.out[i]);
        for (int i = 0; i < wide.node->n_in; i++) agree(&cases[j], "gradient", i, &narrow.din[i], &wide.din[i]);
        bench_close(&narrow);
        bench_close(&wide);
    }
}

static void test_no_op_without_a_case(void **state)
{
    (void)state;
    int missing = 0;
    for (int i = 0; i < OP_COUNT; i++) {
        bool found = is_of_ranks(i);
        for (int j = 0; j < COUNT(cases); j++) found |= cases[j].op == i;
        if (!found) print_error("op %s has no case in tests/op_cases_*.h\n", op_all[i]->name);
        missing += !found;
    }
    assert_int_equal(missing, 0);
}

#define REFUSED(CASE) \
    CASE(add, "'y' is [2,3], [..] is needed: .. is [3,2] in 'x', not [2,3]", add(g, act_in(g, 3, 2), act_in(g, 2, 3))) \
    CASE(integers, "'x' is I32, ACT or REAL is needed", square(g, int_in(g, SHAPE(2), 1, 2))) \
    CASE(gain, "'gain' is [3], [D] is needed: D is 2 in 'x', not 3", \
         rmsnorm(g, act_in(g, 3, 2), real_in(g, 3), 0, false)) \
    CASE(centre, "without a gain", rmsnorm(g, act_in(g, 3, 2), NULL, 0, true)) \
    CASE(row, "'row' is [3], [D] is needed: D is 2 in 'x'", mul_row(g, act_in(g, 3, 2), real_in(g, 3))) \
    CASE(scalar, "'s' is [2], [1] or [1,1] is needed", mul_scalar(g, act_in(g, 3, 2), real_in(g, 2))) \
    CASE(streams, "'m' is [3,4,3], [T,M,N] or [M,N] is needed: N is 2 in 'x', not 3", \
         mix_streams(g, act_in(g, 3, 2, 5), real_in(g, 3, 4, 3))) \
    CASE(many_streams, "17 streams are more than 16", mix_streams(g, act_in(g, 3, 2, 5), real_in(g, 17, 2))) \
    CASE(square_logits, "'logits' is [3,2,3], [T,N,N] is needed", sinkhorn(g, real_in(g, 3, 2, 3), 20, 0)) \
    CASE(many_logits, "9 rows are larger than 8", sinkhorn(g, real_in(g, 1, 9, 9), 20, 0)) \
    CASE(iterations, "iterations = 0, it must be 1 to 128", sinkhorn(g, real_in(g, 3, 2, 2), 0, 0)) \
    CASE(columns, "rows of [3,7] have no columns 5 to 7", columns(g, act_in(g, 3, 7), 5, 3)) \
    CASE(copies, "cannot repeat rows of [1,2,3,4]", repeat(g, act_in(g, 1, 2, 3, 4), 2)) \
    CASE(odd_width, "cannot rotate 3 of 4 values", rope(g, act_in(g, 2, 1, 4), int_in(g, SHAPE(1, 2), 0, 0), NULL, \
                                                        ROPE(3, LAST, 10))) \
    CASE(starts, "'start' is [1,3], [B,S] is needed: T is 2 in 'x', B S is 3", \
         rope(g, act_in(g, 2, 1, 4), int_in(g, SHAPE(1, 3), 0, 0, 0), NULL, ROPE(2, LAST, 10))) \
    CASE(base, "base = 0, it must be above 0", \
         rope(g, act_in(g, 2, 1, 4), int_in(g, SHAPE(1, 2), 0, 0), NULL, ROPE(2, LAST, 0))) \
    CASE(side, "'x[1]' is [3,3], [..,_] is needed: .. is [2] in 'x[0]', not [3]", \
         concat(g, TWO(act_in(g, 2, 3), act_in(g, 3, 3)))) \
    CASE(rank, "'table' is [5], [V,D] is needed", embed(g, real_in(g, 5), int_in(g, SHAPE(1, 1), 0))) \
    CASE(full, "do not fit the buffer", cache(g, act_in(g, 1, 2, 3), act_in(g, 3, 3), int_in(g, SHAPE(1, 3), 0, 0, 0), \
                                              int_in(g, SHAPE(1), 0)))

TEST_REFUSALS(REFUSED)

int main(int n, char **word)
{
    bench_words = word + (n > 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads), cmocka_unit_test(test_joint), cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_no_op_without_a_case), cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
