/* What kernels share that read rows which an index names. First a thread takes a row, and multiplies it with a few
   vectors in shared memory; what it makes of that is a factor. Then a thread takes a column, and sums rows by their
   factors; where rows are narrower than the block, threads share a column and part the rows. So rows are read twice,
   the second time from the cache. What other tokens do to the same row is summed by who owns that row: pairs of a token
   and an entry of its index are sorted by what they name. Bound by memory, as GROUP is below 16. */
#ifndef SLUICE_CUDA_NAMED_CUH
#define SLUICE_CUDA_NAMED_CUH

#include "kernel.cuh"

enum { GROUP = 4 };                                         /* vectors at once */

/* n rows of x, one after the other, and zeros for the rest of the GROUP. */
static __device__ inline void load_vectors(float *to, struct view x, int64_t row, int n, int width)
{
    for (int i = threadIdx.x; i < GROUP * width; i += BLOCK) to[i] = i < n * width ? load(x, row * width + i) : 0;
}

/* Products of the row at `at` with N vectors. */
template <int N>
static __device__ inline void row_products(float (&sum)[N], struct view x, int64_t at, int width, const float *vectors)
{
    for (int n = 0; n < N; n++) sum[n] = 0;
    if (width % LANES == 0 && at % LANES == 0) {
        #pragma unroll 1
        for (int c = 0; c < width; c += LANES) {
            struct eight e = load8(x, at + c);
            for (int n = 0; n < N; n++)
                for (int l = 0; l < LANES; l++) sum[n] += e.v[l] * vectors[n * width + c + l];
        }
    } else {
        #pragma unroll 1
        for (int c = 0; c < width; c++) {
            float value = load(x, at + c);
            for (int n = 0; n < N; n++) sum[n] += value * vectors[n * width + c];
        }
    }
}

/* give(n, column, sum over i < rows of factor[n * stride + i] times the row at offset(i)); a negative one is none.
   Called by all threads of a block, after a barrier. */
template <int N, class Offset, class Give>
static __device__ inline void sum_rows(struct view x, int width, int rows, const float *factor, int stride,
                                       Offset offset, Give give)
{
    __shared__ float part[N][BLOCK];
    int columns = min((width + WARP - 1) / WARP * WARP, (int)BLOCK), parts = BLOCK / columns,
        mine = threadIdx.x / columns;
    #pragma unroll 1
    for (int first = 0; first < width; first += columns) {
        int c = first + threadIdx.x % columns;
        float sum[N] = { 0 };
        if (mine < parts && c < width)
            for (int i = mine; i < rows; i += parts) {
                int64_t at = offset(i);
                float value = at < 0 ? 0 : load(x, at + c);
                for (int n = 0; n < N; n++) sum[n] += factor[n * stride + i] * value;
            }
        for (int n = 0; n < N; n++) part[n][threadIdx.x] = sum[n];
        __syncthreads();
        if (mine == 0 && c < width)
            for (int n = 0; n < N; n++) {
                for (int p = 1; p < parts; p++) sum[n] += part[n][p * columns + threadIdx.x];
                give(n, c, sum[n]);
            }
        __syncthreads();
    }
}

/* ---- pairs by what they name ---- */

/* key: of each pair, `below` for one that names nothing; order: pairs by their keys, ties in their order; those of key
   k are begins[k] .. begins[k+1] - 1. */
struct pairs { int64_t n, below; int32_t *key, *order, *begins, *spare; };
size_t pairs_bytes(int64_t n, int64_t below);
struct pairs pairs_in(void *scratch, int64_t n, int64_t below);
void pairs_sort(const struct args *a, struct pairs *p);     /* once their keys are there */

#endif
