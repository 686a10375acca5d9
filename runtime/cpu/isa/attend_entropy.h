/* Entropy of what attention gives its keys, of each query: log sum 2^z - mean z, z a score. Keys are read where they
   lie, so many at a time; it is no part of a step. */
#ifndef SLUICE_ATTEND_ENTROPY_H
#define SLUICE_ATTEND_ENTROPY_H

#include "attend_index.h"

enum { RUN = 256 };                                         /* keys at a time, where no index names them */

/* Of a softmax so far, to base 2: the largest score, the sum of 2^(z - most), and that of z times it. */
struct spread { real most; double sum, mean; };

static void spread_over(struct spread *s, int64_t n, real *z)
{
    real top = row_top(z, n), now = larger_number(s->most, top);
    if (now == -INFINITY) return;
    double fade = s->most == -INFINITY ? 0 : (double)vec_exp((s->most - now) / LOG2E);
    s->sum *= fade;
    s->mean *= fade;
    s->most = now;
    for (int64_t k = 0; k < n; k++) {
        double weight = (double)vec_exp((z[k] - now) / LOG2E);
        s->sum += weight;
        s->mean += weight * (double)z[k];
    }
}

static real entropy_of(const struct spread *s)
{
    return s->sum > 0 ? (real)(((double)s->most - s->mean / s->sum) / (double)LOG2E + log(s->sum)) : 0;
}

/* Keys [from, to) of the document, as if an index named them. */
static void name_all(int64_t from, int64_t to, int64_t here, struct named *named)
{
    named->n = to - from;
    named->room = blocks_of(named->n, LANES) * LANES;
    named->here = here;
    for (int64_t i = 0; i < named->n; i++) named->key[i] = (int32_t)(from + i);
}

static void take_scores(const struct args *a, const struct sizes *s, int64_t head, const struct named *named,
                        int64_t row, int64_t n, const real *rows, struct spread *spread)
{
    _Alignas(64) real score[n * named->room];
    if (named->n == 0) return;
    named_scores(a, s, head, named, row, n, rows, score);
    if (s->cap) cap_scores(n * named->room, s->cap, score);
    for (int64_t i = 0; i < n; i++) spread_over(&spread[i], named->n, score + i * named->room);
}

/* Of n heads of token t from head h on. */
static void entropy_heads(const struct args *a, const struct sizes *s, int64_t t, int64_t h, int64_t n)
{
    int64_t head = t / s->seq * s->groups + h / s->share, here = s->pos + t % s->seq, row = t * s->heads + h,
            first = first_key(here, ints(&a->in[START])[t], s->window, s->chunk);
    struct spread spread[DECODE_QUERIES];
    struct named named;
    _Alignas(64) real rows[n * s->wide];
    for (int64_t i = 0; i < n; i++) spread[i] = (struct spread){ .most = -INFINITY };
    read_heads(&a->in[Q], row, n, s->width, s->scale, rows);
    if (a->in[INDEX].data) {
        read_index(a, s, t, h, &named);
        take_scores(a, s, head, &named, row, n, rows, spread);
    }
    for (int64_t from = first; !a->in[INDEX].data && from <= here; from += RUN) {
        name_all(from, from + RUN <= here ? from + RUN : here + 1, here, &named);
        take_scores(a, s, head, &named, row, n, rows, spread);
    }
    for (int64_t i = 0; i < n; i++) reals(&a->out[0])[row + i] = entropy_of(&spread[i]);
}

static void entropy_tokens(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    for (int64_t t = from; t < to; t++)
        for (int64_t h = 0, n; h < s.heads; h += n) {
            n = heads_at_once(a, &s, h);
            entropy_heads(a, &s, t, h, n);
        }
}

#endif
