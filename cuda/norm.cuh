/* The norm of a row that its threads hold: what rmsnorm and what is fused with it share. */
#ifndef SLUICE_CUDA_NORM_CUH
#define SLUICE_CUDA_NORM_CUH

#include "row.cuh"

/* What is added to the gain; none is one of 0. */
static inline float centre_of(const struct args *norm)
{
    const struct rmsnorm_attr *at = (const struct rmsnorm_attr *)norm->attr;
    return norm->in[1].data ? (float)at->zero_centred : 1;
}

/* What x / rms is multiplied by. */
static __device__ inline struct eight factor(struct view gain, float centre, int c, int d)
{
    struct eight f = {};
    if (gain.data) f = row_load(gain, 0, c, d, 0);
    for (int l = 0; l < LANES; l++) f.v[l] += centre;
    return f;
}

template <bool HELD> static __device__ inline float inverse_rms(const struct row<HELD> &x, int d, float eps)
{
    float sum = 0;
    for (int p = 0; p < x.pieces(); p++) {
        struct eight u = x.piece(p);
        for (int l = 0; l < LANES; l++) sum += u.v[l] * u.v[l];
    }
    return rsqrtf(divide(row_sum(sum, x.lanes), (float)d) + eps);
}

#endif
