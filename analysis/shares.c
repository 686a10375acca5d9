/* Means of items with their errors, ratios by clusters, McNemar's test. */
#include "shares.h"
#include "base/base.h"

#include <math.h>
#include <stdlib.h>

struct estimate shares_mean(const double *x, int n)
{
    double sum = 0, square = 0;
    int counted = 0;
    for (int i = 0; i < n; i++) if (!isnan(x[i])) { sum += x[i]; counted++; }
    double mean = counted ? sum / counted : NAN;
    for (int i = 0; i < n; i++) if (!isnan(x[i])) square += (x[i] - mean) * (x[i] - mean);
    return (struct estimate){ counted, mean, counted > 1 ? sqrt(square / (counted - 1) / counted) : NAN };
}

struct estimate shares_ratio(const double *value, const double *size, int n)
{
    double values = 0, sizes = 0, square = 0;
    for (int i = 0; i < n; i++) {
        values += value[i];
        sizes += size[i];
    }
    double mean = values / sizes;
    for (int i = 0; i < n; i++) square += pow(value[i] - mean * size[i], 2);
    return (struct estimate){ n, mean, n > 1 ? sqrt((double)n / (n - 1) * square) / sizes : NAN };
}

struct grouped shares_grouped(const double *x, const int *group, int n, int groups)
{
    double *of = xcalloc((size_t)n + 1, sizeof *of), within = 0, means = 0, errors = 0;
    int items = 0, some = 0;
    for (int g = 0; g < groups; g++) {
        int size = 0;
        for (int i = 0; i < n; i++) if (group[i] == g) of[size++] = x[i];
        struct estimate one = shares_mean(of, size);
        if (one.n == 0) continue;
        if (one.n > 1) within += (one.n - 1) * one.n * one.error * one.error;
        means += one.mean;
        errors += one.error * one.error;
        items += one.n;
        some++;
    }
    free(of);
    return (struct grouped){
        { items, shares_mean(x, n).mean, items > some ? sqrt(within / (items - some) / items) : NAN },
        { some, some ? means / some : NAN, some ? sqrt(errors) / some : NAN } };
}

/* The tail of a binomial of one half: 2 P(k <= the smaller), of which mid-p leaves out half of P(k = the smaller). */
void shares_mcnemar(int here, int there, double *p, double *mid_p)
{
    int n = here + there, least = here < there ? here : there;
    double tail = 0, last = 0;
    for (int k = 0; k <= least; k++) {
        last = exp(lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0) - n * log(2));
        tail += last;
    }
    *p = fmin(1, 2 * tail);
    *mid_p = fmin(1, 2 * tail - last);
}

struct paired shares_paired(const double *here, const double *there, int n)
{
    struct paired d = { 0 };
    double sum = 0, square = 0;
    for (int i = 0; i < n; i++) {
        if (isnan(here[i]) || isnan(there[i])) continue;
        sum += here[i] - there[i];
        square += pow(here[i] - there[i], 2);
        d.here += here[i] > there[i];
        d.there += here[i] < there[i];
        d.n++;
    }
    d.difference = d.n ? sum / d.n : NAN;
    d.error = d.n > 1 ? sqrt(fmax(0, square - sum * sum / d.n)) / d.n : NAN;
    shares_mcnemar(d.here, d.there, &d.p, &d.mid_p);
    return d;
}
