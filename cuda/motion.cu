/* Matrices along a direction, what the optimizers of matrices end with: w -= lr (scale u + decay w), or a turn on a
   sphere. Memory bounds it: a value costs 12 bytes, on a sphere 36, and 2 for the weight rounded to bf16. Block (span,
   matrix). */
#include "update.cuh"

/* Where a block is: its values, and its span among all. */
struct stretch { int64_t from, to; int span; };
static __device__ inline struct stretch stretch_of(const struct matrices &m)
{
    int64_t from = (int64_t)blockIdx.x * SPAN, to = m.n - from < SPAN ? m.n : from + SPAN, start = blockIdx.y * m.n;
    return { start + from, start + to, (int)(blockIdx.y * gridDim.x + blockIdx.x) };
}

/* Of the block's matrix: the sum over its spans of part[step s + which]. */
static __device__ inline double sum_spans(const double *part, int step, int which)
{
    double sum = 0;
    for (unsigned s = threadIdx.x; s < gridDim.x; s += BLOCK)
        sum += part[step * (int64_t)(blockIdx.y * gridDim.x + s) + which];
    return block_sum(sum);
}

static __global__ void __launch_bounds__(BLOCK) step_move(struct matrices m, struct motion k)
{
    struct stretch at = stretch_of(m);
    struct view packed = { m.packed, true };
    struct change_sums sum = {};
    if (k.clip[1] == 0) return;
    for (int64_t i = at.from + threadIdx.x; i < at.to; i += BLOCK) {
        float old = m.w[i], u = m.u[i], decay = k.cautious && u * old < 0 ? 0 : k.paces ? k.decay * k.lr[1] : k.decay,
              w = old - *k.lr * (k.scale * u + decay * old);
        m.w[i] = w;
        if (m.packed) store(packed, i, w);
        change_take(&sum, w, old);
    }
    sum = change_fold(sum);
    if (threadIdx.x == 0) change_leave(sum, k.part + SUMS * at.span);
}

/* A sphere's step in three: lengths of u and w; u := w' = w - lr scale radius u / |u| and its length; w := radius w' /
   |w'|. A radius of 0 is |w|. */
static __global__ void __launch_bounds__(BLOCK) step_lengths(struct matrices m, struct motion k)
{
    struct stretch at = stretch_of(m);
    struct change_sums sum = {};                            /* with u as the change */
    if (k.clip[1] == 0) return;
    for (int64_t i = at.from + threadIdx.x; i < at.to; i += BLOCK) {
        sum.changed += (double)m.u[i] * m.u[i];
        sum.before += (double)m.w[i] * m.w[i];
    }
    sum = change_fold(sum);
    if (threadIdx.x == 0) change_leave(sum, k.part + SUMS * at.span);
}

static __device__ inline float radius_of(const struct matrices &m, const struct motion &k)
{
    float radius = m.radius[blockIdx.y];
    double squares = sum_spans(k.part, SUMS, 1);
    return radius == 0 ? (float)sqrt(squares) : radius;
}

static __global__ void __launch_bounds__(BLOCK) step_tangent(struct matrices m, struct motion k, double *last)
{
    struct stretch at = stretch_of(m);
    if (k.clip[1] == 0) return;
    double squares = sum_spans(k.part, SUMS, 0), sum = 0;
    float radius = radius_of(m, k), by = squares > 0 ? (float)(*k.lr * k.scale * radius / sqrt(squares)) : 0;
    for (int64_t i = at.from + threadIdx.x; i < at.to; i += BLOCK) {
        float w = m.w[i] - by * m.u[i];
        m.u[i] = w;
        sum += (double)w * w;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) last[at.span] = sum;
}

static __global__ void __launch_bounds__(BLOCK) step_turn(struct matrices m, struct motion k, const double *last)
{
    struct stretch at = stretch_of(m);
    struct view packed = { m.packed, true };
    if (k.clip[1] == 0) return;
    double squares = sum_spans(last, 1, 0), changed = 0, along = 0;
    float radius = radius_of(m, k), by = squares > 0 ? (float)(radius / sqrt(squares)) : 1;
    for (int64_t i = at.from + threadIdx.x; i < at.to; i += BLOCK) {
        float w = by * m.u[i];
        double old = m.w[i], change = (double)w - old;
        m.w[i] = w;
        if (m.packed) store(packed, i, w);
        changed += change * change;
        along += change * old;
    }
    changed = block_sum(changed);
    along = block_sum(along);
    if (threadIdx.x != 0) return;
    k.part[SUMS * at.span] = changed;
    k.part[SUMS * at.span + 2] = along;
}

/* After all blocks have read them. */
static __global__ void __launch_bounds__(BLOCK) step_radius(struct matrices m, struct motion k)
{
    if (k.clip[1] == 0 || blockIdx.x != 0) return;
    float radius = radius_of(m, k);
    if (threadIdx.x == 0) m.radius[blockIdx.y] = radius;
}

void move_matrices(const struct args *a, const struct matrices &m, const struct motion &k)
{
    dim3 grid(m.spans, m.count);
    double *last = k.part + SUMS * (int64_t)m.count * m.spans;
    if (!m.radius) { LAUNCH(a, step_move, grid, BLOCK, 0, m, k); return; }
    LAUNCH(a, step_lengths, grid, BLOCK, 0, m, k);
    LAUNCH(a, step_tangent, grid, BLOCK, 0, m, k, last);
    LAUNCH(a, step_turn, grid, BLOCK, 0, m, k, last);
    LAUNCH(a, step_radius, grid, BLOCK, 0, m, k);
}
