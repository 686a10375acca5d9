/* What kernels of ranks share: parts of as many bytes that the ranks of a group tell each other. */
#ifndef SLUICE_CUDA_RANKS_CUH
#define SLUICE_CUDA_RANKS_CUH

#include "warp.cuh"
extern "C" {
#include "parts.h"
}

static inline unsigned over_of(const struct args *a)
{
    return (unsigned)((const struct over_attr *)a->attr)->over;
}

static inline size_t bytes_of(const struct tensor *t)
{
    return (size_t)shape_count(t->shape) * element_bytes(t->format);
}

/* For rows by blockIdx.y, and the n values of each by first_item. */
static inline dim3 grid_of(const struct args *a, int64_t rows, int64_t n)
{
    int64_t most = 1024;
    return dim3((unsigned)grid_for(a, n, BLOCK), (unsigned)(rows < 1 ? 1 : rows < most ? rows : most));
}

/* To each other of a group its part of `from`, stride bytes apart, 0: to all the same; from each its part. */
static inline void exchange_others(const struct args *a, unsigned over, const void *from, size_t stride, void *to,
                                   size_t bytes)
{
    const struct place *here = &comm_here()->place;
    int n = place_group(here, over), me = place_index(here, over), k = 0;
    struct parcel *parcel = (struct parcel *)xmalloc(2 * (size_t)n * sizeof *parcel);
    for (int i = 0; i < n; i++) {
        int peer = place_member(here, over, i);
        if (i == me) continue;
        parcel[k++] = { peer, true, (char *)to + (size_t)i * bytes, bytes };
        parcel[k++] = { peer, false, (char *)from + (size_t)i * stride, bytes };
    }
    device_exchange(device_of(a), parcel, k);
    free(parcel);
}

static inline void copy(const struct args *a, void *to, const void *from, size_t bytes)
{
    CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, device_of(a)->stream));
}

/* The same, and its own part. */
static inline void exchange_even(const struct args *a, unsigned over, const void *from, size_t stride, void *to,
                                 size_t bytes)
{
    size_t me = (size_t)place_index(&comm_here()->place, over);
    copy(a, (char *)to + me * bytes, (const char *)from + me * stride, bytes);
    exchange_others(a, over, from, stride, to, bytes);
}

#endif
