/* Vector arithmetic of attention on one block: scores lie transposed, a row for each key, and the queries of the block
   side by side in its lanes. So the softmax needs no sums across a vector, and the weights are at once the left factor
   of dv = p^T do and the right factor of o^T = v^T p^T; nothing of the size of the scores is ever transposed.

   Keys and values lie in slices [width / SLICE][keys][SLICE], padded with zeros: rows or columns of a slice
   are the factor that is broadcast, at constant strides. Bound by fused multiply-adds; at narrow heads by
   the exponentials too. */
#ifndef SLUICE_ATTEND_H
#define SLUICE_ATTEND_H

#include "attend_vec.h"

/* Rows of the tiles that stay in registers, two vectors wide: most, and in a product over keys. */
#if defined __AVX512F__
enum { TALL = 8 };
#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#elif defined __AVX2__
enum { TALL = 4 };
#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6)
#else
enum { TALL = 4 };
#define TILES(X) X(1) X(2) X(3) X(4)
#endif

#define ONE_MORE(rows) + 1
enum { QUERIES = 32, SLICE = 16, PAIR = 2 * LANES, ROWS = TILES(ONE_MORE) };

/* C = A B, or C + A B, in `rows` rows of `cols` vectors: constants where this is expanded, as the strides of A are. The
   depth is `runs` runs of `run`; from one to the next A goes on by `jump`. */
INLINE void tile(int rows, int cols, int64_t a_row, int64_t a_step, int64_t runs, int64_t run, int64_t jump,
                 const real *a, const real *b, int64_t b_row, real *c, int64_t c_row, bool add)
{
    vec sum[ROWS][2];
    UNROLLED
    for (int i = 0; i < rows; i++) sum[i][0] = sum[i][1] = (vec){ 0 };
    for (; runs > 0; runs--, a += jump) {
        const real *left = a;
        for (int64_t p = 0; p < run; p++, left += a_step, b += b_row) {
            vec first = vec_load(b), second = cols > 1 ? vec_load(b + LANES) : (vec){ 0 };
            UNROLLED
            for (int i = 0; i < rows; i++) {
                sum[i][0] = multiply_add(splat(left[i * a_row]), first, sum[i][0]);
                if (cols > 1) sum[i][1] = multiply_add(splat(left[i * a_row]), second, sum[i][1]);
            }
        }
    }
    UNROLLED
    for (int i = 0; i < rows; i++, c += c_row) {
        vec_store(c, add ? vec_load(c) + sum[i][0] : sum[i][0]);
        if (cols > 1) vec_store(c + LANES, add ? vec_load(c + LANES) + sum[i][1] : sum[i][1]);
    }
}

#define TILE(rows) \
    static void scores_##rows(int64_t slices, int64_t jump, const real *a, const real *b, real *c) \
    { \
        tile(rows, 2, SLICE, 1, slices, SLICE, jump, a, b, QUERIES, c, QUERIES, false); \
    } \
    static void pair_##rows(const real *a, const real *b, int64_t width, real *c) \
    { \
        tile(rows, 2, QUERIES, 1, 1, QUERIES, 0, a, b, width, c, width, true); \
    } \
    static void single_##rows(const real *a, const real *b, int64_t width, real *c) \
    { \
        tile(rows, 1, QUERIES, 1, 1, QUERIES, 0, a, b, width, c, width, true); \
    }
TILES(TILE)
#define SCORES(rows) scores_##rows,
static void (*const scores_of[])(int64_t slices, int64_t jump, const real *a, const real *b,
                                 real *c) = { TILES(SCORES) };
#define SPREAD(rows) { single_##rows, pair_##rows },
static void (*const spread_of[][2])(const real *a, const real *b, int64_t width, real *c) = { TILES(SPREAD) };

/* s [n, QUERIES] = x y: n rows of slices x, y [width, QUERIES]. */
static void scores(int64_t n, int64_t width, int64_t jump, const real *x, const real *y, real *s)
{
    int64_t high = blocks_of(n, blocks_of(n, ROWS));        /* rows shared out evenly */
    for (int64_t i = 0; i < n; i += high)
        for (int64_t j = 0; j < QUERIES; j += PAIR)
            scores_of[(n - i < high ? n - i : high) - 1](width / SLICE, jump, x + i * SLICE, y + j,
                                                         s + i * QUERIES + j);
}

/* to [width, QUERIES] += x^T p: n rows of slices x, p [n, QUERIES]. */
static void collect(int64_t n, int64_t width, int64_t jump, const real *x, const real *p, real *to)
{
    for (int64_t i = 0; i < width; i += TALL)
        for (int64_t j = 0; j < QUERIES; j += PAIR)
            tile(TALL, 2, 1, SLICE, 1, n, 0, x + i / SLICE * jump + i % SLICE, p + j, QUERIES, to + i * QUERIES + j,
                 QUERIES, true);
}

/* to [n, width] += p y: p [n, QUERIES], y [QUERIES, width]. */
static void spread(int64_t n, int64_t width, const real *p, const real *y, real *to)
{
    int64_t high = blocks_of(n, blocks_of(n, ROWS));
    for (int64_t i = 0; i < n; i += high)
        for (int64_t j = 0; j < width; j += PAIR)
            spread_of[(n - i < high ? n - i : high) - 1][width - j >= PAIR](p + i * QUERIES, y + j, width,
                                                                            to + i * width + j);
}

/* Scores of keys [j, j+n) become -infinity where a query may not look: it sees the keys [first, last). */
static void hide(int64_t j, int64_t n, const lane_int *first, const lane_int *last, real *s)
{
    for (int64_t i = 0; i < n; i++)
        for (int q = 0; q < QUERIES; q += LANES) {
            lane_ints key = (lane_int)(j + i) - (lane_ints){ 0 };
            lane_ints seen = (key >= *(const lane_ints *)(first + q)) & (key < *(const lane_ints *)(last + q));
            vec_store(s + i * QUERIES + q, choose(seen, vec_load(s + i * QUERIES + q), splat((real)-INFINITY)));
        }
}

/* Weights of `count` keys at one vector of queries: s := 2^(s - most); gives sum + their sum. */
INLINE vec weigh(int count, vec most, real *s, vec sum)
{
    vec p[CHAINS];
    EACH(count) p[k] = vec_load(s + k * QUERIES) - most;
    powers_of_two(count, p);
    EACH(count) vec_store(s + k * QUERIES, p[k]);
    EACH(count) sum += p[k];
    return sum;
}

/* Takes n keys into the running softmax: s becomes 2^(s - most), and what was summed before is made to fit. */
static void advance(int64_t n, real *s, real *most, real *sum, int64_t width, real *o)
{
    for (int q = 0; q < QUERIES; q += LANES, s += LANES) {
        vec top[CHAINS], part = { 0 };
        int64_t i = 0, whole = n - n % CHAINS;
        EACH(CHAINS) top[k] = vec_load(most + q);
        for (i = 0; i < whole; i += CHAINS) EACH(CHAINS) top[k] = larger(vec_load(s + (i + k) * QUERIES), top[k]);
        for (; i < n; i++) top[0] = larger(vec_load(s + i * QUERIES), top[0]);
        EACH(CHAINS) top[0] = larger(top[k], top[0]);
        vec some = choose(top[0] == splat((real)-INFINITY), (vec){ 0 }, top[0]), fade = vec_load(most + q) - some;
        powers_of_two(1, &fade);
        for (i = 0; i < whole; i += CHAINS) part = weigh(CHAINS, some, s + i * QUERIES, part);
        for (; i < n; i++) part = weigh(1, some, s + i * QUERIES, part);
        vec_store(most + q, top[0]);
        vec_store(sum + q, vec_load(sum + q) * fade + part);
        for (int64_t w = 0; w < width; w++) vec_store(o + w * QUERIES + q, vec_load(o + w * QUERIES + q) * fade);
    }
}

/* At `count` keys and one vector of queries: s becomes p = 2^(s - lse), d becomes p (d - mean). */
INLINE void slope(int count, vec lse, vec mean, real *s, real *d)
{
    vec p[CHAINS];
    EACH(count) p[k] = vec_load(s + k * QUERIES) - lse;
    powers_of_two(count, p);
    EACH(count) vec_store(s + k * QUERIES, p[k]);
    EACH(count) vec_store(d + k * QUERIES, p[k] * (vec_load(d + k * QUERIES) - mean));
}

static void slopes(int64_t n, const real *lse, const real *mean, real *s, real *d)
{
    for (int q = 0; q < QUERIES; q += LANES, s += LANES, d += LANES) {
        int64_t i = 0;
        for (; i + CHAINS <= n; i += CHAINS)
            slope(CHAINS, vec_load(lse + q), vec_load(mean + q), s + i * QUERIES, d + i * QUERIES);
        for (; i < n; i++) slope(1, vec_load(lse + q), vec_load(mean + q), s + i * QUERIES, d + i * QUERIES);
    }
}

#endif
