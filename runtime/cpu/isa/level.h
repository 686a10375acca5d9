/* Names of what a file of this folder defines, once for each instruction set ISA. */
#ifndef SLUICE_LEVEL_H
#define SLUICE_LEVEL_H

#include "cpu/isa.h"

#define ISA_JOIN(name, level) isa_##name##_##level
#define ISA_EXPAND(name, level) ISA_JOIN(name, level)
#define ISA_NAME(name) ISA_EXPAND(name, ISA)

void ISA_NAME(product)(const struct gemm *g, struct panels *p);
real ISA_NAME(max_row)(const real *x, int64_t n);
double ISA_NAME(exp_row)(real *x, int64_t n, real scale, real shift, real by);
void ISA_NAME(softmax_back)(real *dp, const real *p, int64_t n, real mean, real scale);
void ISA_NAME(sigmoid_row)(const real *x, real *y, int64_t n);

#endif
