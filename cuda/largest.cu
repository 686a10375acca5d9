/* The largest of what several ranks have, for cuda/comm.c; NaN stays. A few hundred values: bound by the launch. */
#include "kernel.cuh"
extern "C" {
#include "parts.h"
}

/* to[i] = max over r of from[r,i] */
static __global__ void __launch_bounds__(BLOCK) largest_of_ranks(float *to, const float *from, int n, int ranks)
{
    int i = blockIdx.x * BLOCK + threadIdx.x;
    if (i >= n) return;
    float most = from[i];
    for (int r = 1; r < ranks; r++) {
        float x = from[(int64_t)r * n + i];
        if (x > most || x != x) most = x;
    }
    to[i] = most;
}

void cuda_largest(cudaStream_t stream, float *to, const float *from, int n, int ranks)
{
    largest_of_ranks<<<(n + BLOCK - 1) / BLOCK, BLOCK, 0, stream>>>(to, from, n, ranks);
    CUDA(cudaGetLastError());
}
