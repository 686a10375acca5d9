/* Ops on one value at a time. Bound by memory: a block is small enough that what it converts stays in the first cache,
   a thread's share large enough that it streams. */
#ifndef SLUICE_VALUES_H
#define SLUICE_VALUES_H

#include "vec_math.h"

enum { BLOCK = 1024, SHARE = 16 * BLOCK };

/* Defines kernel `name`, which runs body over the blocks of all values of output 0. */
#define EACH_BLOCK(name, body) \
static void name##_share(const struct args *a, int64_t from, int64_t to) \
{ \
    for (; from < to; from += BLOCK) body(a, from, to - from < BLOCK ? to : from + BLOCK); \
} \
static void name(const struct args *a) { each(a, shape_count(a->out[0].shape), SHARE, name##_share); }

/* Opens block [from,to) of a tensor, reads it, and names the row; likewise for writing. */
#define READ(row, t) real row##_buffer[BLOCK]; const real *restrict row = row_read(&(t), from, to - from, row##_buffer)
#define WRITE(row, t) real row##_buffer[BLOCK]; real *restrict row = row_write(&(t), from, to - from, row##_buffer)
#define DONE(row, t) row_done(&(t), from, to - from, row)

/* Opens the gradient of an input, scratch if it is not wanted, with the beta that it takes; CLOSE stores it. */
#define GRADIENT(row, input) \
    real row##_buffer[BLOCK], row##_beta = a->din[input].data ? a->beta[input] : 0; \
    real *restrict row = a->din[input].data \
        ? row_open(&a->din[input], from, to - from, row##_beta, row##_buffer) : row##_buffer
#define CLOSE(row, input) if (a->din[input].data) DONE(row, a->din[input])

/* The gradient of an input := beta times it + expression in i, if it is wanted. */
#define ADD_GRADIENT(input, expression) do { \
    if (!a->din[input].data) break; \
    GRADIENT(d, input); \
    for (int64_t i = 0; i < to - from; i++) d[i] = keep(d_beta, d[i]) + (expression); \
    CLOSE(d, input); \
} while (0)

#endif
