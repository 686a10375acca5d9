/* What the kernels of op delta_rule share; the formulas stand in runtime/ops/delta_rule.c and cpu/isa/delta_chunk.h. */
#ifndef SLUICE_CUDA_DELTA_RULE_CUH
#define SLUICE_CUDA_DELTA_RULE_CUH

#include "warp.cuh"

enum { Q, K, V, G, BETA, START, POS, STATE };
enum { WIDEST = 512 };                                      /* keys */

/* Chunks of `chunk` tokens up to position `whole`, from there, the last of a cache, of one. */
struct delta {
    int batch, seq, heads, share, n, m, gates, delta;
    int chunk, whole, chunks, ring;
    float scale;
    const int32_t *start, *pos;

    __device__ int value_heads() const { return heads * share; }
    __device__ int before() const { return pos ? pos[0] : 0; }
    /* Where the document of token t of a sequence begins, counted from the token: above 0 after it. */
    __device__ int relative_start(int b, int t) const { return start[(int64_t)b * seq + t] - (before() + t); }
    __device__ int first(int number) const
    {
        int large = (whole + chunk - 1) / chunk;
        return number < large ? number * chunk : whole + number - large;
    }
    __device__ int tokens(int number) const { return (number + 1 < chunks ? first(number + 1) : seq) - first(number); }
};

struct delta delta_of(const struct args *a);
size_t delta_backward_scratch(const struct delta &s);
void delta_backward(const struct args *a, const struct delta &s);

#endif
