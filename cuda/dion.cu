/* M = M + g;  P = orthonormal columns of M Q;  S = M^T P;  M = M - (1 - mu) P S^T;  Q = S with unit columns;
       w -= lr (scale P Q^T + decay w)
   P and Q lie in rows. Four products of 2 rank N K FLOPs in float; of each matrix a block that makes P orthonormal, in
   4 rank^2 N, which bounds large ranks; else memory, 40 bytes a value. Matrices of a stack go in batches of bounded
   scratch. */
#include "gemm.h"
#include "orthonormal.cuh"
#include "update.cuh"

enum { W, GRAD, M, Q, LR, CLIP };                           /* inputs */

/* batch: matrices at work at one time; room: floats of one; spans: of one */
struct sizes { int64_t stack, rows, cols, rank, room; int batch, spans; };

static struct sizes sizes_of(const struct args *a)
{
    struct stack k = shape_stack(a->in[W].shape);
    struct sizes s = {};
    s.stack = k.matrices;
    s.rows = k.rows;
    s.cols = k.columns;
    s.rank = shape_count(a->in[Q].shape) / (s.stack * s.cols);
    s.room = s.rank * (2 * s.rows + s.cols + 2) + s.rows * s.cols;
    s.batch = matrices_at_once(s.stack, s.room);
    s.spans = spans_of(s.rows * s.cols);
    return s;
}

static __global__ void __launch_bounds__(BLOCK) dion_gradient(float *m, const float *grad, const float *clip, int64_t n)
{
    if (clip[1] == 0) return;
    for (int64_t i = first_item(); i < n; i += all_items()) m[i] += clip[0] * grad[i];
}

/* Of a batch: x [rank,N], p the same, next [rank,K], u [N,K], and of each row its reflection and its sign. */
struct room { float *x, *p, *next, *u, *along, *turn; };

/* p := rows of x, orthonormal, x := less p; what has nothing new is 0, all of it in a step that is skipped. less is
   momentum - 1; pace: NULL, or where a factor on that momentum is. By a block for each matrix. */
static __global__ void __launch_bounds__(BLOCK)
dion_orthonormal(struct room r, const float *clip, const float *pace, int rank, int rows, float less)
{
    int64_t at = (int64_t)blockIdx.x * rank * rows;
    float *along = r.along + (int64_t)blockIdx.x * rank, *turn = r.turn + (int64_t)blockIdx.x * rank;
    bool go = clip[1] != 0;
    orthonormal_rows(rank, rows, r.x + at, r.p + at, along, turn);
    if (pace) less = less * *pace + (*pace - 1);
    for (int k = 0; k < rank; k++)
        for (int i = threadIdx.x; i < rows; i += BLOCK) {
            float value = go && turn[k] != 0 ? r.p[at + (int64_t)k * rows + i] : 0;
            r.p[at + (int64_t)k * rows + i] = value;
            r.x[at + (int64_t)k * rows + i] = less * value;
        }
}

/* Row (rank, matrix) of q := that of next with length 1, by a warp. */
static __global__ void __launch_bounds__(WARP)
dion_directions(struct room r, float *q, const float *clip, int rank, int cols)
{
    int64_t row = (int64_t)blockIdx.y * rank + blockIdx.x;
    if (clip[1] != 0 && r.turn[row] != 0) row_normalize(q + row * cols, r.next + row * cols, cols);
}

/* c := beta c + a b of each matrix of a batch, a turned where it lies as [k,m], b where as [n,k]. */
static void product(const struct args *a, int batch, int64_t m, int64_t n, int64_t k, const float *x, bool x_turned,
                    const float *y, bool y_turned, float *out, float beta)
{
    struct gemm g = { .m = m, .n = n, .k = k, .a = x, .b = y, .c = out, .in = GEMM_F32, .out = GEMM_F32,
                      .a_row = x_turned ? m : k, .b_row = y_turned ? k : n, .c_row = n, .a_transposed = x_turned,
                      .b_transposed = y_turned, .tf32 = false, .alpha = 1, .beta = beta, .batch = batch,
                      .a_stride = m * k, .b_stride = k * n, .c_stride = m * n };
    gemm(device_of(a), &g);
}

static void step(const struct args *a, const struct sizes *s, const struct room &r, int64_t from, int batch)
{
    const struct dion_attr *at = (const struct dion_attr *)a->attr;
    const float *clip = reals(&a->in[CLIP]);
    int64_t size = s->rows * s->cols, n = batch * size;
    float *m = reals(&a->in[M]) + from * size, *q = reals(&a->in[Q]) + from * s->rank * s->cols;
    LAUNCH(a, dion_gradient, grid_for(a, n, BLOCK), BLOCK, 0, m, reals(&a->in[GRAD]) + from * size, clip, n);
    product(a, batch, s->rank, s->rows, s->cols, q, false, m, true, r.x, 0);
    LAUNCH(a, dion_orthonormal, batch, BLOCK, 0, r, clip, paces(a, LR) ? reals(&a->in[LR]) + 2 : NULL, (int)s->rank,
           (int)s->rows, (float)(at->momentum - 1));
    product(a, batch, s->rank, s->cols, s->rows, r.p, false, m, false, r.next, 0);
    product(a, batch, s->rows, s->cols, s->rank, r.x, true, r.next, false, m, 1);
    LAUNCH(a, dion_directions, dim3(s->rank, batch), WARP, 0, r, q, clip, (int)s->rank, (int)s->cols);
    product(a, batch, s->rows, s->cols, s->rank, r.p, true, q, false, r.u, 0);
}

static void update(const struct args *a)
{
    const struct dion_attr *at = (const struct dion_attr *)a->attr;
    struct sizes s = sizes_of(a);
    const float *clip = reals(&a->in[CLIP]);
    int64_t size = s.rows * s.cols;
    double *sums = (double *)a->scratch;
    struct room r;
    r.x = (float *)(sums + motion_doubles(s.stack * s.spans, false));
    r.p = r.x + s.batch * s.rank * s.rows;
    r.next = r.p + s.batch * s.rank * s.rows;
    r.u = r.next + s.batch * s.rank * s.cols;
    r.along = r.u + s.batch * size;
    r.turn = r.along + s.batch * s.rank;
    for (int64_t from = 0; from < s.stack; from += s.batch) {
        int batch = (int)(s.stack - from < s.batch ? s.stack - from : s.batch);
        void *packed = a->in[W].packed ? (__nv_bfloat16 *)a->in[W].packed + from * size : NULL;
        step(a, &s, r, from, batch);
        move_matrices(a, { reals(&a->in[W]) + from * size, r.u, packed, NULL, size, batch, s.spans },
                      { clip, reals(&a->in[LR]), (float)at->scale, (float)at->decay, false,
                        sums + SUMS * from * s.spans, paces(a, LR) });
    }
    fold_changes(a, sums, (int)(s.stack * s.spans), clip, reals(&a->out[0]));
}

static size_t scratch(const struct args *a)
{
    struct sizes s = sizes_of(a);
    return motion_doubles(s.stack * s.spans, false) * sizeof(double) + s.batch * s.room * sizeof(float);
}

TWIN(dion, update, NULL, NULL, scratch);
