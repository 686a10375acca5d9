/* The largest singular value of each matrix of a stack, by power iteration from a vector of equal values:
       u = W v / |W v|,  v = W^T u,  sigma = |v|,  v = v / sigma
   sigma comes from below, and its error falls by (s2 / s1)^4 an iteration. It is no less than |W|_F / sqrt(min(N,D)),
   which stands in for it where the start saw less. Stable rank: |W|_F^2 / sigma^2. */
#define VERBS "graph/ops/broadcast.h"
#include "op.h"
#include "cpu/vec_math.h"

enum { SIGMA, RANK };                                       /* outputs */

VERB struct node *spectral(struct graph *g, struct node *w, int64_t iterations)
{
    struct spectral_attr at = { iterations };
    return graph_emit(g, &op_spectral, &at, w);
}

static int infer(struct node *n, struct err *e)
{
    (void)e;
    struct stack s = shape_stack(n->in[0]->shape);
    node_value(n, DTYPE_REAL, SHAPE(s.matrices));
    node_output(n, DTYPE_REAL, SHAPE(s.matrices));
    node_work(n, DTYPE_REAL, SHAPE(s.matrices, s.rows + s.columns));
    return 0;
}

static void cost(const struct node *n, struct cost *c)
{
    c->flops = 4 * (double)((const struct spectral_attr *)n->attr)->iterations * (double)shape_count(n->in[0]->shape);
}

static double length_of(const real *x, int64_t n)
{
    double sum;
    ROW_SUM(sum, i, n, (double)x[i] * (double)x[i]);
    return sqrt(sum);
}

static void divide_by(real *x, int64_t n, double by)
{
    for (int64_t i = 0; i < n; i++) x[i] = by > 0 ? (real)((double)x[i] / by) : 0;
}

static double iterate(const struct stack *s, const real *w, real *u, real *v)
{
    for (int64_t i = 0; i < s->rows; i++) {
        const real *row = w + i * s->columns;
        double sum;
        ROW_SUM(sum, c, s->columns, (double)row[c] * (double)v[c]);
        u[i] = (real)sum;
    }
    divide_by(u, s->rows, length_of(u, s->rows));
    for (int64_t c = 0; c < s->columns; c++) v[c] = 0;
    for (int64_t i = 0; i < s->rows; i++)
        for (int64_t c = 0; c < s->columns; c++) v[c] += u[i] * w[i * s->columns + c];
    double sigma = length_of(v, s->columns);
    divide_by(v, s->columns, sigma);
    return sigma;
}

static void matrices(const struct args *a, int64_t from, int64_t to)
{
    struct stack s = shape_stack(a->in[0].shape);
    int64_t size = s.rows * s.columns, iterations = ((const struct spectral_attr *)a->attr)->iterations;
    for (int64_t m = from; m < to; m++) {
        const real *w = reals(&a->in[0]) + m * size;
        real *u = reals(&a->work[0]) + m * (s.rows + s.columns), *v = u + s.rows;
        double sigma = 0, whole = length_of(w, size), side = (double)(s.rows < s.columns ? s.rows : s.columns),
               least = whole / sqrt(side);
        for (int64_t c = 0; c < s.columns; c++) v[c] = (real)(1 / sqrt((double)s.columns));
        for (int64_t k = 0; k < iterations; k++) sigma = iterate(&s, w, u, v);
        if (sigma < least) sigma = least;
        reals(&a->out[SIGMA])[m] = (real)sigma;
        reals(&a->out[RANK])[m] = sigma > 0 ? (real)(whole / sigma * (whole / sigma)) : 0;
    }
}

static void forward(const struct args *a) { each(a, shape_stack(a->in[0].shape).matrices, 1, matrices); }

KERNELS(spectral) = { forward, NULL, NULL };

ATTRIBUTES(spectral, struct spectral_attr, INT(struct spectral_attr, iterations, NEEDED, 1, INT32_MAX, "", "of power"));
OP(spectral, .inputs = "w:REAL[..,N,D]",
   .outputs = "sigma:REAL[E] stable_rank:REAL[E]",
   .about = "of each matrix of a stack the largest singular value, by power iteration, and |w|_F^2 / sigma^2",
   ATTR(spectral), .infer = infer, .cost = cost);
