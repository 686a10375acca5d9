/* Where a chunk of the gated delta rule finds its rows, gates and states (see ops/delta_rule.c). */
#ifndef SLUICE_DELTA_ROWS_H
#define SLUICE_DELTA_ROWS_H

#include "delta_chunk.h"

/* ---- where things are ---- */

static struct sizes sizes_of_call(const struct args *a)
{
    struct sizes s = sizes_of(&a->in[Q].shape, &a->in[V].shape, &a->in[G].shape, &a->in[START].shape,
                              a->in[STATE].data ? a->in[STATE].shape.dim[1] : 0, a->attr);
    s.before = a->in[POS].data ? ints(&a->in[POS])[0] : 0;
    INVARIANT(s.before >= 0, "delta_rule: position %lld", (long long)s.before);
    return s;
}

/* One value head of one sequence. */
struct head { int64_t batch, key, value; };

static real *entering(const struct args *a, const struct sizes *s, struct head h, int64_t chunk)
{
    int64_t head = h.batch * s->heads * s->share + h.value;
    return reals(&a->save[0]) + (head * s->chunks + chunk) * s->n * s->m;
}

static real *entry(const struct args *a, const struct sizes *s, struct head h, int64_t position)
{
    int64_t at = (h.batch * s->ring + position % s->ring) * s->heads * s->share + h.value;
    return reals(&a->in[STATE]) + at * s->n * s->m;
}

static int64_t start_of(const struct args *a, const struct chunk *c, int64_t t)
{
    return ints(&a->in[START])[c->first + t];
}

/* The state that enters the first chunk. */
static void open_state(const struct args *a, const struct sizes *s, struct head h)
{
    real *to = entering(a, s, h, 0);
    bool goes_on = s->ring && s->before > 0 && ints(&a->in[START])[h.batch * s->seq] < s->before;
    if (goes_on) memcpy(to, entry(a, s, h, s->before - 1), (size_t)(s->n * s->m) * sizeof *to);
    else memset(to, 0, (size_t)(s->n * s->m) * sizeof *to);
}

/* ---- reading a chunk ---- */

static struct chunk read_keys(const struct args *a, const struct sizes *s, struct chunk c, int64_t batch, int64_t key,
                              struct span at)
{
    real buffer[s->n];
    c.first = batch * s->seq + at.from;
    c.n = at.n;
    for (int64_t t = 0; t < c.n; t++) {
        int64_t row = ((c.first + t) * s->heads + key) * s->n;
        scaled(s->n, s->scale, row_read(&a->in[Q], row, s->n, buffer), c.x + t * s->n);
        scaled(s->n, 1, row_read(&a->in[K], row, s->n, buffer), c.k + t * s->n);
        if (s->readers > KEYS) scaled(s->n, -1, c.k + t * s->n, c.x + (KEYS * s->chunk + t) * s->n);
    }
    return c;
}

/* [n,M] of a tensor [T,HV,M]. */
static void read_values(const struct sizes *s, const struct chunk *c, struct head h, const struct tensor *t, real *to)
{
    real buffer[s->m];
    for (int64_t i = 0; i < c->n; i++)
        scaled(s->m, 1, row_read(t, ((c->first + i) * s->heads * s->share + h.value) * s->m, s->m, buffer),
               to + i * s->m);
}

/* Decay is 0 where a document begins; a token whose document begins after it stores nothing and reads nothing. */
static void read_gates(const struct args *a, const struct sizes *s, const struct chunk *c, struct head h)
{
    for (int64_t t = 0; t < c->n; t++) {
        int64_t head = (c->first + t) * s->heads * s->share + h.value,
                relative_start = start_of(a, c, t) - (s->before + c->first + t - h.batch * s->seq);
        const real *g = reals(&a->in[G]) + head * s->gates;
        real *e = c->e + t * s->n, same = s->gates == 1 ? vec_exp(g[0]) : 0;
        for (int64_t i = 0; i < s->n; i++) e[i] = relative_start >= 0 ? 0 : s->gates == 1 ? same : vec_exp(g[i]);
        c->beta[t] = relative_start > 0 ? 0 : reals(&a->in[BETA])[head];
    }
}

#endif
