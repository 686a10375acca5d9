/* CUDA side of runtime/ops/place_rows.c. A thread makes a value; memory bounds it, which it reads and writes once. */
#include "kernel.cuh"

static __global__ void __launch_bounds__(BLOCK)
place_values(const int32_t *x, const int32_t *place, float *y, int64_t sequence, int64_t count, int64_t n)
{
    int64_t first = *place * sequence;                      /* values of a sequence, of the piece, of all */
    for (int64_t i = first_item(); i < n; i += all_items())
        y[i] = i >= first && i < first + count ? (float)x[i - first] : 0;
}

static void forward(const struct args *a)
{
    const struct place_rows_attr *at = (const struct place_rows_attr *)a->attr;
    int64_t n = shape_count(a->out[0].shape);
    LAUNCH(a, place_values, grid_for(a, n, BLOCK), BLOCK, 0, ints(&a->in[0]), ints(&a->in[1]), reals(&a->out[0]),
           at->length * a->in[0].shape.dim[1], shape_count(a->in[0].shape), n);
}

TWIN(place_rows, forward);
