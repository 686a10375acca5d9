/* For arithmetic that kernels of every backend share. sum_apart: a sum that is not fused with a product before it, for
   what must be the same bits everywhere. */
#ifndef SLUICE_ANYWHERE_H
#define SLUICE_ANYWHERE_H

#ifdef __CUDACC__
#define ANYWHERE static __device__ inline
#define sum_apart(x, y) __fadd_rn(x, y)
#else
#define ANYWHERE static inline
#define sum_apart(x, y) ((x) + (y))
#endif

#endif
