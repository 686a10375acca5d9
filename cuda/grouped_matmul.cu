/* y = x w^T, each expert's rows with its own w. Where an expert's rows begin is known on the device alone: blocks find
   their tiles from the offsets, so the host waits for nothing and a recorded step serves every routing.

   The arithmetic bounds it. A block multiplies tiles of 128 x 128 while cp.async brings the next two stages of their
   operands: bf16 by mma.sync, float by plain multiply-adds, no TF32. Rows come from memory once for each 128 columns
   and weights once for each 128 rows, less what L2 keeps; the least is once. Rows that do not fill a tile are the
   price of experts with few. */
#include "product.cuh"
#include "ptx.cuh"
extern "C" {
#include "parts.h"
}

enum { X, W, OFFSETS };
enum { TILE = 128, STAGES = 3, PAIRS = TILE * TILE / BLOCK / 2 };       /* a thread holds so many pairs of C */

/* ---- operands and result of a tile ---- */

/* Values (o,i): o < outer along the side of C, i < inner along the axis that is summed; o counts from the tile's
   corner. TRANSPOSED: memory holds rows of the outer axis, `row` values apart; else rows of the inner one. */
template <typename T> struct side { const T *data; int row, outer, inner; };

template <bool TRANSPOSED, typename T>
static __device__ inline struct side<T> side_at(const T *data, int row, int outer, int inner, int at) {
    return { data + (TRANSPOSED ? at : (int64_t)at * row), row, outer - at, inner };
}

/* How many values there are from (o,i) on, along a row of memory, and where: some address if there are none. */
template <bool TRANSPOSED, typename T>
static __device__ inline int side_left(const struct side<T> &s, int o, int i)
{
    return TRANSPOSED ? (i < s.inner ? s.outer - o : 0) : (o < s.outer ? s.inner - i : 0);
}

template <bool TRANSPOSED, typename T>
static __device__ inline const T *side_from(const struct side<T> &s, int o, int i, int left)
{
    return left <= 0 ? s.data : s.data + (TRANSPOSED ? (int64_t)i * s.row + o : (int64_t)o * s.row + i);
}

/* A tile of C: its corner is value `at`, and so many rows and columns are left from there. */
struct corner { struct sum to; int64_t at; int row, rows, cols; };

/* Two values beside each other, the first in an even column. */
static __device__ inline void settle(const struct corner &c, int row, int col, float first, float second)
{
    if (row >= c.rows || col >= c.cols) return;
    int64_t i = c.at + (int64_t)row * c.row + col;
    if (c.row % 2) {
        add(c.to, i, first);
        if (col + 1 < c.cols) add(c.to, i + 1, second);
    } else if (c.to.to.bf16) {
        uint32_t *p = reinterpret_cast<uint32_t *>((__nv_bfloat16 *)c.to.to.data + i), old = c.to.beta == 0 ? 0 : *p;
        *p = bf16_two(first + bf16_low(old), second + bf16_high(old));
    } else {
        float2 *p = reinterpret_cast<float2 *>((float *)c.to.to.data + i),
               old = c.to.beta == 0 ? make_float2(0, 0) : *p;
        *p = make_float2(first + old.x, second + old.y);
    }
}

/* ---- what multiplies ---- */

/* Of each format: how deep a stage is; fetch brings an operand's part of it; accumulate multiplies two parts; row and
   col say where this thread's pairs of sums lie in the tile. */
template <typename T> struct unit;

/* Warps stand two by four over the tile, 64 rows and 32 columns each, of four by four products of 16 x 8. */
template <> struct unit<__nv_bfloat16> {
    enum { DEPTH = 32, BYTES = TILE * DEPTH * 2 };

    /* Where eight values lie in a stage: (row, eighth) as in memory. Eighths are swapped so that eight rows
       fall on different banks. */
    template <bool TRANSPOSED> static __device__ inline int at(int row, int eighth)
    {
        return TRANSPOSED ? row * TILE * 2 + (eighth ^ (row & 7)) * 16
                          : row * DEPTH * 2 + (eighth ^ (row >> 1 & 3)) * 16;
    }

    /* Eight values a thread, twice. Rows that do not begin at multiples of 16 bytes come value by value. */
    template <bool TRANSPOSED>
    static __device__ inline void fetch(char *stage, const struct side<__nv_bfloat16> &s, int depth)
    {
        const int eighths = (TRANSPOSED ? TILE : DEPTH) / LANES;
#pragma unroll
        for (int j = 0; j < BYTES / 16 / BLOCK; j++) {
            int item = (int)threadIdx.x + j * BLOCK, row = item / eighths, eighth = item % eighths;
            int o = TRANSPOSED ? eighth * LANES : row, i = depth + (TRANSPOSED ? row : eighth * LANES),
                left = side_left<TRANSPOSED>(s, o, i);
            const __nv_bfloat16 *from = side_from<TRANSPOSED>(s, o, i, left);
            char *to = stage + at<TRANSPOSED>(row, eighth);
            if (s.row % LANES == 0) {
                copy_async<16>(to, from, left > 0);
            } else {
                uint32_t two[LANES / 2];
#pragma unroll
                for (int l = 0; l < LANES; l += 2)
                    two[l / 2] = (l < left ? __bfloat16_as_ushort(from[l]) : 0u) |
                                 (l + 1 < left ? __bfloat16_as_ushort(from[l + 1]) : 0u) << 16;
                *reinterpret_cast<uint4 *>(to) = make_uint4(two[0], two[1], two[2], two[3]);
            }
        }
    }

    /* 16 x 16 values from (outer, depth) on. This lane's eight are row `line` of the matrix that is o eighths along the
       outer axis and i along the inner one. */
    template <bool TRANSPOSED>
    static __device__ inline void fragment(uint32_t (&r)[4], const char *stage, int outer, int depth, int o, int i)
    {
        int line = (int)threadIdx.x % 8;
        if (TRANSPOSED) load_matrix_transposed(r, stage + at<TRANSPOSED>(depth + i * 8 + line, outer / 8 + o));
        else load_matrix(r, stage + at<TRANSPOSED>(outer + o * 8 + line, depth / 8 + i));
    }

    template <bool A_TRANSPOSED, bool B_TRANSPOSED>
    static __device__ inline void accumulate(float (&sum)[2 * PAIRS], const char *a, const char *b)
    {
        int eight = (int)threadIdx.x % WARP / 8;
#pragma unroll
        for (int depth = 0; depth < DEPTH; depth += 16) {
            uint32_t x[4][4], y[2][4];
            for (int m = 0; m < 4; m++)
                fragment<A_TRANSPOSED>(x[m], a, warp_row() + m * 16, depth, eight % 2, eight / 2);
            for (int n = 0; n < 2; n++)
                fragment<B_TRANSPOSED>(y[n], b, warp_col() + n * 16, depth, eight / 2, eight % 2);
            for (int m = 0; m < 4; m++)
                for (int n = 0; n < 4; n++)
                    multiply_add(reinterpret_cast<float(&)[4]>(sum[(m * 4 + n) * 4]), x[m], y[n / 2][n % 2 * 2],
                                 y[n / 2][n % 2 * 2 + 1]);
        }
    }

    static __device__ inline int warp_row() { return (int)threadIdx.x / WARP / 4 * 64; }
    static __device__ inline int warp_col() { return (int)threadIdx.x / WARP % 4 * 32; }
    static __device__ inline int row(int pair)
    {
        return warp_row() + pair / 8 * 16 + pair % 2 * 8 + (int)threadIdx.x % WARP / 4;
    }
    static __device__ inline int col(int pair) { return warp_col() + pair / 2 % 4 * 8 + (int)threadIdx.x % 4 * 2; }
};

/* A thread's rows are 4 + 4, its columns 2 + 2 + 2 + 2: reads of a stage and writes of C fill their width. */
template <> struct unit<float> {
    /* rows of the outer axis, padded so that a column falls on different banks */
    enum { DEPTH = 8, ROW = TILE + 4, BYTES = DEPTH * ROW * 4 };

    template <bool TRANSPOSED> static __device__ inline void fetch(char *stage, const struct side<float> &s, int depth)
    {
        int item = (int)threadIdx.x, o = TRANSPOSED ? item % 32 * 4 : item / 2,
            i = TRANSPOSED ? item / 32 : item % 2 * 4;
        int left = side_left<TRANSPOSED>(s, o, depth + i), along = TRANSPOSED ? 1 : ROW;
        const float *from = side_from<TRANSPOSED>(s, o, depth + i, left);
        float *to = (float *)stage + i * ROW + o;
        if (TRANSPOSED && s.row % 4 == 0) copy_async<16>(to, from, left > 0);
        else for (int l = 0; l < 4; l++) copy_async<4>(to + l * along, l < left ? from + l : from, l < left);
    }

    template <bool A_TRANSPOSED, bool B_TRANSPOSED>
    static __device__ inline void accumulate(float (&sum)[2 * PAIRS], const char *a, const char *b)
    {
        const float *x = (const float *)a + row(0), *y = (const float *)b + col(0);
#pragma unroll
        for (int k = 0; k < DEPTH; k++) {
            float4 upper = *reinterpret_cast<const float4 *>(x + k * ROW),
                   lower = *reinterpret_cast<const float4 *>(x + k * ROW + 64);
            float down[8] = { upper.x, upper.y, upper.z, upper.w, lower.x, lower.y, lower.z, lower.w };
            for (int n = 0; n < 4; n++) {
                float2 two = *reinterpret_cast<const float2 *>(y + k * ROW + n * 32);
                for (int m = 0; m < 8; m++) {
                    sum[(m * 4 + n) * 2] += down[m] * two.x;
                    sum[(m * 4 + n) * 2 + 1] += down[m] * two.y;
                }
            }
        }
    }

    static __device__ inline int row(int pair) { return (int)threadIdx.x / 16 * 4 + pair / 16 * 64 + pair / 4 % 4; }
    static __device__ inline int col(int pair) { return (int)threadIdx.x % 16 * 2 + pair % 4 * 32; }
};

/* A tile of C, all of the inner axis. */
template <bool A_TRANSPOSED, bool B_TRANSPOSED, typename T>
static __device__ inline void multiply(const struct side<T> &a, const struct side<T> &b, const struct corner &c)
{
    typedef struct unit<T> unit;
    __shared__ __align__(128) char stage[STAGES][2][unit::BYTES];
    int steps = (a.inner + unit::DEPTH - 1) / unit::DEPTH;
    float sum[2 * PAIRS] = {};
    for (int s = 1 - STAGES, now = 1; s < steps; s++, now = now + 1 == STAGES ? 0 : now + 1) {
        int next = s + STAGES - 1, refill = now == 0 ? STAGES - 1 : now - 1;     /* the stage that was read last */
        if (s >= 0) {
            copy_wait<STAGES - 2>();
            __syncthreads();
        }
        if (next < steps) {
            unit::template fetch<A_TRANSPOSED>(stage[refill][0], a, next * unit::DEPTH);
            unit::template fetch<B_TRANSPOSED>(stage[refill][1], b, next * unit::DEPTH);
        }
        copy_commit();
        if (s >= 0) unit::template accumulate<A_TRANSPOSED, B_TRANSPOSED>(sum, stage[now][0], stage[now][1]);
    }
#pragma unroll
    for (int p = 0; p < PAIRS; p++) settle(c, unit::row(p), unit::col(p), sum[2 * p], sum[2 * p + 1]);
    __syncthreads();
}

/* ---- tiles ---- */

/* Tiles of rows are numbered expert after expert, and after the last expert's come those of the rows that
   belong to none. A warp looks at 32 experts at a time and goes on from there: `group` is the first of them,
   `before` the tiles before it. */
struct search { int group, before; };
struct found { int expert, row, to; };    /* rows [row,to) of the expert; expert < 0: there are fewer tiles */

static __device__ inline struct found seek(struct search &s, int tile, const int *offsets, int experts, int rows)
{
    int lane = (int)threadIdx.x % WARP;
    for (; s.group <= experts; s.group += WARP) {
        int e = s.group + lane, from = e <= experts ? offsets[e] : rows, to = e < experts ? offsets[e + 1] : rows;
        int tiles = (to - from + TILE - 1) / TILE, upto = tiles;
        for (int step = 1; step < WARP; step *= 2) {
            int other = __shfl_up_sync(0xFFFFFFFFu, upto, step);
            upto += lane < step ? 0 : other;
        }
        unsigned past = __ballot_sync(0xFFFFFFFFu, s.before + upto > tile);
        if (past) {
            int owner = __ffs(past) - 1, row = from + (tile - s.before - (upto - tiles)) * TILE;
            return { s.group + owner, __shfl_sync(0xFFFFFFFFu, row, owner), __shfl_sync(0xFFFFFFFFu, to, owner) };
        }
        s.before += __shfl_sync(0xFFFFFFFFu, upto, WARP - 1);
    }
    return { -1, 0, 0 };
}

/* c [rows,outer] = a [rows,inner] by w[e], which is [outer,inner], or transposed [inner,outer]; rows of
   no expert have depth 0. */
template <typename T, bool TRANSPOSED> static __global__ void __launch_bounds__(BLOCK, 2)
grouped_rows(const T *a, const T *w, struct sum c, const int *offsets, int experts, int rows, int outer, int inner)
{
    int wide = (outer + TILE - 1) / TILE;
    struct search s = { 0, 0 };
    for (int tile = (int)blockIdx.x;; tile += (int)gridDim.x) {
        struct found at = seek(s, tile / wide, offsets, experts, rows);
        if (at.expert < 0) return;
        int col = tile % wide * TILE, deep = at.expert < experts ? inner : 0;
        const T *weight = w + (at.expert < experts ? (int64_t)at.expert * outer * inner : 0);
        multiply<false, TRANSPOSED>(side_at<false>(a, inner, at.to, deep, at.row),
                                side_at<TRANSPOSED>(weight, TRANSPOSED ? outer : inner, outer, deep, col),
                                { c, (int64_t)at.row * outer + col, outer, at.to - at.row, outer - col });
    }
}

/* dw[e] [n,k] = sum over the expert's rows of dy [rows,n] by x [rows,k]; 0 for none. A block has one tile, as
   experts differ in depth. */
template <typename T> static __global__ void __launch_bounds__(BLOCK, 2)
grouped_depth(const T *dy, const T *x, struct sum dw, const int *offsets, int n, int k)
{
    unsigned wide = (unsigned)(k + TILE - 1) / TILE, tiles = wide * ((unsigned)(n + TILE - 1) / TILE);
    unsigned expert = blockIdx.x / tiles, tile = blockIdx.x % tiles;
    int row = (int)(tile / wide) * TILE, col = (int)(tile % wide) * TILE, from = offsets[expert],
        deep = offsets[expert + 1] - from;
    multiply<true, true>(side_at<true>(dy + (int64_t)from * n, n, n, deep, row),
                         side_at<true>(x + (int64_t)from * k, k, k, deep, col),
                         { dw, ((int64_t)expert * n + row) * k + col, k, n - row, k - col });
}

/* ---- calls ---- */

struct sizes { int rows, n, k, experts; const int32_t *offsets; struct operand w; };

static struct sizes sizes_of(const struct args *a)
{
    struct shape x = a->in[X].shape, w = a->in[W].shape;
    return { (int)x.dim[0], (int)w.dim[1], (int)x.dim[1], (int)w.dim[0],
             ints(&a->in[OFFSETS]), operand_of(a->in[W], w.dim[2]) };
}

static bool narrow(const struct args *a) { return a->in[X].format == FORMAT_BF16; }

template <typename T, bool TRANSPOSED>
static void by_rows(const struct args *a, const void *rows, const void *weight, struct sum c)
{
    struct sizes s = sizes_of(a);
    int outer = TRANSPOSED ? s.k : s.n, inner = TRANSPOSED ? s.n : s.k;
    int64_t most = ((int64_t)s.rows / TILE + s.experts + 2) * ((outer + TILE - 1) / TILE),
            fill = 2 * device_of(a)->multiprocessors;
    auto kernel = grouped_rows<T, TRANSPOSED>;
    LAUNCH(a, kernel, (unsigned)(most < fill ? most : fill), BLOCK, 0,
           (const T *)rows, (const T *)weight, c, s.offsets, s.experts, s.rows, outer, inner);
}

template <typename T> static void by_depth(const struct args *a)
{
    struct sizes s = sizes_of(a);
    int tiles = ((s.n + TILE - 1) / TILE) * ((s.k + TILE - 1) / TILE);
    LAUNCH(a, grouped_depth<T>, (unsigned)(tiles * s.experts), BLOCK, 0,
           (const T *)a->dout[0].data, (const T *)a->in[X].data, sum_of(a, W), s.offsets, s.n, s.k);
}

static void forward(const struct args *a)
{
    if (grouped_by_library()) return grouped_library_forward(a);
    char *scratch = (char *)a->scratch;
    const void *weight = operand_as(a, sizes_of(a).w, narrow(a), &scratch);
    struct sum y = { view_of(a->out[0]), 0 };
    if (narrow(a)) by_rows<__nv_bfloat16, false>(a, a->in[X].data, weight, y);
    else by_rows<float, false>(a, a->in[X].data, weight, y);
}

/* dx = dy w;  dw = dy^T x */
static void backward(const struct args *a)
{
    if (grouped_by_library()) return grouped_library_backward(a);
    char *scratch = (char *)a->scratch;
    if (a->din[X].data) {
        const void *weight = operand_as(a, sizes_of(a).w, narrow(a), &scratch);
        if (narrow(a)) by_rows<__nv_bfloat16, true>(a, a->dout[0].data, weight, sum_of(a, X));
        else by_rows<float, true>(a, a->dout[0].data, weight, sum_of(a, X));
    }
    if (!a->din[W].data) return;
    if (narrow(a)) by_depth<__nv_bfloat16>(a);
    else by_depth<float>(a);
}

static size_t scratch(const struct args *a) { return operand_scratch(sizes_of(a).w, narrow(a)); }

TWIN(grouped_matmul, forward, backward, NULL, scratch);
