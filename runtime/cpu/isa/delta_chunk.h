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

struct delta_attr { double scale; int64_t delta, chunk; };

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
                             const struct shape *start, int64_t ring, const struct delta_attr *at)
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

static void scaled(int64_t n, real scale, const real *restrict from, real *restrict to)
{
    for (int64_t i = 0; i < n; i++) to[i] = scale * from[i];
}

/* c = beta c + a b of [m,k] and [k,n], one or both read transposed. */
enum transposed { NOT_TRANSPOSED, LEFT_TRANSPOSED, RIGHT_TRANSPOSED };
static void times(int64_t m, int64_t n, int64_t k, enum transposed transposed, real *a, real *b, real beta, real *c)
{
    struct matrix left = matrix_reals(a, transposed == LEFT_TRANSPOSED ? m : k),
                  right = matrix_reals(b, transposed == RIGHT_TRANSPOSED ? k : n);
    if (transposed == LEFT_TRANSPOSED) left = matrix_transposed(left);
    if (transposed == RIGHT_TRANSPOSED) right = matrix_transposed(right);
    gemm_here(&(struct gemm){ .m = m, .n = n, .k = k, .a = left, .b = right, .c = matrix_reals(c, n), .beta = beta });
}

/* ---- readers ---- */

/* A row looks back from its token, and what it sees fades: y = x_t E(t,s) at s, x_t e_0 .. e_t beyond. A key does
   not read its own token. */
static void look_back(const struct sizes *s, const struct chunk *c, int reader)
{
    int64_t n = c->n, at = reader * s->chunk * s->n;
    real *pairs = c->pairs + reader * s->chunk * s->chunk;
    for (int64_t t = 0; t < n; t++) {
        real *y = c->old + at + t * s->n, *row = pairs + t * n;
        memcpy(y, c->x + at + t * s->n, (size_t)s->n * sizeof *y);
        for (int64_t i = n - 1; i >= t + (reader == QUERIES); i--) row[i] = 0;
        for (int64_t i = t; i >= 0; i--) {
            if (i < t || reader == QUERIES) row[i] = inner(s->n, y, c->k + i * s->n);
            multiply(s->n, c->e + i * s->n, y);
        }
    }
}

/* late_s = k_s E(last,s);  left = e_0 .. e_last. */
static void look_ahead(const struct sizes *s, const struct chunk *c)
{
    for (int64_t i = 0; i < s->n; i++) c->left[i] = 1;
    for (int64_t t = c->n - 1; t >= 0; t--) {
        for (int64_t i = 0; i < s->n; i++) c->late[t * s->n + i] = c->k[t * s->n + i] * c->left[i];
        multiply(s->n, c->e + t * s->n, c->left);
    }
}

/* dx_t = sum_s dpairs[t,s] E(t,s) k_s + dold_t e_0 .. e_t, from the oldest on. */
static void reader_gradients(const struct sizes *s, const struct chunk *c, int reader)
{
    int64_t at = reader * s->chunk * s->n;
    const real *dpairs = c->dpairs + reader * s->chunk * s->chunk;
    for (int64_t t = 0; t < c->n; t++) {
        real *restrict dx = c->dx + at + t * s->n;
        memcpy(dx, c->dold + at + t * s->n, (size_t)s->n * sizeof *dx);
        for (int64_t i = 0; i <= t; i++) {
            const real *restrict e = c->e + i * s->n, *restrict k = c->k + i * s->n;
            real by = i < t || reader == QUERIES ? dpairs[t * c->n + i] : 0;
            for (int64_t d = 0; d < s->n; d++) dx[d] = dx[d] * e[d] + by * k[d];
        }
    }
}

/* dk_s = sum over readers and t of dpairs[t,s] E(t,s) x_t, + dlate_s E(last,s), from the latest on. */
static void key_gradients(const struct sizes *s, const struct chunk *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        real *dk = c->dk + i * s->n;
        memcpy(dk, c->dlate + i * s->n, (size_t)s->n * sizeof *dk);
        for (int64_t t = c->n - 1; t >= i; t--) {
            for (int reader = 0; reader < (t > i ? s->readers : 1); reader++)
                add_scaled(s->n, c->dpairs[reader * s->chunk * s->chunk + t * c->n + i],
                           c->x + (reader * s->chunk + t) * s->n, dk);
            if (t > i) multiply(s->n, c->e + t * s->n, dk);
        }
    }
}

/* ---- the chunk and the state that enters it ---- */

/* r = v - (what the memory predicts);  u = beta r. Each token sees what those before it have stored. */
static void predict(const struct sizes *s, const struct chunk *c, real *state)
{
    int64_t m = s->m, n = c->n;
    real *pairs = c->pairs + KEYS * s->chunk * s->chunk;
    if (s->readers > KEYS) times(n, m, s->n, NOT_TRANSPOSED, c->old + KEYS * s->chunk * s->n, state, 1, c->r);
    for (int64_t t = 0; t < n; t++) {
        for (int64_t i = 0; i < t && s->readers > KEYS; i++)
            add_scaled(m, pairs[t * n + i], c->u + i * m, c->r + t * m);
        scaled(m, c->beta[t], c->r + t * m, c->u + t * m);
    }
}

/* The transpose of predict: dr of r, from du of u; du becomes the gradient of v. */
static void predict_back(const struct sizes *s, const struct chunk *c)
{
    int64_t m = s->m, n = c->n;
    const real *pairs = c->pairs + KEYS * s->chunk * s->chunk;
    for (int64_t t = n - 1; t >= 0; t--) {
        scaled(m, c->beta[t], c->dr + t * m, c->du + t * m);
        for (int64_t i = 0; i < t && s->readers > KEYS; i++)
            add_scaled(m, pairs[t * n + i], c->du + t * m, c->dr + i * m);
    }
}

/* o = (older queries) S + pairs u. */
static void read_out(const struct sizes *s, const struct chunk *c, real *state)
{
    times(c->n, s->m, s->n, NOT_TRANSPOSED, c->old, state, 0, c->o);
    times(c->n, s->m, c->n, NOT_TRANSPOSED, c->pairs, c->u, 1, c->o);
}

/* next = diag(left) S + late^T u */
static void advance(const struct sizes *s, const struct chunk *c, const real *state, real *next)
{
    for (int64_t i = 0; i < s->n; i++) scaled(s->m, c->left[i], state + i * s->m, next + i * s->m);
    times(s->n, s->m, c->n, LEFT_TRANSPOSED, c->late, c->u, 1, next);
}

/* All gradients of one value head's chunk, but for sums over heads. ds is that of the state that leaves, and becomes
   that of the state that enters; db[N] starts with what reaches the sum of all log decays. */
static void chunk_gradients(const struct sizes *s, const struct chunk *c, real *state, real *ds, real *db)
{
    int64_t n = c->n, m = s->m, keys = s->chunk * s->n;
    times(n, m, n, LEFT_TRANSPOSED, c->pairs, c->o, 0, c->dr);
    times(n, m, s->n, NOT_TRANSPOSED, c->late, ds, 1, c->dr);
    times(n, n, m, RIGHT_TRANSPOSED, c->o, c->u, 0, c->dpairs);
    times(n, s->n, m, RIGHT_TRANSPOSED, c->o, state, 0, c->dold);
    times(n, s->n, m, RIGHT_TRANSPOSED, c->u, ds, 0, c->dlate);
    predict_back(s, c);
    for (int64_t i = 0; i < s->n; i++) {
        db[i] = c->left[i] * inner(m, ds + i * m, state + i * m);
        for (int64_t t = 0; t < n; t++) db[i] += c->late[t * s->n + i] * c->dlate[t * s->n + i];
        for (int64_t j = 0; j < m; j++) ds[i * m + j] *= c->left[i];
    }
    times(s->n, m, n, LEFT_TRANSPOSED, c->old, c->o, 1, ds);
    if (s->readers > KEYS) {
        times(n, n, m, RIGHT_TRANSPOSED, c->du, c->u, 0, c->dpairs + s->chunk * s->chunk);
        times(n, s->n, m, RIGHT_TRANSPOSED, c->du, state, 0, c->dold + keys);
        times(s->n, m, n, LEFT_TRANSPOSED, c->old + keys, c->du, 1, ds);
    }
    for (int reader = 0; reader < s->readers; reader++) reader_gradients(s, c, reader);
    key_gradients(s, c);
}

#endif
