/* What ops that move weights share. Their output is REAL [SUMS], in double over blocks that the shapes cut; a step that
   is skipped changes nothing and gives zeros. */
#ifndef SLUICE_STEP_H
#define SLUICE_STEP_H

#include "op.h"
#include "cpu/vec_math.h"

/* What an op's `lr` says: the rate, and where it has three values factors on decay and momentum. */
struct step_pace { real rate, decay, momentum; };
static inline struct step_pace step_pace(const struct args *a, int lr)
{
    const real *x = reals(&a->in[lr]);
    bool more = shape_count(a->in[lr].shape) > 1;
    return (struct step_pace){ x[0], more ? x[1] : 1, more ? x[2] : 1 };
}

/* For infer. */
static inline int step_check_pace(const struct node *n, int lr, struct err *e)
{
    int64_t values = shape_count(n->in[lr]->shape);
    return values == 1 || values == 3 ? 0 : err_set(e, "'lr' has %lld values: the rate, or also factors on decay and "
                                                       "momentum", (long long)values);
}

/* ---- each value by itself ---- */

enum { STEP_BLOCK = 8192 };
enum { ALONG = 2, SUMS };    /* of squares of the change and of the weight before, and ALONG, of the products of both */
enum { STEP_LANES = 8 };    /* with SUM_LANES fewer of the sums stay in registers: AdamW takes 5 % longer */
struct step_lanes { double changed[STEP_LANES], before[STEP_LANES], along[STEP_LANES]; };

/* The change of one value, and what it was, in lane l; along: the product of both too. */
static inline void step_count(struct step_lanes *s, int64_t l, bool along, real old, real now)
{
    double change = (double)now - (double)old;
    s->changed[l] += change * change;
    s->before[l] += (double)old * (double)old;
    if (along) s->along[l] += change * (double)old;
}

/* Room for the sums of n blocks. */
static inline void step_work(struct node *n, int64_t blocks)
{
    node_work(n, DTYPE_U8, SHAPE(SUMS * blocks * (int64_t)sizeof(double)));
}

static inline void step_infer(struct node *n)
{
    node_value(n, DTYPE_REAL, SHAPE(SUMS));
    step_work(n, blocks_of(shape_count(n->in[0]->shape), STEP_BLOCK));
}

/* Where block i leaves its sums. */
static inline double *step_part(const struct args *a, int64_t i) { return (double *)a->work[0].data + SUMS * i; }

static inline void step_fold(const struct step_lanes *s, double *sums)
{
    sums[0] = fold_eight(s->changed);
    sums[1] = fold_eight(s->before);
    sums[2] = fold_eight(s->along);
}

/* Runs over `count` items, `grain` of them a block, all of which leave `parts` sums. go: whether the step counts. */
static inline void step_run(const struct args *a, bool go, int64_t count, int64_t grain, int64_t parts,
                            void (*block)(const struct args *a, int64_t from, int64_t to))
{
    double sum[SUMS] = { 0 };
    if (go) each(a, count, grain, block);
    for (int64_t i = 0; go && i < SUMS * parts; i++) sum[i % SUMS] += *(step_part(a, 0) + i);
    for (int i = 0; i < SUMS; i++) reals(&a->out[0])[i] = (real)sum[i];
}

static inline void step_values(const struct args *a, bool go,
                               void (*block)(const struct args *a, int64_t from, int64_t to))
{
    int64_t count = shape_count(a->in[0].shape);
    step_run(a, go, count, STEP_BLOCK, blocks_of(count, STEP_BLOCK), block);
}

/* ---- a matrix along a direction ---- */

static inline double step_squares(const real *x, int64_t n)
{
    double sum;
    ROW_SUM(sum, i, n, (double)x[i] * (double)x[i]);
    return sum;
}

/* A stack of matrices runs in blocks of step_grain, so that at most STEP_MATRICES are at work at one time, each block
   with its scratch. */
enum { STEP_MATRICES = 16 };
static inline int64_t step_grain(int64_t matrices) { return blocks_of(matrices, STEP_MATRICES); }
static inline int64_t step_blocks(int64_t matrices) { return blocks_of(matrices, step_grain(matrices)); }
static inline void step_matrices(const struct args *a, bool go, int64_t matrices,
                                 void (*block)(const struct args *a, int64_t from, int64_t to))
{
    step_run(a, go, matrices, step_grain(matrices), matrices, block);
}

/* How: w -= lr (scale u + decay w). cautious: w decays only where it goes the way of the step. */
struct step_move { real lr, scale, decay; bool cautious; };

/* Of n values w that were moved by u. */
static inline void step_measure(int64_t n, const real *restrict w, const real *restrict u, double *sums)
{
    sums[0] = step_squares(u, n);
    ROW_SUM(sums[2], i, n, (double)u[i] * ((double)w[i] - (double)u[i]));
}

/* Moves n values of w, and leaves their sums; u is lost. */
static inline void step_move(const struct step_move *k, int64_t n, real *restrict w, real *restrict u, double *sums)
{
    sums[1] = step_squares(w, n);
    for (int64_t i = 0; i < n; i++) {
        real old = w[i], decay = k->cautious && u[i] * old < 0 ? 0 : k->decay;
        w[i] = old - k->lr * (k->scale * u[i] + decay * old);
        u[i] = w[i] - old;
    }
    step_measure(n, w, u, sums);
}

/* The same on a sphere, where w keeps its Frobenius norm, radius, that of the first step where it is 0 so far:
       w' = w - lr scale radius u / |u|,  w = radius w' / |w'| */
static inline void step_turn(const struct step_move *k, int64_t n, real *restrict w, real *restrict u,
                             real *restrict radius, double *sums)
{
    double length = sqrt(step_squares(u, n));
    sums[1] = step_squares(w, n);
    if (*radius == 0) *radius = (real)sqrt(sums[1]);
    real by = length > 0 ? (real)((double)(k->lr * k->scale * *radius) / length) : 0;
    for (int64_t i = 0; i < n; i++) u[i] = w[i] - by * u[i];
    length = sqrt(step_squares(u, n));
    by = length > 0 ? (real)((double)*radius / length) : 1;
    for (int64_t i = 0; i < n; i++) {
        real old = w[i];
        w[i] = by * u[i];
        u[i] = w[i] - old;
    }
    step_measure(n, w, u, sums);
}

#endif
