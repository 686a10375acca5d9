/* Muon: momentum, made (nearly) orthogonal by five Newton-Schulz steps, so that every direction of a matrix moves
   alike. M = mu M + g;  w -= lr (scale NS(M or g + mu M) + decay w). Jordan 2024; Moonlight.
   The leading dimensions of a weight are a stack of independent matrices [N,K]. */
#include "cpu/gemm.h"

#include <math.h>

enum { W, GRAD, M, LR, CLIP, BLOCKS = 16 };                 /* BLOCKS: most matrices at work at one time, each with its scratch */

struct node *muon(struct graph *g, struct node *w, struct node *grad, struct node *m, struct node *lr, struct node *clip, struct muon_attr a)
{
    return graph_emit(g, &op_muon, &a, sizeof a, w, grad, m, lr, clip);
}

/* A stack of [rows,cols], iterated as [low,high], low <= high. */
struct sizes { int64_t stack, rows, cols, low, high, grain; };

static struct sizes sizes_of(struct shape w)
{
    struct sizes s = { .rows = w.dim[w.rank - 2], .cols = w.dim[w.rank - 1] };
    s.stack = shape_count(w) / (s.rows * s.cols);
    s.low = s.rows < s.cols ? s.rows : s.cols;
    s.high = s.rows < s.cols ? s.cols : s.rows;
    s.grain = blocks_of(s.stack, BLOCKS);
    return s;
}

static int infer(struct node *n, struct err *e)
{
    char w[64], other[64];
    for (int i = W; i <= CLIP; i++) if (n->in[i]->dtype != DTYPE_REAL) return err_set(e, "input %d must be REAL", i);
    struct shape shape = n->in[W]->shape;
    if (shape.rank < 2) return err_set(e, "a weight of shape %s is no matrix", shape_text(shape, w));
    for (int i = GRAD; i <= M; i++)
        if (!shape_equal(n->in[i]->shape, shape))
            return err_set(e, "input %d has shape %s, the weight %s", i, shape_text(n->in[i]->shape, other), shape_text(shape, w));
    if (shape_count(n->in[LR]->shape) != 1 || shape_count(n->in[CLIP]->shape) != 2)
        return err_set(e, "wants one rate and the two values of clip_norm");
    struct sizes s = sizes_of(shape);
    node_value(n, DTYPE_REAL, SHAPE(2));
    node_work(n, DTYPE_REAL, SHAPE(blocks_of(s.stack, s.grain), 2 * s.low * s.high + 2 * s.low * s.low));
    node_work(n, DTYPE_U8, SHAPE(2 * s.stack * (int64_t)sizeof(double)));     /* sums of each matrix */
    return 0;
}

static void cost(const struct node *n, struct cost *c)
{
    const struct muon_attr *at = n->attr;
    struct shape w = n->in[W]->shape;
    struct sizes s = sizes_of(w);
    double low = (double)s.low, high = (double)s.high;
    c->flops = (double)s.stack * at->steps * (4 * low * low * high + 2 * low * low * low);
    c->bytes = 5 * (double)shape_count(w) * sizeof(real);
}

static struct matrix matrix(real *data, int64_t cols) { return matrix_reals(data, cols); }

/* out := beta out + x y, [m,n] = [m,k] [k,n]. Many matrices share the threads, one has them all. */
static void product(const struct args *a, const struct sizes *s, int64_t m, int64_t n, int64_t k,
                    struct matrix x, struct matrix y, struct matrix out, real beta)
{
    struct gemm g = { .m = m, .n = n, .k = k, .a = x, .b = y, .c = out, .beta = beta, .groups = 1 };
    if (s->stack == 1) gemm(a, &g);
    else gemm_here(&g);
}

/* X := 3.4445 X - 4.7750 A X + 2.0315 A^2 X with A = X X^T; returns where the last X is. */
static real *newton_schulz(const struct args *a, const struct sizes *s, real *x, int steps)
{
    int64_t low = s->low, high = s->high;
    real *next = x + low * high, *first = next + low * high, *second = first + low * low;
    struct matrix one = matrix(first, low), two = matrix(second, low);      /* A, A^2 */
    for (int step = 0; step < steps; step++) {
        product(a, s, low, low, high, matrix(x, high), matrix_turned(matrix(x, high)), one, 0);
        product(a, s, low, low, low, one, one, two, 0);
        for (int64_t i = 0; i < low * low; i++) second[i] = (real)-4.7750 * first[i] + (real)2.0315 * second[i];
        for (int64_t i = 0; i < low * high; i++) next[i] = (real)3.4445 * x[i];
        product(a, s, low, high, low, two, matrix(x, high), matrix(next, high), 1);
        real *old = x;
        x = next;
        next = old;
    }
    return x;
}

/* Where value (r,c) of a matrix is in the iterate. */
static int64_t iterate_at(const struct sizes *s, int64_t r, int64_t c) { return s->rows > s->cols ? c * s->rows + r : r * s->cols + c; }

/* Takes the gradient in; x := what is to be made orthogonal, of Frobenius norm 1. */
static void load_momentum(const struct args *a, const struct sizes *s, int64_t start, real *x)
{
    const struct muon_attr *at = a->attr;
    const real *grad = reals(&a->in[GRAD]) + start;
    real *m = reals(&a->in[M]) + start, mu = (real)at->momentum, clip = reals(&a->in[CLIP])[0];
    double sum = 0;
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t c = 0; c < s->cols; c++) {
            int64_t i = r * s->cols + c;
            real g = clip * grad[i];
            m[i] = mu * m[i] + g;
            real u = at->nesterov ? g + mu * m[i] : m[i];
            x[iterate_at(s, r, c)] = u;
            sum += (double)u * (double)u;
        }
    real by = (real)(1 / (sqrt(sum) + 1e-7));
    for (int64_t i = 0; i < s->rows * s->cols; i++) x[i] *= by;
}

/* sums: of squares of the change, and of w before */
static void apply(const struct args *a, const struct sizes *s, int64_t start, const real *x, double *sums)
{
    const struct muon_attr *at = a->attr;
    real *w = reals(&a->in[W]) + start, lr = reals(&a->in[LR])[0], scale = (real)at->scale, decay = (real)at->decay;
    double changed = 0, before = 0;
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t c = 0; c < s->cols; c++) {
            int64_t i = r * s->cols + c;
            real old = w[i];
            w[i] = old - lr * (scale * x[iterate_at(s, r, c)] + decay * old);
            double change = (double)w[i] - (double)old;
            changed += change * change;
            before += (double)old * (double)old;
        }
    sums[0] = changed;
    sums[1] = before;
}

static void matrices(const struct args *a, int64_t from, int64_t to)
{
    const struct muon_attr *at = a->attr;
    struct sizes s = sizes_of(a->in[W].shape);
    real *x = reals(&a->work[0]) + from / s.grain * a->work[0].shape.dim[1];
    for (int64_t i = from; i < to; i++) {
        int64_t start = i * s.rows * s.cols;
        load_momentum(a, &s, start, x);
        apply(a, &s, start, newton_schulz(a, &s, x, at->steps), (double *)a->work[1].data + 2 * i);
    }
}

static void forward(const struct args *a)
{
    struct sizes s = sizes_of(a->in[W].shape);
    real *out = reals(&a->out[0]);
    out[0] = out[1] = 0;
    if (reals(&a->in[CLIP])[1] == 0) return;
    each(a, s.stack, s.grain, matrices);
    double changed = 0, before = 0;
    const double *sums = a->work[1].data;
    for (int64_t i = 0; i < s.stack; i++) changed += sums[2 * i], before += sums[2 * i + 1];
    out[0] = (real)changed;
    out[1] = (real)before;
}

KERNELS(muon) = { forward, NULL };
OP(muon) = { .name = "muon", .index = OP_muon, .infer = infer, .cost = cost, .changes_inputs = true };
