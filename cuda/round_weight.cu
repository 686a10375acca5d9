/* Values of weights become those of bf16, with the bits of the CPU: see runtime/ops/round_weight.c. A thread has eight
   values, one draw. Memory bounds it: each value is read and written once, and its packed form. */
#include "update.cuh"
#include "base/draw.h"

enum { W, KEY, STEP, CLIP };                                /* inputs */

static __device__ inline float rounded(float value, uint32_t below)
{
    uint32_t bits = __float_as_uint(value);
    return (bits & 0x7F800000u) == 0x7F800000u ? value : __uint_as_float((bits + below) & 0xFFFF0000u);
}

static __global__ void __launch_bounds__(BLOCK)
round_weight_values(float *w, void *packed, int64_t n, const float *key, const float *step, const float *clip,
                    float *out)
{
    struct view narrow = { packed, true };
    if (first_item() == 0) *out = clip[1];
    if (clip[1] == 0) return;
    for (int64_t eight = first_item(); eight * LANES < n; eight += all_items()) {
        philox4x32_ctr_t bits = {};
        if (key) bits = draw_bits(draw_key(key[0], key[1]), (uint64_t)eight, (uint64_t)*step);
#pragma unroll
        for (int k = 0; k < LANES; k++) {
            if (eight * LANES + k >= n) continue;
            float value = w[eight * LANES + k];
            uint32_t below = key ? bits.v[k / 2] >> k % 2 * 16 & 0xFFFF : 0x7FFF + (__float_as_uint(value) >> 16 & 1);
            value = rounded(value, below);
            w[eight * LANES + k] = value;
            if (packed) store(narrow, eight * LANES + k, value);
        }
    }
}

static void update(const struct args *a)
{
    int64_t n = shape_count(a->in[W].shape);
    LAUNCH(a, round_weight_values, grid_for(a, n, BLOCK * LANES), BLOCK, 0, reals(&a->in[W]), a->in[W].packed, n,
           reals(&a->in[KEY]), reals(&a->in[STEP]), reals(&a->in[CLIP]), reals(&a->out[0]));
}

TWIN(round_weight, update);
