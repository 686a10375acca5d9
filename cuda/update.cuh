/* What the optimizers share. An update's output is REAL [2], the sum of squares of the change and of the weight before,
   made of partial sums of spans: span s leaves its two doubles in part[2s] and part[2s+1]. */
#ifndef SLUICE_CUDA_UPDATE_CUH
#define SLUICE_CUDA_UPDATE_CUH

#include "kernel.cuh"

enum { SPAN = 8192 };    /* values of a block of an update: bits depend on shapes alone */

static __host__ __device__ inline int spans_of(int64_t n) { return (int)((n + SPAN - 1) / SPAN); }

/* By a block: out := the sum of the spans' parts, or zeros where clip, what clip_norm gave, says
   that the step is skipped. */
static __device__ inline void fold_span_parts(const double *part, int spans, const float *clip, float *out)
{
    double changed = 0, before = 0;
    if (clip[1] != 0)
        for (int s = threadIdx.x; s < spans; s += BLOCK) changed += part[2 * s], before += part[2 * s + 1];
    changed = block_sum(changed);
    before = block_sum(before);
    if (threadIdx.x != 0) return;
    out[0] = (float)changed;
    out[1] = (float)before;
}

/* The same as a launch. */
void fold_changes(const struct args *a, const double *part, int spans, const float *clip, float *out);

#endif
