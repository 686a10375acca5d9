/* Doubly stochastic matrices of logits; see runtime/ops/sinkhorn.c. Eight lanes of a warp share a token, a row each, so
   that rows are summed within a lane and columns across eight. Cells beyond the matrix are 0. Bound by the shuffles of
   those sums. */
#include "kernel.cuh"

enum { MOST = 8, TOKENS = WARP / MOST };                    /* n at most; tokens of a block, which is a warp */

/* What a thread knows of its token's matrix: row i of n. */
struct row { int64_t token; int i, n; };

static __device__ inline struct row row_at(int64_t first, int n)
{
    return { first + threadIdx.x / MOST, (int)threadIdx.x % MOST, n };
}

static __device__ inline void read_row(const float *x, const struct row &r, int64_t tokens, float m[MOST])
{
#pragma unroll
    for (int j = 0; j < MOST; j++)
        m[j] = r.token < tokens && r.i < r.n && j < r.n ? x[(r.token * r.n + r.i) * r.n + j] : 0;
}

/* Of a column: over the lanes of a token. */
static __device__ inline float column_sum(float x)
{
    for (int step = MOST / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, step);
    return x;
}

static __device__ inline void softmax(const struct row &r, float m[MOST])
{
    float top = m[0];
#pragma unroll
    for (int j = 1; j < MOST; j++) if (j < r.n) top = fmaxf(top, m[j]);
#pragma unroll
    for (int j = 0; j < MOST; j++) m[j] = r.i < r.n && j < r.n ? __expf(m[j] - top) : 0;
    float sum = 0;
#pragma unroll
    for (int j = 0; j < MOST; j++) sum += m[j];
#pragma unroll
    for (int j = 0; j < MOST; j++) m[j] = r.i < r.n ? divide(m[j], sum) : 0;
}

/* What the lane's row and all columns are multiplied by. */
struct factors { float u, v[MOST]; };

/* Divides rows, or columns, by their sums; gives the factor of row, or column, number i. */
static __device__ inline float divide_rows(const struct row &r, float eps, const float m[MOST], struct factors *f)
{
    float sum = eps;
#pragma unroll
    for (int j = 0; j < MOST; j++) sum += m[j] * f->u * f->v[j];
    if (r.i < r.n) f->u = divide(f->u, sum);
    return f->u;
}
static __device__ inline float divide_columns(const struct row &r, float eps, const float m[MOST], struct factors *f)
{
    float own = 1;
#pragma unroll
    for (int j = 0; j < MOST; j++) {
        float sum = eps + column_sum(m[j] * f->u * f->v[j]);
        if (j < r.n) f->v[j] = divide(f->v[j], sum);
        if (j == r.i) own = f->v[j];
    }
    return own;
}

/* Take gradients e = M dM, and factors, back to before that. */
static __device__ inline void divide_rows_gradient(float before, const float m[MOST], float e[MOST], struct factors *f)
{
    float sum = 0;
#pragma unroll
    for (int j = 0; j < MOST; j++) sum += e[j];
#pragma unroll
    for (int j = 0; j < MOST; j++) e[j] -= m[j] * f->u * f->v[j] * sum;
    f->u = before;
}
static __device__ inline void divide_columns_gradient(float own, const float m[MOST], float e[MOST], struct factors *f)
{
#pragma unroll
    for (int j = 0; j < MOST; j++) {
        e[j] -= m[j] * f->u * f->v[j] * column_sum(e[j]);
        f->v[j] = __shfl_sync(0xFFFFFFFFu, own, j, MOST);
    }
}

/* m: the softmax + eps. kept: the factors after every division, a line of WARP each, where backward will want them. */
static __device__ inline void balance(const struct row &r, float eps, int divisions, float m[MOST], struct factors *f,
                                      float *kept)
{
    softmax(r, m);
    f->u = 1;
#pragma unroll
    for (int j = 0; j < MOST; j++) {
        m[j] += r.i < r.n && j < r.n ? eps : 0;
        f->v[j] = 1;
    }
    for (int k = 0; k < divisions; k++) {
        float own = k % 2 ? divide_rows(r, eps, m, f) : divide_columns(r, eps, m, f);
        if (kept) kept[k * WARP + threadIdx.x] = own;
    }
}

static __global__ void __launch_bounds__(WARP, 1)
sinkhorn_forward(const float *x, float *y, int64_t tokens, int n, int divisions, float eps)
{
    for (int64_t t = (int64_t)blockIdx.x * TOKENS; t < tokens; t += (int64_t)gridDim.x * TOKENS) {
        struct row r = row_at(t, n);
        struct factors f;
        float m[MOST];
        read_row(x, r, tokens, m);
        balance(r, eps, divisions, m, &f, NULL);
#pragma unroll
        for (int j = 0; j < MOST; j++)
            if (r.token < tokens && r.i < n && j < n) y[(r.token * n + r.i) * n + j] = m[j] * f.u * f.v[j];
    }
}

static __global__ void __launch_bounds__(WARP, 1)
sinkhorn_backward(const float *x, const float *dy, struct sum dx, int64_t tokens, int n, int divisions, float eps)
{
    extern __shared__ float kept[];
    for (int64_t t = (int64_t)blockIdx.x * TOKENS; t < tokens; t += (int64_t)gridDim.x * TOKENS) {
        struct row r = row_at(t, n);
        struct factors f;
        float m[MOST], e[MOST], sum = 0;
        read_row(x, r, tokens, m);
        read_row(dy, r, tokens, e);
        balance(r, eps, divisions, m, &f, kept);
#pragma unroll
        for (int j = 0; j < MOST; j++) e[j] *= m[j] * f.u * f.v[j];
        for (int k = divisions - 1; k >= 0; k--) {
            float before = k > 1 ? kept[(k - 2) * WARP + threadIdx.x] : 1;
            if (k % 2) divide_rows_gradient(before, m, e, &f);
            else divide_columns_gradient(before, m, e, &f);
        }
        read_row(x, r, tokens, m);
        softmax(r, m);
#pragma unroll
        for (int j = 0; j < MOST; j++) sum += e[j] = m[j] == 0 ? 0 : e[j] * divide(m[j], m[j] + eps);
#pragma unroll
        for (int j = 0; j < MOST; j++)
            if (r.token < tokens && r.i < n && j < n) add(dx, (r.token * n + r.i) * n + j, e[j] - m[j] * sum);
    }
}

static int divisions(const struct args *a) { return 2 * (int)((const struct sinkhorn_attr *)a->attr)->iterations - 1; }

static void forward(const struct args *a)
{
    const struct sinkhorn_attr *at = (const struct sinkhorn_attr *)a->attr;
    struct shape s = a->in[0].shape;
    LAUNCH(a, sinkhorn_forward, grid_for(a, s.dim[0], TOKENS), WARP, 0, reals(&a->in[0]), reals(&a->out[0]), s.dim[0],
           (int)s.dim[1], divisions(a), (float)at->eps);
}

static void backward(const struct args *a)
{
    const struct sinkhorn_attr *at = (const struct sinkhorn_attr *)a->attr;
    struct shape s = a->in[0].shape;
    LAUNCH(a, sinkhorn_backward, grid_for(a, s.dim[0], TOKENS), WARP, divisions(a) * WARP * (int)sizeof(float),
           reals(&a->in[0]), reals(&a->dout[0]), sum_of(a, 0), s.dim[0], (int)s.dim[1], divisions(a), (float)at->eps);
}

TWIN(sinkhorn, forward, backward);
