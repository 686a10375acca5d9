/* What muon.cu does to lines of matrices, their rows or columns: squares of each, and factors made of them, which make
   lines equally long, now or over time. Memory bounds it: a value costs 12 bytes. */
#ifndef SLUICE_CUDA_NEURONS_CUH
#define SLUICE_CUDA_NEURONS_CUH

#include "kernel.cuh"

enum { ACROSS = 32, DOWN = BLOCK / ACROSS };                /* threads of a row; or of a strip of columns */

/* square, factor: of each line of each matrix of the batch */
struct lines { float *x; int rows, cols, n; bool columns; float *square; };

/* Block (DOWN rows, matrix). */
static __global__ void __launch_bounds__(BLOCK) muon_rows(struct lines a)
{
    int lane = threadIdx.x % ACROSS, r = blockIdx.x * DOWN + threadIdx.x / ACROSS;
    const float *row = a.x + ((int64_t)blockIdx.y * a.rows + r) * a.cols;
    float sum = 0;
    if (r >= a.rows) return;
    for (int c = lane; c < a.cols; c += ACROSS) sum += row[c] * row[c];
    sum = warp_sum(sum);
    if (lane == 0) a.square[(int64_t)blockIdx.y * a.n + r] = sum;
}

/* Block (strip of ACROSS columns, matrix). */
static __global__ void __launch_bounds__(BLOCK) muon_columns(struct lines a)
{
    __shared__ float part[DOWN][ACROSS];
    int across = threadIdx.x % ACROSS, down = threadIdx.x / ACROSS, c = blockIdx.x * ACROSS + across;
    const float *x = a.x + (int64_t)blockIdx.y * a.rows * a.cols + c;
    float sum = 0;
    for (int r = down; c < a.cols && r < a.rows; r += DOWN) {
        float value = x[(int64_t)r * a.cols];
        sum += value * value;
    }
    part[down][across] = sum;
    __syncthreads();
    sum = 0;
    for (int d = 0; d < DOWN; d++) sum += part[d][across];
    if (down == 0 && c < a.cols) a.square[(int64_t)blockIdx.y * a.n + c] = sum;
}

/* By a block for each matrix: squares become the factors that make lines of a matrix equally long, as long together as
   they were; its own square is left in the first of its spans. */
static __global__ void __launch_bounds__(BLOCK) muon_even(struct lines a, double *part, int spans)
{
    float *square = a.square + (int64_t)blockIdx.y * a.n;
    double sum = 0, now = 0;
    for (int i = threadIdx.x; i < a.n; i += BLOCK) sum += square[i];
    float mean = (float)(block_sum(sum) / a.n);
    for (int i = threadIdx.x; i < a.n; i += BLOCK) {
        bool some = square[i] > 0;
        if (some) now += mean;
        square[i] = some ? sqrtf(divide(mean, square[i])) : 1;
    }
    now = block_sum(now);
    for (int s = threadIdx.x; s < spans; s += BLOCK) part[blockIdx.y * spans + s] = s == 0 ? now : 0;
}

/* By a block for each matrix: v takes the squares in, which become factors. width: values of a line. */
static __global__ void __launch_bounds__(BLOCK) muon_neurons(struct lines a, float *v, const float *clip, double beta2)
{
    int64_t first = (int64_t)blockIdx.y * a.n;
    double width = a.columns ? a.rows : a.cols, before = 0, after = 0;
    if (clip[1] == 0) return;
    for (int i = threadIdx.x; i < a.n; i += BLOCK) {
        double square = a.square[first + i];
        float now = (float)(beta2 * v[first + i] + (1 - beta2) * square / width), by = rsqrtf(fmaxf(now, 1e-10f));
        v[first + i] = now;
        a.square[first + i] = by;
        before += square;
        after += square * by * by;
    }
    before = block_sum(before);
    after = block_sum(after);
    float ratio = after > 0 ? (float)sqrt(before / after) : 1;
    for (int i = threadIdx.x; i < a.n; i += BLOCK) a.square[first + i] *= ratio;
}

static __global__ void __launch_bounds__(BLOCK) muon_scale_lines(struct lines a)
{
    float *x = a.x + (int64_t)blockIdx.y * a.rows * a.cols;
    const float *by = a.square + (int64_t)blockIdx.y * a.n;
    for (int r = blockIdx.x; r < a.rows; r += gridDim.x)
        for (int c = threadIdx.x; c < a.cols; c += BLOCK) x[(int64_t)r * a.cols + c] *= by[a.columns ? c : r];
}

static void square_lines(const struct args *a, const struct lines &l, int batch)
{
    if (l.columns) LAUNCH(a, muon_columns, dim3((l.cols + ACROSS - 1) / ACROSS, batch), BLOCK, 0, l);
    else LAUNCH(a, muon_rows, dim3((l.rows + DOWN - 1) / DOWN, batch), BLOCK, 0, l);
}

#endif
