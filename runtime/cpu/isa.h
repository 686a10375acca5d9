/* What is compiled once for each instruction set (the files of isa/) and chosen at run time by the feature bits of
   the processor, or by SLUICE_ISA. Results are bitwise reproducible within one instruction set. */
#ifndef SLUICE_ISA_H
#define SLUICE_ISA_H

#include "gemm.h"

/* The largest block of one product: C [MOST_ROWS, MOST_COLS] stays in the second-level cache with its operands,
   DEPTH rows of a panel of B in the first. */
enum { MOST_ROWS = 192, MOST_COLS = 512, DEPTH = 256 };

/* Where the operands of a block are packed. A: rows of DEPTH values, padded so that they do not share cache sets. */
enum { PITCH = DEPTH + 16 };
struct panels { _Alignas(64) real a[MOST_ROWS * PITCH], b[DEPTH * MOST_COLS]; };

struct isa {
    const char *name;
    void (*product)(const struct gemm *g, struct panels *p);        /* dense, at most MOST_ROWS x MOST_COLS, C of reals */
    real (*max_row)(const real *x, int64_t n);                      /* of the values that are numbers */
    double (*exp_row)(real *x, int64_t n, real scale, real shift, real by);     /* x := by e^(scale (x - shift)); their sum */
    void (*softmax_back)(real *dp, const real *p, int64_t n, real mean, real scale);    /* dp := scale p (dp - mean) */
    void (*sigmoid_row)(const real *x, real *y, int64_t n);
};

const struct isa *isa(void);                                /* an unknown or unsupported SLUICE_ISA exits with 2 */
const struct isa *isa_level(int i);                         /* every level this processor has, best first; NULL ends */
void isa_use(const struct isa *level);                      /* for tests: from now on */

#endif
