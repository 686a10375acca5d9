/* Rows that threads share. A thread holds eight neighbouring values of its row, so that a kernel of several passes over
   a row reads memory once. A row of up to WARP * LANES values is shared by a power of two of lanes of a warp, a wider
   one by a block; rows wider than ROW_HELD are read again for each pass, most of it from cache. */
#ifndef SLUICE_CUDA_ROW_CUH
#define SLUICE_CUDA_ROW_CUH

#include "kernel.cuh"

enum { ROW_THREADS = 1024, ROW_HELD = ROW_THREADS * LANES };

/* How rows [n,d] lie in blocks: `lanes` threads share a row, a block has `at_once` rows at a time. */
struct rows { int64_t n; int d, lanes, at_once; };

static inline struct rows rows_shape(int64_t n, int64_t d)
{
    int64_t pieces = (d + LANES - 1) / LANES, lanes = 1;
    while (lanes < pieces && lanes < WARP) lanes *= 2;
    if (pieces > WARP) lanes = pieces < ROW_THREADS ? (pieces + WARP - 1) / WARP * WARP : (int64_t)ROW_THREADS;
    return { n, (int)d, (int)lanes, lanes > WARP ? 1 : (int)(BLOCK / lanes) };
}
static inline struct rows rows_of(struct shape s) { return rows_shape(shape_rows(s), shape_last(s)); }

/* A kernel of rows. The compiler may use the registers that one block of the widest rows leaves it:
   for two it would spill. */
#define ROWS_KERNEL static __global__ void __launch_bounds__(ROW_THREADS, 1)

/* LAUNCH_ROWS(a, kernel, rows, arguments...): kernel<held>, with the rows as its first argument;
   _IN: in as many blocks. */
#define LAUNCH_ROWS_IN(a, grid, kernel_, rows_, ...) do { \
    struct rows r_ = (rows_); \
    if (r_.d <= ROW_HELD) LAUNCH(a, kernel_<true>, (grid), r_.lanes * r_.at_once, 0, r_, __VA_ARGS__); \
    else LAUNCH(a, kernel_<false>, (grid), r_.lanes * r_.at_once, 0, r_, __VA_ARGS__); \
} while (0)
#define LAUNCH_ROWS(a, kernel_, rows_, ...) \
    LAUNCH_ROWS_IN(a, grid_for(a, r_.n, r_.at_once), kernel_, rows_, __VA_ARGS__)

/* All threads of a block walk alike, for they meet in sums; those whose row is beyond the last read and write nothing:
   for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) */
struct walk { int64_t first, row; int lane, d; };          /* d: 0 where there is no row */
static __device__ inline struct walk walk_at(const struct rows &r, int64_t first)
{
    int64_t row = first + threadIdx.x / (unsigned)r.lanes;
    return { first, row, (int)(threadIdx.x % (unsigned)r.lanes), row < r.n ? r.d : 0 };
}

static __device__ inline struct walk first_row(const struct rows &r)
{
    return walk_at(r, (int64_t)blockIdx.x * r.at_once);
}

static __device__ inline void next_row(struct walk *w, const struct rows &r)
{
    *w = walk_at(r, w->first + (int64_t)gridDim.x * r.at_once);
}

/* Columns [c, c+8) of a row of d values that begins at `at`; columns past its end read as
   `beyond`, and are not written. */
static __device__ inline struct eight row_load(struct view x, int64_t at, int c, int d, float beyond)
{
    struct eight e;
    if (((int)at | d) % LANES == 0 && c < d) return load8(x, at + c);
    for (int l = 0; l < LANES; l++) e.v[l] = c + l < d ? load(x, at + c + l) : beyond;
    return e;
}
static __device__ inline void row_store(struct view x, int64_t at, int c, int d, const struct eight &e)
{
    if (((int)at | d) % LANES == 0 && c < d) store8(x, at + c, e);
    else for (int l = 0; l < LANES; l++) if (c + l < d) store(x, at + c + l, e.v[l]);
}
static __device__ inline void row_add(struct sum s, int64_t at, int c, int d, const struct eight &g)
{
    if (((int)at | d) % LANES == 0 && c < d) add8(s, at + c, g);
    else for (int l = 0; l < LANES; l++) if (c + l < d) add(s, at + c + l, g.v[l]);
}

/* One tensor's row as a thread sees it: number p of the pieces that the thread has of it, one if the row is held. */
template <bool HELD> struct row {
    struct view x; int64_t at; int lane, lanes, d; float beyond; struct eight held;

    __device__ row(struct view of, const struct walk &w, const struct rows &r, float outside = 0)
        : x(of), at(w.row * r.d), lane(w.lane), lanes(r.lanes), d(w.d), beyond(outside)
    {
        if (HELD) held = row_load(x, at, column(0), d, beyond);
    }
    __device__ int pieces() const { return HELD ? 1 : (d + lanes * LANES - 1) / (lanes * LANES); }
    __device__ int column(int p) const { return (p * lanes + lane) * LANES; }
    __device__ struct eight piece(int p) const
    {
        if (HELD) return held;
        return row_load(x, at, column(p), d, beyond);
    }
};

/* Over the threads that share a row; each gets the result. */
static __device__ inline float row_sum(float x, int lanes)
{
    if (lanes > WARP) return block_sum(x);
    for (int step = lanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, step);
    return x;
}

/* The largest of the values that are numbers. */
static __device__ inline float row_top(float x, int lanes)
{
    __shared__ float part[WARP];
    for (int step = lanes > WARP ? WARP / 2 : lanes / 2; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, step));
    if (lanes <= WARP) return x;
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = x;
    __syncthreads();
    for (int w = 0; w < lanes / WARP; w++) x = fmaxf(x, part[w]);
    __syncthreads();
    return x;
}

#endif
