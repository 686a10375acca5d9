/* Student's t from the incomplete beta function, paired and Welch contrasts, power, spreads, families of tests. */
#include "stats.h"
#include "base/base.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

double stats_mean(const double *x, int n)
{
    double s = 0;
    for (int i = 0; i < n; i++) s += x[i];
    return s / n;
}

static int compare_reals(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double stats_median(const double *x, int n)
{
    if (n == 0) return NAN;
    double *sorted = xcalloc((size_t)n, sizeof *sorted);
    memcpy(sorted, x, (size_t)n * sizeof *x);
    qsort(sorted, (size_t)n, sizeof *sorted, compare_reals);
    double median = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
    free(sorted);
    return median;
}

double stats_sd(const double *x, int n)
{
    if (n < 2) return NAN;
    double mean = stats_mean(x, n), s = 0;
    for (int i = 0; i < n; i++) s += (x[i] - mean) * (x[i] - mean);
    return sqrt(s / (n - 1));
}

double stats_correlation(const double *x, const double *y, int n)
{
    double mx = stats_mean(x, n), my = stats_mean(y, n), xx = 0, yy = 0, xy = 0;
    for (int i = 0; i < n; i++) {
        xx += (x[i] - mx) * (x[i] - mx);
        yy += (y[i] - my) * (y[i] - my);
        xy += (x[i] - mx) * (y[i] - my);
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : NAN;
}

/* The continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method. */
static double beta_fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1), f;
    d = 1 / (fabs(d) < tiny ? tiny : d);
    f = d;
    for (int m = 1; m < 10000; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)), before = f;
        for (int half = 0; half < 2; half++) {
            double term = half ? odd : even;
            d = 1 + term * d;
            c = 1 + term / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            if (fabs(c) < tiny) c = tiny;
            f *= c * d;
        }
        if (fabs(f - before) <= 1e-16 * fabs(f)) break;
    }
    return f;
}

/* I_x(a,b); y = 1 - x is given apart, so that neither end loses digits. */
static double beta_incomplete(double a, double b, double x, double y)
{
    if (x <= 0) return 0;
    if (y <= 0) return 1;
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(y));
    return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a : 1 - front * beta_fraction(b, a, y) / b;
}

double stats_t_p(double t, double df)
{
    if (isnan(t)) return NAN;
    if (isinf(t)) return 0;
    return beta_incomplete(df / 2, 0.5, df / (df + t * t), t * t / (df + t * t));
}

/* Newton's method on P(|T| > t), which falls and is convex: from 0 it never steps over the root. */
double stats_t_critical(double alpha, double df)
{
    double scale = 2 * exp(lgamma((df + 1) / 2) - lgamma(df / 2)) / sqrt(df * acos(-1)), t = 0;
    for (int i = 0; i < 1000; i++) {
        double step = (stats_t_p(t, df) - alpha) / (scale * pow(1 + t * t / df, -(df + 1) / 2));
        t += step;
        if (fabs(step) <= 1e-15 * t) break;
    }
    return t;
}

static double normal_cdf(double z)
{
    return erfc(-z / sqrt(2)) / 2;
}

/* T = (Z + shift) / s with s = sqrt(chi2/df): the power given s, averaged over the density of s (Simpson's rule). */
double stats_t_power(double shift, double df, double alpha)
{
    enum { STEPS = 2000 };
    double critical = stats_t_critical(alpha, df), top = 1 + 9 / sqrt(2 * df), h = top / STEPS, sum = 0;
    double scale = log(2) + df / 2 * log(df / 2) - lgamma(df / 2);
    for (int i = 0; i <= STEPS; i++) {
        double s = i * h, weight = i == 0 || i == STEPS ? 1 : i % 2 ? 4 : 2;
        double density = s > 0 || df == 1 ? exp(scale + (s > 0 ? (df - 1) * log(s) : 0) - df * s * s / 2) : 0;
        sum += weight * density * (normal_cdf(shift - critical * s) + normal_cdf(-shift - critical * s));
    }
    return sum * h / 3;
}

double stats_detectable(double sd, int n, double alpha)
{
    if (n < 2 || isnan(sd)) return NAN;
    double low = 0, high = 4;
    while (stats_t_power(high, n - 1, alpha) < 0.8) high *= 2;
    for (int i = 0; i < 40; i++) {
        double middle = (low + high) / 2;
        if (stats_t_power(middle, n - 1, alpha) < 0.8) low = middle; else high = middle;
    }
    return high * sd / sqrt(n);
}

/* error: the standard error of delta. */
static void finish(struct contrast *c, double error, int least, double alpha)
{
    c->half = c->p = NAN;
    if (least < STATS_LEAST) return;
    c->half = stats_t_critical(alpha, c->df) * error;
    c->p = error > 0 ? stats_t_p(c->delta / error, c->df) : c->delta == 0 ? 1 : 0;
}

struct contrast stats_paired(const double *variant, const double *baseline, int n, double alpha)
{
    struct contrast c = { .n = n, .df = n - 1 };
    double s = 0;
    for (int i = 0; i < n; i++) c.delta += (variant[i] - baseline[i]) / n;
    for (int i = 0; i < n; i++) s += pow(variant[i] - baseline[i] - c.delta, 2);
    c.sd = n < 2 ? NAN : sqrt(s / (n - 1));
    if (n == 0) c.delta = NAN;
    finish(&c, c.sd / sqrt(n), n, alpha);
    return c;
}

struct contrast stats_welch(const double *variant, int n, const double *baseline, int m, double alpha)
{
    struct contrast c = { .n = n + m, .delta = stats_mean(variant, n) - stats_mean(baseline, m), .sd = NAN };
    double u = pow(stats_sd(variant, n), 2) / n, v = pow(stats_sd(baseline, m), 2) / m;
    c.df = u + v > 0 ? (u + v) * (u + v) / (u * u / (n - 1) + v * v / (m - 1)) : n + m - 2;
    finish(&c, sqrt(u + v), n < m ? n : m, alpha);
    return c;
}

/* Equal spreads: sums and differences of the pairs do not correlate (Pitman 1939, Morgan 1939). */
struct spread stats_spread(const double *variant, const double *baseline, int n)
{
    struct spread s = { stats_sd(variant, n), stats_sd(baseline, n), NAN, false };
    double *sum = xcalloc((size_t)n + 1, 2 * sizeof *sum), *difference = sum + n + 1;
    for (int i = 0; i < n; i++) {
        sum[i] = variant[i] + baseline[i];
        difference[i] = variant[i] - baseline[i];
    }
    double r = stats_correlation(sum, difference, n);
    if (n >= STATS_LEAST) s.p = stats_t_p(r * sqrt((n - 2) / (1 - r * r)), n - 2);
    if (n >= STATS_LEAST) s.differ = s.p < STATS_LEVEL || s.variant > 1.5 * s.baseline || s.baseline > 1.5 * s.variant;
    free(sum);
    return s;
}

/* ---- families ---- */

const char *const stats_family[] = { "sidak", "holm", "none", NULL };

int stats_family_find(const char *name)
{
    for (int i = 0; stats_family[i]; i++)
        if (strcmp(stats_family[i], name) == 0) return i;
    return -1;
}

double stats_alpha(enum family family, int k)
{
    if (k < 1 || family == FAMILY_NONE) return STATS_LEVEL;
    return family == FAMILY_HOLM ? STATS_LEVEL / k : -expm1(log1p(-STATS_LEVEL) / k);
}

double stats_interval_alpha(enum family family, int k)
{
    return family == FAMILY_HOLM ? STATS_LEVEL : stats_alpha(family, k);
}

/* Holm 1979: the least p times k, the next times k - 1, ..., none below the one before. */
static void holm(double *p, int n, int k)
{
    double *original = xcalloc((size_t)n + 1, sizeof *original), done = -1, floor = 0;
    memcpy(original, p, (size_t)n * sizeof *p);
    for (;;) {                                              /* p-values up to `done` are corrected already */
        double least = INFINITY;
        int same = 0;
        for (int i = 0; i < n; i++) if (original[i] > done && original[i] < least) least = original[i];
        if (isinf(least)) break;
        floor = fmax(floor, fmin(1, least * k));
        for (int i = 0; i < n; i++)
            if (original[i] == least) {
                p[i] = floor;
                same++;
            }
        k -= same;
        done = least;
    }
    free(original);
}

void stats_adjust(enum family family, double *p, int n, int k)
{
    if (family == FAMILY_HOLM) holm(p, n, k);
    for (int i = 0; i < n && family == FAMILY_SIDAK; i++) p[i] = -expm1(k * log1p(-p[i]));
}
