/* CUDA side of runtime/ops/sum_by_position.c: a block for each sum goes through all tokens, in an order that their
   number alone decides. Bound by memory, which is in the cache after the first sum; it is for evaluations. */
#include "kernel.cuh"

enum { X, START };

static __global__ void __launch_bounds__(BLOCK)
sum_by_position(const float *x, const int32_t *start, unsigned tokens, unsigned seq, int length, float *y)
{
    float sum = 0;
    for (unsigned t = threadIdx.x; t < tokens; t += BLOCK) {
        int position = (int)(t % seq) - start[t];
        if (position >= 0 && position / length == (int)blockIdx.x) sum += x[t];
    }
    double all = block_sum((double)sum);
    if (threadIdx.x == 0) y[blockIdx.x] = (float)all;
}

static void forward(const struct args *a)
{
    const struct sum_by_position_attr *at = (const struct sum_by_position_attr *)a->attr;
    struct shape start = a->in[START].shape;
    LAUNCH(a, sum_by_position, (int)at->n, BLOCK, 0, reals(&a->in[X]), ints(&a->in[START]),
           (unsigned)shape_count(start), (unsigned)start.dim[1], (int)at->length, reals(&a->out[0]));
}

TWIN(sum_by_position, forward);
