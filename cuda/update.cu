/* What stands around the updates of weights: the norm of all gradients, clipping by it, how large the changes
   are, and the rule that balances experts. The norm reads every gradient once, which bounds it; the others are a
   few values, and latency. */
#include "step.cuh"

#include <float.h>

/* ---- global_norm: the L2 norm of all gradients as one vector, its squares summed in double ---- */

enum { STRETCH = 65536, TENSORS = 32 };                     /* values of a block; tensors of a launch */

/* Tensor i is cut into blocks first[i] to first[i+1]. */
struct tensors { int n; const float *data[TENSORS]; int64_t count[TENSORS]; int first[TENSORS + 1]; };

static __global__ void __launch_bounds__(BLOCK) global_norm_blocks(struct tensors t, double *part)
{
    int block = blockIdx.x, i = 0;
    while (block >= t.first[i + 1]) i++;
    const float *x = t.data[i] + (int64_t)(block - t.first[i]) * STRETCH;
    int64_t rest = t.count[i] - (int64_t)(block - t.first[i]) * STRETCH;
    int n = rest < STRETCH ? (int)rest : STRETCH, whole = n / LANES * LANES;
    double sum = 0;
    for (int at = threadIdx.x * LANES; at < whole; at += BLOCK * LANES) {
        struct eight e = load8({ (void *)x, false }, at);
        for (int l = 0; l < LANES; l++) sum += (double)e.v[l] * e.v[l];
    }
    for (int at = whole + threadIdx.x; at < n; at += BLOCK) sum += (double)x[at] * x[at];
    sum = block_sum(sum);
    if (threadIdx.x == 0) part[block] = sum;
}

static __global__ void __launch_bounds__(BLOCK) global_norm_fold(const double *part, int blocks, float *out)
{
    double sum = 0;
    for (int b = threadIdx.x; b < blocks; b += BLOCK) sum += part[b];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *out = (float)sqrt(sum);
}

static int stretches(const struct tensor *t) { return (int)((shape_count(t->shape) + STRETCH - 1) / STRETCH); }

static size_t global_norm_scratch(const struct args *a)
{
    size_t blocks = 0;
    for (int i = 0; i < a->n_in; i++) blocks += stretches(&a->in[i]);
    return blocks * sizeof(double);
}

/* Of gradients that lie on another rank of a pipeline, and count there, nothing is read. */
static void global_norm(const struct args *a)
{
    double *part = (double *)a->scratch;
    int blocks = 0;
    for (int from = 0; from < a->n_in; from += TENSORS) {
        struct tensors t = {};
        for (; t.n < TENSORS && from + t.n < a->n_in; t.n++) {
            const struct tensor *in = &a->in[from + t.n];
            t.data[t.n] = reals(in);
            t.count[t.n] = shape_count(in->shape);
            t.first[t.n + 1] = t.first[t.n] + (in->data ? stretches(in) : 0);
        }
        if (t.first[t.n]) LAUNCH(a, global_norm_blocks, t.first[t.n], BLOCK, 0, t, part + blocks);
        blocks += t.first[t.n];
    }
    LAUNCH(a, global_norm_fold, 1, BLOCK, 0, part, blocks, reals(&a->out[0]));
}

TWIN(global_norm, global_norm, NULL, NULL, global_norm_scratch);

/* ---- clip_norm: a factor on gradients, and whether to go at all ---- */

static __global__ void __launch_bounds__(WARP)
clip_norm_values(const float *norm, const float *targets, double most, float *out)
{
    if (threadIdx.x != 0) return;
    bool go = fabsf(*norm) <= FLT_MAX && (!targets || *targets > 0);
    out[0] = go && most > 0 ? (float)fmin(1.0, most / (*norm + 1e-6)) : 1;
    out[1] = go;
}

static void clip_norm(const struct args *a)
{
    double most = ((const struct clip_norm_attr *)a->attr)->most;
    LAUNCH(a, clip_norm_values, 1, WARP, 0, reals(&a->in[0]), reals(&a->in[1]), most, reals(&a->out[0]));
}

TWIN(clip_norm, clip_norm);

/* ---- update_ratio: length of all changes over length of all weights, and their cosine; 0 for a skipped step ---- */

enum { CHANGES = 128 };                                     /* of a launch */

struct changes { int n; const float *of[CHANGES]; };

/* Adds to the sums of the launch before, in the order of the inputs. */
static __global__ void __launch_bounds__(WARP)
update_ratio_sums(struct changes c, double *sums, bool first, float *ratio, float *cosine)
{
    if (threadIdx.x != 0) return;
    struct change_sums sum = {};
    if (!first) sum = { sums[0], sums[1], sums[2] };
    for (int i = 0; i < c.n; i++) sum.changed += c.of[i][0], sum.before += c.of[i][1], sum.along += c.of[i][2];
    change_leave(sum, sums);
    *ratio = sum.before > 0 ? (float)sqrt(sum.changed / sum.before) : 0;
    *cosine = sum.changed > 0 && sum.before > 0 ? (float)(sum.along / sqrt(sum.changed * sum.before)) : 0;
}

static void update_ratio(const struct args *a)
{
    for (int from = 0; from < a->n_in; from += CHANGES) {
        struct changes c = {};
        for (; c.n < CHANGES && from + c.n < a->n_in; c.n++) c.of[c.n] = reals(&a->in[from + c.n]);
        LAUNCH(a, update_ratio_sums, 1, WARP, 0, c, (double *)a->scratch, from == 0, reals(&a->out[0]),
               reals(&a->out[1]));
    }
}

static size_t update_ratio_scratch(const struct args *) { return SUMS * sizeof(double); }

TWIN(update_ratio, update_ratio, NULL, NULL, update_ratio_scratch);

/* ---- the sums of one update ---- */

static __global__ void __launch_bounds__(BLOCK)
changes_fold(const double *part, int spans, const float *clip, bool along, float *out)
{
    fold_span_parts(part, spans, clip, along, out);
}

void fold_changes(const struct args *a, const double *part, int spans, const float *clip, float *out, bool along)
{
    LAUNCH(a, changes_fold, 1, BLOCK, 0, part, spans, clip, along, out);
}

/* ---- of several ---- */

/* A block adds the parts of one weight. */
static __global__ void __launch_bounds__(BLOCK) step_fold(const __grid_constant__ struct weights all)
{
    const struct weight &x = all.of[blockIdx.x];
    fold_span_parts(all.part + SUMS * x.first, spans_of(x.n), all.clip, all.along, x.out);
}

void fold_weights(const struct args *a, const struct weights &all)
{
    LAUNCH(a, step_fold, all.n, BLOCK, 0, all);
}

/* ---- bias_step: bias_i += rate sign(mean(counts) - counts_i), or rate (mean - counts_i) / mean ---- */

enum { BIAS, COUNTS, CLIP, TARGET };

/* want - share*n has the sign of mean - n and, for counts, no rounding: an expert at the mean stays where it is. */
static __device__ inline double step_of(const struct bias_step_attr &at, double want, double share, double count)
{
    double lack = want - share * count;
    if (at.rule == BIAS_SIGN) return (lack > 0) - (lack < 0);
    return want > 0 ? lack / want : 0;
}

static __global__ void __launch_bounds__(WARP)
bias_step_experts(float *bias, const float *counts, const float *target, const float *clip, int experts,
                  struct bias_step_attr at, float *out)
{
    double sum = 0, mean = 0;
    float low = INFINITY, high = -INFINITY;
    bool go = clip[1] != 0;
    for (int i = threadIdx.x; i < experts; i += WARP) sum += counts[i];
    sum = warp_sum(sum);
    for (int i = threadIdx.x; at.centred && i < experts; i += WARP)
        mean += step_of(at, target ? target[i] : sum, target ? 1 : experts, counts[i]);
    if (at.centred) mean = warp_sum(mean) / experts;
    for (int i = threadIdx.x; i < experts; i += WARP) {
        low = fminf(low, bias[i]);
        high = fmaxf(high, bias[i]);
        double step = step_of(at, target ? target[i] : sum, target ? 1 : experts, counts[i]) - mean;
        float moved = bias[i] + (float)(at.rate * step);
        if (go) bias[i] = moved < (float)at.low ? (float)at.low : moved > (float)at.high ? (float)at.high : moved;
    }
    float range = warp_max(high) + warp_max(-low);
    if (threadIdx.x == 0) *out = range;
}

static void bias_step(const struct args *a)
{
    LAUNCH(a, bias_step_experts, 1, WARP, 0, reals(&a->in[BIAS]), reals(&a->in[COUNTS]), reals(&a->in[TARGET]),
           reals(&a->in[CLIP]), (int)a->in[BIAS].shape.dim[0], *(const struct bias_step_attr *)a->attr,
           reals(&a->out[0]));
}

TWIN(bias_step, bias_step);
