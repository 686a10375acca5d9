/* The statistics of a paired comparison. Everything is two-sided. */
#ifndef SLUICE_STATS_H
#define SLUICE_STATS_H

/* Below this number of values no p-value and no interval is given. */
enum { STATS_LEAST = 4 };

double stats_mean(const double *x, int n);
double stats_sd(const double *x, int n);                    /* with n - 1; NaN below 2 */
double stats_correlation(const double *x, const double *y, int n);     /* Pearson; NaN when one does not vary */

double stats_t_p(double t, double df);                      /* P(|T| > |t|) */
double stats_t_quantile(double p, double df);               /* t with P(T < t) = p */
/* Power of a t test at level alpha when T's noncentrality is `shift`. */
double stats_t_power(double shift, double df, double alpha);

/* A comparison of means. half is the half-width of the 95 % interval; half and p are NaN below STATS_LEAST. */
struct contrast { int n; double delta, sd, df, half, p; };
struct contrast stats_paired(const double *variant, const double *baseline, int n);      /* delta: mean of variant[i] - baseline[i] */
struct contrast stats_welch(const double *variant, int n, const double *baseline, int m);

/* The smallest difference of means that n pairs whose differences have this sd show with 80 % power at 5 %. NaN below 2. */
double stats_detectable(double sd, int n);

/* Holm's correction of n p-values, in place. NaNs are no tests and stay. */
void stats_holm(double *p, int n);

#endif
