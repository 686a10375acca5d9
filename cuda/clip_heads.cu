/* rows of group g *= min(1, limit / max most[g])^power. A group that keeps its rows costs a few reads; what bounds the
   others is memory, a read and a write of each value, and of its bf16 form. */
#include "update.cuh"

enum { W, MOST, CLIP };                                     /* inputs */

/* n, heads: of one group */
struct groups { float *w; void *packed; const float *most, *clip; int64_t n; int groups, heads; float limit, power; };

static __device__ inline float largest(const struct groups &a, int group)
{
    float all = a.most[group * a.heads];
    for (int h = 1; h < a.heads; h++) all = fmaxf(all, a.most[group * a.heads + h]);
    return all;
}

/* Block (span, group). */
static __global__ void __launch_bounds__(BLOCK) clip_heads_span(struct groups a)
{
    int64_t from = (int64_t)blockIdx.x * SPAN, to = a.n - from < SPAN ? a.n : from + SPAN, start = blockIdx.y * a.n;
    struct view packed = { a.packed, true };
    float most = largest(a, blockIdx.y);
    if (a.clip[1] == 0 || !(most > a.limit)) return;
    float by = __powf(divide(a.limit, most), a.power);
    for (int64_t i = start + from + threadIdx.x; i < start + to; i += BLOCK) {
        float w = a.w[i] * by;
        a.w[i] = w;
        if (a.packed) store(packed, i, w);
    }
}

static __global__ void __launch_bounds__(BLOCK) clip_heads_share(struct groups a, float *out)
{
    float clipped = 0;
    for (int g = threadIdx.x; g < a.groups && a.clip[1] != 0; g += BLOCK) clipped += largest(a, g) > a.limit;
    clipped = block_sum(clipped);
    if (threadIdx.x == 0) *out = divide(clipped, (float)a.groups);
}

static void update(const struct args *a)
{
    const struct clip_heads_attr *at = (const struct clip_heads_attr *)a->attr;
    struct groups all = { reals(&a->in[W]), a->in[W].packed, reals(&a->in[MOST]), reals(&a->in[CLIP]),
                          shape_count(a->in[W].shape) / at->groups, (int)at->groups,
                          (int)(a->in[MOST].shape.dim[0] / at->groups), (float)at->limit, (float)at->power };
    LAUNCH(a, clip_heads_span, dim3(spans_of(all.n), all.groups), BLOCK, 0, all);
    LAUNCH(a, clip_heads_share, 1, BLOCK, 0, all, reals(&a->out[0]));
}

TWIN(clip_heads, update);
