/* SOAP: Adam in the eigenbasis of Shampoo's factors. Of a matrix [N,K] a step has ten products in float, 16 N K (N + K)
   FLOPs and 2 (N^3 + K^3), which bound it between power steps; those are the work of one block a matrix, see basis.cuh,
   and bound it where few large matrices have them often. The product before a power step is made in every step: what is
   recorded cannot ask. Matrices of a stack go in batches of bounded scratch. */
#include "basis.cuh"
#include "gemm.h"
#include "update.cuh"

enum { W, GRAD, M, V, LR, CLIP, TAKEN, LEFT, LEFT_BASIS, RIGHT, RIGHT_BASIS };      /* inputs */

/* batch: matrices at work at one time; side: the longest that is rotated; room: floats of one; spans: of one */
struct sizes { int64_t stack, rows, cols, side, room; int batch, spans; };

static struct sizes sizes_of(const struct args *a)
{
    struct stack k = shape_stack(a->in[W].shape);
    struct sizes s = {};
    s.stack = k.matrices;
    s.rows = k.rows;
    s.cols = k.columns;
    s.side = a->in[LEFT].data ? s.rows : 0;
    if (a->in[RIGHT].data && s.cols > s.side) s.side = s.cols;
    s.room = 3 * s.rows * s.cols + 2 * s.side * s.side + 3 * (s.side + 1);
    s.batch = matrices_at_once(s.stack, s.room);
    s.spans = spans_of(s.rows * s.cols);
    return s;
}

/* ---- value by value, of a batch ---- */

/* x := g, or 0 in a step that is skipped */
static __global__ void __launch_bounds__(BLOCK) soap_gradient(float *x, const float *grad, const float *clip, int64_t n)
{
    for (int64_t i = first_item(); i < n; i += all_items()) x[i] = clip[1] != 0 ? clip[0] * grad[i] : 0;
}

/* What soap_pace leaves: the rate and a factor on decay; what m decays by, 1 less that, its logarithm. */
enum { RATE, DECAY, BETA1, KEEP1, LOG1, PACE };
/* x: g, z: the same, rotated */
struct moments {
    float *m, *v;
    const float *clip, *taken, *pace;
    int64_t n;
    float beta2, keep2, eps;
    int every;
};
static __global__ void __launch_bounds__(BLOCK) soap_moments(struct moments a, const float *x, const float *z)
{
    if (a.clip[1] == 0 || *a.taken == 0) return;
    for (int64_t i = first_item(); i < a.n; i += all_items()) {
        a.m[i] = a.pace[BETA1] * a.m[i] + a.pace[KEEP1] * x[i];
        a.v[i] = a.beta2 * a.v[i] + a.keep2 * z[i] * z[i];
    }
}

/* 1 / (1 - beta^t) */
static __device__ inline float unbias(float log_beta, float t) { return divide(1, -expm1f(log_beta * t)); }

/* z := Adam's direction, of z, m as it is rotated */
static __global__ void __launch_bounds__(BLOCK) soap_direction(struct moments a, float *z, float log2)
{
    float t = *a.taken, first = unbias(a.pace[LOG1], t), second = unbias(log2, t);
    bool moves = a.clip[1] != 0 && t > 0;
    for (int64_t i = first_item(); i < a.n; i += all_items())
        z[i] = moves ? divide(first * z[i], sqrtf(second * a.v[i]) + a.eps) : 0;
}

static __global__ void __launch_bounds__(BLOCK)
soap_factor(float *factor, const float *square, const float *clip, float beta, float keep, int64_t n)
{
    if (clip[1] == 0) return;
    for (int64_t i = first_item(); i < n; i += all_items()) factor[i] = beta * factor[i] + keep * square[i];
}

/* to := V in the order of a basis; blockIdx.y is a matrix. */
static __global__ void __launch_bounds__(BLOCK)
soap_follow(float *to, struct moments a, const int *order, int rows, int cols, bool left)
{
    const float *v = a.v + (int64_t)blockIdx.y * rows * cols;
    order += (int64_t)blockIdx.y * ((left ? rows : cols) + 1);
    if (!is_due(a.clip, a.taken, a.every)) return;
    for (int r = blockIdx.x; r < rows; r += gridDim.x)
        for (int c = threadIdx.x; c < cols; c += BLOCK)
            to[((int64_t)blockIdx.y * rows + r) * cols + c] =
                left ? v[(int64_t)order[r] * cols + c] : v[(int64_t)r * cols + order[c]];
}
static __global__ void __launch_bounds__(BLOCK) soap_followed(struct moments a, const float *from)
{
    if (!is_due(a.clip, a.taken, a.every)) return;
    for (int64_t i = first_item(); i < a.n; i += all_items()) a.v[i] = from[i];
}

/* The rate, which is 0 in the first step, and what goes by the factors behind it, where there are any. */
static __global__ void __launch_bounds__(WARP)
soap_pace(float *pace, const float *lr, bool paces, const float *taken, double beta1, float log1)
{
    double beta = paces ? beta1 * lr[2] : beta1;
    if (threadIdx.x != 0) return;
    pace[RATE] = *taken > 0 ? *lr : 0;
    pace[DECAY] = paces ? lr[1] : 1;
    pace[BETA1] = (float)beta;
    pace[KEEP1] = (float)(1 - beta);
    pace[LOG1] = paces ? log1 + logf(lr[2]) : log1;
}

/* How many were taken, after all. */
static __global__ void __launch_bounds__(WARP) soap_taken(float *taken, const float *clip)
{
    if (threadIdx.x == 0 && clip[1] != 0) *taken += 1;
}

/* ---- products ---- */

/* out := x y of each matrix of a batch, x turned where it lies as [k,m], y where as [n,k]. */
static void product(const struct args *a, int batch, int64_t m, int64_t n, int64_t k, const float *x, bool x_turned,
                    const float *y, bool y_turned, float *out)
{
    struct gemm g = { .m = m, .n = n, .k = k, .a = x, .b = y, .c = out, .in = GEMM_F32, .out = GEMM_F32,
                      .a_row = x_turned ? m : k, .b_row = y_turned ? k : n, .c_row = n, .a_transposed = x_turned,
                      .b_transposed = y_turned, .tf32 = false, .alpha = 1, .beta = 0, .batch = batch,
                      .a_stride = m * k, .b_stride = k * n, .c_stride = m * n };
    gemm(device_of(a), &g);
}

/* Of a batch: three matrices each, and sides that are rotated, factor NULL: not. */
struct batch { int count; float *x, *y, *z; struct side left, right; struct moments moments; };

static void copy(const struct args *a, float *to, const float *from, int64_t n)
{
    CUDA(cudaMemcpyAsync(to, from, n * sizeof *to, cudaMemcpyDeviceToDevice, device_of(a)->stream));
}

/* out := B x C^T, or back: B^T x C; out may be x. */
static void rotate(const struct args *a, const struct sizes *s, const struct batch &b, bool back, const float *x,
                   float *out)
{
    int64_t all = b.count * s->rows * s->cols;
    if (b.left.factor) product(a, b.count, s->rows, s->cols, s->rows, b.left.basis, back, x, false, b.y);
    else copy(a, b.y, x, all);
    if (b.right.factor) product(a, b.count, s->rows, s->cols, s->cols, b.y, false, b.right.basis, !back, out);
    else copy(a, out, b.y, all);
}

/* ---- a batch after the other ---- */

static void find_direction(const struct args *a, const struct sizes *s, const struct batch &b)
{
    const struct soap_attr *at = (const struct soap_attr *)a->attr;
    const struct moments &m = b.moments;
    int grid = grid_for(a, m.n, BLOCK);
    rotate(a, s, b, false, b.x, b.z);
    LAUNCH(a, soap_moments, grid, BLOCK, 0, m, b.x, b.z);
    rotate(a, s, b, false, m.m, b.z);
    LAUNCH(a, soap_direction, grid, BLOCK, 0, m, b.z, (float)log(at->beta2));
    rotate(a, s, b, true, b.z, b.z);
}

static void update_side(const struct args *a, const struct sizes *s, const struct batch &b, const struct side &d,
                        bool left)
{
    const struct soap_attr *at = (const struct soap_attr *)a->attr;
    const struct moments &m = b.moments;
    int64_t n = d.n, all = b.count * n * n;
    if (!d.factor) return;
    product(a, b.count, n, n, left ? s->cols : s->rows, b.x, !left, b.x, left, d.square);
    LAUNCH(a, soap_factor, grid_for(a, all, BLOCK), BLOCK, 0, d.factor, d.square, m.clip, (float)at->factor_beta,
           (float)(1 - at->factor_beta), all);
    LAUNCH(a, soap_find, b.count, BLOCK, 0, d, m.clip, m.taken);
    product(a, b.count, n, n, n, d.basis, false, d.factor, false, d.square);
    LAUNCH(a, soap_refine, b.count, BLOCK, 0, d, m.clip, m.taken, m.every);
    LAUNCH(a, soap_follow, dim3(grid_for(a, s->rows, 1), b.count), BLOCK, 0, b.y, m, d.order, (int)s->rows,
           (int)s->cols, left);
    LAUNCH(a, soap_followed, grid_for(a, m.n, BLOCK), BLOCK, 0, m, b.y);
}

static struct side side_at(const struct args *a, int input, int64_t from, int64_t n, float *room, int batch)
{
    struct side d = {};
    if (!a->in[input].data) return d;
    d.factor = reals(&a->in[input]) + from * n * n;
    d.basis = reals(&a->in[input + 1]) + from * n * n;
    d.square = room;
    d.other = d.square + batch * n * n;
    d.along = d.other + batch * n * n;
    d.turn = d.along + batch * (n + 1);
    d.order = (int *)(d.turn + batch * (n + 1));
    d.n = (int)n;
    return d;
}

static void update(const struct args *a)
{
    const struct soap_attr *at = (const struct soap_attr *)a->attr;
    struct sizes s = sizes_of(a);
    const float *clip = reals(&a->in[CLIP]);
    float *taken = reals(&a->in[TAKEN]);
    int64_t size = s.rows * s.cols;
    double *sums = (double *)a->scratch;
    float *x = (float *)(sums + motion_doubles(s.stack * s.spans, false)), *y = x + s.batch * size,
          *z = y + s.batch * size, *room = z + s.batch * size, *pace = x + s.batch * s.room;
    LAUNCH(a, soap_pace, 1, WARP, 0, pace, reals(&a->in[LR]), paces(a, LR), taken, at->beta1,
           (float)log(at->beta1));
    for (int64_t from = 0; from < s.stack; from += s.batch) {
        int count = (int)(s.stack - from < s.batch ? s.stack - from : s.batch);
        int64_t n = count * size;
        void *packed = a->in[W].packed ? (__nv_bfloat16 *)a->in[W].packed + from * size : NULL;
        struct batch b = { count, x, y, z, side_at(a, LEFT, from, s.rows, room, s.batch),
                           side_at(a, RIGHT, from, s.cols, room, s.batch),
                           { reals(&a->in[M]) + from * size, reals(&a->in[V]) + from * size, clip, taken, pace, n,
                             (float)at->beta2, (float)(1 - at->beta2), (float)at->eps, (int)at->every } };
        LAUNCH(a, soap_gradient, grid_for(a, n, BLOCK), BLOCK, 0, x, reals(&a->in[GRAD]) + from * size, clip, n);
        find_direction(a, &s, b);
        move_matrices(a, { reals(&a->in[W]) + from * size, z, packed, NULL, size, count, s.spans },
                      { clip, pace, (float)at->rate, (float)(at->rate * at->decay), false,
                        sums + SUMS * from * s.spans, true });
        update_side(a, &s, b, b.left, true);
        update_side(a, &s, b, b.right, false);
    }
    LAUNCH(a, soap_taken, 1, WARP, 0, taken, clip);
    fold_changes(a, sums, (int)(s.stack * s.spans), clip, reals(&a->out[0]));
}

static size_t scratch(const struct args *a)
{
    struct sizes s = sizes_of(a);
    return motion_doubles(s.stack * s.spans, false) * sizeof(double) + (s.batch * s.room + PACE) * sizeof(float);
}

TWIN(soap, update, NULL, NULL, scratch);
