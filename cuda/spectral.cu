/* The largest singular value of each matrix of a stack, by power iteration: a block a matrix, which it reads twice an
   iteration. Cache or memory bounds it; monitors alone ask for it, in evaluations. */
#include "kernel.cuh"

enum { SIGMA, RANK };                                       /* outputs */

struct matrices { const float *w; float *scratch, *sigma, *rank; int64_t rows, cols; int iterations; };

static __device__ inline float length(float square) { return square > 0 ? square * rsqrtf(square) : 0; }

/* What a block's threads find of the squares of n values. */
static __device__ inline float square_of(const float *x, int64_t n)
{
    float sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += BLOCK) sum += x[i] * x[i];
    return block_sum(sum);
}

static __device__ inline void divide_by(float *x, int64_t n, float length)
{
    for (int64_t i = threadIdx.x; i < n; i += BLOCK) x[i] = length > 0 ? divide(x[i], length) : 0;
    __syncthreads();
}

/* u = W v, a warp a row; then v = W^T u, a thread a column. */
static __device__ inline void multiply(const struct matrices &m, const float *w, float *u, const float *v)
{
    for (int64_t r = threadIdx.x / WARP; r < m.rows; r += BLOCK / WARP) {
        float sum = 0;
        for (int64_t c = threadIdx.x % WARP; c < m.cols; c += WARP) sum += w[r * m.cols + c] * v[c];
        sum = warp_sum(sum);
        if (threadIdx.x % WARP == 0) u[r] = sum;
    }
    __syncthreads();
}
static __device__ inline void multiply_back(const struct matrices &m, const float *w, const float *u, float *v)
{
    for (int64_t c = threadIdx.x; c < m.cols; c += BLOCK) {
        float sum = 0;
        for (int64_t r = 0; r < m.rows; r++) sum += w[r * m.cols + c] * u[r];
        v[c] = sum;
    }
    __syncthreads();
}

static __global__ void __launch_bounds__(BLOCK) spectral_matrix(struct matrices m)
{
    const float *w = m.w + blockIdx.x * m.rows * m.cols;
    float *u = m.scratch + blockIdx.x * (m.rows + m.cols), *v = u + m.rows, sigma = 0;
    float whole = square_of(w, m.rows * m.cols), least = length(divide(whole, (float)min(m.rows, m.cols)));
    for (int64_t c = threadIdx.x; c < m.cols; c += BLOCK) v[c] = rsqrtf((float)m.cols);
    __syncthreads();
    for (int k = 0; k < m.iterations; k++) {
        multiply(m, w, u, v);
        divide_by(u, m.rows, length(square_of(u, m.rows)));
        multiply_back(m, w, u, v);
        sigma = length(square_of(v, m.cols));
        divide_by(v, m.cols, sigma);
    }
    if (threadIdx.x != 0) return;
    sigma = fmaxf(sigma, least);
    m.sigma[blockIdx.x] = sigma;
    m.rank[blockIdx.x] = sigma > 0 ? divide(whole, sigma * sigma) : 0;
}

static void forward(const struct args *a)
{
    const struct spectral_attr *at = (const struct spectral_attr *)a->attr;
    struct stack w = shape_stack(a->in[0].shape);
    struct matrices m = { reals(&a->in[0]), (float *)a->scratch, reals(&a->out[SIGMA]), reals(&a->out[RANK]),
                          w.rows, w.columns, (int)at->iterations };
    LAUNCH(a, spectral_matrix, (unsigned)w.matrices, BLOCK, 0, m);
}

static size_t scratch(const struct args *a)
{
    struct stack w = shape_stack(a->in[0].shape);
    return (size_t)(w.matrices * (w.rows + w.columns)) * sizeof(float);
}

TWIN(spectral, forward, NULL, NULL, scratch);
