/* Every op: backward against central differences, one value at a time, in double. */
#include "op_cases.h"
#include <math.h>

static const struct op_case cases[] = { CASES(BENCH_CASE) };

static const char *message(const struct op_case *c, const char *what, int input, int64_t at, double got, double expected)
{
    static char text[256];
    snprintf(text, sizeof text, "%s: %s: input %d value %lld: %.12g, expected %.12g", c->name, what, input, (long long)at, got, expected);
    return text;
}

/* What the gradients in dout are gradients of. */
static double objective(struct bench *b)
{
    double sum = 0;
    bench_forward(b);
    for (int k = 0; k < b->node->n_out; k++)
        for (int64_t i = 0; b->dout[k].data && i < shape_count(b->out[k].shape); i++)
            sum += tensor_get(&b->out[k], i) * tensor_get(&b->dout[k], i);
    return sum;
}

/* Differences of fourth order: the error is far below the bound for functions of size 1. */
static double difference(struct bench *b, const struct tensor *t, int64_t i)
{
    const double h = 1e-3, x = tensor_get(t, i);
    double f[4];
    for (int j = 0; j < 4; j++) {
        tensor_set(t, i, x + h * (j < 2 ? j - 2 : j - 1));
        f[j] = objective(b);
    }
    tensor_set(t, i, x);
    return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h);
}

static void compare(struct bench *b, const struct op_case *c, const char *what, int input, const double *expected, const double *before)
{
    const struct tensor *din = &b->din[input];
    for (int64_t i = 0; i < shape_count(din->shape); i++) {
        double got = tensor_get(din, i), want = expected[i] + (before ? before[i] : 0);
        if (!(fabs(got - want) <= 1e-6 * (fabs(want) + 1e-3))) fail_msg("%s", message(c, what, input, i, got, want));
    }
}

static void differentiate(struct bench *b, double *expected[BENCH_INS])
{
    for (int i = 0; i < b->node->n_in; i++) {
        if (!b->din[i].data) continue;
        for (int64_t j = 0; j < shape_count(b->in[i].shape); j++) expected[i][j] = difference(b, &b->in[i], j);
    }
    bench_forward(b);
}

/* beta 0 reads nothing of the NaN in din; beta 1 adds; what is not wanted may be missing. */
static void check_backward(struct bench *b, const struct op_case *c, double *const expected[BENCH_INS])
{
    for (int i = 0; i < b->node->n_in; i++) { b->beta[i] = 0; tensor_spoil(&b->din[i]); }
    bench_backward(b);
    for (int i = 0; i < b->node->n_in; i++) if (b->din[i].data) compare(b, c, "beta 0", i, expected[i], NULL);

    double *before[BENCH_INS] = { 0 };
    for (int i = 0; i < b->node->n_in; i++) {
        if (!b->din[i].data) continue;
        b->beta[i] = 1;
        before[i] = xmalloc((size_t)shape_count(b->din[i].shape) * sizeof *before[i]);
        tensor_normal(&b->din[i], 200 + i);
        for (int64_t j = 0; j < shape_count(b->din[i].shape); j++) before[i][j] = tensor_get(&b->din[i], j);
    }
    bench_backward(b);
    for (int i = 0; i < b->node->n_in; i++) if (b->din[i].data) compare(b, c, "beta 1", i, expected[i], before[i]);
    for (int i = 0; i < b->node->n_in; i++) free(before[i]);

    for (int absent = 0; absent < b->node->n_in; absent++) {
        struct tensor kept = b->din[absent];
        if (!kept.data) continue;
        b->din[absent].data = NULL;
        for (int i = 0; i < b->node->n_in; i++) { b->beta[i] = 0; tensor_spoil(&b->din[i]); }
        bench_backward(b);
        for (int i = 0; i < b->node->n_in; i++) if (b->din[i].data) compare(b, c, "another not wanted", i, expected[i], NULL);
        b->din[absent] = kept;
    }
}

static void check_case(const struct op_case *c)
{
    struct bench b;
    double *expected[BENCH_INS] = { 0 };
    bench_open(&b, c, false, 1);
    int sending = 0;
    if (!b.node->op->gradient) {
        bench_close(&b);
        return;
    }
    for (int i = 0; i < b.node->n_in; i++) if (b.din[i].data) expected[i] = xmalloc((size_t)shape_count(b.din[i].shape) * sizeof *expected[i]);
    for (int k = 0; k < b.node->n_out; k++) sending += b.dout[k].data != NULL;
    differentiate(&b, expected);
    check_backward(&b, c, expected);
    for (int k = 0; sending > 1 && k < b.node->n_out; k++) {    /* nothing reaches output k */
        struct tensor kept = b.dout[k];
        if (!kept.data) continue;
        b.dout[k].data = NULL;
        differentiate(&b, expected);
        check_backward(&b, c, expected);
        b.dout[k] = kept;
    }
    for (int i = 0; i < b.node->n_in; i++) free(expected[i]);
    bench_close(&b);
}

static void test_gradients(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(cases); i++) check_case(&cases[i]);
}

static void test_no_op_without_a_case(void **state)
{
#define GRADIENT(name, signature) &op_##name,
    static const struct op *const ops[] = { OPS(GRADIENT) };
    (void)state;
    int missing = 0;
    for (int i = 0; i < OP_COUNT; i++) {
        bool found = !ops[i]->gradient;
        for (int j = 0; j < COUNT(cases); j++) found |= cases[j].op == i;
        if (!found) print_error("op %s has a gradient and no case in tests/op_cases_*.h\n", ops[i]->name);
        missing += !found;
    }
    assert_int_equal(missing, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_gradients), cmocka_unit_test(test_no_op_without_a_case) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
