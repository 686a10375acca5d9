/* What optimizers remember where it is not floats, enum moment_as: a warp takes a block of codes, lane l the values l,
   l + 32, .. of it. */
#ifndef SLUICE_CUDA_MOMENT_CUH
#define SLUICE_CUDA_MOMENT_CUH

#include "kernel.cuh"

#include "backend/codes.h"

/* data NULL: there is none. positive: no value is below 0. */
struct coded { void *data; bool bf16, positive; };
enum { MOMENT_EACH = MOMENT_BLOCK / WARP };                 /* values of a lane */

static inline bool moment_is_coded(const struct tensor &t) { return t.data && t.format != FORMAT_REAL; }
static inline bool moment_is_bf16(const struct tensor &t) { return moment_is_coded(t) && shape_last(t.shape) == 2; }
static inline struct coded moment_of(const struct tensor &t, bool positive)
{
    return { t.data, moment_is_bf16(t), positive };
}

/* a x + b y, in the bits of the CPU: of other bits would be other codes. */
static __device__ inline float moment_mean(float a, float x, float b, float y)
{
    return __fadd_rn(__fmul_rn(a, x), __fmul_rn(b, y));
}

/* The n values from `at` on, which are block number `block`. By a whole warp. */
static __device__ inline void moment_load(struct coded x, int64_t at, int64_t block, int n, float (&v)[MOMENT_EACH])
{
    const uint8_t *codes = (const uint8_t *)x.data + block * MOMENT_BYTES;
    float largest = x.data && !x.bf16 ? *(const float *)codes : 0;
    for (int k = 0; k < MOMENT_EACH; k++) {
        int i = threadIdx.x % WARP + k * WARP;
        v[k] = !x.data || i >= n ? 0 : x.bf16 ? load({ x.data, true }, at + i)
               : largest * code_value(codes[MOMENT_LARGEST + i], x.positive);
    }
}

static __device__ inline void moment_store(struct coded x, int64_t at, int64_t block, int n,
                                           const float (&v)[MOMENT_EACH])
{
    uint8_t *codes = (uint8_t *)x.data + block * MOMENT_BYTES;
    float largest = 0;
    if (!x.data) return;
    for (int k = 0; k < MOMENT_EACH; k++)
        if ((int)(threadIdx.x % WARP) + k * WARP < n) largest = fmaxf(largest, fabsf(v[k]));
    largest = warp_max(largest);
    if (!(largest >= CODE_LEAST)) largest = 0;
    float by = largest > 0 ? __frcp_rn(largest) : 0;
    __syncwarp();                                           /* all have read what was there */
    for (int k = 0; k < MOMENT_EACH; k++) {
        int i = threadIdx.x % WARP + k * WARP;
        if (i >= n) break;
        if (x.bf16) store({ x.data, true }, at + i, v[k]);
        else codes[MOMENT_LARGEST + i] = code_of(by * v[k], x.positive);
    }
    if (!x.bf16 && threadIdx.x % WARP == 0) *(float *)codes = largest;
}

#endif
