/* CUDA side of runtime/ops/count_chosen.c. A block takes a group of tokens and counts in shared memory; sums of
   integers have no order. Bound by memory, which it reads once, where there are as many groups as multiprocessors. */
#include "warp.cuh"

enum { THREADS = 1024, SHARED = 48 << 10 };

static __global__ void __launch_bounds__(THREADS, 1)
count_group(const int32_t *index, float *count, float *all, int tokens, int k, int experts, int parts, bool once)
{
    extern __shared__ int32_t counts[];
    int size = experts / parts, sum = 0;
    for (int i = threadIdx.x; i < parts; i += THREADS) counts[i] = 0;
    __syncthreads();
    for (int t = threadIdx.x; t < tokens; t += THREADS) {
        const int32_t *of = index + ((int64_t)blockIdx.x * tokens + t) * k;
        int chosen = 0;
        for (int j = 0; j < k; j++) {
            bool is = of[j] >= 0 && of[j] < experts;
            for (int i = 0; once && is && i < j; i++)
                is = of[i] < 0 || of[i] >= experts || of[i] / size != of[j] / size;
            if (is) atomicAdd(&counts[of[j] / size], 1);
            chosen += is;
        }
        sum += once ? chosen > 0 : chosen;
    }
    sum = block_sum(sum);
    __syncthreads();
    for (int i = threadIdx.x; i < parts; i += THREADS) count[(int64_t)blockIdx.x * parts + i] = (float)counts[i];
    if (threadIdx.x == 0) all[blockIdx.x] = (float)sum;
}

static void count_groups(const struct args *a)
{
    const struct count_chosen_attr *at = (const struct count_chosen_attr *)a->attr;
    int bytes = (int)(at->parts * sizeof(int32_t));
    INVARIANT(bytes <= SHARED, "count_chosen of %d parts", (int)at->parts);
    LAUNCH(a, count_group, (unsigned)at->groups, THREADS, bytes, ints(&a->in[0]), reals(&a->out[0]), reals(&a->out[1]),
           (int)(a->in[0].shape.dim[0] / at->groups), (int)a->in[0].shape.dim[1], (int)at->experts, (int)at->parts,
           at->once != 0);
}

TWIN(count_chosen, count_groups);
