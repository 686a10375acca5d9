/* v = b2 v + (1-b2) g^2;  z -= lr sqrt(1 - b2^t) (g / (sqrt(v) + eps) + decay w);  x += c (z - x);  w = x + (1-b1) (z -
   x). Memory bounds it: a value costs 36 bytes, and 2 for the weight rounded to bf16. */
#include "step.cuh"

enum { W, GRAD, X, LEAD, V, MEAN, LR, STEP, CLIP };         /* inputs */
enum { SHARES, SHARE, MOST };                               /* of MEAN */
static const struct places at = { { X, LEAD, V }, MEAN, LR, STEP, CLIP };

struct schedule_free {
    enum { MEMORIES = 3 };
    struct schedule_free_attr at;
    double log2;
    struct rates { float b2, keep1, keep2, eps, decay, clip, rate, c; };

    __device__ float rate_of(const struct weight &x, float lr, float step) const
    {
        return (float)(x.rate * lr * sqrt(1 - exp(log2 * step)));
    }

    /* What MEAN becomes in this step; without a rate so far nothing is taken in. */
    struct mean { float shares, share, most; };
    __device__ struct mean mean_of(const struct weight &x, float rate, float step) const
    {
        float most = fmaxf(x.own[MOST], rate),
              share = exp2f((float)at.power * log2f(step)) * most * most;
        if (share == 0) return { 0, 0, 0 };
        return { (float)(1 + (double)x.own[SHARES] * x.own[SHARE] / share), share, most };
    }

    __device__ struct rates rates_of(const struct weight &x, float clip, float lr, float step) const
    {
        float rate = rate_of(x, lr, step), shares = mean_of(x, rate, step).shares;
        return { (float)at.beta2, (float)(1 - at.beta1), (float)(1 - at.beta2), (float)at.eps, x.decay, clip,
                 rate, shares > 0 ? (float)(1 / (double)shares) : 0 };
    }

    static __device__ void value(const struct rates &k, float grad, float &w, float (&memory)[3])
    {
        float g = k.clip * grad, &x = memory[0], &lead = memory[1], &v = memory[2];
        v = k.b2 * v + k.keep2 * g * g;
        float ahead = lead - k.rate * (divide(g, sqrtf(v) + k.eps) + k.decay * w);      /* z - x, of the old x */
        x += k.c * ahead;
        lead = ahead - k.c * ahead;
        w = x + k.keep1 * lead;
    }
};

static __global__ void __launch_bounds__(BLOCK)
schedule_free_span(const __grid_constant__ struct steps<schedule_free> a)
{
    step_span(a);
}

static __global__ void __launch_bounds__(WARP)
schedule_free_mean(const __grid_constant__ struct steps<schedule_free> a)
{
    const struct weight &x = a.all.of[blockIdx.x];
    if (a.all.clip[1] == 0 || threadIdx.x != 0) return;
    struct schedule_free::mean now = a.rule.mean_of(x, a.rule.rate_of(x, *a.lr, *a.step), *a.step);
    x.own[SHARES] = now.shares;
    x.own[SHARE] = now.share;
    x.own[MOST] = now.most;
}

static void update(const struct args *a)
{
    const struct schedule_free_attr *attr = (const struct schedule_free_attr *)a->attr;
    step_launch<struct schedule_free_attr>(a, at, schedule_free{ *attr, log(attr->beta2) }, schedule_free_span,
                                           true, schedule_free_mean);
}

extern "C" kernel *fuse_schedule_free(const struct args *a, const struct args *b)
{
    const struct schedule_free_attr *x = (const struct schedule_free_attr *)a->attr,
                                    *y = (const struct schedule_free_attr *)b->attr;
    bool same = x->beta1 == y->beta1 && x->beta2 == y->beta2 && x->eps == y->eps && x->power == y->power;
    return same && step_together(a, b, at) ? update : NULL;
}

TWIN(schedule_free, update, NULL, NULL, step_scratch);
