/* w -= lr (sign(b1 m + (1-b1) g) + decay w);  m = b2 m + (1-b2) g. Memory bounds it: a value costs 20 bytes, and 2 for
   the weight rounded to bf16. */
#include "step.cuh"

enum { W, GRAD, M, LR, CLIP };                              /* inputs */
static const struct places at = { { M }, 0, LR, 0, CLIP };

struct lion {
    enum { MEMORIES = 1 };
    struct lion_attr at;
    struct rates { float b1, b2, keep1, keep2, decay, clip, rate; };

    __device__ struct rates rates_of(const struct weight &x, float clip, float lr, float) const
    {
        double beta1 = at.beta1 * x.momentum;
        return { (float)beta1, (float)at.beta2, (float)(1 - beta1), (float)(1 - at.beta2), x.decay, clip,
                 (float)(x.rate * lr) };
    }

    static __device__ void value(const struct rates &k, float grad, float &w, float (&memory)[1])
    {
        float g = k.clip * grad, mean = moment_mean(k.b1, memory[0], k.keep1, g);
        memory[0] = moment_mean(k.b2, memory[0], k.keep2, g);
        w -= k.rate * ((float)(mean > 0) - (float)(mean < 0) + k.decay * w);
    }
};

static __global__ void __launch_bounds__(BLOCK) lion_span(const __grid_constant__ struct steps<lion> a)
{
    step_span(a);
}
static __global__ void __launch_bounds__(BLOCK, 1) lion_coded(const __grid_constant__ struct steps<lion> a)
{
    step_coded(a);
}

static void update(const struct args *a)
{
    const struct lion_attr *attr = (const struct lion_attr *)a->attr;
    step_launch<struct lion_attr>(a, at, lion{ *attr }, step_is_coded(a, at) ? lion_coded : lion_span);
}

extern "C" kernel *fuse_lion(const struct args *a, const struct args *b)
{
    const struct lion_attr *x = (const struct lion_attr *)a->attr, *y = (const struct lion_attr *)b->attr;
    return x->beta1 == y->beta1 && x->beta2 == y->beta2 && step_together(a, b, at) ? update : NULL;
}

TWIN(lion, update, NULL, NULL, step_scratch);
