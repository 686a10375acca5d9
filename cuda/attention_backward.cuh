/* What the kernels of attention's backward share, in bf16 and in float: how a weight and its slope are made anew for
   one score, and which rows see a tile of keys. */
#ifndef SLUICE_CUDA_ATTENTION_BACKWARD_CUH
#define SLUICE_CUDA_ATTENTION_BACKWARD_CUH

#include "attention_bend.cuh"

/* What is known of a row. Past the end it sees nothing. */
struct __align__(16) row { struct seen see; float lse, delta; };
static __device__ inline struct row row_of(const struct sizes &s, int row, const float *lse, const float *delta)
{
    int64_t at = row < s.rows ? s.first_query() + s.query(row) : -1;
    return { seen_by(s, row), at < 0 ? 0 : lse[at], at < 0 ? 0 : delta[at] };
}

/* p from a score, 0 where the row may not look; ds from p and dp, which is no number at keys
   that nothing has written. A capped score is p's logarithm. */
template <bool BENT>
static __device__ inline float weight(const struct sizes &s, float score, const struct row &r, int query, int key)
{
    bool sees = key >= r.see.first && key < r.see.last;
    if (!BENT) return sees ? power_of_two(score * s.scale - r.lse) : 0;
    return sees ? power_of_two(capped(s, biased(s, score, query, r.see.last - 1 - key)) - r.lse) : 0;
}
template <bool BENT> static __device__ inline float slope(const struct sizes &s, float p, float dp, const struct row &r)
{
    if (!BENT) return p == 0 ? 0 : p * (dp - r.delta);
    return p == 0 ? 0 : p * (dp - r.delta) * steepness(s, __log2f(p) + r.lse);
}

/* The gradient of a bias is that of its one score. */
static __device__ inline void add_slope(const struct sizes &s, struct sum drel, const struct row &r, int query, int key,
                                        float ds)
{
    int back = r.see.last - 1 - key;
    if (key >= r.see.first && back >= 0 && back < s.extent) add(drel, bias_at(s, query, back), ds);
}

/* What is there has been set to 0 where beta is. */
static inline struct sum bias_sum(const struct args *a) { return { view_of(a->din[REL]), 1 }; }

/* Rows [from, to): whole tiles, of which the first and the last see any of the keys [key, key + TILE). Called by
   all threads of a block. */
struct reach { int from, to; };
static __device__ inline struct reach reach_of(const struct sizes &s, const struct span *spans, int key)
{
    __shared__ struct reach part[WARP];
    struct reach all = { s.rows, 0 };
    for (int tile = threadIdx.x; tile < s.tiles; tile += blockDim.x)
        if (meets(spans[s.batch() * s.tiles + tile], key)) all = { min(all.from, tile * TILE), tile * TILE + TILE };
    all = { __reduce_min_sync(0xFFFFFFFFu, all.from), __reduce_max_sync(0xFFFFFFFFu, all.to) };
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = all;
    __syncthreads();
    for (unsigned w = 0; w < blockDim.x / WARP; w++) all = { min(all.from, part[w].from), max(all.to, part[w].to) };
    return { all.from, min(all.to, s.rows) };
}

#endif
