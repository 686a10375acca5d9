/* Noise with the bits of the CPU: see runtime/ops/noise.c. A thread makes four columns of a row. Bound by the
   multiplications of Philox. Compiled without contraction into fused multiply-adds. */
#include "kernel.cuh"

#include "base/draw.h"

/* fours: draws of a row. */
struct grid { unsigned positions, fours; int columns; };

static __global__ void __launch_bounds__(BLOCK)
noise_forward(const uint32_t *key, uint64_t name, int kind, struct grid g, float *y, int64_t draws)
{
    for (int64_t i = first_item(); i < draws; i += all_items()) {
        unsigned row = (unsigned)i / g.fours, four = (unsigned)i % g.fours;
        const uint32_t *word = key + row / g.positions * 2;
        uint64_t mixed = (uint64_t)word[1] << 32 | word[0], position = (uint64_t)(row % g.positions) << 32;
        float x[4], *to = y + (int64_t)row * g.columns + 4 * four;
        draw_noise((enum noise_kind)kind, draw_bits(mixed, position | four, name), x);
        if (g.columns % 4 == 0) *(float4 *)to = make_float4(x[0], x[1], x[2], x[3]);
        else for (int w = 0; w < 4; w++) if (4 * (int)four + w < g.columns) to[w] = x[w];
    }
}

static void noise_rows(const struct args *a)
{
    const struct noise_attr *at = (const struct noise_attr *)a->attr;
    int64_t rows = a->out[0].shape.dim[0], columns = shape_count(a->out[0].shape) / rows, fours = (columns + 3) / 4;
    INVARIANT(rows * fours <= UINT32_MAX, "noise of %lld rows of %lld values", (long long)rows, (long long)columns);
    struct grid g = { (unsigned)(rows / a->in[0].shape.dim[0]), (unsigned)fours, (int)columns };
    LAUNCH(a, noise_forward, grid_for(a, rows * fours, BLOCK), BLOCK, 0, (const uint32_t *)a->in[0].data, at->name,
           (int)at->kind, g, reals(&a->out[0]), rows * fours);
}

TWIN(noise, noise_rows);
