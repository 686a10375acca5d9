/* Eigenvectors for soap.cu, of symmetric matrices without negative eigenvalues, a block each: all of them at once by
   Jacobi's rotations, n/2 pairs at a time, and a power step of those that are there. One multiprocessor's cache bounds
   both: some 10 n^3 values a sweep, of which there are about 8, but once in a run; 3 n^3 a power step. */
#ifndef SLUICE_CUDA_BASIS_CUH
#define SLUICE_CUDA_BASIS_CUH

#include "orthonormal.cuh"

#include "backend/rounds.h"

/* Of one side of each matrix: a factor and rows of its basis [n,n]; scratch: two such, and of each row a number, a sign
   and a place in an order. */
struct side { float *factor, *basis, *square, *other, *along, *turn; int *order; int n; };

static __device__ inline struct side side_of(const struct side &all)
{
    int64_t at = (int64_t)blockIdx.x * all.n * all.n, line = (int64_t)blockIdx.x * (all.n + 1);
    return { all.factor + at, all.basis + at, all.square + at, all.other + at, all.along + line, all.turn + line,
             all.order + line, all.n };
}

/* By a block: order of `along`, the largest first, equal ones as they stand. */
static __device__ inline void sort_down(const struct side &s)
{
    __syncthreads();
    for (int i = threadIdx.x; i < s.n; i += BLOCK) {
        int at = 0;
        for (int k = 0; k < s.n; k++) at += s.along[k] > s.along[i] || (s.along[k] == s.along[i] && k < i);
        s.order[at] = i;
    }
    __syncthreads();
}

static __device__ inline void turn(float &x, float &y, float cosine, float sine)
{
    float first = x, second = y;
    x = cosine * first - sine * second;
    y = sine * first + cosine * second;
}

/* Of pair k: its cosine in along, its sine in turn, 0 where there is nothing to rotate; returns whether there is. */
static __device__ inline bool find_rotation(const struct side &s, int k, struct round_pair p)
{
    s.along[k] = 1, s.turn[k] = 0;
    if (p.high >= s.n) return false;
    const float *low = s.square + (int64_t)p.low * s.n, *high = s.square + (int64_t)p.high * s.n;
    float across = low[p.high];
    if (!(fabsf(across) > ROUNDING / 8)) return false;
    float apart = (high[p.high] - low[p.low]) * __frcp_rn(2 * across),
          tangent = (apart < 0 ? -1 : 1) * __frcp_rn(fabsf(apart) + sqrtf(1 + apart * apart));
    s.along[k] = __frcp_rn(sqrtf(1 + tangent * tangent));
    s.turn[k] = tangent * s.along[k];
    return true;
}

static __device__ inline bool jacobi_round(const struct side &s, int round)
{
    int pairs = rounds_pairs(s.n), warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    float turned = 0;
    for (int k = threadIdx.x; k < pairs; k += BLOCK)
        if (find_rotation(s, k, rounds_pair(s.n, round, k))) turned = 1;
    if (block_max(turned) == 0) return false;
    for (int k = warp; k < pairs; k += BLOCK / WARP) {
        struct round_pair p = rounds_pair(s.n, round, k);
        for (int i = lane; s.turn[k] != 0 && i < s.n; i += WARP) {
            turn(s.square[(int64_t)p.low * s.n + i], s.square[(int64_t)p.high * s.n + i], s.along[k], s.turn[k]);
            turn(s.other[(int64_t)p.low * s.n + i], s.other[(int64_t)p.high * s.n + i], s.along[k], s.turn[k]);
        }
    }
    __syncthreads();
    for (int k = lane; k < pairs; k += WARP) {
        struct round_pair p = rounds_pair(s.n, round, k);
        for (int64_t r = warp; s.turn[k] != 0 && r < s.n; r += BLOCK / WARP)
            turn(s.square[r * s.n + p.low], s.square[r * s.n + p.high], s.along[k], s.turn[k]);
    }
    __syncthreads();
    return true;
}

/* Before the first step. */
static __global__ void __launch_bounds__(BLOCK, 1) soap_find(struct side all, const float *clip, const float *taken)
{
    struct side s = side_of(all);
    int64_t count = (int64_t)s.n * s.n;
    float most = 0;
    bool turned = true;
    if (clip[1] == 0 || *taken != 0) return;
    for (int64_t i = threadIdx.x; i < s.n; i += BLOCK) most = fmaxf(most, s.factor[i * s.n + i]);
    most = block_max(most);
    float by = most > FLT_MIN ? __frcp_rn(most) : 0;
    for (int64_t i = threadIdx.x; i < count; i += BLOCK) s.square[i] = by * s.factor[i];
    for (int64_t r = threadIdx.x / WARP; r < s.n; r += BLOCK / WARP)
        for (int64_t c = threadIdx.x % WARP; c < s.n; c += WARP) s.other[r * s.n + c] = r == c;
    __syncthreads();
    for (int sweep = 0; sweep < ROUNDS_SWEEPS && turned; sweep++) {
        turned = false;
        for (int round = 0; round < rounds_of(s.n); round++) turned |= jacobi_round(s, round);
    }
    for (int64_t i = threadIdx.x; i < s.n; i += BLOCK) s.along[i] = s.square[i * s.n + i];
    sort_down(s);
    for (int64_t r = threadIdx.x / WARP; r < s.n; r += BLOCK / WARP)
        for (int64_t c = threadIdx.x % WARP; c < s.n; c += WARP)
            s.basis[r * s.n + c] = s.other[(int64_t)s.order[r] * s.n + c];
}

/* Whether a power step comes after this one. */
static __device__ inline bool is_due(const float *clip, const float *taken, int every)
{
    return clip[1] != 0 && *taken > 0 && (int)*taken % every == 0;
}

/* A power step; the product of basis and factor is in square. */
static __global__ void __launch_bounds__(BLOCK)
soap_refine(struct side all, const float *clip, const float *taken, int every)
{
    struct side s = side_of(all);
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (!is_due(clip, taken, every)) return;
    for (int64_t r = warp; r < s.n; r += BLOCK / WARP) {
        float size = row_dot(s.basis + r * s.n, s.square + r * s.n, s.n);
        if (lane == 0) s.along[r] = size;
    }
    sort_down(s);
    for (int64_t r = warp; r < s.n; r += BLOCK / WARP)
        for (int64_t c = lane; c < s.n; c += WARP) s.other[r * s.n + c] = s.square[(int64_t)s.order[r] * s.n + c];
    __syncthreads();
    orthonormal_rows(s.n, s.n, s.other, s.basis, s.along, s.turn);
}

#endif
