/* Attention of so few queries that they would leave most lanes empty, as in decoding: keys and values are read
   once, where they lie, a query has its scores in a row, and a lane is a part of the width. Bound by memory
   when the keys are many. */
#ifndef SLUICE_ATTEND_DECODE_H
#define SLUICE_ATTEND_DECODE_H

#include "attend_bend.h"

enum { DECODE_QUERIES = 8 };

/* Products of keys [j, j+n), or of those that `named` names, with each of `count` rows, in rows of `stride`. A sum over
   lanes is a sum of rows once LANES keys are transposed. */
INLINE void decode_products(const struct keys *keys, const int32_t *named, int64_t j, int64_t n, int64_t count,
                            const real *rows, real *line, real *to, int64_t stride)
{
    int64_t wide = padded(keys->width);
    _Alignas(64) real part[DECODE_QUERIES][LANES * LANES] = { 0 }, transposed[LANES * LANES];
    for (int64_t k = 0; k < n; k += LANES) {
        for (int64_t l = 0; l < LANES && k + l < n; l++) {
            const real *key = key_row(keys, named ? named[k + l] : j + k + l, line);
            for (int64_t i = 0; i < count; i++) vec_store(part[i] + l * LANES, products(wide, key, rows + i * wide));
        }
        for (int64_t i = 0; i < count; i++) {
            vec sum = { 0 };
            transpose_matrix(LANES, LANES, part[i], transposed);
            for (int l = 0; l < LANES; l++) sum += vec_load(transposed + l * LANES);
            vec_store(to + i * stride + k, sum);
        }
    }
}

/* Scores of keys [j, j+n) with each query, rows of STEP. */
static void decode_scores(const struct keys *keys, const struct block *q, int64_t j, int64_t n, const real *rows,
                          real *line, real *score)
{
    decode_products(keys, NULL, j, n, q->n, rows, line, score, STEP);
}

/* Takes the scores of query i into its running softmax: zeros where it may not look. */
static void decode_advance(const struct sizes *s, const struct block *q, int64_t i, int64_t j, int64_t n, real *score,
                        struct running *r, real *o)
{
    int64_t from = q->first[i] > j ? q->first[i] - j : 0, to = q->last[i] < j + n ? q->last[i] - j : n;
    if (from > to) from = to = n;
    for (int64_t k = 0; k < n; k++) if (k < from || k >= to) score[k] = 0;
    if (from == to) return;
    real top = row_top(score + from, to - from);
    if (s->cap) {
        if (top > r->top[i]) r->top[i] = top;
        cap_scores(blocks_of(n, LANES) * LANES, s->cap, score);
        top = row_top(score + from, to - from);
    }
    real now = top > r->most[i] ? top : r->most[i], fade = vec_exp((r->most[i] - now) / LOG2E);
    r->sum[i] = r->sum[i] * fade + (real)row_exp(score + from, to - from, 1 / LOG2E, now, 1);
    r->most[i] = now;
    scaled(s->value_wide, fade, o, o);
}

static void forward_decode(const struct args *a, const struct sizes *s, int64_t head)
{
    struct block q = block_of(a, s, head, 0);
    struct keys keys = keys_of(a, s, K, head), values = keys_of(a, s, V, head);
    _Alignas(64) real rows[QUERIES * s->widest], transposed[QUERIES * s->widest], o[DECODE_QUERIES * s->value_wide],
        line[s->widest], score[DECODE_QUERIES * STEP], share[QUERIES];
    struct running r;
    read_rows(&a->in[Q], &q, s->width, s->scale, rows, transposed);
    memset(o, 0, (size_t)(DECODE_QUERIES * s->value_wide) * sizeof *o);
    begin(&r);
    for (int64_t j = q.from; j < q.to; j += STEP) {
        int64_t n = q.to - j < STEP ? q.to - j : STEP;
        memset(line, 0, (size_t)s->widest * sizeof *line);
        decode_scores(&keys, &q, j, n, rows, line, score);
        for (int64_t i = 0; i < q.n; i++) {
            if (s->extent) bias_row(a, s, &q, i, j, n, score + i * STEP);
            decode_advance(s, &q, i, j, n, score + i * STEP, &r, o + i * s->value_wide);
        }
        memset(line, 0, (size_t)s->widest * sizeof *line);
        for (int64_t k = 0; k < n; k++) {
            const real *value = key_row(&values, j + k, line);
            for (int64_t i = 0; i < q.n; i++)
                add_scaled(s->value_wide, score[i * STEP + k], value, o + i * s->value_wide);
        }
    }
    shares(a, s, &q, &r, share);
    for (int64_t i = 0; i < q.n; i++) scaled(s->value_wide, share[i], o + i * s->value_wide, o + i * s->value_wide);
    finish(a, s, &q, o, &r);
}

#endif
