/* Kernels in which a warp takes a row: lane l has eight columns from 8 l on, then eight from 8 (l + 32) on. */
#ifndef SLUICE_CUDA_WARP_CUH
#define SLUICE_CUDA_WARP_CUH

#include "row.cuh"

enum { WARPS = BLOCK / WARP };                              /* of a block, and so the rows that it takes at a time */
constexpr unsigned ALL_LANES = 0xFFFFFFFFu;

static __device__ inline int lane_of() { return threadIdx.x % WARP; }
static __device__ inline int64_t first_warp() { return (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP; }
static __device__ inline int64_t all_warps() { return (int64_t)gridDim.x * (blockDim.x / WARP); }

template <class T> static __device__ inline T warp_sum_up_to(T x)     /* of the lanes up to this one */
{
    for (int step = 1; step < WARP; step *= 2) {
        T other = __shfl_up_sync(ALL_LANES, x, step);
        if (lane_of() >= step) x += other;
    }
    return x;
}

/* A key as a word in the same order: NaN below all numbers; 0 is left. */
static __device__ inline uint32_t word_of(float key)
{
    uint32_t bits = __float_as_uint(key + 0.0f);            /* -0 becomes 0 */
    return key != key ? 1 : bits >> 31 ? ~bits : bits | 1u << 31;
}

/* Every warp's walk over n rows, and a lane's over the columns of one. */
#define EACH_ROW(r, n) for (int64_t r = first_warp(); r < (n); r += all_warps())
#define EACH_EIGHT(c, d) for (int c = lane_of() * LANES; c < (d); c += WARP * LANES)

#endif
