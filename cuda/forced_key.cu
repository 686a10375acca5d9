/* Forced keys: see runtime/ops/forced_key.c. A thread makes four keys of a token; the multiplications of Philox bound
   it, or memory. */
#include "kernel.cuh"
#include "base/draw.h"

struct places { const int32_t *ids, *start, *pos; int seq, fours; };

static __global__ void __launch_bounds__(BLOCK)
forced_rows(struct places at, struct forced_key_attr a, uint64_t mixed, float *key, int64_t n)
{
    int before = at.pos ? *at.pos : 0, experts = (int)a.experts;
    for (int64_t i = first_item(); i < n; i += all_items()) {
        int64_t t = i / at.fours;
        int e = (int)(i % at.fours) * 4, p = before + (int)(t % at.seq) - at.start[t],
            first = a.pattern == FORCED_UNIFORM ? (int)(p * a.k % experts) : 0;
        float x[4];
        if (a.pattern == FORCED_RANDOM)
            draw_noise(NOISE_GUMBEL, draw_bits(mixed, (uint64_t)p << 32 | (unsigned)e / 4, (uint64_t)at.ids[t]), x);
        for (int w = 0; w < 4 && e + w < experts; w++)
            key[t * experts + e + w] = a.pattern == FORCED_RANDOM ? x[w] - (float)a.skew * float_log((float)(e + w + 1))
                                       : (float)-((e + w - first + experts) % experts);
    }
}

static void forward(const struct args *a)
{
    const struct forced_key_attr *at = (const struct forced_key_attr *)a->attr;
    int64_t tokens = shape_count(a->in[0].shape), fours = (at->experts + 3) / 4;
    struct places places = { ints(&a->in[0]), ints(&a->in[1]), a->in[2].data ? ints(&a->in[2]) : NULL,
                             (int)a->in[0].shape.dim[1], (int)fours };
    LAUNCH(a, forced_rows, grid_for(a, tokens * fours, BLOCK), BLOCK, 0, places, *at,
           key_mixed({ (uint64_t)at->seed, PURPOSE_HASH, 1, 0 }), reals(&a->out[0]), tokens * fours);
}

TWIN(forced_key, forward);
