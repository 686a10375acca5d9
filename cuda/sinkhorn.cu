/* Doubly stochastic matrices of logits; see runtime/ops/sinkhorn.c. Eight lanes of a warp share a token, a row each, so
   that rows are summed within a lane and columns across eight. Cells beyond the matrix are 0, and their lines are
   divided by 1. Bound by the shuffles of those sums. */
#include "kernel.cuh"

enum { MOST = 8, TOKENS = WARP / MOST };                    /* n at most; tokens of a block, which is a warp */

struct sinkhorn_attr { double eps; int64_t iterations; };

/* What a thread knows of its token's matrix: row i of n. */
struct place { int64_t token; int i, n; };

static __device__ inline struct place place_at(int64_t first, int n)
{
    return { first + threadIdx.x / MOST, (int)threadIdx.x % MOST, n };
}

static __device__ inline void read_row(const float *x, const struct place &p, int64_t tokens, float m[MOST])
{
#pragma unroll
    for (int j = 0; j < MOST; j++)
        m[j] = p.token < tokens && p.i < p.n && j < p.n ? x[(p.token * p.n + p.i) * p.n + j] : 0;
}

/* Of a column: over the lanes of a token. */
static __device__ inline float column_sum(float x)
{
    for (int step = MOST / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, step);
    return x;
}

static __device__ inline float row_sum(const float m[MOST])
{
    float sum = 0;
#pragma unroll
    for (int j = 0; j < MOST; j++) sum += m[j];
    return sum;
}

static __device__ inline void softmax(const struct place &p, float m[MOST])
{
    float top = m[0];
#pragma unroll
    for (int j = 1; j < MOST; j++) if (j < p.n) top = fmaxf(top, m[j]);
#pragma unroll
    for (int j = 0; j < MOST; j++) m[j] = p.i < p.n && j < p.n ? __expf(m[j] - top) : 0;
    float sum = p.i < p.n ? row_sum(m) : 1;
#pragma unroll
    for (int j = 0; j < MOST; j++) m[j] = divide(m[j], sum);
}

/* Divides rows by their sums, each lane its own; and columns, of which each lane gives the sum of number i. */
static __device__ inline float scale_rows(const struct place &p, float eps, float m[MOST])
{
    float sum = p.i < p.n ? eps + row_sum(m) : 1;
#pragma unroll
    for (int j = 0; j < MOST; j++) m[j] = divide(m[j], sum);
    return sum;
}
static __device__ inline float scale_columns(const struct place &p, float eps, float m[MOST])
{
    float own = 1;
#pragma unroll
    for (int j = 0; j < MOST; j++) {
        float sum = j < p.n ? eps + column_sum(m[j]) : 1;
        if (j == p.i) own = sum;
        m[j] = divide(m[j], sum);
    }
    return own;
}

/* Multiplies them by their sums again, and takes the gradient back: dx = (dy - sum(dy y)) / s. */
static __device__ inline void unscale_rows(float sum, float m[MOST], float d[MOST])
{
    float dot = 0;
#pragma unroll
    for (int j = 0; j < MOST; j++) dot += d[j] * m[j];
#pragma unroll
    for (int j = 0; j < MOST; j++) {
        d[j] = divide(d[j] - dot, sum);
        m[j] *= sum;
    }
}
static __device__ inline void unscale_columns(float own, float m[MOST], float d[MOST])
{
#pragma unroll
    for (int j = 0; j < MOST; j++) {
        float sum = __shfl_sync(0xFFFFFFFFu, own, j, MOST), dot = column_sum(d[j] * m[j]);
        d[j] = divide(d[j] - dot, sum);
        m[j] *= sum;
    }
}

/* sums: those of every division, a line of WARP each, where backward will want them. */
static __device__ inline void balance(const struct place &p, float eps, int iterations, float m[MOST], float *sums)
{
    softmax(p, m);
#pragma unroll
    for (int j = 0; j < MOST; j++) m[j] += p.i < p.n && j < p.n ? eps : 0;
    for (int k = 0; k < 2 * iterations - 1; k++) {
        float sum = k % 2 ? scale_rows(p, eps, m) : scale_columns(p, eps, m);
        if (sums) sums[k * WARP + threadIdx.x] = sum;
    }
}

static __global__ void __launch_bounds__(WARP)
sinkhorn_forward(const float *x, float *y, int64_t tokens, int n, int iterations, float eps)
{
    for (int64_t t = (int64_t)blockIdx.x * TOKENS; t < tokens; t += (int64_t)gridDim.x * TOKENS) {
        struct place p = place_at(t, n);
        float m[MOST];
        read_row(x, p, tokens, m);
        balance(p, eps, iterations, m, NULL);
#pragma unroll
        for (int j = 0; j < MOST; j++)
            if (p.token < tokens && p.i < n && j < n) y[(p.token * n + p.i) * n + j] = m[j];
    }
}

static __global__ void __launch_bounds__(WARP)
sinkhorn_backward(const float *x, const float *dy, struct sum dx, int64_t tokens, int n, int iterations, float eps)
{
    extern __shared__ float sums[];
    for (int64_t t = (int64_t)blockIdx.x * TOKENS; t < tokens; t += (int64_t)gridDim.x * TOKENS) {
        struct place p = place_at(t, n);
        float m[MOST], d[MOST];
        read_row(x, p, tokens, m);
        read_row(dy, p, tokens, d);
        balance(p, eps, iterations, m, sums);
        for (int k = 2 * iterations - 2; k >= 0; k--)
            if (k % 2) unscale_rows(sums[k * WARP + threadIdx.x], m, d);
            else unscale_columns(sums[k * WARP + threadIdx.x], m, d);
        read_row(x, p, tokens, m);
        softmax(p, m);
        float dot = 0;
#pragma unroll
        for (int j = 0; j < MOST; j++) dot += d[j] * m[j];
#pragma unroll
        for (int j = 0; j < MOST; j++)
            if (p.token < tokens && p.i < n && j < n) add(dx, (p.token * n + p.i) * n + j, m[j] * (d[j] - dot));
    }
}

static void forward(const struct args *a)
{
    const struct sinkhorn_attr *at = (const struct sinkhorn_attr *)a->attr;
    struct shape s = a->in[0].shape;
    LAUNCH(a, sinkhorn_forward, grid_for(a, s.dim[0], TOKENS), WARP, 0, reals(&a->in[0]), reals(&a->out[0]), s.dim[0],
           (int)s.dim[1], (int)at->iterations, (float)at->eps);
}

static void backward(const struct args *a)
{
    const struct sinkhorn_attr *at = (const struct sinkhorn_attr *)a->attr;
    struct shape s = a->in[0].shape;
    int sums = (2 * (int)at->iterations - 1) * WARP * (int)sizeof(float);
    LAUNCH(a, sinkhorn_backward, grid_for(a, s.dim[0], TOKENS), WARP, sums, reals(&a->in[0]), reals(&a->dout[0]),
           sum_of(a, 0), s.dim[0], (int)s.dim[1], (int)at->iterations, (float)at->eps);
}

TWIN(sinkhorn, forward, backward);
