/* For arithmetic that kernels of every backend share. */
#ifndef SLUICE_ANYWHERE_H
#define SLUICE_ANYWHERE_H

#ifdef __CUDACC__
#define ANYWHERE static __device__ inline
#else
#define ANYWHERE static inline
#endif

#endif
