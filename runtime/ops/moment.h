/* What optimizers remember of values, read and written as reals by blocks of MOMENT_BLOCK, whatever it is (enum
   moment_as). block: the number of the block of codes; at: of its first value among all.

       real room[MOMENT_BLOCK], *m = moment_read(t, at, block, n, false, room);
       ...
       moment_write(t, at, block, n, false, m);

   positive: no value is below 0. */
#ifndef SLUICE_MOMENT_H
#define SLUICE_MOMENT_H

#include "op.h"
#include "backend/codes.h"
#include <math.h>

static inline int64_t moment_blocks(int64_t n) { return blocks_of(n, MOMENT_BLOCK); }

/* Whether input number `input` can be the memory of the weight, each of the stack's matrices in blocks of its own. */
static inline int moment_check(const struct node *n, int input, const char *name, int64_t stack, struct err *e)
{
    const struct node *x = n->in[input];
    if (!x) return 0;
    int64_t all = shape_count(n->in[0]->shape), width = shape_last(x->shape), rows = shape_count(x->shape) / width;
    if (x->dtype == DTYPE_REAL ? shape_equal(x->shape, n->in[0]->shape) :
        (width == 2 && rows == all) || (width == MOMENT_BYTES && rows == stack * moment_blocks(all / stack))) return 0;
    char is[64], of[64];
    return err_set(e, "%s: '%s' is %s %s: of a weight %s it is REAL of that shape, U8 [%lld,2] or U8 [%lld,%d]",
                   n->op->name, name, x->dtype == DTYPE_REAL ? "REAL" : "U8", shape_text(x->shape, is),
                   shape_text(n->in[0]->shape, of), (long long)all,
                   (long long)(stack * moment_blocks(all / stack)), MOMENT_BYTES);
}

static inline enum moment_as moment_as(const struct tensor *t)
{
    return t->format == FORMAT_REAL ? MOMENT_FLOAT : shape_last(t->shape) == 2 ? MOMENT_BF16 : MOMENT_INT8;
}

static inline struct tensor moment_halves(const struct tensor *t)
{
    return (struct tensor){ .data = t->data, .format = FORMAT_BF16 };
}

static inline real *moment_read(const struct tensor *t, int64_t at, int64_t block, int64_t n, bool positive, real *room)
{
    enum moment_as as = moment_as(t);
    if (as == MOMENT_FLOAT) return reals(t) + at;
    if (as == MOMENT_BF16) {
        struct tensor halves = moment_halves(t);
        row_widen(&halves, at, n, room);
        return room;
    }
    const uint8_t *codes = (const uint8_t *)t->data + block * MOMENT_BYTES;
    float largest;
    memcpy(&largest, codes, sizeof largest);
    for (int64_t i = 0; i < n; i++) room[i] = (real)largest * code_value(codes[MOMENT_LARGEST + i], positive);
    return room;
}

static inline void moment_write(const struct tensor *t, int64_t at, int64_t block, int64_t n, bool positive,
                              const real *row)
{
    enum moment_as as = moment_as(t);
    struct tensor halves = moment_halves(t);
    if (as == MOMENT_BF16) row_narrow(&halves, at, n, row);
    if (as != MOMENT_INT8) return;
    uint8_t *codes = (uint8_t *)t->data + block * MOMENT_BYTES;
    float largest = 0;
    for (int64_t i = 0; i < n; i++) largest = fmaxf(largest, fabsf((float)row[i]));
    if (!(largest >= CODE_LEAST)) largest = 0;
    memcpy(codes, &largest, sizeof largest);
    real by = largest > 0 ? 1 / (real)largest : 0;
    for (int64_t i = 0; i < n; i++) codes[MOMENT_LARGEST + i] = code_of(by * row[i], positive);
}

#endif
