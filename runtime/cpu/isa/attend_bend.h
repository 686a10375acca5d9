/* What attention does to scores beside scaling them: a bias of the distance between query and key, and a cap. All of it
   is passes over a block of scores, which one that has neither does not make. */
#ifndef SLUICE_ATTEND_BEND_H
#define SLUICE_ATTEND_BEND_H

#include "attend_rows.h"

/* s := cap tanh(s / cap) for n values, a multiple of LANES; -infinity, where a query may not look, stays. */
static void cap_scores(int64_t n, real cap, real *s)
{
    int64_t i = 0, whole = n - n % (CHAINS * LANES);
    for (; i < n; i += i < whole ? CHAINS * LANES : LANES) {
        vec t[CHAINS];
        int count = i < whole ? CHAINS : 1;
        for (int k = 0; k < CHAINS; k++) t[k] = vec_load(s + i + (k < count ? k : 0) * LANES) / cap;
        tanhs(CHAINS, t);
        for (int k = 0; k < count; k++) {
            vec old = vec_load(s + i + k * LANES);
            vec_store(s + i + k * LANES, choose(old == splat((real)-INFINITY), old, t[k] * cap));
        }
    }
}

/* The largest of n keys' scores joins top. */
static void raise(int64_t n, const real *s, real *top)
{
    for (int64_t i = 0; i < n; i++)
        for (int q = 0; q < QUERIES; q += LANES)
            vec_store(top + q, larger(vec_load(s + i * QUERIES + q), vec_load(top + q)));
}

/* The slope of the cap at n values of capped scores: 1 - tanh^2. */
static void steepness(int64_t n, real cap, const real *s, real *steep)
{
    for (int64_t i = 0; i < n; i += LANES) {
        vec t = larger(splat(-1), vec_load(s + i) / cap);
        vec_store(steep + i, 1 - t * t);
    }
}

static void multiply(int64_t n, const real *by, real *x)
{
    for (int64_t i = 0; i < n; i += LANES) vec_store(x + i, vec_load(x + i) * vec_load(by + i));
}

/* Of keys [j, j + n), those that query i has a bias for: j + from .. j + to - 1, of which the last, that nearest to it,
   is `back` behind it. Its biases lie the other way round. */
struct near { int64_t from, to, back; };
static struct near near_of(const struct sizes *s, const struct block *q, int64_t i, int64_t j, int64_t n)
{
    int64_t here = q->last[i] - 1 - j, from = here - s->extent + 1, to = here + 1 < n ? here + 1 : n;
    return (struct near){ from > 0 ? from : 0, to, here - to + 1 };
}

/* Adds to the scores of query i with keys [j, j + n), which lie in a row. */
static void bias_row(const struct args *a, const struct sizes *s, const struct block *q, int64_t i, int64_t j,
                     int64_t n, real *score)
{
    struct near near = near_of(s, q, i, j, n);
    if (near.from >= near.to) return;
    real buffer[STEP];
    const real *rel = row_read(&a->in[REL], q->row[i] * s->extent + near.back, near.to - near.from, buffer);
    for (int64_t k = near.from; k < near.to; k++) score[k] += LOG2E * rel[near.to - 1 - k];
}

/* No query of the block has a bias for keys before j. */
static bool are_far(const struct sizes *s, const struct block *q, int64_t j) { return j <= q->all_to - s->extent; }

/* Adds to the block's scores with keys [j, j + n). */
static void add_biases(const struct args *a, const struct sizes *s, const struct block *q, int64_t j, int64_t n,
                       real *score)
{
    if (are_far(s, q, j + n)) return;
    _Alignas(64) real rows[QUERIES * STEP] = { 0 }, transposed[STEP * QUERIES];
    for (int64_t i = 0; i < q->n; i++) bias_row(a, s, q, i, j, n, rows + i * STEP);
    transpose_matrix(QUERIES, STEP, rows, transposed);
    for (int64_t i = 0; i < n * QUERIES; i += LANES)
        vec_store(score + i, vec_load(score + i) + vec_load(transposed + i));
}

/* The gradient of a bias is that of its one score. Where no query looks it is 0, with which the rows begin. */
static void begin_biases(const struct args *a, const struct sizes *s, const struct block *q)
{
    const struct tensor *t = &a->din[REL];
    size_t bytes = element_bytes(t->format) * (size_t)s->extent;
    for (int64_t i = 0; a->beta[REL] == 0 && i < q->n; i++)
        memset((char *)t->data + (size_t)q->row[i] * bytes, 0, bytes);
}

static void write_biases(const struct args *a, const struct sizes *s, const struct block *q, int64_t j, int64_t n,
                         const real *ds)
{
    if (are_far(s, q, j + n)) return;
    _Alignas(64) real rows[QUERIES * STEP], piece[STEP];
    int64_t wide = blocks_of(n, LANES) * LANES;
    transpose_matrix(wide, QUERIES, ds, rows);
    for (int64_t i = 0; i < q->n; i++) {
        struct near near = near_of(s, q, i, j, n);
        if (near.from >= near.to) continue;
        for (int64_t k = near.from; k < near.to; k++) piece[near.to - 1 - k] = rows[i * wide + k];
        add_rows(&a->din[REL], q->row[i] * s->extent + near.back, near.to - near.from, a->beta[REL], 1, piece, 0, 1);
    }
}

#endif
