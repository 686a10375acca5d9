/* Values and slopes of elementwise ops: distributions, scores, gated units. */
#include "op_check.h"

#define HERE(CASE) \
    CASE(normal, values, normal(g, real_in(g, 6)))

HERE(BENCH_BUILD)

/* Gradients are slopes: each value's is what arrives. */
static void slopes(struct bench *b)
{
    for (int64_t i = 0; i < shape_count(b->dout[0].shape); i++) tensor_set(&b->dout[0], i, 1);
    bench_forward(b);
    bench_backward(b);
}

/* ---- the normal distribution ---- */

static void test_normal(void **state)
{
    (void)state;
    OPEN(b, normal, values);
    PUT(b, 0, 0, 1, -1, 1.96, -3, 40);
    slopes(&b);
    SEE(b.out[0], 2e-7, .5, .84134475, .15865525, .97500210, .00134990, 1);
    SEE(b.din[0], 2e-7, .39894228, .24197072, .24197072, .05844094, .00443185, 0);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_normal) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
