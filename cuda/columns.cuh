/* Sums over rows, one a column: scale times them is added to the `width` values of a tensor. Rows are cut into lines by
   their number alone; each line's sums are written to scratch and then added up in order. */
#ifndef SLUICE_CUDA_COLUMNS_CUH
#define SLUICE_CUDA_COLUMNS_CUH

#include "kernel.cuh"

size_t columns_bytes(int64_t rows, int64_t width);          /* of scratch; 0 where one line is enough */
void columns_add(const struct args *a, struct view x, int64_t rows, int64_t width, float scale, struct sum to);
/* Of the rows of each group apart, row e of `to` of those from offsets[e] to offsets[e+1]. */
void columns_add_groups(const struct args *a, struct view x, const int32_t *offsets, int64_t groups, int64_t width,
                        struct sum to);

#endif
