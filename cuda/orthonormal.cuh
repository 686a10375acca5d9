/* Rows made orthonormal by Householder reflections, by a block, as runtime/ops/orthonormal.h says. A row comes after
   the other, which bounds it by latency where rows are few and short, else by what a multiprocessor reads of the
   cache. */
#ifndef SLUICE_CUDA_ORTHONORMAL_CUH
#define SLUICE_CUDA_ORTHONORMAL_CUH

#include "kernel.cuh"

#include <float.h>

constexpr float ROUNDING = 64 * FLT_EPSILON;                /* as on the CPU */

/* By a warp. */
static __device__ inline float row_dot(const float *x, const float *y, int n)
{
    float sum = 0;
    for (int i = threadIdx.x % WARP; i < n; i += WARP) sum += x[i] * y[i];
    return warp_sum(sum);
}
static __device__ inline void row_reflect(float *x, const float *v, int n, float along)
{
    float by = along * row_dot(x, v, n);
    for (int i = threadIdx.x % WARP; i < n; i += WARP) x[i] -= by * v[i];
}
/* to := from with length 1, by the largest value first, since squares of small ones vanish; whether it is not 0. */
static __device__ inline bool row_normalize(float *to, const float *from, int n)
{
    float most = 0, sum = 0;
    for (int i = threadIdx.x % WARP; i < n; i += WARP) most = fmaxf(most, fabsf(from[i]));
    most = warp_max(most);
    if (!(most > FLT_MIN)) return false;
    float by = __frcp_rn(most);
    for (int i = threadIdx.x % WARP; i < n; i += WARP) sum += by * from[i] * (by * from[i]);
    float length = __frcp_rn(sqrtf(warp_sum(sum)));
    for (int i = threadIdx.x % WARP; i < n; i += WARP) to[i] = by * from[i] * length;
    return true;
}

/* along, turn: of each row. Ends with a barrier. */
static __device__ inline void orthonormal_rows(int rows, int n, float *x, float *q, float *along, float *turn)
{
    int warp = threadIdx.x / WARP, warps = BLOCK / WARP;
    for (int r = warp; r < rows; r += warps) row_normalize(x + (int64_t)r * n, x + (int64_t)r * n, n);
    __syncthreads();
    for (int k = 0; k < rows; k++) {
        float *v = x + (int64_t)k * n + k, first = *v, sum = 0;
        for (int i = threadIdx.x; i < n - k; i += BLOCK) sum += v[i] * v[i];
        float length = sqrtf(block_sum(sum)), sign = length > ROUNDING ? first < 0 ? 1 : -1 : 0,
              by = sign != 0 ? __frcp_rn(length * (length + fabsf(first))) : 0;
        if (threadIdx.x == 0) {
            along[k] = by;
            turn[k] = sign;
            if (sign != 0) *v = first - sign * length;
        }
        __syncthreads();
        for (int j = k + 1 + warp; sign != 0 && j < rows; j += warps) row_reflect(x + (int64_t)j * n + k, v, n - k, by);
        __syncthreads();
    }
    for (int k = rows - 1; k >= 0; k--) {
        for (int i = threadIdx.x; i < n; i += BLOCK) q[(int64_t)k * n + i] = i == k;
        __syncthreads();
        for (int j = k + warp; turn[k] != 0 && j < rows; j += warps)
            row_reflect(q + (int64_t)j * n + k, x + (int64_t)k * n + k, n - k, along[k]);
        __syncthreads();
    }
    for (int r = warp; r < rows; r += warps)
        for (int i = threadIdx.x % WARP; turn[r] < 0 && i < n; i += WARP) q[(int64_t)r * n + i] *= -1;
    __syncthreads();
}

#endif
