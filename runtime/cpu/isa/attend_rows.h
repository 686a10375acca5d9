/* What the kernels of attention share: the node's sizes, blocks of queries, and rows in and out. */
#ifndef SLUICE_ATTEND_ROWS_H
#define SLUICE_ATTEND_ROWS_H

#include "attend.h"
#include "cpu/isa.h"
#include "cpu/seen.h"

enum { Q, K, V, START, POS, SINK, REL, INDEX };
enum { O, LOGIT_MAX, SINK_MASS, MASS };                           /* outputs */
enum { LSE };                                               /* saved: REAL [T,H], to base 2 */
enum { TOPS, SUMS, KEYS, VALUES };                          /* work */
enum { STEP = 128, AHEAD = 8 };                             /* keys whose scores are in work at once */
#define LOG2E ((real)1.4426950408889634)

struct sizes {
    int64_t batch, seq, keys, seen, heads, share, groups, width, value_width, wide, value_wide, widest, pos, window,
        chunk, extent, blocks, parts;                       /* extent: distances that have a bias, 0 without one */
    int values;                                             /* the input that has them: V, or K, within its rows */
    bool index_alone;    /* decides what is seen: keys are no positions */
    real scale, cap;                                        /* to base 2; no cap: 0 */
    dot_product *unit;                                      /* NULL: products are of reals */
};

static int64_t padded(int64_t width) { return blocks_of(width, SLICE) * SLICE; }

/* Keys whose scores are in work at once begin at a multiple of this. */
static int64_t run_of(const struct sizes *s) { return s->keys < STEP ? s->keys : STEP; }

/* Products are those of its dot product; NULL: of reals. */
static dot_product *unit_of(const struct args *a, const struct sizes *s)
{
    bool narrow = a->in[Q].format == FORMAT_BF16 && a->in[K].format == FORMAT_BF16 &&
                  a->in[s->values].format == FORMAT_BF16;
    bool whole = s->width % DOT_DEPTH == 0 && s->value_width % DOT_DEPTH == 0 && s->keys % DOT_DEPTH == 0;
    return narrow && whole && s->keys % run_of(s) == 0 && !a->in[INDEX].data ? dot_in_use : NULL;
}

static struct sizes sizes_of(const struct args *a)
{
    const struct attention_attr *at = a->attr;
    struct shape q = a->in[Q].shape, k = a->in[K].shape, start = a->in[START].shape;
    struct sizes s = { .batch = start.dim[0], .seq = start.dim[1], .heads = q.dim[1], .groups = k.dim[k.rank - 2],
                       .width = q.dim[2], .value_width = at->values ? at->values : shape_last(a->in[V].shape),
                       .values = at->values ? K : V,
                       .pos = a->in[POS].data ? ints(&a->in[POS])[0] : 0, .window = at->window,
                       .chunk = at->chunk, .scale = (real)at->scale * LOG2E,
                       .extent = a->in[REL].data ? shape_last(a->in[REL].shape) : 0, .cap = (real)at->softcap * LOG2E };
    s.keys = k.rank == 4 ? k.dim[1] : s.seq;
    s.index_alone = k.rank == 4 && !a->in[POS].data;
    s.seen = s.index_alone ? s.keys : s.pos + s.seq;
    s.share = s.heads / s.groups;
    s.wide = padded(s.width);
    s.value_wide = padded(s.value_width);
    s.widest = s.wide > s.value_wide ? s.wide : s.value_wide;
    s.blocks = blocks_of(s.seq * s.share, QUERIES);
    s.unit = unit_of(a, &s);
    return s;
}

/* Queries of one key head, head after head of a position and position after position: their rows in [T,H], and the keys
   [first, last) of the sequence that each may see, none where its document begins after it; together they see [from,
   to), and each of them [all_from, all_to). */
struct block {
    int64_t head, number, n, row[QUERIES], from, to, all_from, all_to;
    _Alignas(64) lane_int first[QUERIES], last[QUERIES];
};

/* Key head `head` counts through all sequences. */
static struct block block_of(const struct args *a, const struct sizes *s, int64_t head, int64_t number)
{
    int64_t done = number * QUERIES, rest = s->seq * s->share - done, at = done / s->share, h = done % s->share;
    int64_t first_token = head / s->groups * s->seq, first_head = head % s->groups * s->share;
    struct block q = {
        .head = head, .number = number, .n = rest < QUERIES ? rest : QUERIES, .from = INT64_MAX, .all_to = INT64_MAX
    };
    for (int64_t i = 0; i < q.n; i++) {
        int64_t token = first_token + at, here = s->pos + at, start = ints(&a->in[START])[token];
        INVARIANT(start >= 0 && start <= s->keys && here < s->keys, "query at %lld of %lld in a document from %lld",
                  (long long)here, (long long)s->keys, (long long)start);
        int64_t first = first_key(here, start, s->window, s->chunk), last = here + 1;
        q.row[i] = token * s->heads + first_head + h;
        q.first[i] = (lane_int)first;
        q.last[i] = (lane_int)last;
        if (first < q.from) q.from = first;
        if (first > q.all_from) q.all_from = first;
        if (last > q.to) q.to = last;
        if (last < q.all_to) q.all_to = last;
        if (++h == s->share) { h = 0; at++; }
    }
    return q;
}

/* The keys or the values of a head: row 0 and what leads from one to the next. */
struct keys { const struct tensor *t; int64_t width, first, step; };
static struct keys keys_of(const struct args *a, const struct sizes *s, int which, int64_t head)
{
    int in = which == K ? K : s->values;
    int64_t width = which == K ? s->width : s->value_width, row = in == K ? s->width : s->value_width;
    return (struct keys){ &a->in[in], width, (head / s->groups * s->keys * s->groups + head % s->groups) * row,
                          s->groups * row };
}

/* Row j, with zeros up to a whole slice; `line` is a buffer for it, zero beyond the width. */
INLINE const real *key_row(const struct keys *k, int64_t j, real *line)
{
    int64_t at = k->first + j * k->step;
    const real *row = row_read(k->t, at, k->width, line);
    row_prefetch(k->t, at + AHEAD * k->step, k->width);
    return k->width % SLICE == 0 || row == line ? row : memcpy(line, row, (size_t)k->width * sizeof *line);
}

/* The seen keys and values of heads [from, to) go into slices. */
static void pack_heads(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    for (int64_t head = from; head < to; head++)
        for (int which = K; which <= V; which++) {
            struct keys keys = keys_of(a, &s, which, head);
            int64_t wide = padded(keys.width);
            real line[wide], *slice = reals(&a->work[which == K ? KEYS : VALUES]) + head * s.keys * wide;
            memset(line, 0, (size_t)wide * sizeof *line);
            for (int64_t j = 0; j < s.seen; j++, slice += SLICE) {
                const real *row = key_row(&keys, j, line);
                for (int64_t w = 0; w < wide; w += SLICE) memcpy(slice + w * s.keys, row + w, SLICE * sizeof *row);
            }
        }
}

/* Rows of the block's queries times `scale`, [QUERIES, wide], padded with zeros; also transposed, [wide, QUERIES]. */
static void read_rows(const struct tensor *t, const struct block *q, int64_t width, real scale, real *rows,
                      real *transposed)
{
    int64_t wide = padded(width);
    for (int64_t i = 0; i < QUERIES; i++) {
        int64_t n = i < q->n ? width : 0;
        real *to = rows + i * wide;
        if (i + AHEAD < q->n) row_prefetch(t, q->row[i + AHEAD] * width, width);
        if (n) scaled(width, scale, row_read(t, q->row[i] * width, width, to), to);
        for (int64_t w = n; w < wide; w++) to[w] = 0;
    }
    transpose_matrix(QUERIES, wide, rows, transposed);
}

/* Row := beta row + scale * the sum of n >= 1 rows, which lie `next` apart. */
static void add_rows(const struct tensor *t, int64_t at, int64_t width, real beta, real scale, const real *from,
                     int64_t next, int64_t n)
{
    real buffer[width], *to = beta == 0 ? row_write(t, at, width, buffer) : row_add(t, at, width, beta, buffer);
    if (beta == 0) scaled(width, scale, from, to);
    else add_scaled(width, scale, from, to);
    for (int64_t k = 1; k < n; k++) add_scaled(width, scale, from + k * next, to);
    row_done(t, at, width, to);
}

/* The same for the rows of the block's queries, which come from [QUERIES, padded(width)]. */
static void write_rows(const struct tensor *t, const struct block *q, int64_t width, real beta, real scale,
                       const real *from)
{
    for (int64_t i = 0; i < q->n; i++, from += padded(width)) {
        if (i + AHEAD < q->n) row_prefetch(t, q->row[i + AHEAD] * width, width);
        add_rows(t, q->row[i] * width, width, beta, scale, from, 0, 1);
    }
}

/* The larger; NaN if the new one is. */
static real larger_number(real most, real now) { return now > most || isnan(now) ? now : most; }

/* The softmax of the block's queries so far: the largest score and the sum of 2^(score - most). top: the largest before
   the cap, kept where there is one. */
struct running { _Alignas(64) real most[QUERIES], sum[QUERIES], top[QUERIES]; };
static void begin(struct running *r)
{
    for (int i = 0; i < QUERIES; i++) r->most[i] = r->top[i] = -INFINITY, r->sum[i] = 0;
}

/* The sink of a row to base 2. */
static real sink_of(const struct args *a, const struct sizes *s, int64_t row)
{
    return LOG2E * reals(&a->in[SINK])[a->in[SINK].shape.rank == 1 ? row % s->heads : row];
}

/* All keys are taken: the factors on what the queries summed, 0 for one that saw nothing. A sink comes last, as a
   score that no cap bends and whose value is 0. */
static void shares(const struct args *a, const struct sizes *s, const struct block *q, struct running *r, real *share)
{
    if (!s->cap) memcpy(r->top, r->most, sizeof r->top);
    for (int i = 0; i < QUERIES; i++) share[i] = r->sum[i] == 0 ? 0 : 1 / r->sum[i];
    for (int64_t i = 0; a->in[SINK].data && i < q->n; i++) {
        real sink = sink_of(a, s, q->row[i]), now = larger_number(r->most[i], sink);
        if (now == -INFINITY) continue;
        real fade = vec_exp((r->most[i] - now) / LOG2E);
        r->sum[i] = r->sum[i] * fade + vec_exp((sink - now) / LOG2E);
        r->most[i] = now;
        share[i] = fade / r->sum[i];
    }
}

/* What the queries leave: rows of o, [QUERIES, value_wide], the log-sum-exp, and the largest score
   of each of their heads. */
static void finish(const struct args *a, const struct sizes *s, const struct block *q, const real *rows,
                   const struct running *r)
{
    real *top = reals(&a->work[TOPS]) + (q->head / s->groups * s->blocks + q->number) * s->heads +
                q->head % s->groups * s->share,
         lse[QUERIES];
    for (int i = 0; i < QUERIES; i++)
        lse[i] = r->sum[i] == 0 ? 0 : r->most[i] + vec_log(r->sum[i]) * LOG2E + (r->sum[i] - r->sum[i]);
    for (int64_t h = 0; h < s->share; h++) top[h] = -INFINITY;
    write_rows(&a->out[O], q, s->value_width, 0, 1, rows);
    for (int64_t i = 0, h = q->number * QUERIES % s->share; i < q->n; i++, h = h + 1 < s->share ? h + 1 : 0) {
        reals(&a->save[LSE])[q->row[i]] = lse[i];
        top[h] = larger_number(top[h], r->top[i] / LOG2E + (r->sum[i] - r->sum[i]));
    }
}

#endif
