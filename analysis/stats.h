/* The statistics of a paired comparison. Everything is two-sided. */
#ifndef SLUICE_STATS_H
#define SLUICE_STATS_H

#include <stdbool.h>

/* Below this number of values no p-value and no interval is given. */
enum { STATS_LEAST = 4 };
/* False claims that a family of tests may make. */
#define STATS_LEVEL 0.05

double stats_mean(const double *x, int n);
double stats_median(const double *x, int n);                /* NaN of none */
double stats_sd(const double *x, int n);                    /* with n - 1; NaN below 2 */
double stats_correlation(const double *x, const double *y, int n);     /* Pearson; NaN when one does not vary */

double stats_t_p(double t, double df);                      /* P(|T| > |t|) */
double stats_t_critical(double alpha, double df);           /* t with P(|T| > t) = alpha */
/* Power of a t test at level alpha when T's noncentrality is `shift`. */
double stats_t_power(double shift, double df, double alpha);

/* How k variants against one baseline share the 5 %: single-step Sidak with simultaneous intervals, Holm's procedure,
   to which no intervals belong, or each variant for itself. */
enum family { FAMILY_SIDAK, FAMILY_HOLM, FAMILY_NONE };
extern const char *const stats_family[];
int stats_family_find(const char *name);                    /* -1: no such name */
/* The level of one test of k; Holm's is that of its first and strictest step. */
double stats_alpha(enum family family, int k);
double stats_interval_alpha(enum family family, int k);     /* of one interval: the same, but for Holm 5 % */
/* Corrects n p-values of a family of k >= n, in place. NaNs are no tests and stay. */
void stats_adjust(enum family family, double *p, int n, int k);

/* A comparison of means. half is the half-width of the interval of level 1 - alpha, p is for this one test; both are
   NaN below STATS_LEAST. */
struct contrast { int n; double delta, sd, df, half, p; };
/* delta: mean of variant[i] - baseline[i] */
struct contrast stats_paired(const double *variant, const double *baseline, int n, double alpha);
struct contrast stats_welch(const double *variant, int n, const double *baseline, int m, double alpha);

/* The smallest difference of means that n pairs whose differences have this sd show with 80 % power. NaN below 2. */
double stats_detectable(double sd, int n, double alpha);

/* The two standard deviations of n pairs, and Pitman and Morgan's p-value for their being equal. They differ when p <
   0.05 or one is 1.5 times the other: then few pairs hide the wider one's bad values, and the mean of the differences
   is skewed. */
struct spread { double variant, baseline, p; bool differ; };
struct spread stats_spread(const double *variant, const double *baseline, int n);

#endif
