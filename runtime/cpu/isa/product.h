/* One block product on one thread. */
#ifndef SLUICE_PRODUCT_H
#define SLUICE_PRODUCT_H

#include "cpu/gemm.h"

/* The largest block of one product: C [MOST_ROWS, MOST_COLS] stays in the second-level cache with its operands,
   DEPTH rows of a panel of B in the first. */
enum { MOST_ROWS = 192, MOST_COLS = 512, DEPTH = 256 };

/* Where the operands of a block are packed. A: rows of DEPTH values, padded so that they do not share cache sets. */
enum { PITCH = DEPTH + 16 };
struct panels { _Alignas(64) real a[MOST_ROWS * PITCH], b[DEPTH * MOST_COLS]; };

#define product ISA_NAME(product)
void product(const struct gemm *g, struct panels *p);       /* dense, at most MOST_ROWS x MOST_COLS, C of reals */

#endif
