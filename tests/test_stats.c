/* The statistics against published values, and against what they promise, by simulation with keyed random numbers. */
#include "base.h"
#include "stats.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static void near(double got, double want, double within)
{
    if (!(fabs(got - want) <= within)) fail_msg("got %.9g, want %.9g within %g", got, want, within);
}

/* Tables of Student's t, and closed forms for one and two degrees of freedom. */
static void test_quantiles(void **state)
{
    (void)state;
    static const struct { double p, df, t; } known[] = {
        { 0.975, 1, 12.706204736 }, { 0.975, 2, 4.302652730 }, { 0.975, 3, 3.182446305 }, { 0.975, 4, 2.776445105 },
        { 0.975, 9, 2.262157163 }, { 0.975, 30, 2.042272456 }, { 0.995, 5, 4.032142984 }, { 0.95, 10, 1.812461123 },
        { 0.9995, 7, 5.407882521 }, { 0.025, 4, -2.776445105 }, { 0.975, 1000, 1.962339081 },
    };
    for (int i = 0; i < COUNT(known); i++) near(stats_t_quantile(known[i].p, known[i].df), known[i].t, 1e-8 * fabs(known[i].t));
    for (double t = 0.01; t < 1000; t *= 3) {
        near(stats_t_p(t, 1), 1 - 2 * atan(t) / acos(-1), 1e-13);
        near(stats_t_p(-t, 2), 1 - t / sqrt(2 + t * t), 1e-13);
    }
    for (double t = 1e2; t < 1e7; t *= 10)                  /* a far tail keeps its digits */
        near(stats_t_p(t, 2) * (2 + t * t) * (1 + t / sqrt(2 + t * t)) / 2, 1, 1e-12);
}

static void test_contrasts(void **state)
{
    (void)state;
    /* Student 1908, extra hours of sleep: t = -4.0621, df 9, p = 0.002833; Welch t = -1.8608, df 17.776, p = 0.07939. */
    static const double one[] = { 0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0 };
    static const double two[] = { 1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4 };
    struct contrast paired = stats_paired(one, two, 10), welch = stats_welch(one, 10, two, 10);
    near(paired.delta, -1.58, 1e-12);
    near(paired.p, 0.002833, 1e-6);
    near(paired.delta - paired.half, -2.4598858, 1e-7);
    near(welch.p, 0.07939, 1e-5);
    near(welch.df, 17.776, 1e-3);
    near(welch.delta + welch.half, 0.2054832, 1e-7);
    near(stats_correlation(one, two, 10), 0.7951702, 1e-7);
    near(stats_sd(one, 10), 1.789010, 1e-6);
    struct contrast few = stats_paired(one, two, 3);
    assert_true(isnan(few.p) && isnan(few.half) && !isnan(few.delta) && !isnan(few.sd));
    struct contrast equal = stats_paired(one, one, 10);
    near(equal.p, 1, 0);
    near(equal.half, 0, 0);
}

static void test_holm(void **state)
{
    (void)state;
    double p[] = { 0.01, 0.04, NAN, 0.03, 0.005 };          /* four tests: 4*.005, 3*.01, 2*.03, then .04 is lifted to .06 */
    stats_holm(p, 5);
    near(p[4], 0.02, 1e-15);
    near(p[0], 0.03, 1e-15);
    near(p[3], 0.06, 1e-15);
    near(p[1], 0.06, 1e-15);
    assert_true(isnan(p[2]));
    double ties[] = { 0.02, 0.02, 0.6 };
    stats_holm(ties, 3);
    near(ties[0], 0.06, 1e-15);
    near(ties[1], 0.06, 1e-15);
    near(ties[2], 0.6, 1e-15);
    double large[] = { 0.5, 0.9 };
    stats_holm(large, 2);
    near(large[0], 1, 0);
    near(large[1], 1, 0);
}

/* Two runs of one replicate share a draw: values of the pair correlate with rho, each with standard deviation 1. */
static void draw_pairs(uint64_t trial, int n, double rho, double shift, double *variant, double *baseline)
{
    struct key key = { .seed = 20, .purpose = PURPOSE_TEST, .name = hash_name("stats"), .step = trial };
    for (int i = 0; i < n; i++) {
        double common = key_normal(key, 3 * (uint64_t)i);
        variant[i] = shift + sqrt(rho) * common + sqrt(1 - rho) * key_normal(key, 3 * (uint64_t)i + 1);
        baseline[i] = sqrt(rho) * common + sqrt(1 - rho) * key_normal(key, 3 * (uint64_t)i + 2);
    }
}

/* Equal variants: a difference is claimed in 5 % of the studies, and intervals hold the truth in 95 %. */
static void test_promises(void **state)
{
    (void)state;
    enum { TRIALS = 10000 };
    static const int sizes[] = { 4, 5, 10 };
    for (int k = 0; k < COUNT(sizes); k++) {
        int n = sizes[k], claimed = 0, covered = 0, unpaired = 0;
        double a[16], b[16], shift = 0.3;
        for (uint64_t trial = 0; trial < TRIALS; trial++) {
            draw_pairs(trial, n, 0.7, 0, a, b);
            claimed += stats_paired(a, b, n).p < 0.05;
            draw_pairs(trial + TRIALS, n, 0.7, shift, a, b);
            struct contrast c = stats_paired(a, b, n);
            covered += fabs(c.delta - shift) <= c.half;
            draw_pairs(trial + 2 * TRIALS, n, 0, 0, a, b);
            unpaired += stats_welch(a, n, b, n).p < 0.05;
        }
        printf("n = %d: false positives %.2f %%, coverage %.2f %%, Welch %.2f %%\n", n, 100.0 * claimed / TRIALS, 100.0 * covered / TRIALS, 100.0 * unpaired / TRIALS);
        near(100.0 * claimed / TRIALS, 5, 1);
        near(100.0 * covered / TRIALS, 95, 1);
        assert_true(100.0 * unpaired / TRIALS < 6);         /* Welch is conservative at small n */
    }
}

/* Holm keeps the chance of any false claim among four equal variants at 5 % or below, where no correction gives far more. */
static void test_family(void **state)
{
    (void)state;
    enum { TRIALS = 5000, ARMS = 4, N = 5 };
    int any = 0, plain = 0;
    for (uint64_t trial = 0; trial < TRIALS; trial++) {
        double p[ARMS], a[N], b[N];
        bool raw = false, corrected = false;
        for (int i = 0; i < ARMS; i++) {
            draw_pairs(trial * ARMS + (uint64_t)i, N, 0.5, 0, a, b);
            p[i] = stats_paired(a, b, N).p;
            raw |= p[i] < 0.05;
        }
        stats_holm(p, ARMS);
        for (int i = 0; i < ARMS; i++) corrected |= p[i] < 0.05;
        any += corrected;
        plain += raw;
    }
    printf("any false claim among %d: Holm %.2f %%, uncorrected %.2f %%\n", ARMS, 100.0 * any / TRIALS, 100.0 * plain / TRIALS);
    near(100.0 * any / TRIALS, 5, 1);
    assert_true(plain > 2 * any);
}

/* Smallest difference seen with 80 % power, in units of the run-to-run sigma, pairs with correlation 0.5 and 0.9: a
   simulation of 200 000 draws, so within one unit of its last printed digit. */
static void test_detectable(void **state)
{
    (void)state;
    static const struct { int n; double half, nine; } table[] = {
        { 2, 11.6, 5.2 }, { 3, 3.26, 1.46 }, { 4, 2.13, 0.95 }, { 5, 1.68, 0.75 }, { 8, 1.16, 0.52 }, { 10, 0.99, 0.44 }, { 20, 0.66, 0.29 },
    };
    for (int i = 0; i < COUNT(table); i++) {
        near(stats_detectable(sqrt(2 * 0.5), table[i].n), table[i].half, table[i].half > 10 ? 0.1 : 0.01);
        near(stats_detectable(sqrt(2 * 0.1), table[i].n), table[i].nine, table[i].nine > 5 ? 0.1 : 0.01);
    }
    assert_true(isnan(stats_detectable(1, 1)));
    near(stats_t_power(0, 4, 0.05), 0.05, 1e-9);
    near(stats_t_power(0, 1, 0.05), 0.05, 1e-6);

    enum { TRIALS = 20000, N = 5 };                         /* and a study at exactly that difference finds it in 80 % */
    double a[N], b[N], shift = stats_detectable(sqrt(2 * 0.1), N);
    int found = 0;
    for (uint64_t trial = 0; trial < TRIALS; trial++) {
        draw_pairs(trial, N, 0.9, shift, a, b);
        found += stats_paired(a, b, N).p < 0.05;
    }
    near(100.0 * found / TRIALS, 80, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles), cmocka_unit_test(test_contrasts), cmocka_unit_test(test_holm),
        cmocka_unit_test(test_promises), cmocka_unit_test(test_family), cmocka_unit_test(test_detectable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
