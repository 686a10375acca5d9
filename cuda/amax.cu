/* What delayed scaling goes by: see runtime/ops/amax.c. A gradient that passes is read and written once, and memory
   bounds it; the ring of steps is a few values, and latency. */
#include "kernel.cuh"

/* ---- gradient_amax ---- */

/* The largest of those that are no NaN, or NaN. */
static __device__ inline float larger(float top, float x)
{
    x = fabsf(x);
    return x > top || x != x ? x : top;
}

static __global__ void __launch_bounds__(BLOCK)
amax_forward(struct view x, struct view y, int64_t n, float *top, bool first)
{
    int64_t whole = n / LANES, rest = whole * LANES + first_item();
    for (int64_t i = first_item(); i < whole; i += all_items()) store8(y, i * LANES, load8(x, i * LANES));
    if (rest < n) store(y, rest, load(x, rest));
    if (first && first_item() == 0) *top = 0;
}

static __global__ void __launch_bounds__(BLOCK) amax_backward(struct view dy, struct sum dx, int64_t n, float *part)
{
    int64_t whole = n / LANES, rest = whole * LANES + first_item();
    float top = 0;
    for (int64_t i = first_item(); i < whole; i += all_items()) {
        struct eight g = load8(dy, i * LANES);
        for (int l = 0; l < LANES; l++) top = larger(top, g.v[l]);
        add8(dx, i * LANES, g);
    }
    if (rest < n) {
        float g = load(dy, rest);
        top = larger(top, g);
        add(dx, rest, g);
    }
    top = block_max(top);
    if (threadIdx.x == 0) part[blockIdx.x] = top;
}

static __global__ void __launch_bounds__(BLOCK) amax_finish(const float *part, int parts, float *to)
{
    float top = *to;
    for (int i = threadIdx.x; i < parts; i += BLOCK) top = larger(top, part[i]);
    top = block_max(top);
    if (threadIdx.x == 0) *to = top;
}

static void gradient_forward(const struct args *a)
{
    int64_t n = shape_count(a->in[0].shape);
    LAUNCH(a, amax_forward, grid_for(a, n, BLOCK * LANES), BLOCK, 0, view_of(a->in[0]), view_of(a->out[0]), n,
           reals(&a->out[1]), a->step->micro == 0);
}

/* Blocks of the backward pass, which leave a part each: by the shape, as the plan knows no device. */
static int blocks_of_backward(const struct args *a)
{
    int64_t blocks = (shape_count(a->in[0].shape) + BLOCK * LANES - 1) / (BLOCK * LANES);
    return blocks < BLOCK ? (int)blocks : (int)BLOCK;
}

static void gradient_backward(const struct args *a)
{
    int64_t n = shape_count(a->in[0].shape);
    int blocks = blocks_of_backward(a);
    LAUNCH(a, amax_backward, blocks, BLOCK, 0, view_of(a->dout[0]), sum_of(a, 0), n, (float *)a->scratch);
    LAUNCH(a, amax_finish, 1, BLOCK, 0, (float *)a->scratch, blocks, reals(&a->out[1]));
}

static size_t gradient_scratch(const struct args *a) { return (size_t)blocks_of_backward(a) * sizeof(float); }

TWIN(gradient_amax, gradient_forward, gradient_backward, NULL, gradient_scratch);

/* ---- amax_history ---- */

enum { HISTORY, OPERANDS, GRADIENT, STEP, CLIP };

static __global__ void __launch_bounds__(WARP)
amax_history_push(float *history, int steps, const float *operands, const float *gradient, const float *step,
                  const float *clip, float *out)
{
    int k = threadIdx.x, now = ((int)*step - 1) % steps;
    float top = 0;
    if (k >= 3) return;
    if (clip[1] != 0) history[3 * now + k] = k < 2 ? operands[k] : *gradient;
    for (int i = 0; i < steps; i++) top = fmaxf(top, history[3 * i + k]);
    out[k] = top;
}

static void history_forward(const struct args *a)
{
    LAUNCH(a, amax_history_push, 1, WARP, 0, reals(&a->in[HISTORY]), (int)a->in[HISTORY].shape.dim[0],
           reals(&a->in[OPERANDS]), reals(&a->in[GRADIENT]), reals(&a->in[STEP]), reals(&a->in[CLIP]),
           reals(&a->out[0]));
}

TWIN(amax_history, history_forward);
