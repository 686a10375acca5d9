/* y = x w^T of operands that are quantised to FP8 first, and gradients of such: see runtime/ops/fp8_matmul.c. Quantised
   values have the bits of the CPU: what is largest does not depend on an order, and the rest is compiled without
   contraction. Products are matmul's and grouped_matmul's, whose arithmetic bounds the whole; quantising is bound by
   memory, each value being read twice, the second time from cache, and written once. */
#include "product.cuh"
#include "base/fp8.h"
extern "C" {
#include "parts.h"
extern const struct twin cuda_matmul, cuda_grouped_matmul;
}

enum { X, W, OFFSETS, HISTORY };                            /* inputs */
enum { DY = 2, PARTS };                                     /* work */
enum { TILE = 128, WARPS = BLOCK / WARP, HALVES = BLOCK / TILE };
enum shared { OF_ROW, OF_COLUMN, OF_BLOCK, OF_ALL };

/* Rows of `cols` values in segments, which share no scale: of `high` rows each, or where offsets has them. */
struct quantise {
    struct view from, to; const int *offsets; const float *amax;
    int cols, high, segments; enum shared shared; enum fp8_format format; bool power;
};

static __device__ inline int segment(const struct quantise &q, int e) { return q.offsets ? q.offsets[e] : e * q.high; }

/* A warp takes a row, a lane every 32nd value of it. */
static __device__ inline void region_rows(const struct quantise &q, int64_t first, int rows, int n)
{
    for (int r = threadIdx.x / WARP; r < rows; r += WARPS) {
        float x[TILE / WARP], top = 0;
        int64_t at = first + (int64_t)r * q.cols + threadIdx.x % WARP;
        int left = n - (int)threadIdx.x % WARP;
        for (int j = 0; j < TILE / WARP; j++) {
            x[j] = j * WARP < left ? load(q.from, at + j * WARP) : 0;
            top = fmaxf(top, fabsf(x[j]));
        }
        struct fp8_scale s = fp8_scale_of(q.format, warp_max(top), q.power);
        for (int j = 0; j < TILE / WARP; j++)
            if (j * WARP < left) store(q.to, at + j * WARP, fp8_quantized(q.format, s, x[j]));
    }
}

/* A thread takes every second value of a column. */
static __device__ inline void region_columns(const struct quantise &q, int64_t first, int rows, int n)
{
    __shared__ float part[HALVES][TILE];
    int c = threadIdx.x % TILE, half = threadIdx.x / TILE;
    float top = 0;
    for (int r = half; r < rows && c < n && q.shared != OF_ALL; r += HALVES)
        top = fmaxf(top, fabsf(load(q.from, first + (int64_t)r * q.cols + c)));
    if (q.shared == OF_ALL) top = *q.amax;
    if (q.shared == OF_BLOCK) top = block_max(top);
    part[half][c] = top;
    __syncthreads();
    struct fp8_scale s = fp8_scale_of(q.format, fmaxf(part[0][c], part[1][c]), q.power);
    for (int r = half; r < rows && c < n; r += HALVES) {
        int64_t at = first + (int64_t)r * q.cols + c;
        store(q.to, at, fp8_quantized(q.format, s, load(q.from, at)));
    }
    __syncthreads();
}

/* A block takes TILE rows of TILE columns at a time. BY_ROWS: q.shared is OF_ROW */
template <bool BY_ROWS> static __global__ void __launch_bounds__(BLOCK) fp8_regions(struct quantise q)
{
    int wide = (q.cols + TILE - 1) / TILE, first = 0, at = blockIdx.x;
    for (int e = 0; e < q.segments;) {
        int begin = segment(q, e), end = segment(q, e + 1), n = (end - begin + TILE - 1) / TILE * wide;
        if (at >= first + n) {
            first += n;
            e++;
            continue;
        }
        int row = begin + (at - first) / wide * TILE, col = (at - first) % wide * TILE,
            rows = end - row < TILE ? end - row : TILE, cols = q.cols - col < TILE ? q.cols - col : TILE;
        if (BY_ROWS) region_rows(q, (int64_t)row * q.cols + col, rows, cols);
        else region_columns(q, (int64_t)row * q.cols + col, rows, cols);
        at += gridDim.x;
    }
}

static __global__ void __launch_bounds__(BLOCK) fp8_parts(struct quantise q, float *part)
{
    int64_t n = (int64_t)segment(q, q.segments) * q.cols, whole = n / LANES;
    float top = 0;
#pragma unroll 1
    for (int64_t i = first_item(); i < whole; i += all_items()) {
        struct eight x = load8(q.from, i * LANES);
        for (int l = 0; l < LANES; l++) top = fmaxf(top, fabsf(x.v[l]));
    }
    if (first_item() < n % LANES) top = fmaxf(top, fabsf(load(q.from, whole * LANES + first_item())));
    top = block_max(top);
    if (threadIdx.x == 0) part[blockIdx.x] = top;
}

/* used := the largest of the history of operand k, [steps,3], or where there is none that of n values of now. */
static __global__ void __launch_bounds__(BLOCK)
fp8_top(const float *now, int n, const float *history, int steps, int k, float *used)
{
    float before = 0, top = block_max((int)threadIdx.x < n ? now[threadIdx.x] : 0);
    for (int i = threadIdx.x; i < steps; i += BLOCK) before = fmaxf(before, history[3 * i + k]);
    before = block_max(before);
    if (threadIdx.x == 0) *used = before > 0 ? before : top;
}

/* ---- calls ---- */

static const struct fp8_attr *attr_of(const struct args *a) { return (const struct fp8_attr *)a->attr; }
static bool stacked(const struct args *a) { return a->in[OFFSETS].data != NULL; }
enum { USED_BYTES = 256 };                                  /* before the scratch of products: what a scale goes by */

/* Operand k as it is read: x and dy in the segments of experts' rows, w in those of their matrices. */
static struct quantise operand(const struct args *a, int k)
{
    const struct fp8_attr *at = attr_of(a);
    const struct tensor *of = k == DY ? &a->dout[0] : &a->in[k];
    struct shape w = a->in[W].shape;
    int experts = stacked(a) ? (int)w.dim[0] : 1;
    struct quantise q = {};
    q.from = view_of(*of);
    q.to = view_of(a->work[k]);
    q.cols = (int)shape_last(of->shape);
    q.high = (int)(k == W ? w.dim[w.rank - 2] : of->shape.dim[0]);
    q.segments = experts;
    q.offsets = stacked(a) && k != W ? ints(&a->in[OFFSETS]) : NULL;
    q.format = (enum fp8_format)(k == DY ? at->gradient : at->forward);
    q.power = at->power != 0;
    return q;
}

/* to := its largest size, or by the history what that was. */
static void find_top(const struct args *a, int k, bool by_history, float *to)
{
    const struct tensor *history = &a->in[HISTORY];
    bool parts = k == DY || !by_history;
    float *now = parts ? reals(&a->work[PARTS]) : reals(&a->out[1]) + k;
    if (parts) LAUNCH(a, fp8_parts, BLOCK, BLOCK, 0, operand(a, k), now);
    LAUNCH(a, fp8_top, 1, BLOCK, 0, now, parts ? (int)BLOCK : 1, reals(history),
           by_history && history->data ? (int)history->shape.dim[0] : 0, k, to);
}

static void run(const struct args *a, const struct quantise &q)
{
    int64_t rows = q.offsets ? q.high : (int64_t)q.high * q.segments,
            most = ((rows + TILE - 1) / TILE + q.segments) * ((q.cols + TILE - 1) / TILE);
    if (q.shared == OF_ROW) LAUNCH(a, fp8_regions<true>, grid_for(a, most, 1), BLOCK, 0, q);
    else LAUNCH(a, fp8_regions<false>, grid_for(a, most, 1), BLOCK, 0, q);
}

/* Into the operand's work; tiles: who shares a scale where not all do. */
static void quantise(const struct args *a, int k, enum shared tiles)
{
    struct quantise q = operand(a, k);
    q.shared = tiles;
    if (attr_of(a)->scaling != FP8_TILE) {
        q.shared = OF_ALL;
        q.amax = (const float *)a->scratch;
        find_top(a, k, true, (float *)a->scratch);
    }
    run(a, q);
}

/* The same once more, of what is in the work already, by tiles. */
static void quantise_again(const struct args *a, int k, enum shared tiles)
{
    struct quantise q = operand(a, k);
    q.from = q.to;
    q.shared = tiles;
    run(a, q);
}

/* A product as matmul or grouped_matmul has it, of quantised operands. */
enum which { OF_Y, OF_DX, OF_DW };
struct call { struct tensor in[OFFSETS + 1], out, dout, din[OFFSETS + 1]; struct args with; };

static const struct twin *twin_of(const struct args *a) { return stacked(a) ? &cuda_grouped_matmul : &cuda_matmul; }

static void call_of(const struct args *a, enum which which, struct call *c)
{
    *c = {};
    c->with = *a;
    c->in[X] = a->work[X];
    c->in[W] = a->work[W];
    c->in[OFFSETS] = a->in[OFFSETS];
    c->out = a->out[0];
    c->with.n_in = stacked(a) ? OFFSETS + 1 : OFFSETS;
    c->with.in = c->in;
    c->with.out = &c->out;
    c->with.dout = c->with.din = NULL;
    c->with.scratch = (char *)a->scratch + USED_BYTES;
    if (which == OF_Y) return;
    c->out.format = a->work[DY].format;
    c->dout = a->work[DY];
    c->din[X].shape = a->in[X].shape;
    c->din[W].shape = a->in[W].shape;
    if (which == OF_DX) c->din[X] = a->din[X];
    else c->din[W] = a->din[W];
    c->with.dout = &c->dout;
    c->with.din = c->din;
}

static void forward(const struct args *a)
{
    struct call c;
    call_of(a, OF_Y, &c);
    INVARIANT(!stacked(a) || !grouped_by_library() || c.in[X].format == c.out.format,
              "SLUICE_CUDA_GROUPED=library multiplies FP8 of bf16 activations by scales that are powers of two alone");
    for (int k = X; k <= W && attr_of(a)->scaling != FP8_TILE; k++) find_top(a, k, false, reals(&a->out[1]) + k);
    quantise(a, X, OF_ROW);
    quantise(a, W, OF_BLOCK);
    twin_of(a)->kernels.forward(&c.with);
}

static void backward(const struct args *a)
{
    struct call c;
    if (a->din[X].data) {
        quantise(a, W, OF_BLOCK);
        quantise(a, DY, OF_ROW);
        call_of(a, OF_DX, &c);
        twin_of(a)->kernels.backward(&c.with);
    }
    if (!a->din[W].data) return;
    quantise(a, X, OF_ROW);
    if (attr_of(a)->scaling == FP8_TILE) quantise_again(a, X, OF_COLUMN);
    quantise(a, DY, OF_COLUMN);
    call_of(a, OF_DW, &c);
    twin_of(a)->kernels.backward(&c.with);
}

static size_t scratch(const struct args *a)
{
    size_t most = 0;
    for (int which = OF_Y; which <= (a->din ? OF_DW : OF_Y); which++) {
        struct call c;
        call_of(a, (enum which)which, &c);
        size_t bytes = twin_of(a)->scratch(&c.with);
        if (bytes > most) most = bytes;
    }
    return USED_BYTES + most;
}

TWIN(fp8_matmul, forward, backward, NULL, scratch);
