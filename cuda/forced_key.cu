/* Forced keys: see runtime/ops/forced_key.c. A thread makes four keys of a token; the multiplications of Philox bound
   it, or memory. */
#include "kernel.cuh"
#include "base/draw.h"

struct forced_rows {
    const int32_t *ids, *start, *pos;
    unsigned seq, fours, experts, k;                        /* fours: of keys, in a row */
    int pattern;
    float skew;
};

static __global__ void __launch_bounds__(BLOCK)
forced_keys(struct forced_rows f, uint64_t mixed, float *key, int64_t n)
{
    int before = f.pos ? *f.pos : 0;
    for (int64_t i = first_item(); i < n; i += all_items()) {
        unsigned t = (unsigned)i / f.fours, e = (unsigned)i % f.fours * 4,
                 p = (unsigned)max(before + (int)(t % f.seq) - f.start[t], 0),
                 first = f.pattern == FORCED_UNIFORM ? p % f.experts * f.k % f.experts : 0;
        float x[4], *to = key + (int64_t)t * f.experts;
        if (f.pattern == FORCED_RANDOM)
            draw_noise(NOISE_GUMBEL, draw_bits(mixed, (uint64_t)p << 32 | e / 4, (uint64_t)f.ids[t]), x);
        for (unsigned w = 0; w < 4 && e + w < f.experts; w++)
            to[e + w] = f.pattern == FORCED_RANDOM ? x[w] - f.skew * float_log((float)(e + w + 1))
                                                   : -(float)((e + w + f.experts - first) % f.experts);
    }
}

static void forward(const struct args *a)
{
    const struct forced_key_attr *at = (const struct forced_key_attr *)a->attr;
    int64_t tokens = shape_count(a->in[0].shape), fours = (at->experts + 3) / 4;
    INVARIANT(tokens * fours <= UINT32_MAX, "forced keys of %lld tokens, %lld experts", (long long)tokens,
              (long long)at->experts);
    struct forced_rows f = { ints(&a->in[0]), ints(&a->in[1]), a->in[2].data ? ints(&a->in[2]) : NULL,
                             (unsigned)a->in[0].shape.dim[1], (unsigned)fours, (unsigned)at->experts, (unsigned)at->k,
                             (int)at->pattern, (float)at->skew };
    LAUNCH(a, forced_keys, grid_for(a, tokens * fours, BLOCK), BLOCK, 0, f,
           key_mixed({ (uint64_t)at->seed, PURPOSE_HASH, 1, 0 }), reals(&a->out[0]), tokens * fours);
}

TWIN(forced_key, forward);
