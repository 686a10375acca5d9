/* Rows made orthonormal by Householder reflections: x = T q, where T is lower triangular and no less than 0 on its
   diagonal. The length of a row of x says nothing: rows begin as unit vectors. */
#ifndef SLUICE_ORTHONORMAL_H
#define SLUICE_ORTHONORMAL_H

#include "op.h"
#include "cpu/vec_math.h"
#include <float.h>

/* What is left of a unit vector, beside the rows above it, when it is but rounding. */
#define ROUNDING (64 * (sizeof(real) == sizeof(double) ? DBL_EPSILON : (double)FLT_EPSILON))

static inline double row_dot(const real *x, const real *y, int64_t n)
{
    double sum;
    ROW_SUM(sum, i, n, (double)x[i] * (double)y[i]);
    return sum;
}

/* x := x - along (v.x) v */
static inline void row_reflect(real *restrict x, const real *restrict v, int64_t n, double along)
{
    real by = (real)(along * row_dot(x, v, n));
    for (int64_t i = 0; i < n; i++) x[i] -= by * v[i];
}

static inline double row_normalize(real *x, int64_t n)
{
    double length = sqrt(row_dot(x, x, n));
    for (int64_t i = 0; i < n && length > 0; i++) x[i] = (real)((double)x[i] / length);
    return length;
}

/* x, q [rows,n], rows <= n; x is lost, reflections take its place. turn, of each row: the sign that its diagonal asks
   for, and 0 where the row had nothing new: that of q is orthogonal to the others all the same. */
static inline void orthonormal_rows(int64_t rows, int64_t n, real *x, real *q, double *along, int8_t *turn)
{
    for (int64_t k = 0; k < rows; k++) row_normalize(x + k * n, n);
    for (int64_t k = 0; k < rows; k++) {
        real *v = x + k * n + k;
        double length = sqrt(row_dot(v, v, n - k)), first = (double)*v;
        turn[k] = length > ROUNDING ? first < 0 ? 1 : -1 : 0;
        along[k] = turn[k] ? 1 / (length * (length + fabs(first))) : 0;
        if (turn[k]) *v = (real)(first - turn[k] * length);
        for (int64_t j = k + 1; turn[k] && j < rows; j++) row_reflect(x + j * n + k, v, n - k, along[k]);
    }
    for (int64_t k = rows - 1; k >= 0; k--) {
        for (int64_t i = 0; i < n; i++) q[k * n + i] = i == k;
        for (int64_t j = k; turn[k] && j < rows; j++) row_reflect(q + j * n + k, x + k * n + k, n - k, along[k]);
    }
    for (int64_t i = 0; i < rows * n; i++) if (turn[i / n] < 0) q[i] = -q[i];
}

#endif
