/* Mean and standard deviation of n numbers, as of all that there are. */
#ifndef SLUICE_MOMENTS_H
#define SLUICE_MOMENTS_H

#include <math.h>

struct moments { double mean, deviation; };

static inline struct moments moments_of(const double *x, int n)
{
    double mean = 0, square = 0;
    for (int i = 0; i < n; i++) mean += x[i] / n;
    for (int i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean) / n;
    return (struct moments){ mean, sqrt(square) };
}

#endif
