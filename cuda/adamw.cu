/* m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  w -= lr (m^ / (sqrt(v^) + eps) + decay w). Memory bounds it: a value
   costs 28 bytes, 8 more with the largest v, and 2 for the weight rounded to bf16, which products read: that is the
   least. Moments of 8 bits cost 16, and are bound by what makes codes. Where a matrix moves as a whole, on a sphere or
   masked, it costs 64. */
#include "step.cuh"

enum { W, GRAD, M, V, LR, STEP, CLIP, RADIUS, LARGEST };    /* inputs */
constexpr float LEAST_SHARE = 1e-3f;                        /* of values that are not masked */
static const struct places at = { { M, V, LARGEST }, 0, LR, STEP, CLIP };

/* Of all that goes by this name. u = (now m + ahead g) / (sqrt(unbias v + inside) + eps) */
struct adam_rates {
    float b1, b2, keep1, keep2, now, ahead, unbias, inside, eps, decay, clip, rate;
    bool cautious, lazy;
};

/* 1 / (1 - beta^step) */
static __device__ float unbias(double log_beta, float step) { return (float)(1 / (1 - exp(log_beta * step))); }

/* top: the largest v, where that counts */
static __device__ inline float direction(const struct adam_rates &k, float g, float &m, float &v, float &top, bool tops)
{
    m = moment_mean(k.b1, m, k.keep1, g);
    v = moment_mean(k.b2, v, __fmul_rn(k.keep2, g), g);
    top = tops && top > v ? top : v;
    return divide(k.now * m + k.ahead * g, sqrtf(top * k.unbias + k.inside) + k.eps);
}

static __device__ inline float moved(const struct adam_rates &k, float w, float u)
{
    float decay = k.cautious && u * w < 0 ? 0 : k.decay;
    return w - k.rate * (u + decay * w);
}

template <bool TOPS> struct adam {
    enum { MEMORIES = 2 + TOPS };
    typedef struct adam_rates rates;
    struct adamw_attr at;
    double log1, log2;

    __device__ struct adam_rates rates_of(const struct weight &x, float clip, float lr, float step) const
    {
        double beta1 = at.beta1 * x.momentum, log = log1 + logf(x.momentum);
        float first = unbias(log, step), eps = (float)at.eps;
        return {
            (float)beta1, (float)at.beta2, (float)(1 - beta1), (float)(1 - at.beta2),
            at.nesterov ? (float)beta1 * unbias(log, step + 1) : first,
            at.nesterov ? (float)(1 - beta1) * first : 0, unbias(log2, step), at.inside ? eps : 0,
            at.inside ? 0 : eps, x.decay, clip, (float)(x.rate * lr), at.cautious != 0, at.lazy != 0
        };
    }

    static __device__ void value(const struct adam_rates &k, float grad, float &w, float (&memory)[MEMORIES])
    {
        float g = k.clip * grad, m = memory[0], v = memory[1], top = memory[MEMORIES - 1],
              u = direction(k, g, m, v, top, TOPS);
        if (k.lazy && g == 0) return;
        memory[0] = m;
        memory[1] = v;
        if (TOPS) memory[MEMORIES - 1] = top;
        w = moved(k, w, u);
    }
};

static __global__ void __launch_bounds__(BLOCK) adamw_span(const __grid_constant__ struct steps<adam<false>> a)
{
    step_span(a);
}
static __global__ void __launch_bounds__(BLOCK) amsgrad_span(const __grid_constant__ struct steps<adam<true>> a)
{
    step_span(a);
}

static __global__ void __launch_bounds__(BLOCK, 1) adamw_coded(const __grid_constant__ struct steps<adam<false>> a)
{
    step_coded(a);
}
static __global__ void __launch_bounds__(BLOCK, 1) amsgrad_coded(const __grid_constant__ struct steps<adam<true>> a)
{
    step_coded(a);
}

/* ---- u := the direction of one weight, with or without the largest v ---- */

static __global__ void __launch_bounds__(BLOCK)
adamw_direction(const __grid_constant__ struct steps<adam<true>> a, float *u)
{
    __shared__ struct adam_rates k;
    __shared__ struct weight x;
    if (a.all.clip[1] == 0) return;
    step_find(a, x, k);
    for (int64_t i = first_item(); i < x.n; i += all_items()) {
        bool tops = x.memory[2];
        float top = tops ? x.memory[2][i] : 0;
        u[i] = direction(k, k.clip * x.grad[i], x.memory[0][i], x.memory[1][i], top, tops);
        if (tops) x.memory[2][i] = top;
    }
}

static __global__ void __launch_bounds__(BLOCK)
adamw_coded_direction(const __grid_constant__ struct steps<adam<true>> a, float *u)
{
    __shared__ struct adam_rates k;
    __shared__ struct weight x;
    if (a.all.clip[1] == 0) return;
    step_find(a, x, k);
    step_walk<adam<true>>(x, blockIdx.x, [&](int64_t i, float (&memory)[3]) {
        u[i] = direction(k, k.clip * x.grad[i], memory[0], memory[1], memory[2], x.memory[2]);
    });
}

/* ---- masks: block (span, matrix) ---- */

static __device__ inline bool agrees(float u, float g) { return (u > 0 && g > 0) || (u < 0 && g < 0); }

static __global__ void __launch_bounds__(BLOCK) adamw_agree(struct matrices m, const float *grad, const float *clip,
                                                            int *count)
{
    int64_t from = (int64_t)blockIdx.x * SPAN, to = m.n - from < SPAN ? m.n : from + SPAN, start = blockIdx.y * m.n;
    int sum = 0;
    if (clip[1] == 0) return;
    for (int64_t i = start + from + threadIdx.x; i < start + to; i += BLOCK) sum += agrees(m.u[i], grad[i]);
    sum = block_sum(sum);
    if (threadIdx.x == 0) count[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

static __global__ void __launch_bounds__(BLOCK) adamw_mask(struct matrices m, const float *grad, const float *clip,
                                                           const int *count)
{
    int64_t from = (int64_t)blockIdx.x * SPAN, to = m.n - from < SPAN ? m.n : from + SPAN, start = blockIdx.y * m.n;
    float sum = 0;
    if (clip[1] == 0) return;
    for (unsigned s = threadIdx.x; s < gridDim.x; s += BLOCK) sum += (float)count[blockIdx.y * gridDim.x + s];
    float share = divide(block_sum(sum), (float)m.n), by = divide(1, fmaxf(share, LEAST_SHARE));
    for (int64_t i = start + from + threadIdx.x; i < start + to; i += BLOCK)
        m.u[i] = agrees(m.u[i], grad[i]) ? by * m.u[i] : 0;
}

/* ---- on the host ---- */

template <bool TOPS> static struct adam<TOPS> rule_of(const struct args *a)
{
    const struct adamw_attr *attr = (const struct adamw_attr *)a->attr;
    return { *attr, log(attr->beta1), log(attr->beta2) };
}

/* Whether its matrices move as a whole; values of one. */
static bool is_whole(const struct args *a)
{
    return a->in[RADIUS].data || ((const struct adamw_attr *)a->attr)->masked;
}

static int64_t matrix_of(const struct args *a)
{
    struct stack k = shape_stack(a->in[W].shape);
    return k.rows * k.columns;
}

static void find_directions(const struct args *a, float *u)
{
    const struct adamw_attr *attr = (const struct adamw_attr *)a->attr;
    int64_t n = shape_count(a->in[W].shape);
    struct steps<adam<true>> s = { reals(&a->in[LR]), reals(&a->in[STEP]), paces(a, LR), rule_of<true>(a),
                                   { reals(&a->in[CLIP]) } };
    s.all.of[s.all.n++] = weight_of(a, at, attr->decay, attr->rate, 0);
    if (step_is_coded(a, at)) LAUNCH(a, adamw_coded_direction, spans_of(n), BLOCK, 0, s, u);
    else LAUNCH(a, adamw_direction, grid_for(a, n, BLOCK), BLOCK, 0, s, u);
}

static void move_whole(const struct args *a)
{
    const struct adamw_attr *attr = (const struct adamw_attr *)a->attr;
    const float *clip = reals(&a->in[CLIP]), *grad = reals(&a->in[GRAD]);
    int64_t n = matrix_of(a), all = shape_count(a->in[W].shape);
    int count = (int)(all / n), spans = spans_of(n);
    double *part = (double *)a->scratch;
    float *u = (float *)(part + motion_doubles(count * spans, true));
    int *agreed = (int *)(u + all);
    struct matrices m = { reals(&a->in[W]), u, a->in[W].packed, reals(&a->in[RADIUS]), n, count, spans };
    find_directions(a, u);
    if (attr->masked) {
        LAUNCH(a, adamw_agree, dim3(spans, count), BLOCK, 0, m, grad, clip, agreed);
        LAUNCH(a, adamw_mask, dim3(spans, count), BLOCK, 0, m, grad, clip, agreed);
    }
    move_matrices(a, m, { clip, reals(&a->in[LR]), (float)attr->rate, (float)(attr->rate * attr->decay),
                           attr->cautious != 0, part, paces(a, LR) });
    fold_changes(a, part, count * spans, clip, reals(&a->out[0]), attr->along);
}

static void update(const struct args *a)
{
    bool coded = step_is_coded(a, at), along = ((const struct adamw_attr *)a->attr)->along;
    if (is_whole(a)) move_whole(a);
    else if (a->in[LARGEST].data)
        step_launch<struct adamw_attr>(a, at, rule_of<true>(a), coded ? amsgrad_coded : amsgrad_span, along);
    else step_launch<struct adamw_attr>(a, at, rule_of<false>(a), coded ? adamw_coded : adamw_span, along);
}

static size_t scratch(const struct args *a)
{
    if (!is_whole(a)) return step_scratch(a);
    int64_t all = shape_count(a->in[W].shape), spans = all / matrix_of(a) * spans_of(matrix_of(a));
    return motion_doubles(spans, true) * sizeof(double) + (size_t)all * sizeof(float) + spans * sizeof(int);
}

extern "C" kernel *fuse_adamw(const struct args *a, const struct args *b)
{
    const struct adamw_attr *x = (const struct adamw_attr *)a->attr, *y = (const struct adamw_attr *)b->attr;
    bool same = x->beta1 == y->beta1 && x->beta2 == y->beta2 && x->eps == y->eps && x->nesterov == y->nesterov &&
                x->inside == y->inside && x->cautious == y->cautious && x->lazy == y->lazy && x->along == y->along &&
                !a->in[LARGEST].data == !b->in[LARGEST].data;
    return same && !is_whole(a) && !is_whole(b) && step_together(a, b, at) ? update : NULL;
}

TWIN(adamw, update, NULL, NULL, scratch);
