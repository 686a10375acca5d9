/* Where tokens stand in their documents, in units of `length` tokens: y = (p + 1) / length, or only its whole part. */
#include "kernel.cuh"

enum { START, POS };

static __global__ void __launch_bounds__(BLOCK)
positions_of(const int32_t *start, const int32_t *pos, unsigned n, unsigned length, int unit, bool whole, float *y)
{
    int before = pos ? pos[0] : 0;
    for (unsigned t = (unsigned)first_item(); t < n; t += (unsigned)all_items()) {
        int p = before + (int)(t % length) - start[t] + 1;
        y[t] = whole ? (float)(p / unit) : divide((float)p, (float)unit);
    }
}

static void forward(const struct args *a)
{
    const struct positions_attr *at = (const struct positions_attr *)a->attr;
    struct shape start = a->in[START].shape;
    int64_t n = shape_count(start);
    LAUNCH(a, positions_of, grid_for(a, n, BLOCK), BLOCK, 0, ints(&a->in[START]),
           a->in[POS].data ? ints(&a->in[POS]) : NULL, (unsigned)n, (unsigned)start.dim[1], (int)at->length,
           at->whole != 0, reals(&a->out[0]));
}

TWIN(positions, forward);
