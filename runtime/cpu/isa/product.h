/* One block product on one thread. */
#ifndef SLUICE_PRODUCT_H
#define SLUICE_PRODUCT_H

#include "cpu/isa.h"

/* The largest block, and how much of the inner extent one pass takes: a panel of B stays in the first-level cache, all
   of B and much of C in the second. */
enum { MOST_ROWS = 512, MOST_COLS = 256, DEPTH = 256 };

#define product ISA_NAME(product)
#define transposed_product ISA_NAME(transposed_product)
#define transposed_pays ISA_NAME(transposed_pays)
void product(const struct gemm *g);                         /* dense, at most MOST_ROWS x MOST_COLS, C of reals */

/* The same value for value, as C^T = B^T A^T: then the columns of B are read where they lie, which is cheaper than
   packing them when they meet few rows, if these fill vectors. */
bool transposed_pays(const struct gemm *g);
void transposed_product(const struct gemm *g);

/* The same with operands rounded to bf16, for k > 0. b.packed is the packed weight from column 0 of B on, or NULL. */
#define narrow_product ISA_NAME(narrow_product)
#define packed_part ISA_NAME(packed_part)
void narrow_product(const struct gemm *g, dot_product *unit);
/* column j, a multiple of DOT_COLS, of matrix e of a packed weight */
const void *packed_part(const struct gemm *g, int e, int64_t j);

#endif
