/* Products of a block of attention by the dot product of bf16, where the instruction set has one and q, k and v are
   bf16. Weights and their gradients are rounded like other operands; scores, softmax and sums are reals. Bound by the
   dot products, and by the exponentials.

   Keys and values lie in rows, [keys][width], and behind them turned, a run of keys at a time:
   [keys / run][width][run]. Together they take the room of slices of reals. */
#ifndef SLUICE_ATTEND_NARROW_H
#define SLUICE_ATTEND_NARROW_H

#include "attend_rows.h"

/* A key's row j, or dimension 0 of the run of keys that begins at j. */
static uint16_t *narrow_at(const struct args *a, const struct sizes *s, int which, int64_t head, int64_t j, bool turned)
{
    int64_t width = which == K ? s->width : s->value_width;
    uint16_t *all = (uint16_t *)(reals(&a->work[which == K ? KEYS : VALUES]) + head * s->keys * width);
    return all + (turned ? s->keys + j : j) * width;
}

static void pack_narrow(const struct args *a, const struct sizes *s, int which, int64_t head)
{
    struct keys keys = keys_of(a, s, which, head);
    struct matrix rows = matrix_at((struct matrix){ .data = keys.t->data, .format = FORMAT_BF16, .row = keys.step,
                                                    .col = 1 }, 0, keys.first);
    int64_t run = run_of(s);
    narrow_rows(&rows, s->seen, keys.width, keys.width, narrow_at(a, s, which, head, 0, false));
    for (int64_t j = 0; j < s->seen; j += run) {
        struct matrix turned = matrix_transposed(matrix_at(rows, j, 0));
        int64_t n = s->seen - j < run ? s->seen - j : run;
        narrow_rows(&turned, keys.width, n, run, narrow_at(a, s, which, head, j, true));
    }
}

/* The block's queries, or their gradients, [QUERIES, width], as right factors: of scores, and of sums over queries. */
static void narrow_side(int64_t width, const real *rows, uint16_t *across, uint16_t *along)
{
    struct matrix m = matrix_reals((real *)rows, width), turned = matrix_transposed(m);
    if (across) narrow_panel(&turned, QUERIES, width, across);
    for (int64_t w = 0; along && w < width; w += DOT_COLS) {
        struct matrix part = matrix_at(m, 0, w);
        narrow_panel(&part, DOT_COLS, QUERIES, along + w * QUERIES);
    }
}

/* s [n, QUERIES] = x y: keys or values from j on, and a side of width [width, QUERIES]. */
static void narrow_scores(const struct args *a, const struct sizes *s, int which, int64_t head, int64_t j, int64_t n,
                          const uint16_t *across, real *score)
{
    int64_t width = which == K ? s->width : s->value_width;
    s->unit(n, QUERIES, width, narrow_at(a, s, which, head, j, false), width, across, 0, (float *)score, QUERIES,
            false);
}

/* to [width, QUERIES] += x^T p: n keys or values from j on, p [n, QUERIES]. */
static void narrow_collect(const struct args *a, const struct sizes *s, int which, int64_t head, int64_t j, int64_t n,
                           const real *p, real *to)
{
    int64_t width = which == K ? s->width : s->value_width, deep = blocks_of(n, DOT_DEPTH) * DOT_DEPTH;
    _Alignas(64) uint16_t panel[STEP * QUERIES];
    struct matrix weights = matrix_reals((real *)p, QUERIES);
    narrow_panel(&weights, QUERIES, n, panel);
    s->unit(width, QUERIES, deep, narrow_at(a, s, which, head, j, true), run_of(s), panel, 0, (float *)to, QUERIES,
            true);
}

/* to [n, width] += p y: p [n, QUERIES], a side along its queries. */
static void narrow_spread(const struct sizes *s, int64_t n, int64_t width, const real *p, const uint16_t *along,
                          real *to)
{
    _Alignas(64) uint16_t rows[STEP * QUERIES];
    struct matrix weights = matrix_reals((real *)p, QUERIES);
    narrow_rows(&weights, n, QUERIES, QUERIES, rows);
    s->unit(n, width, QUERIES, rows, QUERIES, along, QUERIES * DOT_COLS, (float *)to, width, true);
}

#endif
