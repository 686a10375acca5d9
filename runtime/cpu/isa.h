/* The instruction set, chosen at run time by the feature bits of the processor, or by SLUICE_ISA. Results are bitwise
   reproducible within one instruction set. */
#ifndef SLUICE_ISA_H
#define SLUICE_ISA_H

#include "gemm.h"

/* What is compiled once for each instruction set. */
struct level {
    const struct kernels *const *kernels;                   /* [OP_COUNT] */
    void (*gemm)(const struct args *a, const struct gemm *g);
    void (*gemm_here)(const struct gemm *g);
    size_t (*packed_bytes)(struct shape weight, enum format act);
    void (*pack)(const struct args *a, const struct tensor *weight);
    const real *(*row_widen)(const struct tensor *t, int64_t at, int64_t n, real *scratch);
    void (*row_narrow)(const struct tensor *t, int64_t at, int64_t n, const real *row);
    void (*key_normals)(struct key k, uint64_t first, int64_t n, float cut, float *to);
};

/* C = A B or C + A B for bf16 A and B and float C, on one thread, by instructions made for it. Rows of A lie a_row
   values apart and are padded with zeros to a multiple of DOT_DEPTH; B comes in panels of DOT_COLS columns, `panel`
   values apart, padded likewise, in which pairs of depths stand together: panel[k/2][column][k%2]. */
enum { DOT_DEPTH = 32, DOT_COLS = 32 };
typedef void dot_product(int64_t m, int64_t n, int64_t k, const uint16_t *a, int64_t a_row, const uint16_t *b,
                         int64_t panel, float *c, int64_t c_row, bool add);
/* What it reads, of each instruction set: rows of A [m,k], `pitch` values apart, where A lies by columns in whole
   vectors; and DOT_COLS columns of B [k,n], with zeros beyond n and k. */
void narrow_rows(const struct matrix *a, int64_t m, int64_t k, int64_t pitch, uint16_t *out);
void narrow_panel(const struct matrix *b, int64_t n, int64_t k, uint16_t *out);
extern dot_product *_Atomic dot_in_use;                     /* of the one in use */

/* dot NULL: bf16 is computed as reals */
struct isa { const char *name; const struct level *level; dot_product *dot; };

const struct isa *isa(void);                                /* an unknown or unsupported SLUICE_ISA exits with 2 */
const struct isa *isa_level(int i);                         /* every one this processor has, best first; NULL ends */
void isa_use(const struct isa *isa);    /* for tests: from now on; NULL: as if nothing had been chosen */

#endif
