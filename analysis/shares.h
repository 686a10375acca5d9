/* What the values of items say of all such items, and of two models that were asked the same ones. */
#ifndef SLUICE_SHARES_H
#define SLUICE_SHARES_H

/* error: standard error. n: values; NaNs are none. */
struct estimate { int n; double mean, error; };

/* sqrt(sd^2 / n), which of right and wrong is sqrt(p (1 - p) / (n - 1)). */
struct estimate shares_mean(const double *x, int n);

/* Sum of values over sum of sizes, of n clusters: sqrt(n / (n - 1) sum (value - mean size)^2) / sum of sizes. */
struct estimate shares_ratio(const double *value, const double *size, int n);

/* By group: the mean over all items, with the variance within groups; and the mean over groups. group: of each item, 0
   .. groups - 1. */
struct grouped { struct estimate items, groups; };
struct grouped shares_grouped(const double *x, const int *group, int n, int groups);

/* Two models: mean of here - there over the items that both have, its standard error sqrt(sum d^2 - (sum d)^2 / n) / n;
   how many are larger here and there. Exact: McNemar's test of these two numbers, two-sided; from 25 on its p is
   mid-p. */
struct paired { int n, here, there; double difference, error, p, mid_p; };
struct paired shares_paired(const double *here, const double *there, int n);
enum { SHARES_EXACT = 25 };                                 /* below, p is the one to read; else mid_p */
void shares_mcnemar(int here, int there, double *p, double *mid_p);

#endif
