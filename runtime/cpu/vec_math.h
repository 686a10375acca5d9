/* Inner loops of the CPU ops that the compiler vectorizes. No bit depends on the width of the
   vectors: functions are plain arithmetic, and sums of a row run in sixteen lanes of double that are
   folded in one fixed order. */
#ifndef SLUICE_VEC_MATH_H
#define SLUICE_VEC_MATH_H

#include "backend/kernel.h"
#include "base/float_log.h"
#include <math.h>

enum { SUM_LANES = 16 };

#ifdef SLUICE_DOUBLE
static inline double vec_exp(double x) { return exp(x); }
static inline double vec_log(double x) { return log(x); }
static inline double vec_tanh(double x) { return tanh(x); }
#else
/* e^x = 2^n e^r with |r| <= ln 2 / 2; adding 1.5*2^23 rounds to n and leaves it in the low bits. Two factors for 2^n,
   because n = 128 has no float of its own. Results below 2e-38 are 0. Relative error < 1e-7. */
static inline float vec_exp(float x)
{
    const float shifter = 12582912.0f;
    float clamped = x > 89.0f ? 89.0f : x;
    float shifted = clamped * 1.44269504f + shifter, n = shifted - shifter;
    float r = clamped - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    float power = float_of_bits((bits_of_float(shifted) - 0x4B400000u + 126u) << 23);   /* 2^(n-1) */
    float y = 2.0f * (p * r * r + r + 1.0f) * power;
    return x < -86.9f ? 0.0f : y;
}

static inline float vec_log(float x) { return float_log(x); }

/* Of a small x the fraction would lose digits. Relative error < 2e-7. */
static inline float vec_tanh(float x)
{
    float w = x * x, near = x * (1 - w * (0.33333333f - w * (0.13333333f - w * 0.05396825f)));
    return w < 0.01f ? near : 1 - 2 / (1 + vec_exp(2 * x));
}
#endif

/* Lane l and lane l + n/2, again and again. */
static inline double fold_eight(const double lane[SUM_LANES / 2])
{
    double four[SUM_LANES / 4];
    for (int l = 0; l < SUM_LANES / 4; l++) four[l] = lane[l] + lane[l + SUM_LANES / 4];
    return (four[0] + four[2]) + (four[1] + four[3]);
}

static inline double fold_lanes(const double lane[SUM_LANES])
{
    double eight[SUM_LANES / 2];
    for (int l = 0; l < SUM_LANES / 2; l++) eight[l] = lane[l] + lane[l + SUM_LANES / 2];
    return fold_eight(eight);
}

/* The sum over i in [0,n) of an expression in i. */
#define ROW_SUM(sum, i, n, expression) do { \
    double lane_[SUM_LANES] = { 0 }, rest_ = 0; \
    int64_t whole_ = (n) / SUM_LANES * SUM_LANES; \
    for (int64_t at_ = 0; at_ < whole_; at_ += SUM_LANES) \
        for (int l_ = 0; l_ < SUM_LANES; l_++) { int64_t i = at_ + l_; lane_[l_] += (double)(expression); } \
    for (int64_t i = whole_; i < (n); i++) rest_ += (double)(expression); \
    (sum) = whole_ ? fold_lanes(lane_) + rest_ : rest_; \
} while (0)

/* The largest of the values that are numbers. */
static inline real row_top(const real *x, int64_t n)
{
    real lane[SUM_LANES];
    int64_t whole = n / SUM_LANES * SUM_LANES;
    for (int l = 0; l < SUM_LANES; l++) lane[l] = -INFINITY;
    for (int64_t at = 0; at < whole; at += SUM_LANES)
        for (int l = 0; l < SUM_LANES; l++) lane[l] = x[at + l] > lane[l] ? x[at + l] : lane[l];
    for (int64_t i = whole; i < n; i++) lane[i - whole] = x[i] > lane[i - whole] ? x[i] : lane[i - whole];
    for (int l = 0; l < SUM_LANES / 2; l++)
        lane[l] = lane[l + SUM_LANES / 2] > lane[l] ? lane[l + SUM_LANES / 2] : lane[l];
    for (int l = 0; l < SUM_LANES / 4; l++)
        lane[l] = lane[l + SUM_LANES / 4] > lane[l] ? lane[l + SUM_LANES / 4] : lane[l];
    for (int l = 0; l < SUM_LANES / 8; l++)
        lane[l] = lane[l + SUM_LANES / 8] > lane[l] ? lane[l + SUM_LANES / 8] : lane[l];
    return lane[1] > lane[0] ? lane[1] : lane[0];
}

/* The largest value; NaN when there is one. */
static inline real row_max(const real *x, int64_t n)
{
    int32_t odd = 0;
    for (int64_t i = 0; i < n; i++) odd |= x[i] != x[i];
    return odd ? (real)NAN : row_top(x, n);
}

/* x := by e^(scale (x - shift)); gives their sum. */
static inline double row_exp(real *x, int64_t n, real scale, real shift, real by)
{
    double sum;
    for (int64_t i = 0; i < n; i++) x[i] = by * vec_exp(scale * (x[i] - shift));
    ROW_SUM(sum, i, n, x[i]);
    return sum;
}

static inline real vec_sigmoid(real x) { return 1 / (1 + vec_exp(-x)); }

/* Prefetches values: rows that lie all over memory in short pieces the processor does not foresee. */
static inline void row_prefetch(const struct tensor *t, int64_t at, int64_t n)
{
    const char *row = (const char *)t->data + (size_t)at * element_bytes(t->format);
    for (size_t i = 0; i < (size_t)n * element_bytes(t->format); i += 64) __builtin_prefetch(row + i);
}

/* A gradient is opened, gets d[i] = keep(beta, d[i]) + g for each of its values in one pass, and is
   closed with row_done. */
static inline real keep(real beta, real old) { return beta == 0 ? 0 : old; }
static inline real *row_open(const struct tensor *t, int64_t at, int64_t n, real beta, real *scratch)
{
    return beta == 0 ? row_write(t, at, n, scratch) : row_add(t, at, n, beta, scratch);
}

/* Rows in a block of about 8192 values. */
static inline int64_t rows_grain(int64_t width) { return width >= 8192 ? 1 : 8192 / width; }

/* Sums over rows, one a column: at most PARTS blocks of rows add into a line of doubles each, and the lines are added
   in their order. The lines are work tensor `work` of the node. */
enum { PARTS = 64 };
static inline int64_t parts_grain(int64_t rows, int64_t width)
{
    int64_t least = blocks_of(rows, PARTS), grain = rows_grain(width);
    return grain > least ? grain : least;
}
static inline void node_parts(struct node *n, int64_t rows, int64_t width)
{
    node_work(n, DTYPE_U8, SHAPE(blocks_of(rows, parts_grain(rows, width)), width, (int64_t)sizeof(double)));
}
/* The line of the block that starts at row `from`, cleared. */
static inline double *parts_line(const struct tensor *work, int64_t from, int64_t rows, int64_t width)
{
    double *line = (double *)work->data + from / parts_grain(rows, width) * width;
    memset(line, 0, (size_t)width * sizeof *line);
    return line;
}
static inline const double *parts_fold(const struct tensor *work, int64_t rows, int64_t width)
{
    double *sum = work->data;
    for (int64_t b = 1; b < blocks_of(rows, parts_grain(rows, width)); b++)
        for (int64_t i = 0; i < width; i++) sum[i] += sum[b * width + i];
    return sum;
}
/* To the gradient of an input that is one row. */
static inline void parts_give(const struct args *a, int input, int64_t rows, int64_t width)
{
    const double *sum = parts_fold(&a->work[0], rows, width);
    real buffer[width], *dx = row_add(&a->din[input], 0, width, a->beta[input], buffer);
    for (int64_t i = 0; i < width; i++) dx[i] += (real)sum[i];
    row_done(&a->din[input], 0, width, dx);
}

#endif
