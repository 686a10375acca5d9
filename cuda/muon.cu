/* Momentum, made (nearly) orthogonal by Newton-Schulz steps: M = mu M + g;  w -= lr (scale NS(M or g + mu M) + decay
   w). The products of the steps bound it, 4 low^2 high + 2 low^3 FLOPs each for matrices whose sides are low and high,
   in float; around them a value costs 44 bytes, and 8 to 12 more for each thing that is evened out. Matrices of a stack
   go in batches of bounded scratch. */
#include "backend/quintic.h"
#include "gemm.h"
#include "moment.cuh"
#include "neurons.cuh"
#include "update.cuh"

enum { W, GRAD, M, LR, CLIP, V, RADIUS };                   /* inputs */

/* batch: matrices at work at one time; spans: of one matrix; lines: its rows, or columns, that have a v */
struct sizes { int64_t stack, rows, cols, low, high, lines; int batch, spans; bool columns; };

static struct sizes sizes_of(const struct args *a)
{
    const struct muon_attr *at = (const struct muon_attr *)a->attr;
    struct stack k = shape_stack(a->in[W].shape);
    int64_t heads = at->heads ? at->heads : 1;
    struct sizes s = {};
    s.stack = k.matrices * heads;
    s.rows = k.rows / heads;
    s.cols = k.columns;
    s.low = s.rows < s.cols ? s.rows : s.cols;
    s.high = s.rows < s.cols ? s.cols : s.rows;
    s.columns = at->neurons == NEURONS_SHORT && s.rows < s.cols;
    s.lines = s.columns ? s.cols : s.rows;
    s.batch = matrices_at_once(s.stack, 2 * s.low * (s.low + s.high));
    s.spans = spans_of(s.rows * s.cols);
    return s;
}

/* ---- around the steps: block (span, matrix of the batch) ---- */

/* From the first of a batch on; n: values of one. x := what is to be made orthogonal, and its squares. A step that is
   skipped leaves m as it is. by: factor on mu; NULL: 1. */
struct momentum {
    float *m; const float *grad, *clip, *by; float mu; bool nesterov; int64_t n; struct coded coded;
};
static __global__ void __launch_bounds__(BLOCK) muon_momentum(struct momentum a, float *x, double *part)
{
    int64_t from = (int64_t)blockIdx.x * SPAN, to = a.n - from < SPAN ? a.n : from + SPAN, start = blockIdx.y * a.n;
    bool go = a.clip[1] != 0;
    float mu = a.by ? a.mu * *a.by : a.mu;
    double sum = 0;
    for (int64_t i = start + from + threadIdx.x; i < start + to; i += BLOCK) {
        float g = go ? a.clip[0] * a.grad[i] : 0, m = go ? mu * a.m[i] + g : 0, value = a.nesterov ? g + mu * m : m;
        if (go) a.m[i] = m;
        x[i] = value;
        sum += (double)value * value;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) part[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

/* The same of an m that is no floats, a block of codes by a warp. */
static __global__ void __launch_bounds__(BLOCK) muon_coded(struct momentum a, float *x, double *part)
{
    int64_t blocks = (a.n + MOMENT_BLOCK - 1) / MOMENT_BLOCK, start = blockIdx.y * a.n;
    bool go = a.clip[1] != 0;
    float mu = a.by ? a.mu * *a.by : a.mu;
    double sum = 0;
    for (int b = threadIdx.x / WARP; b < SPAN / MOMENT_BLOCK; b += BLOCK / WARP) {
        int64_t from = (int64_t)blockIdx.x * SPAN + b * MOMENT_BLOCK, block = blockIdx.y * blocks + from / MOMENT_BLOCK;
        float m[MOMENT_EACH];
        if (from >= a.n) break;
        int n = a.n - from < MOMENT_BLOCK ? (int)(a.n - from) : MOMENT_BLOCK;
        moment_load(a.coded, start + from, block, n, m);
        for (int l = 0; l < MOMENT_EACH; l++) {
            int at = threadIdx.x % WARP + l * WARP;
            if (at >= n) break;
            int64_t i = start + from + at;
            float g = go ? a.clip[0] * a.grad[i] : 0;
            m[l] = go ? moment_mean(mu, m[l], 1, g) : 0;
            x[i] = a.nesterov ? g + mu * m[l] : m[l];
            sum += (double)x[i] * x[i];
        }
        if (go) moment_store(a.coded, start + from, block, n, m);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) part[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

static __global__ void __launch_bounds__(BLOCK) muon_squares(const float *x, int64_t n, double *part)
{
    int64_t from = (int64_t)blockIdx.x * SPAN, to = n - from < SPAN ? n : from + SPAN, start = blockIdx.y * n;
    double sum = 0;
    for (int64_t i = start + from + threadIdx.x; i < start + to; i += BLOCK) sum += (double)x[i] * x[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) part[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

/* x := length x / (times |x| + more); zeros stay zeros */
static __global__ void __launch_bounds__(BLOCK)
muon_lengthen(float *x, int64_t n, const double *part, double length, double times, double more)
{
    int64_t from = (int64_t)blockIdx.x * SPAN, to = n - from < SPAN ? n : from + SPAN, start = blockIdx.y * n;
    double sum = 0;
    for (unsigned s = threadIdx.x; s < gridDim.x; s += BLOCK) sum += part[blockIdx.y * gridDim.x + s];
    sum = block_sum(sum);
    float by = sum > 0 ? (float)(length / (times * sqrt(sum) + more)) : 0;
    for (int64_t i = start + from + threadIdx.x; i < start + to; i += BLOCK) x[i] *= by;
}

/* ---- Newton-Schulz ---- */

static void copy(const struct args *a, float *to, const float *from, int64_t n)
{
    CUDA(cudaMemcpyAsync(to, from, n * sizeof *to, cudaMemcpyDeviceToDevice, device_of(a)->stream));
}

/* X := a X + (c A^2 + b A) X with A = X X^T, the other way round where X is tall; returns where the last X is. */
static float *newton_schulz(const struct args *a, const struct sizes *s, int batch, float *x, float *next, float *first,
                            float *second)
{
    const struct muon_attr *at = (const struct muon_attr *)a->attr;
    bool tall = s->rows > s->cols;
    int64_t low = s->low, square = low * low, size = s->rows * s->cols;
    struct gemm product = { .m = low, .n = low, .k = s->high, .a = NULL, .b = NULL, .c = first, .in = GEMM_F32,
                            .out = GEMM_F32, .a_row = s->cols, .b_row = s->cols, .c_row = low, .a_transposed = tall,
                            .b_transposed = !tall, .tf32 = false, .alpha = 1, .beta = 0, .batch = batch,
                            .a_stride = size,
                            .b_stride = size, .c_stride = square };
    for (int step = 0; step < at->steps; step++) {
        struct quintic q = quintic_of((int)at->quintics, step, (int)at->steps);
        struct gemm one = product, two = product, last = product;
        one.a = one.b = x;
        gemm(device_of(a), &one);

        two.k = two.a_row = two.b_row = low;
        two.a = two.b = first, two.c = second;
        two.a_transposed = two.b_transposed = false;
        two.alpha = (float)q.c, two.beta = (float)q.b;
        two.a_stride = two.b_stride = square;
        copy(a, second, first, batch * square);
        gemm(device_of(a), &two);

        last.m = s->rows, last.n = last.c_row = s->cols, last.k = low;
        last.a = tall ? x : second, last.a_row = low, last.a_stride = tall ? size : square;
        last.b = tall ? second : x, last.b_row = s->cols, last.b_stride = tall ? square : size;
        last.a_transposed = last.b_transposed = false;
        last.c = next, last.c_stride = size;
        last.beta = (float)q.a;
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
    return motion_doubles(s.stack * s.spans, a->in[RADIUS].data) * sizeof(double) +
           s.batch * (2 * s.low * (s.low + s.high) + s.high) * sizeof(float);
}

/* Of a batch: what it needs of scratch, and its matrices; `from`: the first of them. */
struct room { double *part; float *x, *next, *first, *second, *line; };

static void load(const struct args *a, const struct sizes *s, const struct room *r, int64_t from, int batch)
{
    const struct muon_attr *at = (const struct muon_attr *)a->attr;
    int64_t size = s->rows * s->cols;
    struct momentum m = { reals(&a->in[M]) + from * size, reals(&a->in[GRAD]) + from * size, reals(&a->in[CLIP]),
                          paces(a, LR) ? reals(&a->in[LR]) + 2 : NULL, (float)at->momentum, at->nesterov != 0, size,
                          moment_of(a->in[M], false) };
    dim3 grid(s->spans, batch);
    if (moment_is_coded(a->in[M])) {
        int64_t bytes = m.coded.bf16 ? 2 * size : (size + MOMENT_BLOCK - 1) / MOMENT_BLOCK * MOMENT_BYTES;
        m.coded.data = (char *)m.coded.data + from * bytes;
        LAUNCH(a, muon_coded, grid, BLOCK, 0, m, r->x, r->part);
    } else LAUNCH(a, muon_momentum, grid, BLOCK, 0, m, r->x, r->part);
    if (at->even) {
        struct lines l = { r->x, (int)s->rows, (int)s->cols, (int)s->rows, false, r->line };
        square_lines(a, l, batch);
        LAUNCH(a, muon_even, dim3(1, batch), BLOCK, 0, l, r->part, s->spans);
        LAUNCH(a, muon_scale_lines, dim3(grid_for(a, s->rows, 1), batch), BLOCK, 0, l);
    }
    /* the divisor of quintic_divisor, as a line in the norm */
    double more = quintic_divisor((int)at->quintics, 0), times = quintic_divisor((int)at->quintics, 1) - more;
    LAUNCH(a, muon_lengthen, grid, BLOCK, 0, r->x, size, r->part, 1, times, more);
}

/* What is asked for of the orthogonal x. */
static void even_out(const struct args *a, const struct sizes *s, const struct room *r, float *x, int64_t from,
                     int batch)
{
    const struct muon_attr *at = (const struct muon_attr *)a->attr;
    int64_t size = s->rows * s->cols;
    dim3 grid(s->spans, batch);
    if (at->neurons) {
        struct lines l = { x, (int)s->rows, (int)s->cols, (int)s->lines, s->columns, r->line };
        square_lines(a, l, batch);
        LAUNCH(a, muon_neurons, dim3(1, batch), BLOCK, 0, l, reals(&a->in[V]) + from * s->lines, reals(&a->in[CLIP]),
               at->beta2);
        LAUNCH(a, muon_scale_lines, dim3(grid_for(a, s->rows, 1), batch), BLOCK, 0, l);
    }
    if (at->snap) {
        LAUNCH(a, muon_squares, grid, BLOCK, 0, x, size, r->part);
        LAUNCH(a, muon_lengthen, grid, BLOCK, 0, x, size, r->part, sqrt((double)s->low), 1, 0);
    }
}

static void update(const struct args *a)
{
    const struct muon_attr *at = (const struct muon_attr *)a->attr;
    struct sizes s = sizes_of(a);
    int64_t size = s.rows * s.cols;
    const float *clip = reals(&a->in[CLIP]);
    bool turns = a->in[RADIUS].data;
    float *x = (float *)a->scratch, *next = x + s.batch * size, *first = next + s.batch * size,
          *second = first + s.batch * s.low * s.low;
    double *sums = (double *)(second + s.batch * s.low * s.low);    /* of all matrices; a batch's last go behind them */
    float *line = (float *)(sums + motion_doubles(s.stack * s.spans, turns));
    for (int64_t from = 0; from < s.stack; from += s.batch) {
        int batch = (int)(s.stack - from < s.batch ? s.stack - from : s.batch);
        struct room r = { sums + SUMS * from * s.spans, x, next, first, second, line };
        void *packed = a->in[W].packed ? (__nv_bfloat16 *)a->in[W].packed + from * size : NULL;
        load(a, &s, &r, from, batch);
        float *u = newton_schulz(a, &s, batch, x, next, first, second);
        even_out(a, &s, &r, u, from, batch);
        move_matrices(a, { reals(&a->in[W]) + from * size, u, packed, turns ? reals(&a->in[RADIUS]) + from : NULL, size,
                           batch, s.spans },
                      { clip, reals(&a->in[LR]), (float)at->scale, (float)at->decay, at->cautious != 0, r.part,
                        paces(a, LR) });
    }
    fold_changes(a, sums, (int)(s.stack * s.spans), clip, reals(&a->out[0]));
}

TWIN(muon, update, NULL, NULL, scratch);
