/* Every op: backward against central differences, one value at a time, in double. Words: names of the ops that are
   wanted. */
#include "graph/signature.h"
#include "op_cases.h"
#include <math.h>

static const struct op_case cases[] = { CASES(BENCH_CASE) };

static const char *message(const struct op_case *c, const char *what, int input, int64_t at, double got,
                           double expected)
{
    static char text[256];
    snprintf(text, sizeof text, "%s: %s: input %d value %lld: %.12g, expected %.12g", c->name, what, input,
             (long long)at, got, expected);
    return text;
}

/* What the gradients in dout are gradients of. An infinite value says that there is none. */
static double objective(struct bench *b)
{
    double sum = 0;
    bench_forward(b);
    for (int k = 0; k < b->node->n_out; k++)
        for (int64_t i = 0; b->dout[k].data && i < shape_count(b->out[k].shape); i++)
            if (!isinf(tensor_get(&b->out[k], i))) sum += tensor_get(&b->out[k], i) * tensor_get(&b->dout[k], i);
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

static void differentiate(struct bench *b, double *expected[BENCH_INS])
{
    for (int i = 0; i < b->node->n_in; i++) {
        if (!b->din[i].data) continue;
        for (int64_t j = 0; j < shape_count(b->in[i].shape); j++) expected[i][j] = difference(b, &b->in[i], j);
    }
    bench_forward(b);
}

/* One backward: inputs in `adding` have beta 1 and a gradient to add to, the others beta 0 and NaN; input `absent` is
   not wanted. */
static void attempt(struct bench *b, const struct op_case *c, const char *what, double *const expected[BENCH_INS],
                    unsigned adding, int absent)
{
    struct tensor kept = { 0 };
    double *before[BENCH_INS] = { 0 };
    for (int i = 0; i < b->node->n_in; i++) {
        int64_t n = shape_count(b->in[i].shape);
        b->beta[i] = adding >> i & 1;
        if (!b->din[i].data) continue;
        before[i] = xcalloc((size_t)n, sizeof *before[i]);
        if (b->beta[i] == 0) tensor_spoil(&b->din[i]);
        else tensor_normal(&b->din[i], 200 + i);
        for (int64_t j = 0; j < n && b->beta[i] == 1; j++) before[i][j] = tensor_get(&b->din[i], j);
    }
    if (absent >= 0) kept = b->din[absent], b->din[absent].data = NULL;
    bench_backward(b);
    for (int i = 0; i < b->node->n_in; i++) {
        for (int64_t j = 0; b->din[i].data && j < shape_count(b->din[i].shape); j++) {
            double got = tensor_get(&b->din[i], j), want = before[i][j] + expected[i][j];
            if (!(fabs(got - want) <= 1e-6 * (fabs(want) + 1e-3))) fail_msg("%s", message(c, what, i, j, got, want));
        }
        free(before[i]);
    }
    if (absent >= 0) b->din[absent] = kept;
}

static void check_backward(struct bench *b, const struct op_case *c, double *const expected[BENCH_INS])
{
    attempt(b, c, "beta 0", expected, 0, -1);
    attempt(b, c, "beta 1", expected, ~0u, -1);
    attempt(b, c, "beta 0 1 0 1", expected, 0xaaaa, -1);
    attempt(b, c, "beta 1 0 1 0", expected, 0x5555, -1);
    for (int i = 0; i < b->node->n_in; i++) if (b->din[i].data) attempt(b, c, "another is not wanted", expected, 0, i);
}

static void check_case(const struct op_case *c)
{
    struct bench b;
    double *expected[BENCH_INS] = { 0 };
    bench_open(&b, c, false, 1);
    int sending = 0;
    for (int i = 0; i < b.node->n_in; i++)
        if (b.din[i].data) expected[i] = xmalloc((size_t)shape_count(b.din[i].shape) * sizeof *expected[i]);
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
    int tried = 0;
    for (int i = 0; i < COUNT(cases); i++) {
        if (!op_all[cases[i].op]->gradient || !bench_is_asked(&cases[i])) continue;
        check_case(&cases[i]);
        tried++;
    }
    assert_true(tried > 0);
}

static void test_no_op_without_a_case(void **state)
{
    (void)state;
    int missing = 0;
    for (int i = 0; i < OP_COUNT; i++) {
        bool found = !op_all[i]->gradient || is_of_ranks(i);
        for (int j = 0; j < COUNT(cases); j++) found |= cases[j].op == i;
        if (!found) print_error("op %s has a gradient and no case in tests/op_cases_*.h\n", op_all[i]->name);
        missing += !found;
    }
    assert_int_equal(missing, 0);
}

int main(int n, char **word)
{
    bench_words = word + (n > 0);
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_gradients), cmocka_unit_test(test_no_op_without_a_case) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
