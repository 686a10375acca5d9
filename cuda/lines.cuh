/* The gradient of what all rows share: each block of a kernel of rows sums a line over its own rows, and columns_add
   adds the lines up in their order. There are at most LINES, by shape alone. */
#ifndef SLUICE_CUDA_LINES_CUH
#define SLUICE_CUDA_LINES_CUH

#include "columns.cuh"
#include "row.cuh"

enum { LINES = 512 };

/* Blocks of such a kernel, each of which has some rows. */
static inline int64_t lines_of(struct rows r)
{
    int64_t walks = (r.n + r.at_once - 1) / r.at_once, lines = (walks + 3) / 4;
    return lines < LINES ? lines : (int64_t)LINES;
}

static inline size_t lines_bytes(struct rows r) { return (size_t)(lines_of(r) * r.d) * sizeof(float); }

/* Adds a piece to the block's line, which only this thread touches: of a row that is not held. */
static __device__ inline void add_to_line(float *line, bool first, int c, int d, const struct eight &g)
{
    for (int l = 0; l < LANES; l++) if (c + l < d) line[c + l] = first ? g.v[l] : line[c + l] + g.v[l];
}

/* The threads of a block that have the same columns, of different rows, add up what they have summed. */
static __device__ inline void write_line(float *line, const struct rows &r, const struct eight &g)
{
    __shared__ float part[BLOCK * LANES];
    int width = r.lanes * LANES;
    if (r.at_once == 1) { add_to_line(line, true, threadIdx.x * LANES, r.d, g); return; }
    for (int l = 0; l < LANES; l++) part[threadIdx.x * LANES + l] = g.v[l];
    __syncthreads();
    if (threadIdx.x >= r.d) return;
    float sum = 0;
    for (int i = 0; i < r.at_once; i++) sum += part[i * width + threadIdx.x];
    line[threadIdx.x] = sum;
}

#endif
