/* Rows of exponentials, by which they are bound. */
#include "level.h"
#include "ops/vec_math.h"

real ISA_NAME(max_row)(const real *x, int64_t n)
{
    enum { WIDE = 32 };
    real lane[WIDE], most = -INFINITY;
    int64_t whole = n / WIDE * WIDE;
    for (int l = 0; l < WIDE; l++) lane[l] = -INFINITY;
    for (int64_t at = 0; at < whole; at += WIDE)
        for (int l = 0; l < WIDE; l++) lane[l] = x[at + l] > lane[l] ? x[at + l] : lane[l];
    for (int l = 0; l < WIDE; l++) most = lane[l] > most ? lane[l] : most;
    for (int64_t i = whole; i < n; i++) most = x[i] > most ? x[i] : most;
    return most;
}

double ISA_NAME(exp_row)(real *x, int64_t n, real scale, real shift, real by)
{
    double sum;
    for (int64_t i = 0; i < n; i++) x[i] = by * vec_exp(scale * (x[i] - shift));
    ROW_SUM(sum, i, n, x[i]);
    return sum;
}

void ISA_NAME(softmax_back)(real *dp, const real *p, int64_t n, real mean, real scale)
{
    for (int64_t i = 0; i < n; i++) dp[i] = scale * p[i] * (dp[i] - mean);
}

void ISA_NAME(sigmoid_row)(const real *restrict x, real *restrict y, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = 1 / (1 + vec_exp(-x[i]));
}
