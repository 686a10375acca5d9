/* m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  w -= lr (m^ / (sqrt(v^) + eps) + decay w). Memory bounds it: a value
   costs 28 bytes, and 2 for the weight rounded to bf16, which products read: that is the least. */
#include "update.cuh"

enum { W, GRAD, M, V, LR, STEP, CLIP };                     /* inputs */

/* Up to MANY weights in one launch: small ones alone would cost more to launch than to compute. */
enum { MANY = 32 };
struct weight {
    float *w, *m, *v;
    const float *grad;
    void *packed;
    float *out;
    int64_t n;
    float decay;
    double rate;
    int first;                                              /* of its spans */
};
struct adamw {
    const float *lr, *step, *clip;
    double *part;
    struct adamw_attr at;
    double log1, log2;
    int weights, spans;
    struct weight weight[MANY];
};
struct rates { float b1, b2, keep1, keep2, eps, decay, clip, rate, unbias1, unbias2; };

/* 1 / (1 - beta^step) */
static __device__ inline float unbias(double log_beta, float step) { return (float)(1 / (1 - exp(log_beta * step))); }

static __device__ inline struct rates rates_of(const struct adamw &a, const struct weight &x)
{
    return {
        (float)a.at.beta1, (float)a.at.beta2, (float)(1 - a.at.beta1), (float)(1 - a.at.beta2), (float)a.at.eps,
        x.decay, a.clip[0], (float)(x.rate * *a.lr), unbias(a.log1, *a.step), unbias(a.log2, *a.step)
    };
}

static __device__ inline void adamw_value(const struct rates &k, float grad, float &w, float &m, float &v,
                                          struct change_sums *sum)
{
    float g = k.clip * grad, old = w;
    m = k.b1 * m + k.keep1 * g;
    v = k.b2 * v + k.keep2 * g * g;
    w = old - k.rate * (divide(m * k.unbias1, sqrtf(v * k.unbias2) + k.eps) + k.decay * old);
    change_take(sum, w, old);
}

static __global__ void __launch_bounds__(BLOCK) adamw_span(const __grid_constant__ struct adamw a)
{
    __shared__ struct rates k;
    __shared__ struct weight x;
    if (a.clip[1] == 0) return;
    if (threadIdx.x == 0) {
        int t = 0;
        while (t + 1 < a.weights && (int)blockIdx.x >= a.weight[t + 1].first) t++;
        x = a.weight[t];
        k = rates_of(a, x);
    }
    __syncthreads();
    int64_t from = (int64_t)(blockIdx.x - x.first) * SPAN, to = x.n - from < SPAN ? x.n : from + SPAN,
            whole = to / LANES * LANES;
    struct view w = { x.w, false }, m = { x.m, false }, v = { x.v, false }, grad = { (void *)x.grad, false },
                packed = { x.packed, true };
    struct change_sums sum = {};
    for (int64_t i = from + threadIdx.x * LANES; i < whole; i += BLOCK * LANES) {
        struct eight g = load8(grad, i), u = load8(w, i), y = load8(m, i), z = load8(v, i);
        for (int l = 0; l < LANES; l++) adamw_value(k, g.v[l], u.v[l], y.v[l], z.v[l], &sum);
        store8(w, i, u);
        store8(m, i, y);
        store8(v, i, z);
        if (packed.data) store8(packed, i, u);
    }
    for (int64_t i = whole + threadIdx.x; i < to; i += BLOCK) {
        adamw_value(k, x.grad[i], x.w[i], x.m[i], x.v[i], &sum);
        if (packed.data) store(packed, i, x.w[i]);
    }
    sum = change_fold(sum);
    if (threadIdx.x == 0) change_leave(sum, a.part + SUMS * blockIdx.x);
}

/* A block adds the parts of one weight. */
static __global__ void __launch_bounds__(BLOCK) adamw_fold(const __grid_constant__ struct adamw a)
{
    const struct weight &x = a.weight[blockIdx.x];
    fold_span_parts(a.part + SUMS * x.first, spans_of(x.n), a.clip, x.out);
}

static size_t scratch(const struct args *a)
{
    size_t bytes = 0;
    for (; a; a = a->next) bytes += SUMS * spans_of(shape_count(a->in[W].shape)) * sizeof(double);
    return bytes;
}

static void append(struct adamw *all, const struct args *a)
{
    const struct adamw_attr *at = (const struct adamw_attr *)a->attr;
    int64_t n = shape_count(a->in[W].shape);
    all->weight[all->weights++] = { reals(&a->in[W]), reals(&a->in[M]), reals(&a->in[V]), reals(&a->in[GRAD]),
                                    a->in[W].packed, reals(&a->out[0]), n, (float)at->decay, at->rate, all->spans };
    all->spans += spans_of(n);
}

static void update(const struct args *a)
{
    const struct adamw_attr *at = (const struct adamw_attr *)a->attr;
    struct adamw all = { reals(&a->in[LR]), reals(&a->in[STEP]), reals(&a->in[CLIP]), (double *)a->scratch, *at,
                         log(at->beta1), log(at->beta2) };
    for (const struct args *next = a; next; next = next->next) {
        append(&all, next);
        if (next->next && all.weights < MANY) continue;
        LAUNCH(a, adamw_span, all.spans, BLOCK, 0, all);
        LAUNCH(a, adamw_fold, all.weights, BLOCK, 0, all);
        all.part += SUMS * all.spans;
        all.weights = all.spans = 0;
    }
}

extern "C" kernel *fuse_adamw(const struct args *a, const struct args *b)
{
    const struct adamw_attr *x = (const struct adamw_attr *)a->attr, *y = (const struct adamw_attr *)b->attr;
    bool same = x->beta1 == y->beta1 && x->beta2 == y->beta2 && x->eps == y->eps;
    for (int i = LR; i <= CLIP; i++) same = same && a->in[i].data == b->in[i].data;
    return same ? update : NULL;
}

TWIN(adamw, update, NULL, NULL, scratch);
