/* Matrix products on the CPU, dense and grouped behind one interface: C = beta*C + A B.

   A grouped product is many in one. GEMM_ROWS: rows offsets[e]..offsets[e+1] of A and C meet matrix e of the
   stack B; rows from offsets[groups] on become beta*C. GEMM_DEPTH: that range of the inner extent goes into matrix
   e of the stack C. A dense product is a group of one (offsets NULL).

   Blocks are cut by shape and the inner extent is never shared, so one value of C is always the same chain of sums:
   its bits depend on its own row of A, its own column of B and the instruction set, and on nothing else. */
#ifndef SLUICE_GEMM_H
#define SLUICE_GEMM_H

#include "backend/kernel.h"

/* Strides are in values, and row or col is 1; stack leads to the matrix of the next group. */
struct matrix {
    void *data; enum format format; int64_t row, col, stack;
    const void *packed; bool transposed;                    /* of a whole weight: see struct tensor */
};

/* A tensor read as rows of `width` values, and the same read the other way round. */
static inline struct matrix matrix_of(const struct tensor *t, int64_t width)
{
    return (struct matrix){ t->data, t->format, width, 1, 0, t->packed, false };
}

static inline struct matrix matrix_reals(real *data, int64_t width)
{
    return (struct matrix){ .data = data, .format = FORMAT_REAL, .row = width, .col = 1 };
}

static inline struct matrix matrix_transposed(struct matrix m)
{
    return (struct matrix){ m.data, m.format, m.col, m.row, m.stack, m.packed, !m.transposed };
}

static inline struct matrix matrix_moved(struct matrix m, int64_t by)      /* by values; no longer the whole */
{
    m.packed = NULL;
    m.data = (char *)m.data + by * (int64_t)element_bytes(m.format);
    return m;
}

static inline struct matrix matrix_at(struct matrix m, int64_t row, int64_t col)
{
    return matrix_moved(m, row * m.row + col * m.col);
}

enum gemm_cut { GEMM_ROWS, GEMM_DEPTH };

struct gemm {
    int64_t m, n, k;                                        /* C [m,n], A [m,k], B [k,n] */
    struct matrix a, b, c;                                  /* c.col is 1 */
    real beta;                                              /* 0 (C is not read) or 1 */
    bool narrow;                                            /* operands may be rounded to bf16 */
    enum gemm_cut cut; int groups; const int32_t *offsets;
};

size_t packed_bytes(struct shape weight, enum format act);
void pack(const struct args *a, const struct tensor *weight);

void gemm(const struct args *a, const struct gemm *g);      /* on all threads */
void gemm_here(const struct gemm *g);                       /* a dense product, on the calling thread */

#endif
