/* The gated delta rule within a chunk of tokens (see ops/delta_rule.c). With e_t the decay of token t, 0 where a
   document begins, E(t,s) = e_s+1 .. e_t is what is left of token s when t reads. Readers are scaled queries and, for
   the delta rule, negated keys: reader x has x_t E(t,s) k_s in row t and column s of its pairs, and x_t e_0 .. e_t for
   what is older than the chunk. Decays are only ever multiplied: nothing overflows, none needs a bound, and documents
   no mask. */
#ifndef SLUICE_DELTA_CHUNK_H
#define SLUICE_DELTA_CHUNK_H

#include "cpu/gemm.h"
#include "cpu/vec_math.h"

enum { Q, K, V, G, BETA, START, POS, STATE };
enum { QUERIES, KEYS, READERS };
enum { SCRATCHES = 64 };                                    /* most tasks, each with a scratch of its own */

struct sizes {
    int64_t batch, seq, heads, share, n, m, gates;          /* `share` value heads read one of `heads` keys of n */
    int64_t chunk, whole, chunks;    /* chunks of `chunk` up to position `whole`, from there of one token */
    int64_t ring, before;                                   /* states of a cache, and positions in it so far */
    int readers;
    real scale;
};

/* Of a sequence: tokens [from, from + n). */
struct span { int64_t from, n; };

/* A cache wants the state after each of its last positions. */
static struct sizes sizes_of(const struct shape *q, const struct shape *v, const struct shape *g,
                             const struct shape *start, int64_t ring, const struct delta_rule_attr *at)
{
    struct sizes s = { .batch = start->dim[0], .seq = start->dim[1], .heads = q->dim[1], .n = q->dim[2], .m = v->dim[2],
                       .share = v->dim[1] / q->dim[1], .gates = g->rank == 3 ? g->dim[2] : 1, .ring = ring,
                       .chunk = at->chunk < start->dim[1] ? at->chunk : start->dim[1],
                       .readers = at->delta ? READERS : 1, .scale = (real)at->scale };
    s.whole = ring < s.seq ? s.seq - ring : 0;
    s.chunks = blocks_of(s.whole, s.chunk) + s.seq - s.whole;
    return s;
}

static struct span chunk_at(const struct sizes *s, int64_t number)
{
    int64_t from = number * s->chunk, large = blocks_of(s->whole, s->chunk);
    if (number >= large) return (struct span){ s->whole + number - large, 1 };
    return (struct span){ from, s->whole - from < s->chunk ? s->whole - from : s->chunk };
}

/* What a task works on: rows of a chunk's n tokens. Readers are one after the other, `chunk` rows apart. */
struct chunk {
    int64_t first;                                          /* token of row 0 */
    int64_t n;
    real *x, *k, *e;                                        /* [readers,n,N], [n,N], [n,N] */
    real *old, *pairs;                                      /* readers of what is older, and of the chunk [n,n] */
    real *late, *left;    /* k_s E(last,s), and what is left of the entering state [N] */
    real *beta, *r, *u, *o;                                 /* [n]; [n,M]: what is not predicted, beta r, output */
    real *dx, *dold, *dpairs, *dk, *dlate, *dr, *du;        /* gradients; du that of v as well */
    real *dq_sum, *dk_sum, *ds;                             /* over value heads [n,N]; of states [share,N,M] */
};

static int64_t scratch_size(const struct sizes *s)
{
    return s->chunk * ((6 + 4 * s->readers + 2) * s->n + 5 * s->m + 2 * s->readers * s->chunk + 1) + s->n +
           s->share * s->n * s->m;
}

static struct chunk chunk_in(const struct sizes *s, real *memory)
{
    struct chunk c = { 0 };
    int64_t keys = s->chunk * s->n, values = s->chunk * s->m, squares = s->readers * s->chunk * s->chunk;
    struct { real **to; int64_t size; } part[] = {
        { &c.x, s->readers * keys },  { &c.old, s->readers * keys }, { &c.dx, s->readers * keys },
        { &c.dold, s->readers * keys }, { &c.k, keys },              { &c.e, keys },
        { &c.late, keys },            { &c.dk, keys },               { &c.dlate, keys },
        { &c.dq_sum, keys },          { &c.dk_sum, keys },           { &c.r, values },
        { &c.u, values },             { &c.o, values },              { &c.dr, values },
        { &c.du, values },            { &c.pairs, squares },         { &c.dpairs, squares },
        { &c.beta, s->chunk },        { &c.left, s->n },             { &c.ds, s->share * s->n * s->m },
    };
    for (int i = 0; i < COUNT(part); memory += part[i++].size) *part[i].to = memory;
    return c;
}

/* ---- rows ---- */

static real inner(int64_t n, const real *restrict x, const real *restrict y)
{
    real lane[SUM_LANES] = { 0 }, sum = 0;
    int64_t i = 0;
    for (; i + SUM_LANES <= n; i += SUM_LANES) for (int l = 0; l < SUM_LANES; l++) lane[l] += x[i + l] * y[i + l];
    for (; i < n; i++) sum += x[i] * y[i];
    for (int step = SUM_LANES / 2; step > 0; step /= 2) for (int l = 0; l < step; l++) lane[l] += lane[l + step];
    return lane[0] + sum;
}

static void multiply(int64_t n, const real *restrict by, real *restrict to)
{
    for (int64_t i = 0; i < n; i++) to[i] *= by[i];
}

static void add_scaled(int64_t n, real scale, const real *restrict from, real *restrict to)
{
    for (int64_t i = 0; i < n; i++) to[i] += scale * from[i];
}

static void product_of(int64_t n, const real *restrict x, const real *restrict y, real *restrict to)
{
    for (int64_t i = 0; i < n; i++) to[i] = x[i] * y[i];
}

static void scaled(int64_t n, real scale, const real *restrict from, real *restrict to)
{
    for (int64_t i = 0; i < n; i++) to[i] = scale * from[i];
}

/* What a product reads: rows of `width`, or these as columns. */
static struct matrix rows_of(real *at, int64_t width) { return matrix_reals(at, width); }
static struct matrix columns_of(real *at, int64_t width) { return matrix_transposed(matrix_reals(at, width)); }

/* c = beta c + a b of [m,k] and [k,n]. */
static void times(int64_t m, int64_t n, int64_t k, struct matrix a, struct matrix b, real beta, struct matrix c)
{
    gemm_here(&(struct gemm){ .m = m, .n = n, .k = k, .a = a, .b = b, .c = c, .beta = beta });
}

/* ---- readers ---- */

/* A chunk's rows, `block` of them at a time: pairs within a block are made one by one, those of a block and what is
   before it are products of what its readers are at its beginning and what keys are there. */
enum { BLOCK = 16 };
static struct span block_at(const struct chunk *c, int64_t from)
{
    return (struct span){ from, c->n - from < BLOCK ? c->n - from : BLOCK };
}

static void open_block(const struct sizes *s, const struct chunk *c)
{
    for (int64_t i = 0; i < s->n; i++) c->left[i] = 1;
}

/* From the beginning of a block to its end: late_s = k_s E(last,s), left = e_0 .. e_last. Of the last one: of the
   chunk. */
static void pass_block(const struct sizes *s, const struct chunk *c, struct span at)
{
    real by[s->n];
    for (int64_t i = 0; i < s->n; i++) by[i] = 1;
    for (int64_t t = at.from + at.n - 1; t >= at.from; t--) {
        product_of(s->n, c->k + t * s->n, by, c->late + t * s->n);
        multiply(s->n, c->e + t * s->n, by);
    }
    for (int64_t t = 0; t < at.from; t++) multiply(s->n, by, c->late + t * s->n);
    multiply(s->n, by, c->left);
}

/* A row looks back from its token, and what it sees fades: y = x_t E(t,s) at s, x_t e_0 .. e_t beyond. A key does
   not read its own token. */
static void look_back(const struct sizes *s, const struct chunk *c, int reader, struct span at)
{
    int64_t n = c->n, end = at.from + at.n;
    real *old = c->old + reader * s->chunk * s->n, *pairs = c->pairs + reader * s->chunk * s->chunk;
    for (int64_t t = at.from; t < end; t++) {
        real *y = old + t * s->n, *row = pairs + t * n;
        memcpy(y, c->x + (reader * s->chunk + t) * s->n, (size_t)s->n * sizeof *y);
        for (int64_t i = t + (reader == QUERIES); i < n; i++) row[i] = 0;
        for (int64_t i = t; i >= at.from; i--) {
            if (i < t || reader == QUERIES) row[i] = inner(s->n, y, c->k + i * s->n);
            multiply(s->n, c->e + i * s->n, y);
        }
    }
    real *first = old + at.from * s->n;
    if (at.from) times(at.n, at.from, s->n, rows_of(first, s->n), columns_of(c->late, s->n), 0,
                       rows_of(pairs + at.from * n, n));
    for (int64_t t = at.from; t < end; t++) multiply(s->n, c->left, old + t * s->n);
}

static void look(const struct sizes *s, const struct chunk *c)
{
    open_block(s, c);
    for (struct span at = block_at(c, 0); at.n > 0; at = block_at(c, at.from + at.n)) {
        for (int reader = 0; reader < s->readers; reader++) look_back(s, c, reader, at);
        pass_block(s, c, at);
    }
}

/* dx_t = sum_s dpairs[t,s] E(t,s) k_s + dold_t e_0 .. e_t, from the oldest on. */
static void reader_gradients(const struct sizes *s, const struct chunk *c, int reader, struct span at)
{
    int64_t n = c->n, from = reader * s->chunk + at.from;
    real *dpairs = c->dpairs + reader * s->chunk * s->chunk + at.from * n;
    for (int64_t t = from; t < from + at.n; t++)
        product_of(s->n, c->dold + t * s->n, c->left, c->dx + t * s->n);
    if (at.from) times(at.n, s->n, at.from, rows_of(dpairs, n), rows_of(c->late, s->n), 1,
                       rows_of(c->dx + from * s->n, s->n));
    for (int64_t t = 0; t < at.n; t++) {
        real *restrict dx = c->dx + (from + t) * s->n;
        for (int64_t i = 0; i <= t; i++) {
            const real *restrict e = c->e + (at.from + i) * s->n, *restrict k = c->k + (at.from + i) * s->n;
            real by = i < t || reader == QUERIES ? dpairs[t * n + at.from + i] : 0;
            for (int64_t d = 0; d < s->n; d++) dx[d] = dx[d] * e[d] + by * k[d];
        }
    }
}

/* dk_s = sum over readers and t of dpairs[t,s] E(t,s) x_t, + dlate_s E(last,s), from the latest on: the gradient of
   what a key is at the end of a block becomes that of what it is at the beginning. */
static void key_gradients(const struct sizes *s, const struct chunk *c, struct span at)
{
    int64_t n = c->n, end = at.from + at.n;
    for (int64_t i = at.from; i < end; i++) {
        real *dk = c->dk + i * s->n;
        for (int64_t t = end - 1; t >= i; t--) {
            for (int reader = 0; reader < (t > i ? s->readers : 1); reader++)
                add_scaled(s->n, c->dpairs[reader * s->chunk * s->chunk + t * n + i],
                           c->x + (reader * s->chunk + t) * s->n, dk);
            if (t > i) multiply(s->n, c->e + t * s->n, dk);
        }
    }
    if (!at.from) return;
    real by[s->n];
    for (int64_t i = 0; i < s->n; i++) by[i] = 1;
    for (int64_t t = at.from; t < end; t++) {
        multiply(s->n, c->e + t * s->n, by);
        for (int64_t reader = 0, at_t = t * s->n; reader < s->readers; reader++, at_t += s->chunk * s->n)
            product_of(s->n, c->x + at_t, by, c->dold + at_t);      /* dold has been read */
    }
    for (int64_t i = 0; i < at.from; i++) multiply(s->n, by, c->dk + i * s->n);
    for (int reader = 0; reader < s->readers; reader++)
        times(at.from, s->n, at.n, columns_of(c->dpairs + reader * s->chunk * s->chunk + at.from * n, n),
              rows_of(c->dold + (reader * s->chunk + at.from) * s->n, s->n), 1, rows_of(c->dk, s->n));
}

static void look_gradients(const struct sizes *s, const struct chunk *c)
{
    open_block(s, c);
    for (struct span at = block_at(c, 0); at.n > 0; at = block_at(c, at.from + at.n)) {
        for (int reader = 0; reader < s->readers; reader++) reader_gradients(s, c, reader, at);
        pass_block(s, c, at);
    }
    memcpy(c->dk, c->dlate, (size_t)(c->n * s->n) * sizeof *c->dk);
    for (int64_t from = (c->n - 1) / BLOCK * BLOCK; from >= 0; from -= BLOCK) key_gradients(s, c, block_at(c, from));
}

/* ---- the chunk and the state that enters it ---- */

/* r = v - (what the memory predicts);  u = beta r. Each token sees what those before it have stored. */
static void predict(const struct sizes *s, const struct chunk *c, real *state)
{
    int64_t m = s->m, n = c->n;
    bool delta = s->readers > KEYS;
    real *pairs = c->pairs + KEYS * s->chunk * s->chunk, *old = c->old + KEYS * s->chunk * s->n;
    if (delta) times(n, m, s->n, rows_of(old, s->n), rows_of(state, m), 1, rows_of(c->r, m));
    for (struct span at = block_at(c, 0); at.n > 0; at = block_at(c, at.from + at.n)) {
        if (delta && at.from) times(at.n, m, at.from, rows_of(pairs + at.from * n, n), rows_of(c->u, m), 1,
                                    rows_of(c->r + at.from * m, m));
        for (int64_t t = at.from; t < at.from + at.n; t++) {
            for (int64_t i = at.from; i < t && delta; i++)
                add_scaled(m, pairs[t * n + i], c->u + i * m, c->r + t * m);
            scaled(m, c->beta[t], c->r + t * m, c->u + t * m);
        }
    }
}

/* The transpose of predict: dr of r, from du of u; du becomes the gradient of v. */
static void predict_back(const struct sizes *s, const struct chunk *c)
{
    int64_t m = s->m, n = c->n;
    bool delta = s->readers > KEYS;
    real *pairs = c->pairs + KEYS * s->chunk * s->chunk;
    for (int64_t from = (n - 1) / BLOCK * BLOCK; from >= 0; from -= BLOCK) {
        struct span at = block_at(c, from);
        for (int64_t t = from + at.n - 1; t >= from; t--) {
            scaled(m, c->beta[t], c->dr + t * m, c->du + t * m);
            for (int64_t i = from; i < t && delta; i++)
                add_scaled(m, pairs[t * n + i], c->du + t * m, c->dr + i * m);
        }
        if (delta && from) times(from, m, at.n, columns_of(pairs + from * n, n), rows_of(c->du + from * m, m), 1,
                                 rows_of(c->dr, m));
    }
}

/* o = (older queries) S + pairs u. */
static void read_out(const struct sizes *s, const struct chunk *c, real *state)
{
    times(c->n, s->m, s->n, rows_of(c->old, s->n), rows_of(state, s->m), 0, rows_of(c->o, s->m));
    times(c->n, s->m, c->n, rows_of(c->pairs, c->n), rows_of(c->u, s->m), 1, rows_of(c->o, s->m));
}

/* next = diag(left) S + late^T u */
static void advance(const struct sizes *s, const struct chunk *c, const real *state, real *next)
{
    for (int64_t i = 0; i < s->n; i++) scaled(s->m, c->left[i], state + i * s->m, next + i * s->m);
    times(s->n, s->m, c->n, columns_of(c->late, s->n), rows_of(c->u, s->m), 1, rows_of(next, s->m));
}

/* db[N], what reaches the sum of all log decays; ds of the state that leaves, times what is left of the one that
   enters. */
static void decay_gradients(const struct sizes *s, const struct chunk *c, const real *state, real *ds, real *db)
{
    int64_t m = s->m;
    for (int64_t i = 0; i < s->n; i++) {
        db[i] = c->left[i] * inner(m, ds + i * m, state + i * m);
        for (int64_t j = 0; j < m; j++) ds[i * m + j] *= c->left[i];
    }
    for (int64_t t = 0; t < c->n; t++) {
        const real *restrict late = c->late + t * s->n, *restrict dlate = c->dlate + t * s->n;
        for (int64_t i = 0; i < s->n; i++) db[i] += late[i] * dlate[i];
    }
}

/* All gradients of one value head's chunk, but for sums over heads. ds is that of the state that leaves, and becomes
   that of the state that enters; db[N] starts with what reaches the sum of all log decays. */
static void chunk_gradients(const struct sizes *s, const struct chunk *c, real *state, real *ds, real *db)
{
    int64_t n = c->n, m = s->m, keys = s->chunk * s->n;
    struct matrix o = rows_of(c->o, m), u = rows_of(c->u, m), du = rows_of(c->du, m),
                  out = rows_of(ds, m), u_back = columns_of(c->u, m), state_back = columns_of(state, m);
    times(n, m, n, columns_of(c->pairs, n), o, 0, rows_of(c->dr, m));
    times(n, m, s->n, rows_of(c->late, s->n), out, 1, rows_of(c->dr, m));
    times(n, n, m, o, u_back, 0, rows_of(c->dpairs, n));
    times(n, s->n, m, o, state_back, 0, rows_of(c->dold, s->n));
    times(n, s->n, m, u, columns_of(ds, m), 0, rows_of(c->dlate, s->n));
    predict_back(s, c);
    decay_gradients(s, c, state, ds, db);
    times(s->n, m, n, columns_of(c->old, s->n), o, 1, out);
    if (s->readers > KEYS) {
        times(n, n, m, du, u_back, 0, rows_of(c->dpairs + s->chunk * s->chunk, n));
        times(n, s->n, m, du, state_back, 0, rows_of(c->dold + keys, s->n));
        times(s->n, m, n, columns_of(c->old + keys, s->n), du, 1, out);
    }
    look_gradients(s, c);
}

#endif
