/* A stable counting sort on the GPU: positions by a digit of their keys, ties in the order that they had. Counts and
   ranks of chunks of positions, a warp each; no atomics, so the same keys give the same bits. */
#ifndef SLUICE_CUDA_SORT_CUH
#define SLUICE_CUDA_SORT_CUH

#include "kernel.cuh"

/* Bucket of position p: key[p] >> shift & mask, none if that is -1, which a mask of all bits leaves, or beyond the
   buckets; below -1 is a fault. A position without a bucket has inverse -1, and so has one for which `order` has no
   room, which is a fault, too; the end of `order`, which nobody fills, is -1. */
struct sort {
    const int32_t *key, *from;    /* from: the positions in the order that they have; NULL: 0, 1, 2, ... */
    int n, rows, buckets, shift, mask;                      /* n positions, of which `rows` or less have a bucket */
    int32_t *order, *inverse;    /* sorted positions, and where each went; inverse may be NULL */
    int32_t *offsets, *counts;                              /* [buckets+1], may be NULL; [buckets] */
    int32_t *table;                                         /* scratch of sort_table_bytes */
    struct fault *fault;                                    /* the device's */
};

size_t sort_table_bytes(int64_t n, int buckets);
void sort_bucket(const struct args *a, const struct sort *s);

/* All positions by keys in [0, below), a digit after the other. order and spare have n values; returns the one
   that holds the result. */
size_t sort_scratch_bytes(int64_t n, int64_t below);
int32_t *sort_positions(const struct args *a, const int32_t *key, int64_t n, int64_t below, int32_t *order,
                        int32_t *spare, void *scratch);

#endif
