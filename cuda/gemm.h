/* Matrix products through cuBLASLt, which no other file calls. */
#ifndef SLUICE_CUDA_GEMM_H
#define SLUICE_CUDA_GEMM_H

#include "device.h"

#ifdef __cplusplus
extern "C" {
#endif

enum gemm_type { GEMM_F32, GEMM_BF16 };

/* C = alpha A B + beta C with A [m,k], B [k,n], C [m,n] in rows; beta 0: C is not read. transposed: the operand lies
   transposed, A as [k,m], B as [n,k]. _row: values from one row, as it lies, to the next; _stride: from one product of
   the batch to the next, 0 for an operand that all share; batch 0 is 1. Sums are in float, one order for a shape; A and
   B of floats are rounded to tf32 only where that is named. */
struct gemm {
    int64_t m, n, k;
    const void *a, *b; void *c; enum gemm_type in, out;
    int64_t a_row, b_row, c_row; bool a_transposed, b_transposed, tf32;
    float alpha, beta;
    int batch; int64_t a_stride, b_stride, c_stride;
};

void gemm_open(struct device *d);
void gemm_close(struct device *d);
void gemm(struct device *d, const struct gemm *g);          /* on the device's stream; may be recorded */

#ifdef __cplusplus
}
#endif
#endif
