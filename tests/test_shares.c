/* Means of items and their errors, by clusters and groups, and McNemar's test, against numbers from elsewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <math.h>
#include <cmocka.h>
#include "shares.h"

static void near(double got, double want, double within)
{
    if (!(fabs(got - want) <= within)) fail_msg("%.9g, not %.9g", got, want);
}

/* So many right of n. */
static double *right(int right, int n)
{
    double *x = calloc((size_t)n, sizeof *x);
    for (int i = 0; i < n; i++) x[i] = i < right;
    return x;
}

static void errors_of_accuracies(void **state)
{
    (void)state;
    static const struct { int n; double error; } quarter[] = { { 500, 0.0194 }, { 1000, 0.0137 }, { 10042, 0.0043 } };
    for (int i = 0; i < 3; i++) {
        int n = quarter[i].n, of = n / 4;
        double *x = right(of, n), p = (double)of / n;
        struct estimate s = shares_mean(x, n);
        near(s.mean, p, 1e-12);
        near(s.error, sqrt(p * (1 - p) / (n - 1)), 1e-12);
        near(s.error, quarter[i].error, 5e-5);
        free(x);
    }
    double some[] = { 1, NAN, 0, NAN, 1 };
    struct estimate s = shares_mean(some, 5);
    assert_int_equal(s.n, 3);
    near(s.mean, 2.0 / 3, 1e-12);
    assert_true(isnan(shares_mean(some, 1).error));
    assert_true(isnan(shares_mean(some + 1, 1).mean));
}

static void errors_by_clusters(void **state)
{
    (void)state;
    double size[] = { 3, 2, 5 }, value[] = { 3, 1, 2 };
    struct estimate s = shares_ratio(value, size, 3);
    near(s.mean, 0.6, 1e-12);
    near(s.error, 0.192873, 5e-7);
}

/* Two groups: 2 of 4, 3 of 3. Within: 4 (1/2)^2 over 7 - 2; of groups: 1/3/2 for the first alone. */
static void errors_by_groups(void **state)
{
    (void)state;
    double x[] = { 1, 1, 1, 0, 1, 0, 1 };
    int group[] = { 0, 1, 1, 0, 1, 0, 0 };
    struct grouped g = shares_grouped(x, group, 7, 2);
    near(g.items.mean, 5.0 / 7, 1e-12);
    near(g.items.error, sqrt((1.0 / 5) / 7), 1e-12);
    near(g.groups.mean, 0.75, 1e-12);
    near(g.groups.error, sqrt(0.25 / 3) / 2, 1e-12);
}

static void mcnemar(void **state)
{
    (void)state;
    static const struct { int here, there; double p, mid_p; } known[] = {
        { 15, 30, 0.035698, 0.025896 }, { 5, 12, 0.143463, 0.096252 }, { 40, 60, 0.056888, 0.046044 },
        { 1, 8, 0.039062, 0.021484 }, { 8, 1, 0.039062, 0.021484 }, { 0, 0, 1, 1 },
    };
    for (int i = 0; i < 6; i++) {
        double p, mid_p;
        shares_mcnemar(known[i].here, known[i].there, &p, &mid_p);
        near(p, known[i].p, 6e-7);
        near(mid_p, known[i].mid_p, 6e-7);
    }
}

/* Of 1000 questions 60 are right here alone, 40 there alone. */
static void pairs_of_models(void **state)
{
    (void)state;
    double here[1000], there[1000];
    for (int i = 0; i < 1000; i++) {
        here[i] = i < 60 || i >= 500;
        there[i] = (i >= 60 && i < 100) || i >= 500;
    }
    struct paired d = shares_paired(here, there, 1000);
    assert_int_equal(d.here, 60);
    assert_int_equal(d.there, 40);
    near(d.difference, 0.02, 1e-12);
    near(d.error, 0.00998, 5e-6);
    near(d.error, sqrt(100 - 20.0 * 20 / 1000) / 1000, 1e-12);
    near(d.p, 0.056888, 6e-7);
    here[0] = NAN;
    d = shares_paired(here, there, 1000);
    assert_int_equal(d.n, 999);
    assert_int_equal(d.here, 59);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_of_accuracies),
        cmocka_unit_test(errors_by_clusters),
        cmocka_unit_test(errors_by_groups),
        cmocka_unit_test(mcnemar),
        cmocka_unit_test(pairs_of_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
