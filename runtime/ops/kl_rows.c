/* How far each row's softmax of scores is from what it is to learn: KL(p | q) = sum of p (ln p - ln q), p = mass / sum
   of mass and q = softmax(score). An entry of score -infinity is none. A row without mass is 0. Sums in double. */
#define VERBS "graph/ops/rows.h"
#include "op.h"
#include "cpu/vec_math.h"

enum { SCORE, MASS };

VERB struct node *kl_rows(struct graph *g, struct node *score, struct node *mass)
{
    return graph_emit(g, &op_kl_rows, NULL, score, mass);
}

static int infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_REAL, SHAPE(n->in[SCORE]->shape.dim[0]));
    return 0;
}

/* e^(score - top) */
static double raised(real score, real top) { return score == -INFINITY ? 0 : (double)vec_exp(score - top); }

/* Of a row: the sum of its masses, its largest score, and the sum of e^(score - largest). */
struct sums { double mass, exp; real top; };
static struct sums sums_of(const real *score, const real *mass, int64_t n)
{
    struct sums s = { 0, 0, -INFINITY };
    for (int64_t i = 0; i < n; i++) {
        s.mass += (double)mass[i];
        s.top = score[i] > s.top || isnan(score[i]) ? score[i] : s.top;
    }
    for (int64_t i = 0; i < n; i++) s.exp += raised(score[i], s.top);
    return s;
}

static void rows(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[SCORE].shape);
    for (int64_t t = from; t < to; t++) {
        const real *score = reals(&a->in[SCORE]) + t * d, *mass = reals(&a->in[MASS]) + t * d;
        struct sums s = sums_of(score, mass, d);
        double kl = 0, rest = s.mass > 0 ? log(s.mass) - log(s.exp) : 0;
        for (int64_t i = 0; i < d; i++)
            if (mass[i] > 0) kl += (double)mass[i] * (log((double)mass[i]) - (double)(score[i] - s.top) - rest);
        reals(&a->out[0])[t] = s.mass > 0 ? (real)(kl / s.mass) : (real)s.mass;
    }
}

/* dscore = (q - p) dy. */
static void gradient(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[SCORE].shape);
    for (int64_t t = from; t < to; t++) {
        const real *score = reals(&a->in[SCORE]) + t * d, *mass = reals(&a->in[MASS]) + t * d;
        real *dscore = reals(&a->din[SCORE]) + t * d, dy = reals(&a->dout[0])[t];
        struct sums s = sums_of(score, mass, d);
        for (int64_t i = 0; i < d; i++) {
            double slope = s.mass > 0 ? raised(score[i], s.top) / s.exp - (double)mass[i] / s.mass : 0;
            dscore[i] = keep(a->beta[SCORE], dscore[i]) + dy * (real)slope;
        }
    }
}

static void each_row(const struct args *a, void (*body)(const struct args *, int64_t, int64_t))
{
    each(a, shape_rows(a->in[SCORE].shape), rows_grain(shape_last(a->in[SCORE].shape)), body);
}

static void forward(const struct args *a) { each_row(a, rows); }
static void backward(const struct args *a) { if (a->din[SCORE].data) each_row(a, gradient); }

KERNELS(kl_rows) = { forward, backward, NULL };
OP(kl_rows, .inputs = "score:REAL[T,X] mass:REAL[T,X]",
   .outputs = "y:REAL[T]",
   .about = "sum of p (ln p - ln q) of each row, p = mass / sum of mass, q = softmax(score); an entry with score "
          "-infinity is none, and a row without mass is 0. Gradient to score only",
   .infer = infer, .gradient = true, .no_grad = 1u << MASS, .rows = 1u << SCORE | 1u << MASS, .rows_back = true,
   .reads_in = 1u << SCORE | 1u << MASS);
