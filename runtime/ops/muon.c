/* Muon: momentum, made (nearly) orthogonal by five Newton-Schulz steps, so that every direction of a matrix moves
   alike. M = mu M + g;  w -= lr (scale NS(M or g + mu M) + decay w). Jordan 2024; Moonlight.
   The leading dimensions of a weight are a stack of independent matrices [N,K]. */
#define VERBS "graph/ops/update.h"
#include "op.h"
#include "cpu/gemm.h"
#include "cpu/vec_math.h"

enum { W, GRAD, M, LR, CLIP };                              /* inputs */
enum { BLOCKS = 16 };    /* most matrices at work at one time, each with its scratch */
enum { SUMS = 3 };    /* as adamw's */
enum { BANDS = 4, BAND = 32 };    /* of a symmetric product: most of them, and what their columns are a multiple of */

VERB struct node *muon(struct graph *g, struct node *w, struct node *grad, struct node *m, struct node *lr,
                       struct node *clip, struct muon_attr a)
{
    return graph_emit(g, &op_muon, &a, w, grad, m, lr, clip);
}

/* A stack of [rows,cols]; low and high are the smaller and the larger of the two. */
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
    (void)e;
    struct sizes s = sizes_of(n->in[W]->shape);
    node_value(n, DTYPE_REAL, SHAPE(SUMS));
    node_work(n, DTYPE_REAL, SHAPE(blocks_of(s.stack, s.grain), 2 * s.low * s.high + 2 * s.low * s.low));
    node_work(n, DTYPE_U8, SHAPE(SUMS * s.stack * (int64_t)sizeof(double)));  /* of each matrix */
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

/* out := x y, [n,n] = [n,k] [k,n], where that is symmetric: the lower half in bands of columns, then mirrored. */
static void symmetric(const struct args *a, const struct sizes *s, int64_t n, int64_t k, struct matrix x,
                      struct matrix y, real *out)
{
    int64_t band = blocks_of(n, BANDS * BAND) * BAND;
    for (int64_t at = 0; at < n; at += band)
        product(a, s, n - at, n - at < band ? n - at : band, k, matrix_at(x, at, 0), matrix_at(y, 0, at),
                matrix_at(matrix(out, n), at, at), 0);
    for (int64_t at = 0; at < n; at += SUM_LANES)
        for (int64_t r = 0; r < at / band * band; r++)
            for (int64_t c = at; c < n && c < at + SUM_LANES; c++) out[r * n + c] = out[c * n + r];
}

/* X := 3.4445 X - 4.7750 A X + 2.0315 A^2 X with A = X X^T, the other way round where X is tall;
   returns where the last X is. */
static real *newton_schulz(const struct args *a, const struct sizes *s, real *x, int steps)
{
    int64_t low = s->low, high = s->high;
    real *next = x + low * high, *first = next + low * high, *second = first + low * low;      /* X, A, A^2 */
    bool tall = s->rows > s->cols;
    for (int step = 0; step < steps; step++) {
        struct matrix old = matrix(x, s->cols), one = matrix(first, low), two = matrix(second, low),
                      wide = tall ? matrix_transposed(old) : old;
        symmetric(a, s, low, high, wide, matrix_transposed(wide), first);
        symmetric(a, s, low, low, one, one, second);
        for (int64_t i = 0; i < low * low; i++) second[i] = (real)-4.7750 * first[i] + (real)2.0315 * second[i];
        for (int64_t i = 0; i < low * high; i++) next[i] = (real)3.4445 * x[i];
        product(a, s, s->rows, s->cols, low, tall ? old : two, tall ? two : old, matrix(next, s->cols), 1);
        real *spare = x;
        x = next;
        next = spare;
    }
    return x;
}

/* Takes the gradient in; x := what is to be made orthogonal, of Frobenius norm 1. */
static void load_momentum(const struct args *a, const struct sizes *s, int64_t start, real *restrict x)
{
    const struct muon_attr *at = a->attr;
    int64_t n = s->rows * s->cols;
    const real *restrict grad = reals(&a->in[GRAD]) + start;
    real *restrict m = reals(&a->in[M]) + start, mu = (real)at->momentum, clip = reals(&a->in[CLIP])[0];
    bool nesterov = at->nesterov;
    double sum;
    for (int64_t i = 0; i < n; i++) {
        real g = clip * grad[i];
        m[i] = mu * m[i] + g;
        x[i] = nesterov ? g + mu * m[i] : m[i];
    }
    ROW_SUM(sum, i, n, (double)x[i] * x[i]);
    real by = (real)(1 / (sqrt(sum) + 1e-7));
    for (int64_t i = 0; i < n; i++) x[i] *= by;
}

static void apply(const struct args *a, const struct sizes *s, int64_t start, real *restrict x, double *sums)
{
    const struct muon_attr *at = a->attr;
    int64_t n = s->rows * s->cols;
    real *restrict w = reals(&a->in[W]) + start, lr = reals(&a->in[LR])[0], scale = (real)at->scale,
                   decay = (real)at->decay;
    ROW_SUM(sums[1], i, n, (double)w[i] * w[i]);
    for (int64_t i = 0; i < n; i++) {
        real old = w[i];
        w[i] = old - lr * (scale * x[i] + decay * old);
        x[i] = w[i] - old;
    }
    ROW_SUM(sums[0], i, n, (double)x[i] * x[i]);
    ROW_SUM(sums[2], i, n, (double)x[i] * ((double)w[i] - (double)x[i]));
}

static void matrices(const struct args *a, int64_t from, int64_t to)
{
    const struct muon_attr *at = a->attr;
    struct sizes s = sizes_of(a->in[W].shape);
    real *x = reals(&a->work[0]) + from / s.grain * a->work[0].shape.dim[1];
    for (int64_t i = from; i < to; i++) {
        int64_t start = i * s.rows * s.cols;
        load_momentum(a, &s, start, x);
        apply(a, &s, start, newton_schulz(a, &s, x, at->steps), (double *)a->work[1].data + SUMS * i);
    }
}

static void forward(const struct args *a)
{
    struct sizes s = sizes_of(a->in[W].shape);
    bool go = reals(&a->in[CLIP])[1] != 0;
    double sum[SUMS] = { 0 };
    if (go) each(a, s.stack, s.grain, matrices);
    for (int64_t i = 0; go && i < SUMS * s.stack; i++) sum[i % SUMS] += ((double *)a->work[1].data)[i];
    for (int i = 0; i < SUMS; i++) reals(&a->out[0])[i] = (real)sum[i];
}

KERNELS(muon) = { forward, NULL, NULL };

ATTRIBUTES(muon, struct muon_attr,
    REAL(struct muon_attr, momentum, NEEDED, 0, 1, "", "decay of m"),
    REAL(struct muon_attr, decay, NEEDED, 0, HUGE_VAL, "", "of w, times lr"),
    REAL(struct muon_attr, scale, NEEDED, -HUGE_VAL, HUGE_VAL, "", "factor on the orthogonal change"),
    BOOL(struct muon_attr, nesterov, NEEDED, "looks a step ahead"),
    INT(struct muon_attr, steps, NEEDED, 0, 100, "", "of Newton and Schulz"));
OP(muon, .inputs = "w*:REAL[..,N,D] grad:REAL[..,N,D] m*:REAL[..,N,D] lr:REAL[1] clip:REAL[2]",
   .outputs = "change:REAL[3]",
   .about = "Muon, each matrix of a stack by itself. Sums as of adamw",
   ATTR(muon), .infer = infer, .cost = cost);
