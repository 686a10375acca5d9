/* CUDA side of runtime/ops/round_counts.c. */
#include "kernel.cuh"

static __global__ void __launch_bounds__(BLOCK)
round_up_or_down(const float *counts, float *y, int64_t experts, int64_t tile, int64_t how)
{
    for (int64_t e = first_item(); e < experts; e += all_items()) {
        int64_t count = (int64_t)counts[e], tiles = count / tile, over = count % tile;
        bool up = how == ROUND_UP ? over > 0 : 2 * over > tile || (2 * over == tile && tiles % 2 == 1);
        y[e] = (float)((tiles + (how != ROUND_DOWN && up)) * tile);
    }
}

static void round_forward(const struct args *a)
{
    const struct round_counts_attr *at = (const struct round_counts_attr *)a->attr;
    int64_t experts = shape_count(a->out[0].shape);
    LAUNCH(a, round_up_or_down, grid_for(a, experts, BLOCK), BLOCK, 0, reals(&a->in[0]), reals(&a->out[0]), experts,
           at->tile, at->how);
}

TWIN(round_counts, round_forward);
