/* What attention does to scores beside scaling them: a bias of the distance between query and key, and a cap. Kernels
   that have neither are compiled without it. Scores are to base 2. */
#ifndef SLUICE_CUDA_ATTENTION_BEND_CUH
#define SLUICE_CUDA_ATTENTION_BEND_CUH

#include "attention.cuh"

/* Where the bias lies of a key `back` behind query `query` of its sequence. */
static __device__ inline int64_t bias_at(const struct sizes &s, int query, int back)
{
    return (s.first_query() + query) * s.extent + back;
}
static __device__ inline float biased(const struct sizes &s, float score, int query, int back)
{
    score *= s.scale;
    return back < s.extent ? score + LOG2E * load(s.rel, bias_at(s, query, back)) : score;
}

static __device__ inline float capped(const struct sizes &s, float score)
{
    return s.cap == 0 ? score : s.cap * hyperbolic_tangent(divide(score, s.cap));
}

/* The slope of the cap, 1 - tanh^2, at a capped score. */
static __device__ inline float steepness(const struct sizes &s, float score)
{
    float t = s.cap == 0 ? 0 : divide(score, s.cap);
    return 1 - t * t;
}

/* A score that a row sees is bent, after it has joined `top`, the largest before the cap; another is -infinity. */
static __device__ inline float bent(const struct sizes &s, float score, const struct seen &see, int query, int key,
                                    float &top)
{
    if (key < see.first || key >= see.last) return -INFINITY;
    score = biased(s, score, query, see.last - 1 - key);
    top = fmaxf(top, score);
    return capped(s, score);
}

#endif
