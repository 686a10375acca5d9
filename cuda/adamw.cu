/* m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  w -= lr (m^ / (sqrt(v^) + eps) + decay w). Memory bounds it: a value costs 28 bytes, and 2
   for the weight rounded to bf16, which products read: that is the least. */
#include "update.cuh"

enum { W, GRAD, M, V, LR, STEP, CLIP };                     /* inputs */

struct adamw { float *w, *m, *v; const float *grad, *lr, *step, *clip; void *packed; double *part; int64_t n; struct adamw_attr at; double log1, log2; };
struct rates { float b1, b2, keep1, keep2, eps, decay, clip, rate, unbias1, unbias2; };

/* 1 / (1 - beta^step) */
static __device__ inline float unbias(double log_beta, float step) { return (float)(1 / (1 - exp(log_beta * step))); }

static __device__ inline struct rates rates_of(const struct adamw &a)
{
    return { (float)a.at.beta1, (float)a.at.beta2, (float)(1 - a.at.beta1), (float)(1 - a.at.beta2), (float)a.at.eps, (float)a.at.decay,
             a.clip[0], (float)(a.at.rate * *a.lr), unbias(a.log1, *a.step), unbias(a.log2, *a.step) };
}

/* One value, and the squares of its change and of what it was. */
static __device__ inline void adamw_value(const struct rates &k, float grad, float &w, float &m, float &v, double &changed, double &before)
{
    float g = k.clip * grad, old = w;
    m = k.b1 * m + k.keep1 * g;
    v = k.b2 * v + k.keep2 * g * g;
    w = old - k.rate * (divide(m * k.unbias1, sqrtf(v * k.unbias2) + k.eps) + k.decay * old);
    double change = (double)w - old;
    changed += change * change;
    before += (double)old * old;
}

static __global__ void __launch_bounds__(BLOCK) adamw_span(struct adamw a)
{
    __shared__ struct rates k;
    if (a.clip[1] == 0) return;
    if (threadIdx.x == 0) k = rates_of(a);
    __syncthreads();
    int64_t from = (int64_t)blockIdx.x * SPAN, to = a.n - from < SPAN ? a.n : from + SPAN, whole = to / LANES * LANES;
    struct view w = { a.w, false }, m = { a.m, false }, v = { a.v, false }, grad = { (void *)a.grad, false }, packed = { a.packed, true };
    double changed = 0, before = 0;
    for (int64_t i = from + threadIdx.x * LANES; i < whole; i += BLOCK * LANES) {
        struct eight g = load8(grad, i), x = load8(w, i), y = load8(m, i), z = load8(v, i);
        for (int l = 0; l < LANES; l++) adamw_value(k, g.v[l], x.v[l], y.v[l], z.v[l], changed, before);
        store8(w, i, x);
        store8(m, i, y);
        store8(v, i, z);
        if (a.packed) store8(packed, i, x);
    }
    for (int64_t i = whole + threadIdx.x; i < to; i += BLOCK) {
        adamw_value(k, a.grad[i], a.w[i], a.m[i], a.v[i], changed, before);
        if (a.packed) store(packed, i, a.w[i]);
    }
    changed = block_sum(changed);
    before = block_sum(before);
    if (threadIdx.x != 0) return;
    a.part[2 * blockIdx.x] = changed;
    a.part[2 * blockIdx.x + 1] = before;
}

static size_t scratch(const struct args *a) { return 2 * spans_of(shape_count(a->in[W].shape)) * sizeof(double); }

static void update(const struct args *a)
{
    const struct adamw_attr *at = (const struct adamw_attr *)a->attr;
    int64_t n = shape_count(a->in[W].shape);
    struct adamw all = { reals(&a->in[W]), reals(&a->in[M]), reals(&a->in[V]), reals(&a->in[GRAD]), reals(&a->in[LR]), reals(&a->in[STEP]),
                         reals(&a->in[CLIP]), a->in[W].packed, (double *)a->scratch, n, *at, log(at->beta1), log(at->beta2) };
    LAUNCH(a, adamw_span, spans_of(n), BLOCK, 0, all);
    fold_changes(a, all.part, spans_of(n), all.clip, reals(&a->out[0]));
}

TWIN(adamw, update, NULL, NULL, scratch);
