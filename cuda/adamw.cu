/* m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  w -= lr (m^ / (sqrt(v^) + eps) + decay w). Memory bounds it: a value
   costs 28 bytes, and 2 for the weight rounded to bf16, which products read: that is the least. On a sphere, where
   lengths must be known first, it costs 64. */
#include "step.cuh"

enum { W, GRAD, M, V, LR, STEP, CLIP, RADIUS };             /* inputs */
static const struct places at = { { M, V }, 0, LR, STEP, CLIP };

/* u = (now m + ahead g) / (sqrt(unbias v + inside) + eps) */
struct adamw {
    enum { MEMORIES = 2 };
    struct adamw_attr at;
    double log1, log2;
    struct rates {
        float b1, b2, keep1, keep2, now, ahead, unbias, inside, eps, decay, clip, rate;
        bool cautious, lazy;
    };

    /* 1 / (1 - beta^step) */
    static __device__ float unbias(double log_beta, float step) { return (float)(1 / (1 - exp(log_beta * step))); }

    __device__ struct rates rates_of(const struct weight &x, float clip, float lr, float step) const
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

    static __device__ float direction(const struct rates &k, float g, float &m, float &v)
    {
        m = k.b1 * m + k.keep1 * g;
        v = k.b2 * v + k.keep2 * g * g;
        return divide(k.now * m + k.ahead * g, sqrtf(v * k.unbias + k.inside) + k.eps);
    }

    static __device__ void value(const struct rates &k, float grad, float &w, float (&memory)[2])
    {
        float g = k.clip * grad, m1 = memory[0], v1 = memory[1], u = direction(k, g, m1, v1),
              decay = k.cautious && u * w < 0 ? 0 : k.decay;
        if (k.lazy && g == 0) return;
        memory[0] = m1;
        memory[1] = v1;
        w -= k.rate * (u + decay * w);
    }
};

static __global__ void __launch_bounds__(BLOCK) adamw_span(const __grid_constant__ struct steps<adamw> a)
{
    step_span(a);
}

/* u := the direction of one weight */
static __global__ void __launch_bounds__(BLOCK) adamw_direction(const __grid_constant__ struct steps<adamw> a, float *u)
{
    __shared__ struct adamw::rates k;
    const struct weight x = step_paced(a, a.all.of[0]);
    if (a.all.clip[1] == 0) return;
    if (threadIdx.x == 0) k = a.rule.rates_of(x, a.all.clip[0], *a.lr, *a.step);
    __syncthreads();
    for (int64_t i = first_item(); i < x.n; i += all_items())
        u[i] = adamw::direction(k, k.clip * x.grad[i], x.memory[0][i], x.memory[1][i]);
}

static struct adamw rule_of(const struct args *a)
{
    const struct adamw_attr *attr = (const struct adamw_attr *)a->attr;
    return { *attr, log(attr->beta1), log(attr->beta2) };
}

static int64_t matrix_of(const struct args *a)
{
    struct shape w = a->in[W].shape;
    return w.dim[w.rank - 2] * w.dim[w.rank - 1];
}

static void turn(const struct args *a)
{
    const struct adamw_attr *attr = (const struct adamw_attr *)a->attr;
    int64_t n = matrix_of(a), count = shape_count(a->in[RADIUS].shape);
    double *part = (double *)a->scratch;
    float *u = (float *)(part + motion_doubles(count * spans_of(n), true));
    struct steps<adamw> s = { reals(&a->in[LR]), reals(&a->in[STEP]), paces(a, LR), rule_of(a),
                              { reals(&a->in[CLIP]) } };
    s.all.of[0] = weight_of(a, at, 0, attr->rate, 0);
    LAUNCH(a, adamw_direction, grid_for(a, n * count, BLOCK), BLOCK, 0, s, u);
    move_matrices(a, { reals(&a->in[W]), u, a->in[W].packed, reals(&a->in[RADIUS]), n, (int)count, spans_of(n) },
                  { reals(&a->in[CLIP]), reals(&a->in[LR]), (float)attr->rate, 0, false, part });
    fold_changes(a, part, (int)(count * spans_of(n)), reals(&a->in[CLIP]), reals(&a->out[0]));
}

static void update(const struct args *a)
{
    if (a->in[RADIUS].data) turn(a);
    else step_launch<struct adamw_attr>(a, at, rule_of(a), adamw_span);
}

static size_t scratch(const struct args *a)
{
    if (!a->in[RADIUS].data) return step_scratch(a);
    return motion_doubles(shape_count(a->in[RADIUS].shape) * spans_of(matrix_of(a)), true) * sizeof(double) +
           (size_t)shape_count(a->in[W].shape) * sizeof(float);
}

extern "C" kernel *fuse_adamw(const struct args *a, const struct args *b)
{
    const struct adamw_attr *x = (const struct adamw_attr *)a->attr, *y = (const struct adamw_attr *)b->attr;
    bool same = x->beta1 == y->beta1 && x->beta2 == y->beta2 && x->eps == y->eps && x->nesterov == y->nesterov &&
                x->inside == y->inside && x->cautious == y->cautious && x->lazy == y->lazy;
    return same && !a->in[RADIUS].data && !b->in[RADIUS].data && step_together(a, b, at) ? update : NULL;
}

TWIN(adamw, update, NULL, NULL, scratch);
