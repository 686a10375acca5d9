/* Attention to the keys that an index names. Each token has its own, so a token's heads that share a key head are what
   is done at once, as with few queries, or a head alone where each has its own: keys and values are read where they
   lie, and all scores of a row are kept, for the mass of its keys is known when its sum is. Bound by memory. */
#ifndef SLUICE_ATTEND_INDEX_H
#define SLUICE_ATTEND_INDEX_H

#include "attend_decode.h"

enum { TOKENS = 8 };                                        /* of a block in forward */

/* Of the keys that an index names for a token, or for one of its heads, those that it sees: their positions, and their
   entries in the index. `room`: of a row of scores. */
struct named { int64_t n, room, here; int32_t key[INDEX_MOST], entry[INDEX_MOST]; };

static bool is_of_heads(const struct args *a) { return a->in[INDEX].shape.rank == 3; }

/* Which row of the index names the keys of a head. */
static int64_t index_row(const struct args *a, const struct sizes *s, int64_t token, int64_t head)
{
    return is_of_heads(a) ? token * s->heads + head : token;
}

static void read_index(const struct args *a, const struct sizes *s, int64_t token, int64_t head, struct named *named)
{
    int64_t chosen = shape_last(a->in[INDEX].shape), here = s->pos + token % s->seq, start = ints(&a->in[START])[token],
            block = ((const struct attention_attr *)a->attr)->block, run = block ? block : 1, n = 0;
    const int32_t *index = ints(&a->in[INDEX]) + index_row(a, s, token, head) * chosen;
    INVARIANT(s->index_alone || (start >= 0 && start <= s->keys && here < s->keys),
              "query at %lld of %lld in a document from %lld", (long long)here, (long long)s->keys, (long long)start);
    int64_t first = s->index_alone ? 0 : first_key(here, start, s->window, s->chunk),
            last = s->index_alone ? s->keys - 1 : here;
    for (int64_t e = 0; e < chosen; e++) {
        int64_t from = index[e] < 0 ? -1 : block ? start + index[e] * block : index[e];
        for (int64_t key = from; from >= 0 && key < from + run; key++) {
            if (key < first || key > last) continue;
            named->key[n] = (int32_t)key;
            named->entry[n++] = (int32_t)e;
        }
    }
    named->n = n;
    named->room = blocks_of(n ? n : 1, LANES) * LANES;
    named->here = here;
}

/* n rows of heads from `row` on of [T,H,width], times `scale`, padded with zeros. */
static void read_heads(const struct tensor *t, int64_t row, int64_t n, int64_t width, real scale, real *rows)
{
    for (int64_t i = 0; i < n; i++, rows += padded(width)) {
        scaled(width, scale, row_read(t, (row + i) * width, width, rows), rows);
        for (int64_t w = width; w < padded(width); w++) rows[w] = 0;
    }
}

/* Products of heads' rows with the named keys, or values, of key head `head`: rows of named->room. */
static void named_products(const struct args *a, const struct sizes *s, int which, int64_t head,
                           const struct named *named, int64_t n, const real *rows, real *to)
{
    struct keys keys = keys_of(a, s, which, head);
    _Alignas(64) real line[s->widest];
    memset(line, 0, sizeof line);
    decode_products(&keys, named->key, 0, named->n, n, rows, line, to, named->room);
}

/* Scores to base 2, before the cap. */
static void named_scores(const struct args *a, const struct sizes *s, int64_t head, const struct named *named,
                         int64_t row, int64_t n, const real *rows, real *score)
{
    named_products(a, s, K, head, named, n, rows, score);
    for (int64_t i = 0; s->extent && i < n; i++)
        for (int64_t k = 0; k < named->n; k++) {
            real bias;
            int64_t back = named->here - named->key[k];
            if (back < s->extent)
                score[i * named->room + k] += LOG2E * *row_read(&a->in[REL], (row + i) * s->extent + back, 1, &bias);
        }
}

/* Scores of a row become shares: gives the largest score before the cap. */
static real share_out(const struct args *a, const struct sizes *s, const struct named *named, int64_t row, real *p)
{
    real top = row_top(p, named->n), sink = a->in[SINK].data ? sink_of(a, s, row) : -INFINITY;
    if (s->cap) cap_scores(named->room, s->cap, p);
    real most = larger_number(s->cap ? row_top(p, named->n) : top, sink), sum = 0;
    if (most != -INFINITY) {
        sum = (real)row_exp(p, named->n, 1 / LOG2E, most, 1) + vec_exp((sink - most) / LOG2E);
        scaled(named->n, 1 / sum, p, p);
    }
    reals(&a->save[LSE])[row] = sum == 0 ? 0 : most + vec_log(sum) * LOG2E + (sum - sum);
    return top / LOG2E + (sum - sum);
}

/* Of n heads from `row` on. top: that of the block, for each of these heads. */
static void forward_heads_named(const struct args *a, const struct sizes *s, int64_t head, const struct named *named,
                                int64_t row, int64_t n, real *top, real *mass)
{
    struct keys values = keys_of(a, s, V, head);
    _Alignas(64) real rows[n * s->wide], line[s->widest], o[n * s->value_wide], p[n * named->room];
    read_heads(&a->in[Q], row, n, s->width, s->scale, rows);
    named_scores(a, s, head, named, row, n, rows, p);
    for (int64_t i = 0; i < n; i++) {
        top[i] = larger_number(top[i], share_out(a, s, named, row + i, p + i * named->room));
        for (int64_t k = 0; k < named->n; k++) mass[named->entry[k]] += p[i * named->room + k];
    }
    memset(o, 0, sizeof o);
    memset(line, 0, sizeof line);
    for (int64_t k = 0; k < named->n; k++) {
        const real *value = key_row(&values, named->key[k], line);
        for (int64_t i = 0; i < n; i++)
            add_scaled(s->value_wide, p[i * named->room + k], value, o + i * s->value_wide);
    }
    for (int64_t i = 0; i < n; i++)
        add_rows(&a->out[O], (row + i) * s->value_width, s->value_width, 0, 1, o + i * s->value_wide, 0, 1);
}

/* Heads from head h of a token on that read the same keys, at most DECODE_QUERIES. */
static int64_t heads_at_once(const struct args *a, const struct sizes *s, int64_t h)
{
    int64_t rest = is_of_heads(a) ? 1 : s->share - h % s->share;
    return rest < DECODE_QUERIES ? rest : DECODE_QUERIES;
}

/* A block of tokens has one thread, so that the masses of their keys are sums over heads in order. */
static void forward_tokens(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    struct named named;
    int64_t chosen = shape_last(a->in[INDEX].shape);
    bool of_heads = is_of_heads(a);
    real *top = reals(&a->work[TOPS]) + from / TOKENS * s.heads;
    for (int64_t h = 0; h < s.heads; h++) top[h] = -INFINITY;
    for (int64_t t = from; t < to; t++)
        for (int64_t h = 0, n; h < s.heads; h += n) {
            real *mass = reals(&a->out[MASS]) + index_row(a, &s, t, h) * chosen;
            if (of_heads || h == 0) {
                read_index(a, &s, t, h, &named);
                memset(mass, 0, (size_t)chosen * sizeof *mass);
            }
            n = heads_at_once(a, &s, h);
            forward_heads_named(a, &s, t / s.seq * s.groups + h / s.share, &named, t * s.heads + h, n, top + h, mass);
        }
}

/* What reaches the biases of a row: a key that is named twice adds twice. */
static void add_named_biases(const struct args *a, const struct sizes *s, const struct named *named, int64_t row,
                             const real *ds)
{
    real sum[s->extent];
    memset(sum, 0, sizeof sum);
    for (int64_t k = 0; k < named->n; k++) {
        int64_t back = named->here - named->key[k];
        if (back < s->extent) sum[back] += ds[k];
    }
    add_rows(&a->din[REL], row * s->extent, s->extent, a->beta[REL], 1, sum, 0, 1);
}

/* Shares p anew from scores, and ds of dp, as in backward_block. */
static void named_slopes(const struct args *a, const struct sizes *s, const struct named *named, int64_t row,
                         const real *dout, real *p, real *ds)
{
    _Alignas(64) real steep[named->room];
    real buffer[s->value_width];
    const real *o = row_read(&a->out[O], row * s->value_width, s->value_width, buffer);
    double mean;
    ROW_SUM(mean, w, s->value_width, dout[w] * o[w]);
    if (s->cap) cap_scores(named->room, s->cap, p);
    if (s->cap) steepness(named->room, s->cap, p, steep);
    row_exp(p, named->n, 1 / LOG2E, reals(&a->save[LSE])[row], 1);
    for (int64_t k = 0; k < named->n; k++) ds[k] = p[k] * (ds[k] - (real)mean) * (s->cap ? steep[k] : 1);
    if (a->din[REL].data) add_named_biases(a, s, named, row, ds);
}

/* The gradients of n heads from `row` on; dk, dv: sums for the keys of their head. */
static void backward_heads_named(const struct args *a, const struct sizes *s, int64_t head, const struct named *named,
                                 int64_t row, int64_t n, real *dk, real *dv)
{
    struct keys keys = keys_of(a, s, K, head);
    _Alignas(64) real rows[n * s->wide], dout[n * s->value_wide], line[s->widest], dq[n * s->wide],
        p[n * named->room], ds[n * named->room];
    read_heads(&a->in[Q], row, n, s->width, s->scale, rows);
    read_heads(&a->dout[O], row, n, s->value_width, 1, dout);
    named_scores(a, s, head, named, row, n, rows, p);
    named_products(a, s, V, head, named, n, dout, ds);
    for (int64_t i = 0; i < n; i++)
        named_slopes(a, s, named, row + i, dout + i * s->value_wide, p + i * named->room, ds + i * named->room);
    memset(dq, 0, sizeof dq);
    memset(line, 0, sizeof line);
    for (int64_t k = 0; k < named->n; k++) {
        const real *key = key_row(&keys, named->key[k], line);
        for (int64_t i = 0, at = k; i < n; i++, at += named->room) {
            int64_t j = named->key[k];
            if (a->din[s->values].data)
                add_scaled(s->value_wide, p[at], dout + i * s->value_wide, dv + j * s->value_wide);
            if (a->din[K].data) add_scaled(s->wide, ds[at], rows + i * s->wide, dk + j * s->wide);
            add_scaled(s->wide, ds[at], key, dq + i * s->wide);
        }
    }
    for (int64_t i = 0; a->din[Q].data && i < n; i++)
        add_rows(&a->din[Q], (row + i) * s->width, s->width, a->beta[Q], s->scale / LOG2E, dq + i * s->wide, 0, 1);
}

/* The gradients of a token's heads that read key head `head`. */
static void backward_token(const struct args *a, const struct sizes *s, int64_t head, int64_t token, real *dk, real *dv)
{
    struct named named;
    int64_t first = head % s->groups * s->share;
    for (int64_t h = first, n; h < first + s->share; h += n) {
        n = heads_at_once(a, s, h);
        if (h == first || is_of_heads(a)) read_index(a, s, token, h, &named);
        backward_heads_named(a, s, head, &named, token * s->heads + h, n, dk, dv);
    }
}

#endif
