/* Doubly stochastic matrices of logits [T,n,n]: M = softmax of each row + eps; M /= sums of columns; then iterations
   less 1 times M /= sums of rows, M /= sums of columns; eps is added to every sum. Sinkhorn 1967; mHC (Xie 2025).

   Forward keeps what rows and columns are multiplied by, u and v: M = P u v with P the softmax + eps, so that backward
   meets every M again as it was. Gradients go back as e = M dM: through a division y = x / s, e -= y sum(e), in which
   nothing is scaled that errors could grow with. Vectors run across SIDE tokens, whose matrices lie side by side. */
#define VERBS "graph/ops/rows.h"
#include "op.h"
#include "cpu/vec_math.h"

enum { SIDE = 16, SOME = 4 * SIDE };                        /* tokens side by side, and of a block */
enum { MOST = 8, LONGEST = 128 };                           /* n and iterations at most */

VERB struct node *sinkhorn(struct graph *g, struct node *logits, int64_t iterations, double eps)
{
    struct sinkhorn_attr at = { eps, iterations };
    return graph_emit(g, &op_sinkhorn, &at, logits);
}

static int infer(struct node *n, struct err *e)
{
    int64_t wide = shape_last(n->in[0]->shape);
    if (wide > MOST) return err_set(e, "matrices of %lld rows are larger than %d", (long long)wide, MOST);
    node_value(n, DTYPE_REAL, n->in[0]->shape);
    return 0;
}

/* Of matrices m[cell][token], cell i * n + j, the columns or, in every other division, the rows: `step` cells from line
   to line, `along` from cell to cell of one. */
struct lines { int64_t n, step, along; };

static struct lines lines_of(int64_t n, int64_t division)
{
    return division % 2 ? (struct lines){ n, n, 1 } : (struct lines){ n, 1, n };
}

/* Factors of lines: f[0] and f[1] of columns and rows at first, 1; f[k + 2] of those that division k divides, after it.
   Before it they are f[k], and of those across them f[k + 1]. */
typedef real factors[MOST][SIDE];

static void read_tokens(const struct tensor *t, int64_t from, int64_t tokens, int64_t n, real m[][SIDE])
{
    for (int64_t r = 0; r < SIDE; r++)
        for (int64_t c = 0; c < n * n; c++) m[c][r] = r < tokens ? reals(t)[(from + r) * n * n + c] : 0;
}

static void softmax_rows(real m[][SIDE], int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        real (*row)[SIDE] = m + i * n, top[SIDE], sum[SIDE] = { 0 };
        memcpy(top, row[0], sizeof top);
        for (int64_t j = 1; j < n; j++)
            for (int r = 0; r < SIDE; r++) top[r] = row[j][r] > top[r] ? row[j][r] : top[r];
        for (int64_t j = 0; j < n; j++)
            for (int r = 0; r < SIDE; r++) sum[r] += row[j][r] = vec_exp(row[j][r] - top[r]);
        for (int64_t j = 0; j < n; j++)
            for (int r = 0; r < SIDE; r++) row[j][r] /= sum[r];
    }
}

/* e: of p = q + eps, then the gradient of the logits of softmax q. */
static void softmax_gradient(real q[][SIDE], real e[][SIDE], int64_t n, real eps)
{
    for (int64_t i = 0; i < n; i++) {
        real (*row)[SIDE] = q + i * n, (*erow)[SIDE] = e + i * n, sum[SIDE] = { 0 };
        for (int64_t j = 0; j < n; j++)
            for (int r = 0; r < SIDE; r++)
                sum[r] += erow[j][r] = row[j][r] == 0 ? 0 : erow[j][r] * row[j][r] / (row[j][r] + eps);
        for (int64_t j = 0; j < n; j++)
            for (int r = 0; r < SIDE; r++) erow[j][r] -= row[j][r] * sum[r];
    }
}

static void divide_lines(real p[][SIDE], struct lines l, real eps, factors f[3])
{
    for (int64_t k = 0; k < l.n; k++) {
        real (*line)[SIDE] = p + k * l.step, sum[SIDE];
        for (int r = 0; r < SIDE; r++) sum[r] = eps;
        for (int64_t q = 0; q < l.n; q++)
            for (int r = 0; r < SIDE; r++) sum[r] += line[q * l.along][r] * f[0][k][r] * f[1][q][r];
        for (int r = 0; r < SIDE; r++) f[2][k][r] = f[0][k][r] / sum[r];
    }
}

/* e: of what that gave, then of what it was given. */
static void divide_gradient(real p[][SIDE], real e[][SIDE], struct lines l, factors f[3])
{
    for (int64_t k = 0; k < l.n; k++) {
        real (*line)[SIDE] = p + k * l.step, (*eline)[SIDE] = e + k * l.step, sum[SIDE] = { 0 };
        for (int64_t q = 0; q < l.n; q++)
            for (int r = 0; r < SIDE; r++) sum[r] += eline[q * l.along][r];
        for (int64_t q = 0; q < l.n; q++)
            for (int r = 0; r < SIDE; r++)
                eline[q * l.along][r] -= line[q * l.along][r] * f[2][k][r] * f[1][q][r] * sum[r];
    }
}

static int64_t divisions(const struct args *a) { return 2 * ((const struct sinkhorn_attr *)a->attr)->iterations - 1; }

/* Reads tokens and balances their matrices; p: the softmax + eps. */
static void balance(const struct args *a, int64_t from, int64_t tokens, real p[][SIDE], factors *f)
{
    real eps = (real)((const struct sinkhorn_attr *)a->attr)->eps;
    int64_t n = shape_last(a->in[0].shape);
    read_tokens(&a->in[0], from, tokens, n, p);
    softmax_rows(p, n);
    for (int64_t c = 0; c < n * n; c++)
        for (int r = 0; r < SIDE; r++) p[c][r] += eps;
    for (int64_t i = 0; i < n; i++)
        for (int r = 0; r < SIDE; r++) f[0][i][r] = f[1][i][r] = 1;
    for (int64_t k = 0; k < divisions(a); k++) divide_lines(p, lines_of(n, k), eps, f + k);
}

static void block(const struct args *a, int64_t from, int64_t to)
{
    int64_t n = shape_last(a->in[0].shape), last = divisions(a);
    real p[MOST * MOST][SIDE], *y = reals(&a->out[0]);
    factors f[2 * LONGEST + 1];
    for (int64_t tokens; from < to; from += tokens) {
        tokens = to - from < SIDE ? to - from : SIDE;
        balance(a, from, tokens, p, f);
        for (int64_t r = 0; r < tokens; r++)
            for (int64_t c = 0; c < n * n; c++)
                y[(from + r) * n * n + c] = p[c][r] * f[last][c / n][r] * f[last + 1][c % n][r];
    }
}

static void gradient(const struct args *a, int64_t from, int64_t to)
{
    int64_t n = shape_last(a->in[0].shape), last = divisions(a);
    real p[MOST * MOST][SIDE], e[MOST * MOST][SIDE], beta = a->beta[0], *dx = reals(&a->din[0]);
    factors f[2 * LONGEST + 1];
    for (int64_t tokens; from < to; from += tokens) {
        tokens = to - from < SIDE ? to - from : SIDE;
        balance(a, from, tokens, p, f);
        read_tokens(&a->dout[0], from, tokens, n, e);
        for (int64_t c = 0; c < n * n; c++)
            for (int r = 0; r < SIDE; r++) e[c][r] *= p[c][r] * f[last][c / n][r] * f[last + 1][c % n][r];
        for (int64_t k = last - 1; k >= 0; k--) divide_gradient(p, e, lines_of(n, k), f + k);
        read_tokens(&a->in[0], from, tokens, n, p);
        softmax_rows(p, n);
        softmax_gradient(p, e, n, (real)((const struct sinkhorn_attr *)a->attr)->eps);
        for (int64_t r = 0; r < tokens; r++)
            for (int64_t c = 0; c < n * n; c++) {
                int64_t i = (from + r) * n * n + c;
                dx[i] = keep(beta, dx[i]) + e[c][r];
            }
    }
}

static void forward(const struct args *a) { each(a, a->in[0].shape.dim[0], SOME, block); }
static void backward(const struct args *a) { if (a->din[0].data) each(a, a->in[0].shape.dim[0], SOME, gradient); }

KERNELS(sinkhorn) = { forward, backward, NULL };

ATTRIBUTES(sinkhorn, struct sinkhorn_attr,
    REAL(struct sinkhorn_attr, eps, NEEDED, 0, HUGE_VAL, "", "beside each sum"),
    INT(struct sinkhorn_attr, iterations, NEEDED, 1, LONGEST, "", "divisions of rows and of columns"));
OP(sinkhorn, .inputs = "logits:REAL[T,N,N]",
   .outputs = "p:REAL[T,N,N]",
   .about = "e^logits with rows and columns divided by their sums alternately: the sums of both are 1, of columns "
          "exactly",
   ATTR(sinkhorn), .infer = infer, .gradient = true, .cheap = true, .rows = 1, .rows_back = true,
   .reads_in = 1);
