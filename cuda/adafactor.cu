/* R = b R + (1-b) mean over columns of g^2 + tiny, C likewise; u = g / sqrt(R C / mean(R)), no larger than `most`;
   w -= lr (s u + decay w). Memory bounds it: a value costs 44 bytes, and 2 for the weight rounded to bf16. Blocks (..,
   matrix). */
#include "update.cuh"

enum { W, GRAD, LR, STEP, CLIP, ROW, COL, V, M };           /* inputs */
enum { ACROSS = 32, DOWN = BLOCK / ACROSS };                /* threads of a row; or of a strip of columns */

/* mean: of each matrix's row values */
struct moments {
    const float *grad, *step, *clip;
    float *row, *col, *v, *m, *mean;
    int rows, cols;
    float power, tiny;
};

static __device__ inline float beta_of(const struct moments &a) { return 1 - exp2f(-a.power * log2f(*a.step)); }

/* Block (DOWN rows, matrix). */
static __global__ void __launch_bounds__(BLOCK) adafactor_rows(struct moments a)
{
    int lane = threadIdx.x % ACROSS, r = blockIdx.x * DOWN + threadIdx.x / ACROSS;
    int64_t at = (int64_t)blockIdx.y * a.rows + r;
    const float *g = a.grad + at * a.cols;
    float sum = 0;
    if (r >= a.rows || a.clip[1] == 0) return;
    for (int c = lane; c < a.cols; c += ACROSS) sum += a.clip[0] * g[c] * (a.clip[0] * g[c]);
    sum = warp_sum(sum);
    float beta = beta_of(a);
    if (lane == 0) a.row[at] = beta * a.row[at] + (1 - beta) * (divide(sum, (float)a.cols) + a.tiny);
}

/* Block (strip of ACROSS columns, matrix). */
static __global__ void __launch_bounds__(BLOCK) adafactor_columns(struct moments a)
{
    __shared__ float part[DOWN][ACROSS];
    int across = threadIdx.x % ACROSS, down = threadIdx.x / ACROSS, c = blockIdx.x * ACROSS + across;
    const float *g = a.grad + (int64_t)blockIdx.y * a.rows * a.cols + c;
    float sum = 0;
    if (a.clip[1] == 0) return;
    for (int r = down; c < a.cols && r < a.rows; r += DOWN) {
        float value = a.clip[0] * g[(int64_t)r * a.cols];
        sum += value * value;
    }
    part[down][across] = sum;
    __syncthreads();
    if (down != 0 || c >= a.cols) return;
    sum = 0;
    for (int d = 0; d < DOWN; d++) sum += part[d][across];
    float beta = beta_of(a), *col = a.col + (int64_t)blockIdx.y * a.cols + c;
    *col = beta * *col + (1 - beta) * (divide(sum, (float)a.rows) + a.tiny);
}

/* Block (matrix). */
static __global__ void __launch_bounds__(BLOCK) adafactor_mean(struct moments a)
{
    const float *row = a.row + (int64_t)blockIdx.x * a.rows;
    float sum = 0;
    if (a.clip[1] == 0) return;
    for (int r = threadIdx.x; r < a.rows; r += BLOCK) sum += row[r];
    sum = block_sum(sum);
    if (threadIdx.x == 0) a.mean[blockIdx.x] = divide(sum, (float)a.rows);
}

/* u := g divided by its size; squares of u and of w. */
static __global__ void __launch_bounds__(BLOCK)
adafactor_direction(struct moments a, struct matrices m, double *part)
{
    int64_t from = (int64_t)blockIdx.x * SPAN, to = m.n - from < SPAN ? m.n : from + SPAN, start = blockIdx.y * m.n;
    double squares = 0, size = 0;
    if (a.clip[1] == 0) return;
    float beta = beta_of(a);
    for (int64_t i = from + threadIdx.x; i < to; i += BLOCK) {
        float g = a.clip[0] * a.grad[start + i], by;
        if (a.v) by = a.v[start + i] = beta * a.v[start + i] + (1 - beta) * (g * g + a.tiny);
        else {
            unsigned r = (unsigned)i / (unsigned)a.cols, c = (unsigned)i % (unsigned)a.cols;
            by = divide(a.row[(int64_t)blockIdx.y * a.rows + r], a.mean[blockIdx.y]) *
                 a.col[(int64_t)blockIdx.y * a.cols + c];
        }
        float u = g * rsqrtf(by), w = m.w[start + i];
        m.u[start + i] = u;
        squares += (double)u * u;
        size += (double)w * w;
    }
    squares = block_sum(squares);
    size = block_sum(size);
    if (threadIdx.x != 0) return;
    part += 2 * ((int64_t)blockIdx.y * gridDim.x + blockIdx.x);
    part[0] = squares;
    part[1] = size;
}

/* u := no larger than `most`, a mean of those so far where there is m, times the size of the weight. pace: NULL, or a
   factor on the momentum of that mean. */
static __global__ void __launch_bounds__(BLOCK)
adafactor_bound(struct moments a, struct matrices m, const double *part, struct adafactor_attr at,
                const float *pace)
{
    int64_t from = (int64_t)blockIdx.x * SPAN, to = m.n - from < SPAN ? m.n : from + SPAN, start = blockIdx.y * m.n;
    double squares = 0, size = 0;
    if (a.clip[1] == 0) return;
    for (unsigned s = threadIdx.x; s < gridDim.x; s += BLOCK) {
        squares += part[2 * ((int64_t)blockIdx.y * gridDim.x + s)];
        size += part[2 * ((int64_t)blockIdx.y * gridDim.x + s) + 1];
    }
    float rms = sqrtf((float)(block_sum(squares) / m.n)), weight = sqrtf((float)(block_sum(size) / m.n)),
          by = rms > (float)at.most ? divide((float)at.most, rms) : 1,
          scale = at.relative ? fmaxf((float)at.least, weight) : 1;
    double of_m = pace ? at.beta1 * *pace : at.beta1;
    float beta1 = (float)of_m, keep1 = (float)(1 - of_m);
    for (int64_t i = start + from + threadIdx.x; i < start + to; i += BLOCK) {
        float u = by * m.u[i];
        if (a.m) u = a.m[i] = beta1 * a.m[i] + keep1 * u;
        m.u[i] = scale * u;
    }
}

struct sizes { int64_t stack, rows, cols, n; int spans; };

static struct sizes sizes_of(const struct args *a)
{
    struct stack k = shape_stack(a->in[W].shape);
    struct sizes s = {};
    s.stack = k.matrices;
    s.rows = k.rows;
    s.cols = k.columns;
    s.n = s.rows * s.cols;
    s.spans = spans_of(s.n);
    return s;
}

static void update(const struct args *a)
{
    const struct adafactor_attr *at = (const struct adafactor_attr *)a->attr;
    struct sizes s = sizes_of(a);
    double *part = (double *)a->scratch;
    float *u = (float *)(part + motion_doubles(s.stack * s.spans, false));
    int rows = (int)s.rows, cols = (int)s.cols, stack = (int)s.stack;
    struct moments x = { reals(&a->in[GRAD]), reals(&a->in[STEP]), reals(&a->in[CLIP]), reals(&a->in[ROW]),
                         reals(&a->in[COL]), reals(&a->in[V]), reals(&a->in[M]), u + s.stack * s.n, rows, cols,
                         (float)at->power, (float)at->tiny };
    struct matrices m = { reals(&a->in[W]), u, a->in[W].packed, NULL, s.n, stack, s.spans };
    dim3 grid(s.spans, stack);
    if (!x.v) {
        LAUNCH(a, adafactor_rows, dim3((rows + DOWN - 1) / DOWN, stack), BLOCK, 0, x);
        LAUNCH(a, adafactor_columns, dim3((cols + ACROSS - 1) / ACROSS, stack), BLOCK, 0, x);
        LAUNCH(a, adafactor_mean, stack, BLOCK, 0, x);
    }
    LAUNCH(a, adafactor_direction, grid, BLOCK, 0, x, m, part);
    LAUNCH(a, adafactor_bound, grid, BLOCK, 0, x, m, part, *at,
           paces(a, LR) ? reals(&a->in[LR]) + 2 : NULL);
    move_matrices(a, m, { x.clip, reals(&a->in[LR]), (float)at->rate, (float)(at->rate * at->decay), false, part,
                           paces(a, LR) });
    fold_changes(a, part, stack * s.spans, x.clip, reals(&a->out[0]));
}

static size_t scratch(const struct args *a)
{
    struct sizes s = sizes_of(a);
    return motion_doubles(s.stack * s.spans, false) * sizeof(double) + s.stack * (s.n + 1) * sizeof(float);
}

TWIN(adafactor, update, NULL, NULL, scratch);
