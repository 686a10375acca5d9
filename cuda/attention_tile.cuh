/* Tiles of bf16 in shared memory and their products on tensor cores, as attention uses them: four warps, each with
   16 rows of what is computed. W and VW are the widths of keys and of values, padded with zeros to what the
   kernels are compiled for. */
#ifndef SLUICE_CUDA_ATTENTION_TILE_CUH
#define SLUICE_CUDA_ATTENTION_TILE_CUH

#include "attention.cuh"

enum { WARPS = TILE / 16, THREADS = WARPS * WARP, PIECE = 8 };     /* PIECE: values that are moved at once, 16 bytes */

/* CASE(W, VW, BENT) of the least that holds both widths, and whether scores are bent. 192 and 128 are the widths of
   multi-head latent attention. */
#define BY_WIDTH(s, CASE) do { \
    if (bends(s)) BY_WIDTH_OF(s, CASE, true); \
    else BY_WIDTH_OF(s, CASE, false); \
} while (0)
#define BY_WIDTH_OF(s, CASE, BENT) do { \
    int widest_ = max((s).width, (s).value_width); \
    if (widest_ <= 32) { CASE(32, 32, BENT); } \
    else if (widest_ <= 64) { CASE(64, 64, BENT); } \
    else if (widest_ <= 128) { CASE(128, 128, BENT); } \
    else if ((s).value_width <= 128) { CASE(256, 128, BENT); } \
    else { CASE(256, 256, BENT); } \
} while (0)

static constexpr int tile_bytes(int rows, int width) { return rows * width * 2; }

/* Where a piece of a row lies: no two of the 8 rows that ldmatrix reads together share a bank. */
template <int W> static __device__ inline int piece_at(int row, int piece)
{
    return row * (W / PIECE) + (piece ^ (W >= 64 ? row & 7 : row >> 1 & 3));
}

/* ROWS rows of `width` values; row i is at offset(i), or is of zeros where that is negative. Rows that are not
   aligned go value by value. */
template <int W, int ROWS, class Offset>
static __device__ inline void load_tile(uint4 *tile, const __nv_bfloat16 *from, int width, Offset offset)
{
    if (width % PIECE == 0) {
        #pragma unroll 2
        for (int i = threadIdx.x; i < ROWS * W / PIECE; i += THREADS) {
            int row = i / (W / PIECE), piece = i % (W / PIECE), at = offset(row);
            bool there = at >= 0 && piece * PIECE < width;
            copy_async<16>(tile + piece_at<W>(row, piece), from + (there ? at + piece * PIECE : 0), there);
        }
    } else {
        #pragma unroll 1
        for (int i = threadIdx.x; i < ROWS * W; i += THREADS) {
            int row = i / W, column = i % W, at = offset(row);
            uint16_t *to = (uint16_t *)(tile + piece_at<W>(row, column / PIECE)) + column % PIECE;
            *to = at >= 0 && column < width ? ((const uint16_t *)from)[at + column] : 0;
        }
    }
}

/* Rows [row, row + ROWS) of a tensor [T,H,width], keys [key, key + ROWS) of one [T,G,width] before `end`. */
template <int W, int ROWS>
static __device__ inline void load_rows(uint4 *tile, const struct sizes &s, const __nv_bfloat16 *from, int width,
                                        int row)
{
    load_tile<W, ROWS>(tile, from, width, [&](int i) { return row + i < s.rows ? s.query(row + i) * width : -1; });
}

template <int W, int ROWS>
static __device__ inline void load_keys(uint4 *tile, const struct sizes &s, const __nv_bfloat16 *from, int width,
                                        int key, int end)
{
    load_tile<W, ROWS>(tile, from, width, [&](int i) { return key + i < end ? (key + i) * s.groups * width : -1; });
}

/* c [16, 8 N] = a b^T: rows [row, row + 16) of tile a, all 8 N rows of tile b. */
template <int W, int N>
static __device__ inline void multiply_rows(float (&c)[N][4], const uint4 *a, int row, const uint4 *b)
{
    int lane = threadIdx.x % WARP;
    for (int n = 0; n < N; n++) for (int e = 0; e < 4; e++) c[n][e] = 0;
    #pragma unroll 2
    for (int piece = 0; piece < W / PIECE; piece += 2) {
        uint32_t left[4], right[4];
        load_matrix(left, a + piece_at<W>(row + lane % 16, piece + lane / 16));
        #pragma unroll
        for (int n = 0; n < N; n += 2) {
            load_matrix(right, b + piece_at<W>(n * 8 + lane / 16 * 8 + lane % 8, piece + lane / 8 % 2));
            multiply_add(c[n], left, right[0], right[1]);
            multiply_add(c[n + 1], left, right[2], right[3]);
        }
    }
}

/* c [16, 8 N] += p b: p [16, 8 M] as multiply_rows leaves it, rounded; columns from 8 first on of
   the 8 M rows of tile b. */
template <int W, int M, int N>
static __device__ inline void multiply_weights(float (&c)[N][4], const float (&p)[M][4], const uint4 *b, int first)
{
    int lane = threadIdx.x % WARP;
    #pragma unroll
    for (int m = 0; m < M; m += 2) {
        uint32_t left[4] = { bf16_two(p[m][0], p[m][1]), bf16_two(p[m][2], p[m][3]), bf16_two(p[m + 1][0], p[m + 1][1]),
                             bf16_two(p[m + 1][2], p[m + 1][3]) };
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            uint32_t right[4];
            load_matrix_transposed(right, b + piece_at<W>(m * 8 + lane % 16, first + n + lane / 16));
            multiply_add(c[n], left, right[0], right[1]);
            multiply_add(c[n + 1], left, right[2], right[3]);
        }
    }
}

/* The sums c [TILE, 8 N] of a block, the rows of a lane times `upper` and `lower`, as columns from `column` on of rows
   of `width` values; row i goes to offset(i), or nowhere where that is negative. On the way they lie in `stage`, which
   nothing else may be using any more: so they are written in the order of memory. */
template <int N, class Offset>
static __device__ inline void add_tile(float *stage, const float (&c)[N][4], float upper, float lower, struct sum to,
                                       int width, int column, Offset offset)
{
    int lane = threadIdx.x % WARP, row = threadIdx.x / WARP * 16 + lane / 4;
    /* Rows that are written together share no bank. */
    auto at = [](int i, int n) { return (i * N + (n ^ i % 4)) * LANES; };
    __syncthreads();
    #pragma unroll
    for (int n = 0; n < N; n++) {
        *(float2 *)&stage[at(row, n) + lane % 4 * 2] = make_float2(c[n][0] * upper, c[n][1] * upper);
        *(float2 *)&stage[at(row + 8, n) + lane % 4 * 2] = make_float2(c[n][2] * lower, c[n][3] * lower);
    }
    __syncthreads();
    add_pieces<N>(to, width, column, [&](int i, int n) { return stage + at(i, n); }, offset);
}

#endif
