/* A value over the micro-batches of a step, in memory that outlives them: their sum, largest or last. A mean is kept as
   a sum, which its reader divides. Memory bounds it: x is read, what is held read and written, once. */
#include "kernel.cuh"

static __global__ void __launch_bounds__(BLOCK)
carry_on(struct view x, const int32_t *counts, float *held, enum carry how, bool first, int64_t n)
{
    for (int64_t i = first_item(); i < n; i += all_items()) {
        float v = counts ? (float)counts[i] : load(x, i);
        if (!first && how == CARRY_MAX) v = v > held[i] || v != v ? v : held[i];
        else if (!first && how != CARRY_LAST) v += held[i];
        held[i] = v;
    }
}

static void forward(const struct args *a)
{
    int64_t n = shape_count(a->out[0].shape);
    const int32_t *counts = a->in[0].format == FORMAT_I32 ? ints(&a->in[0]) : NULL;
    LAUNCH(a, carry_on, grid_for(a, n, BLOCK), BLOCK, 0, view_of(a->in[0]), counts, reals(&a->out[0]),
           (enum carry)((const struct carry_attr *)a->attr)->how, a->step->micro == 0, n);
}

TWIN(carry, forward);
