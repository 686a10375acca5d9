/* The statistics against published values, and against what they promise, by simulation with keyed random numbers. */
#include "base/base.h"
#include "stats.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static void near(double got, double want, double within)
{
    if (!(fabs(got - want) <= within)) fail_msg("got %.9g, want %.9g within %g", got, want, within);
}

/* Tables of Student's t, and closed forms for one and two degrees of freedom. */
static void test_critical(void **state)
{
    (void)state;
    static const struct { double alpha, df, t; } known[] = {
        { 0.05, 1, 12.706204736 }, { 0.05, 2, 4.302652730 }, { 0.05, 3, 3.182446305 }, { 0.05, 4, 2.776445105 },
        { 0.05, 9, 2.262157163 }, { 0.05, 30, 2.042272456 }, { 0.01, 5, 4.032142984 }, { 0.1, 10, 1.812461123 },
        { 0.001, 7, 5.407882521 }, { 0.1, 7, 1.894578605 }, { 0.05, 1000, 1.962339081 },
    };
    for (int i = 0; i < COUNT(known); i++)
        near(stats_t_critical(known[i].alpha, known[i].df), known[i].t, 1e-8 * known[i].t);
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
    /* Student 1908, extra hours of sleep: t = -4.0621, df 9, p = 0.002833; Welch t = -1.8608, df 17.776, p =
       0.07939. */
    static const double one[] = { 0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0 };
    static const double two[] = { 1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4 };
    struct contrast paired = stats_paired(one, two, 10, 0.05), welch = stats_welch(one, 10, two, 10, 0.05);
    near(paired.delta, -1.58, 1e-12);
    near(paired.p, 0.002833, 1e-6);
    near(paired.delta - paired.half, -2.4598858, 1e-7);
    near(welch.p, 0.07939, 1e-5);
    near(welch.df, 17.776, 1e-3);
    near(welch.delta + welch.half, 0.2054832, 1e-7);
    near(stats_correlation(one, two, 10), 0.7951702, 1e-7);
    near(stats_sd(one, 10), 1.789010, 1e-6);
    struct contrast few = stats_paired(one, two, 3, 0.05);
    assert_true(isnan(few.p) && isnan(few.half) && !isnan(few.delta) && !isnan(few.sd));
    struct contrast equal = stats_paired(one, one, 10, 0.05);
    near(equal.p, 1, 0);
    near(equal.half, 0, 0);
}

static void test_holm(void **state)
{
    (void)state;
    double p[] = { 0.01, 0.04, NAN, 0.03, 0.005 };    /* four tests: 4*.005, 3*.01, 2*.03, then .04 is lifted to .06 */
    stats_adjust(FAMILY_HOLM, p, 5, 4);
    near(p[4], 0.02, 1e-15);
    near(p[0], 0.03, 1e-15);
    near(p[3], 0.06, 1e-15);
    near(p[1], 0.06, 1e-15);
    assert_true(isnan(p[2]));
    double ties[] = { 0.02, 0.02, 0.6 };
    stats_adjust(FAMILY_HOLM, ties, 3, 3);
    near(ties[0], 0.06, 1e-15);
    near(ties[1], 0.06, 1e-15);
    near(ties[2], 0.6, 1e-15);
    double large[] = { 0.5, 0.9 };
    stats_adjust(FAMILY_HOLM, large, 2, 2);
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
            claimed += stats_paired(a, b, n, 0.05).p < 0.05;
            draw_pairs(trial + TRIALS, n, 0.7, shift, a, b);
            struct contrast c = stats_paired(a, b, n, 0.05);
            covered += fabs(c.delta - shift) <= c.half;
            draw_pairs(trial + 2 * TRIALS, n, 0, 0, a, b);
            unpaired += stats_welch(a, n, b, n, 0.05).p < 0.05;
        }
        printf("n = %d: false positives %.2f %%, coverage %.2f %%, Welch %.2f %%\n", n, 100.0 * claimed / TRIALS,
               100.0 * covered / TRIALS, 100.0 * unpaired / TRIALS);
        near(100.0 * claimed / TRIALS, 5, 1);
        near(100.0 * covered / TRIALS, 95, 1);
        assert_true(100.0 * unpaired / TRIALS < 6);         /* Welch is conservative at small n */
    }
}

/* Corrections of known p-values; a variant that was not tested counts in the family all the same. */
static void test_corrections(void **state)
{
    (void)state;
    static const double given[] = { 0.004, 0.03, 0.2, 0.6 };
    static const double want[][4] = { { 0.01590426, 0.11470719, 0.5904, 0.9744 }, { 0.016, 0.09, 0.4, 0.6 },
                                      { 0.004, 0.03, 0.2, 0.6 } };
    for (int family = FAMILY_SIDAK; family <= FAMILY_NONE; family++) {
        double p[4], more[] = { 0.004, NAN };
        memcpy(p, given, sizeof p);
        stats_adjust((enum family)family, p, 4, 4);
        for (int i = 0; i < 4; i++) near(p[i], want[family][i], 5e-9);
        stats_adjust((enum family)family, more, 2, 4);
        near(more[0], want[family][0], 5e-9);
        assert_true(isnan(more[1]));
    }
    assert_int_equal(stats_family_find("holm"), FAMILY_HOLM);
    assert_int_equal(stats_family_find("holms"), -1);
}

/* A worked example: one test, and one of four. */
static void test_one_of_four(void **state)
{
    (void)state;
    static const double d[] = { -0.021, -0.013, -0.030, -0.008, -0.017, 0.004, -0.025, -0.011 }, zero[8];
    struct contrast one = stats_paired(d, zero, 8, stats_alpha(FAMILY_SIDAK, 1)),
                    four = stats_paired(d, zero, 8, stats_alpha(FAMILY_SIDAK, 4));
    double p = one.p;
    near(one.delta, -0.015125, 1e-12);
    near(one.sd, 0.0106561518, 1e-10);
    near(one.p, 0.00509457092, 1e-11);
    near(one.half, 0.00890876586, 1e-11);
    stats_adjust(FAMILY_SIDAK, &p, 1, 4);
    near(p, 0.020223084, 1e-9);
    near(stats_t_critical(stats_alpha(FAMILY_SIDAK, 4), 7), 3.32134637, 1e-8);
    near(four.half, 0.0125132442, 1e-6 * four.half);
    near(stats_median(d, 8), -0.015, 1e-15);
}

/* The interval leaves out zero exactly where p is below 5 %, in families of any size. Not so for Holm, to which no
   interval belongs. */
static void test_agreement(void **state)
{
    (void)state;
    enum { TRIALS = 20000 };
    int apart[3] = { 0 }, claimed = 0;
    for (uint64_t trial = 0; trial < TRIALS; trial++) {
        double a[12], b[12];
        int k = 1 + (int)(trial % 30), n = 4 + (int)(trial % 9);
        draw_pairs(trial, n, 0.5, (double)(trial % 5), a, b);
        for (int family = FAMILY_SIDAK; family <= FAMILY_NONE; family++) {
            struct contrast c = stats_paired(a, b, n, stats_interval_alpha((enum family)family, k));
            double p = c.p;
            stats_adjust((enum family)family, &p, 1, k);
            apart[family] += (p < 0.05) != (fabs(c.delta) > c.half);
            claimed += p < 0.05;
        }
    }
    assert_int_equal(apart[FAMILY_SIDAK], 0);
    assert_int_equal(apart[FAMILY_NONE], 0);
    assert_true(apart[FAMILY_HOLM] > 100 && claimed > TRIALS / 4);
}

/* A family keeps the chance of any false claim among four equal variants at 5 % or below, where no correction gives far
   more. */
static void test_families(void **state)
{
    (void)state;
    enum { TRIALS = 5000, ARMS = 4, N = 5 };
    int any[3] = { 0 };
    for (uint64_t trial = 0; trial < TRIALS; trial++)
        for (int family = FAMILY_SIDAK; family <= FAMILY_NONE; family++) {
            double p[ARMS], a[N], b[N];
            bool claimed = false;
            for (int i = 0; i < ARMS; i++) {
                draw_pairs(trial * ARMS + (uint64_t)i, N, 0.5, 0, a, b);
                p[i] = stats_paired(a, b, N, 0.05).p;
            }
            stats_adjust((enum family)family, p, ARMS, ARMS);
            for (int i = 0; i < ARMS; i++) claimed |= p[i] < 0.05;
            any[family] += claimed;
        }
    printf("any false claim among %d: Sidak %.2f %%, Holm %.2f %%, none %.2f %%\n", ARMS, 100.0 * any[0] / TRIALS,
           100.0 * any[1] / TRIALS, 100.0 * any[2] / TRIALS);
    near(100.0 * any[FAMILY_SIDAK] / TRIALS, 5, 1);
    near(100.0 * any[FAMILY_HOLM] / TRIALS, 5, 1);
    assert_true(any[FAMILY_NONE] > 2 * any[FAMILY_SIDAK]);
}

/* Equal spreads are called different in 5 % of the studies, three times as wide ones nearly always; and by its
   formula. */
static void test_spread(void **state)
{
    (void)state;
    enum { TRIALS = 5000, N = 8 };
    int equal = 0, wide = 0;
    double a[N], b[N];
    for (uint64_t trial = 0; trial < TRIALS; trial++) {
        draw_pairs(trial, N, 0.7, 0, a, b);
        equal += stats_spread(a, b, N).p < 0.05;
        for (int i = 0; i < N; i++) a[i] *= 3;
        wide += stats_spread(a, b, N).differ;
    }
    near(100.0 * equal / TRIALS, 5, 1);
    assert_true(wide > 0.95 * TRIALS);
    static const double x[] = { 1, 4, 2, 8, 5 }, y[] = { 1, 2, 2, 3, 3 };   /* sums 2 6 4 11 8, differences 0 2 0 5 2 */
    double r = stats_correlation((double[]){ 2, 6, 4, 11, 8 }, (double[]){ 0, 2, 0, 5, 2 }, 5);
    near(stats_spread(x, y, 5).p, stats_t_p(r * sqrt(3 / (1 - r * r)), 3), 1e-15);
    assert_true(stats_spread(x, y, 5).differ && !stats_spread(x, x, 5).differ && !stats_spread(x, y, 3).differ);
}

/* Smallest difference seen with 80 % power, in units of the run-to-run sigma, pairs with correlation 0.5 and 0.9: a
   simulation of 200 000 draws, so within one unit of its last printed digit. */
static void test_detectable(void **state)
{
    (void)state;
    static const struct { int n; double half, nine; } table[] = {
        { 2, 11.6, 5.2 }, { 3, 3.26, 1.46 }, { 4, 2.13, 0.95 }, { 5, 1.68, 0.75 }, { 8, 1.16, 0.52 },
        { 10, 0.99, 0.44 }, { 20, 0.66, 0.29 },
    };
    for (int i = 0; i < COUNT(table); i++) {
        near(stats_detectable(sqrt(2 * 0.5), table[i].n, 0.05), table[i].half, table[i].half > 10 ? 0.1 : 0.01);
        near(stats_detectable(sqrt(2 * 0.1), table[i].n, 0.05), table[i].nine, table[i].nine > 5 ? 0.1 : 0.01);
    }
    static const struct { int n; double one, four, twelve; } family[] = { { 4, 2.128, 3.425, 4.964 },
                                                                          { 5, 1.682, 2.464, 3.289 },
                                                                          { 8, 1.156, 1.526, 1.855 },
                                                                          { 20, 0.660, 0.813, 0.928 } };
    for (int i = 0; i < COUNT(family); i++) {               /* the same of one variant, of four and of twelve */
        near(stats_detectable(1, family[i].n, stats_alpha(FAMILY_SIDAK, 1)), family[i].one, 6e-4);
        near(stats_detectable(1, family[i].n, stats_alpha(FAMILY_SIDAK, 4)), family[i].four, 6e-4);
        near(stats_detectable(1, family[i].n, stats_alpha(FAMILY_SIDAK, 12)), family[i].twelve, 6e-4);
    }
    assert_true(isnan(stats_detectable(1, 1, 0.05)));
    near(stats_t_power(0, 4, 0.05), 0.05, 1e-9);
    near(stats_t_power(0, 1, 0.05), 0.05, 1e-6);

    enum { TRIALS = 20000, N = 5 };    /* and a study at exactly that difference finds it in 80 % */
    double a[N], b[N], shift = stats_detectable(sqrt(2 * 0.1), N, 0.05);
    int found = 0;
    for (uint64_t trial = 0; trial < TRIALS; trial++) {
        draw_pairs(trial, N, 0.9, shift, a, b);
        found += stats_paired(a, b, N, 0.05).p < 0.05;
    }
    near(100.0 * found / TRIALS, 80, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_critical), cmocka_unit_test(test_contrasts), cmocka_unit_test(test_holm),
        cmocka_unit_test(test_promises), cmocka_unit_test(test_corrections), cmocka_unit_test(test_one_of_four),
        cmocka_unit_test(test_agreement), cmocka_unit_test(test_families), cmocka_unit_test(test_spread),
        cmocka_unit_test(test_detectable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
