/* Rows of matrices, or columns, over their lengths. Memory bounds it: each value is read twice, the second time from
   cache, and written once, and its bf16 form. */
#include "update.cuh"

enum { W, CLIP };                                           /* inputs */
enum { ACROSS = 32, DOWN = BLOCK / ACROSS };                /* threads of a strip of columns */

/* n: of vectors; cols: of a matrix of `rows`; squares: of lengths */
struct vectors { float *w; void *packed; const float *clip; float *squares; int64_t n; int rows, cols; };

static __device__ inline float factor(float square) { return square > 0 ? rsqrtf(square) : 1; }

static __device__ inline void scale(const struct vectors &v, int64_t at, float by)
{
    struct view packed = { v.packed, true };
    float w = v.w[at] * by;
    v.w[at] = w;
    if (v.packed) store(packed, at, w);
}

static __global__ void __launch_bounds__(BLOCK) unit_norm_rows(struct vectors v)
{
    if (v.clip[1] == 0) return;
    for (int64_t r = blockIdx.x; r < v.n; r += gridDim.x) {
        float sum = 0;
        for (int c = threadIdx.x; c < v.cols; c += BLOCK) {
            float w = v.w[r * v.cols + c];
            sum += w * w;
        }
        sum = block_sum(sum);
        if (threadIdx.x == 0) v.squares[r] = sum;
        float by = factor(sum);
        for (int c = threadIdx.x; c < v.cols; c += BLOCK) scale(v, r * v.cols + c, by);
    }
}

/* Block (strip of ACROSS columns, matrix). */
static __global__ void __launch_bounds__(BLOCK) unit_norm_columns(struct vectors v)
{
    __shared__ float part[DOWN][ACROSS];
    int across = threadIdx.x % ACROSS, down = threadIdx.x / ACROSS, c = blockIdx.x * ACROSS + across;
    int64_t first = (int64_t)blockIdx.y * v.rows * v.cols + c;
    float sum = 0;
    if (v.clip[1] == 0) return;
    for (int r = down; c < v.cols && r < v.rows; r += DOWN) {
        float w = v.w[first + (int64_t)r * v.cols];
        sum += w * w;
    }
    part[down][across] = sum;
    __syncthreads();
    sum = 0;
    for (int d = 0; d < DOWN; d++) sum += part[d][across];
    if (c >= v.cols) return;
    if (down == 0) v.squares[(int64_t)blockIdx.y * v.cols + c] = sum;
    float by = factor(sum);
    for (int r = down; r < v.rows; r += DOWN) scale(v, first + (int64_t)r * v.cols, by);
}

static __global__ void __launch_bounds__(BLOCK) unit_norm_length(struct vectors v, float *out)
{
    float sum = 0;
    for (int64_t i = threadIdx.x; i < v.n && v.clip[1] != 0; i += BLOCK) sum += v.squares[i];
    sum = block_sum(sum);
    sum = divide(sum, (float)v.n);
    if (threadIdx.x == 0) *out = sum > 0 ? sum * rsqrtf(sum) : 0;
}

static bool by_columns(const struct args *a) { return ((const struct unit_norm_attr *)a->attr)->columns != 0; }

static int64_t vectors_of(const struct args *a)
{
    struct stack k = shape_stack(a->in[W].shape);
    return k.matrices * (by_columns(a) ? k.columns : k.rows);
}

static void update(const struct args *a)
{
    struct stack k = shape_stack(a->in[W].shape);
    int64_t n = vectors_of(a);
    struct vectors v = { reals(&a->in[W]), a->in[W].packed, reals(&a->in[CLIP]), (float *)a->scratch, n, (int)k.rows,
                         (int)k.columns };
    if (by_columns(a))
        LAUNCH(a, unit_norm_columns, dim3((unsigned)((k.columns + ACROSS - 1) / ACROSS), (unsigned)k.matrices), BLOCK,
               0, v);
    else LAUNCH(a, unit_norm_rows, grid_for(a, n, 1), BLOCK, 0, v);
    LAUNCH(a, unit_norm_length, 1, BLOCK, 0, v, reals(&a->out[0]));
}

static size_t scratch(const struct args *a) { return (size_t)vectors_of(a) * sizeof(float); }

TWIN(unit_norm, update, NULL, NULL, scratch);
