/* Dion (Ahn 2025, arXiv 2504.05295): Muon of rank R, by one power step from the directions of the last.
       M = M + g;  P = orthonormal columns of M Q;  S = M^T P;  M = M - (1 - mu) P S^T;  Q = S with unit columns
       w -= lr (scale P Q^T + decay w)
   What the step did not take of M stays in it. A column of M Q with nothing new, as of an expert without tokens, has no
   part in the step, and that of Q stays. Here P and Q lie in rows, [R,N] and [R,K]. The leading dimensions of a weight
   are a stack of independent matrices [N,K]; a vector is one row. */
#define VERBS "graph/ops/update.h"
#include "step.h"
#include "orthonormal.h"
#include "cpu/gemm.h"

enum { W, GRAD, M, Q, LR, CLIP };                           /* inputs */

VERB struct node *dion(struct graph *g, struct node *w, struct node *grad, struct node *m, struct node *q,
                       struct node *lr, struct node *clip, struct dion_attr a)
{
    return graph_emit(g, &op_dion, &a, w, grad, m, q, lr, clip);
}

struct sizes { int64_t stack, rows, cols, rank; };

static struct sizes sizes_of(struct shape w, struct shape q)
{
    struct stack k = shape_stack(w);
    struct sizes s = { .stack = k.matrices, .rows = k.rows, .cols = k.columns };
    s.rank = shape_count(q) / (s.stack * s.cols);
    return s;
}

static int infer(struct node *n, struct err *e)
{
    struct shape w = n->in[W]->shape, q = n->in[Q]->shape;
    struct sizes s = sizes_of(w, q);
    int64_t most = s.rows < s.cols ? s.rows : s.cols, blocks = step_blocks(s.stack);
    if (step_check_pace(n, LR, e)) return -1;
    if (s.rank < 1 || s.rank > most || s.stack * s.rank * s.cols != shape_count(q))
        return err_set(e, "dion: 'q' has %lld values: of each of %lld matrices it has 1 to %lld rows of %lld",
                       (long long)shape_count(q), (long long)s.stack, (long long)most, (long long)s.cols);
    node_value(n, DTYPE_REAL, SHAPE(SUMS));
    step_work(n, s.stack);
    node_work(n, DTYPE_REAL, SHAPE(blocks, s.rank * (2 * s.rows + s.cols) + s.rows * s.cols));
    node_work(n, DTYPE_U8, SHAPE(blocks, s.rank * (int64_t)(sizeof(double) + sizeof(int64_t))));
    return 0;
}

static void cost(const struct node *n, struct cost *c)
{
    struct shape w = n->in[W]->shape;
    struct sizes s = sizes_of(w, n->in[Q]->shape);
    double values = (double)shape_count(w), rank = (double)s.rank;
    c->flops = 8 * rank * values + 4 * (double)s.stack * rank * rank * (double)s.rows;
    c->bytes = 5 * values * sizeof(real);
}

/* out := beta out + x y, [m,n] = [m,k] [k,n]. Many matrices share the threads, one has them all. */
static void product(const struct args *a, const struct sizes *s, int64_t m, int64_t n, int64_t k,
                    struct matrix x, struct matrix y, real *out, real beta)
{
    struct gemm g = { .m = m, .n = n, .k = k, .a = x, .b = y, .c = matrix_reals(out, n), .beta = beta, .groups = 1 };
    if (s->stack == 1) gemm(a, &g);
    else gemm_here(&g);
}

/* m [N,K] takes the gradient in and gives what the step takes; q [R,K] gets its next directions. x: room. */
static real *direction(const struct args *a, const struct sizes *s, real *m, real *q, real *x, double *along)
{
    const struct dion_attr *at = a->attr;
    int64_t rows = s->rows, cols = s->cols, rank = s->rank;
    real *p = x + rank * rows, *next = p + rank * rows, *u = next + rank * cols;
    int8_t *turn = (int8_t *)(along + rank);
    struct matrix momentum = matrix_reals(m, cols), left = matrix_transposed(matrix_reals(p, rows));
    product(a, s, rank, rows, cols, matrix_reals(q, cols), matrix_transposed(momentum), x, 0);
    orthonormal_rows(rank, rows, x, p, along, turn);
    for (int64_t i = 0; i < rank * rows; i++) if (!turn[i / rows]) p[i] = 0;
    product(a, s, rank, cols, rows, matrix_reals(p, rows), momentum, next, 0);
    real less = (real)(at->momentum * (double)step_pace(a, LR).momentum - 1);
    for (int64_t i = 0; i < rank * rows; i++) x[i] = less * p[i];
    product(a, s, rows, cols, rank, matrix_transposed(matrix_reals(x, rows)), matrix_reals(next, cols), m, 1);
    for (int64_t r = 0; r < rank; r++)
        if (turn[r] && row_normalize(next + r * cols, cols) > 0)
            memcpy(q + r * cols, next + r * cols, (size_t)cols * sizeof *q);
    product(a, s, rows, cols, rank, left, matrix_reals(q, cols), u, 0);
    return u;
}

static void matrices(const struct args *a, int64_t from, int64_t to)
{
    const struct dion_attr *at = a->attr;
    const struct step_pace pace = step_pace(a, LR);
    const struct step_move move = { pace.rate, (real)at->scale, (real)(at->decay * (double)pace.decay), false };
    struct sizes s = sizes_of(a->in[W].shape, a->in[Q].shape);
    int64_t n = s.rows * s.cols, block = from / step_grain(s.stack);
    real *room = reals(&a->work[1]) + block * a->work[1].shape.dim[1], clip = reals(&a->in[CLIP])[0];
    double *along = (double *)a->work[2].data + 2 * block * s.rank;
    for (int64_t e = from; e < to; e++) {
        real *m = reals(&a->in[M]) + e * n;
        for (int64_t i = 0; i < n; i++) m[i] += clip * reals(&a->in[GRAD])[e * n + i];
        real *u = direction(a, &s, m, reals(&a->in[Q]) + e * s.rank * s.cols, room, along);
        step_move(&move, n, reals(&a->in[W]) + e * n, u, step_part(a, e));
    }
}

static void forward(const struct args *a)
{
    struct sizes s = sizes_of(a->in[W].shape, a->in[Q].shape);
    step_matrices(a, reals(&a->in[CLIP])[1] != 0, s.stack, matrices);
}

KERNELS(dion) = { forward, NULL, NULL };

ATTRIBUTES(dion, struct dion_attr,
    REAL(struct dion_attr, momentum, NEEDED, 0, 1, "", "what stays of what a step takes of m"),
    REAL(struct dion_attr, decay, NEEDED, 0, HUGE_VAL, "", "of w, times lr"),
    REAL(struct dion_attr, scale, NEEDED, -HUGE_VAL, HUGE_VAL, "", "factor on the orthogonal change"));
OP(dion, .inputs = "w*:REAL[..] grad:REAL[..] m*:REAL[..] q*:REAL lr:REAL[P] clip:REAL[2]",
   .outputs = "change:REAL[3]",
   .about = "Dion, each matrix of a stack by itself; q: [..,R,K] of weights [..,N,K]. lr and sums as of adamw",
   ATTR(dion), .infer = infer, .cost = cost);
