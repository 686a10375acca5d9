/* Momentum, made (nearly) orthogonal by five Newton-Schulz steps: M = mu M + g;  w -= lr (scale NS(M or g + mu M) +
   decay w). The products of the steps bound it, 4 low^2 high + 2 low^3 FLOPs each for matrices whose sides are low and
   high, in float; around them a value costs 44 bytes. Matrices of a stack go in batches of bounded scratch. */
#include "gemm.h"
#include "update.cuh"

enum { W, GRAD, M, LR, CLIP };                              /* inputs */
enum { ROOM = 64 << 20 };                                   /* floats of scratch, unless one matrix needs more */

/* batch: matrices at work at one time; spans: of one matrix */
struct sizes { int64_t stack, rows, cols, low, high; int batch, spans; };

static struct sizes sizes_of(const struct args *a)
{
    struct shape w = a->in[W].shape;
    struct sizes s = {
        .stack = 1, .rows = w.dim[w.rank - 2], .cols = w.dim[w.rank - 1], .low = 0, .high = 0, .batch = 0, .spans = 0
    };
    for (int i = 0; i < w.rank - 2; i++) s.stack *= w.dim[i];
    s.low = s.rows < s.cols ? s.rows : s.cols;
    s.high = s.rows < s.cols ? s.cols : s.rows;
    /* blockIdx.y is a matrix */
    int64_t fit = ROOM / (2 * s.low * (s.low + s.high)), most = fit < 1 ? 1 : fit < UINT16_MAX ? fit : UINT16_MAX;
    s.batch = (int)(s.stack < most ? s.stack : most);
    s.spans = spans_of(s.rows * s.cols);
    return s;
}

/* ---- around the steps: block (span, matrix of the batch) ---- */

/* from the first of a batch on; n: values of one */
struct matrices { float *w, *m; const float *grad; void *packed; int64_t n; };

/* Takes the gradient in; x := what is to be made orthogonal, and its squares. A step that is
   skipped leaves m as it is. */
static __global__ void __launch_bounds__(BLOCK)
muon_momentum(struct matrices a, const float *clip, float mu, bool nesterov, float *x, double *part)
{
    int64_t from = (int64_t)blockIdx.x * SPAN, to = a.n - from < SPAN ? a.n : from + SPAN, start = blockIdx.y * a.n;
    bool go = clip[1] != 0;
    double sum = 0;
    for (int64_t i = start + from + threadIdx.x; i < start + to; i += BLOCK) {
        float g = go ? clip[0] * a.grad[i] : 0, m = go ? mu * a.m[i] + g : 0, value = nesterov ? g + mu * m : m;
        if (go) a.m[i] = m;
        x[i] = value;
        sum += (double)value * value;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) part[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

/* x := x / its Frobenius norm */
static __global__ void __launch_bounds__(BLOCK) muon_normalize(float *x, int64_t n, const double *part)
{
    int64_t from = (int64_t)blockIdx.x * SPAN, to = n - from < SPAN ? n : from + SPAN, start = blockIdx.y * n;
    double sum = 0;
    for (unsigned s = threadIdx.x; s < gridDim.x; s += BLOCK) sum += part[blockIdx.y * gridDim.x + s];
    float by = (float)(1 / (sqrt(block_sum(sum)) + 1e-7));
    for (int64_t i = start + from + threadIdx.x; i < start + to; i += BLOCK) x[i] *= by;
}

static __global__ void __launch_bounds__(BLOCK) muon_apply(struct matrices a, const float *x, const float *clip,
                                                           const float *lr, float scale, float decay, double *part)
{
    int64_t from = (int64_t)blockIdx.x * SPAN, to = a.n - from < SPAN ? a.n : from + SPAN, start = blockIdx.y * a.n;
    struct view packed = { a.packed, true };
    struct change_sums sum = {};
    if (clip[1] == 0) return;
    for (int64_t i = start + from + threadIdx.x; i < start + to; i += BLOCK) {
        float old = a.w[i], w = old - *lr * (scale * x[i] + decay * old);
        a.w[i] = w;
        if (a.packed) store(packed, i, w);
        change_take(&sum, w, old);
    }
    sum = change_fold(sum);
    if (threadIdx.x == 0) change_leave(sum, part + SUMS * (blockIdx.y * gridDim.x + blockIdx.x));
}

/* ---- Newton-Schulz ---- */

static void copy(const struct args *a, float *to, const float *from, int64_t n)
{
    CUDA(cudaMemcpyAsync(to, from, n * sizeof *to, cudaMemcpyDeviceToDevice, device_of(a)->stream));
}

/* X := 3.4445 X + (2.0315 A^2 - 4.7750 A) X with A = X X^T, the other way round where X is tall;
   returns where the last X is. */
static float *newton_schulz(const struct args *a, const struct sizes *s, int batch, int steps, float *x, float *next,
                            float *first, float *second)
{
    bool tall = s->rows > s->cols;
    int64_t low = s->low, square = low * low, size = s->rows * s->cols;
    struct gemm product = { .m = low, .n = low, .k = s->high, .a = NULL, .b = NULL, .c = first, .in = GEMM_F32,
                            .out = GEMM_F32, .a_row = s->cols, .b_row = s->cols, .c_row = low, .a_transposed = tall,
                            .b_transposed = !tall, .tf32 = false, .alpha = 1, .beta = 0, .batch = batch,
                            .a_stride = size,
                            .b_stride = size, .c_stride = square };
    for (int step = 0; step < steps; step++) {
        struct gemm one = product, two = product, last = product;
        one.a = one.b = x;
        gemm(device_of(a), &one);

        two.k = two.a_row = two.b_row = low;
        two.a = two.b = first, two.c = second;
        two.a_transposed = two.b_transposed = false;
        two.alpha = 2.0315f, two.beta = -4.7750f;
        two.a_stride = two.b_stride = square;
        copy(a, second, first, batch * square);
        gemm(device_of(a), &two);

        last.m = s->rows, last.n = last.c_row = s->cols, last.k = low;
        last.a = tall ? x : second, last.a_row = low, last.a_stride = tall ? size : square;
        last.b = tall ? second : x, last.b_row = s->cols, last.b_stride = tall ? square : size;
        last.a_transposed = last.b_transposed = false;
        last.c = next, last.c_stride = size;
        last.beta = 3.4445f;
        copy(a, next, x, batch * size);
        gemm(device_of(a), &last);

        float *spare = x;
        x = next;
        next = spare;
    }
    return x;
}

/* ---- a batch after the other ---- */

static size_t scratch(const struct args *a)
{
    struct sizes s = sizes_of(a);
    return SUMS * s.stack * s.spans * sizeof(double) + s.batch * 2 * s.low * (s.low + s.high) * sizeof(float);
}

static void update(const struct args *a)
{
    const struct muon_attr *at = (const struct muon_attr *)a->attr;
    struct sizes s = sizes_of(a);
    int64_t size = s.rows * s.cols, square = s.low * s.low;
    const float *clip = reals(&a->in[CLIP]), *lr = reals(&a->in[LR]);
    float *x = (float *)a->scratch, *next = x + s.batch * size, *first = next + s.batch * size,
          *second = first + s.batch * square;
    double *part = (double *)(second + s.batch * square);
    for (int64_t from = 0; from < s.stack; from += s.batch) {
        int batch = (int)(s.stack - from < s.batch ? s.stack - from : s.batch);
        double *sums = part + SUMS * from * s.spans;
        void *packed = a->in[W].packed ? (__nv_bfloat16 *)a->in[W].packed + from * size : NULL;
        struct matrices m = { reals(&a->in[W]) + from * size, reals(&a->in[M]) + from * size,
                              reals(&a->in[GRAD]) + from * size, packed, size };
        dim3 grid(s.spans, batch);
        LAUNCH(a, muon_momentum, grid, BLOCK, 0, m, clip, (float)at->momentum, at->nesterov != 0, x, sums);
        LAUNCH(a, muon_normalize, grid, BLOCK, 0, x, size, sums);
        float *orthogonal = newton_schulz(a, &s, batch, at->steps, x, next, first, second);
        LAUNCH(a, muon_apply, grid, BLOCK, 0, m, orthogonal, clip, lr, (float)at->scale, (float)at->decay, sums);
    }
    fold_changes(a, part, (int)(s.stack * s.spans), clip, reals(&a->out[0]));
}

TWIN(muon, update, NULL, NULL, scratch);
