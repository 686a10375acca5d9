/* m = mu m + g;  w -= lr (m, or g + mu m, + decay w). Memory bounds it: a value costs 20 bytes, 12 without momentum,
   and 2 for the weight rounded to bf16. */
#include "step.cuh"

enum { W, GRAD, LR, CLIP, M };                              /* inputs */
static const struct places at = { { M }, 0, LR, 0, CLIP };

/* u = now m + ahead g; without m, whose value is 0, u is g */
struct sgd {
    enum { MEMORIES = 1 };
    struct sgd_attr at;
    bool bare;
    struct rates { float mu, now, ahead, coupled, decay, clip, rate; };

    __device__ struct rates rates_of(const struct weight &x, float clip, float lr, float) const
    {
        bool ahead = bare || at.nesterov;
        float mu = (float)(at.momentum * x.momentum);
        return { mu, bare ? 0 : at.nesterov ? mu : 1, ahead ? 1.0f : 0,
                 at.coupled ? x.decay : 0, at.coupled ? 0 : x.decay, clip, (float)(x.rate * lr) };
    }

    static __device__ void value(const struct rates &k, float grad, float &w, float (&memory)[1])
    {
        float g = moment_mean(k.clip, grad, k.coupled, w);
        memory[0] = moment_mean(k.mu, memory[0], 1, g);
        w -= k.rate * (k.now * memory[0] + k.ahead * g + k.decay * w);
    }
};

static __global__ void __launch_bounds__(BLOCK) sgd_span(const __grid_constant__ struct steps<sgd> a)
{
    step_span(a);
}
static __global__ void __launch_bounds__(BLOCK, 1) sgd_coded(const __grid_constant__ struct steps<sgd> a)
{
    step_coded(a);
}

static void update(const struct args *a)
{
    const struct sgd_attr *attr = (const struct sgd_attr *)a->attr;
    step_launch<struct sgd_attr>(a, at, sgd{ *attr, !a->in[M].data }, step_is_coded(a, at) ? sgd_coded : sgd_span);
}

extern "C" kernel *fuse_sgd(const struct args *a, const struct args *b)
{
    const struct sgd_attr *x = (const struct sgd_attr *)a->attr, *y = (const struct sgd_attr *)b->attr;
    bool same = x->momentum == y->momentum && x->nesterov == y->nesterov && x->coupled == y->coupled &&
                !a->in[M].data == !b->in[M].data;
    return same && step_together(a, b, at) ? update : NULL;
}

TWIN(sgd, update, NULL, NULL, step_scratch);
