/* Products of tensors in whatever formats they have: what matmul, grouped_matmul and cross_entropy share; matmul.cu
   holds the functions. As on the CPU a product either may round its operands to bf16, or is exact: floats, and
   weights as they are kept. */
#ifndef SLUICE_CUDA_PRODUCT_CUH
#define SLUICE_CUDA_PRODUCT_CUH

#include "kernel.cuh"

/* Rows of `cols` values that begin `row` values apart; packed: the same once more in bf16, or NULL. transposed: its
   columns are read as rows. */
struct operand { void *data, *packed; bool bf16; int64_t rows, cols, row; bool transposed; };

static inline struct operand operand_of(const struct tensor &t, int64_t cols)
{
    return { t.data, t.packed, t.format == FORMAT_BF16, shape_count(t.shape) / cols, cols, cols, false };
}
static inline struct operand operand_transposed(struct operand o)
{
    o.transposed = !o.transposed;
    return o;
}
static inline struct operand operand_rows(struct operand o, int64_t first, int64_t n)
{
    o.data = (char *)o.data + first * o.row * (o.bf16 ? 2 : 4);
    o.rows = n;
    return o;
}

/* The values of an operand in the format that is wanted: where they lie, its packed copy, or converted, without gaps,
   into scratch, which moves on by what that takes. */
const void *operand_as(const struct args *a, const struct operand &o, bool bf16, char **scratch);
size_t operand_scratch(const struct operand &o, bool bf16);
static inline size_t scratch_round(size_t bytes) { return (bytes + 255) / 256 * 256; }

/* C = beta C + A B; beta 0: C is not read. narrow: operands may be rounded to bf16. */
struct product { struct operand a, b, c; float beta; bool narrow; };
void product(const struct args *a, const struct product &p, void *scratch);
size_t product_scratch(const struct product &p);

#endif
