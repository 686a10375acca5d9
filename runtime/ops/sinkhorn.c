/* Doubly stochastic matrices of logits [T,n,n]: M = softmax of each row + eps; M /= sums of columns; then iterations
   less 1 times M /= sums of rows, M /= sums of columns; eps is added to every sum. Sinkhorn 1967; mHC (Xie 2025).

   Backward goes the same way back. Of one division y = x / s: dx = (dy - sum(dy y)) / s, and x = s y, so that only the
   sums are kept. Vectors run across SIDE tokens, whose matrices lie side by side. */
#include "op.h"
#include "cpu/vec_math.h"

enum { SIDE = 16, SOME = 4 * SIDE };                        /* tokens side by side, and of a block */
enum { MOST = 8, LONGEST = 128 };                           /* n and iterations at most */

struct attr { double eps; int64_t iterations; };

VERB struct node *sinkhorn(struct graph *g, struct node *logits, int64_t iterations, double eps)
{
    struct attr at = { eps, iterations };
    return graph_emit(g, &op_sinkhorn, &at, sizeof at, logits);
}

static int infer(struct node *n, struct err *e)
{
    char text[64];
    const struct attr *at = n->attr;
    struct shape s = n->in[0]->shape;
    if (n->in[0]->dtype != DTYPE_REAL) return err_set(e, "logits must be REAL");
    if (s.rank != 3 || s.dim[1] != s.dim[2] || s.dim[1] > MOST)
        return err_set(e, "%s is no square of at most %d for each token", shape_text(s, text), MOST);
    if (at->iterations < 1 || at->iterations > LONGEST)
        return err_set(e, "%lld iterations are not 1 to %d", (long long)at->iterations, LONGEST);
    node_value(n, DTYPE_REAL, s);
    return 0;
}

/* Of matrices m[cell][token], cell i * n + j, the rows or the columns: `step` cells from line to line, `along` from
   cell to cell of one. */
struct lines { int64_t n, step, along; };

static struct lines lines_of(int64_t n, int64_t division)   /* columns first */
{
    return division % 2 ? (struct lines){ n, n, 1 } : (struct lines){ n, 1, n };
}

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

/* d: of the softmax, then of its logits. */
static void softmax_gradient(real m[][SIDE], real d[][SIDE], int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        real (*row)[SIDE] = m + i * n, (*drow)[SIDE] = d + i * n, dot[SIDE] = { 0 };
        for (int64_t j = 0; j < n; j++)
            for (int r = 0; r < SIDE; r++) dot[r] += drow[j][r] * row[j][r];
        for (int64_t j = 0; j < n; j++)
            for (int r = 0; r < SIDE; r++) drow[j][r] = row[j][r] * (drow[j][r] - dot[r]);
    }
}

/* Divides each line by its sum. */
static void scale_lines(real m[][SIDE], struct lines l, real eps, real sum[MOST][SIDE])
{
    for (int64_t k = 0; k < l.n; k++) {
        real (*line)[SIDE] = m + k * l.step, *restrict s = sum[k];
        for (int r = 0; r < SIDE; r++) s[r] = eps;
        for (int64_t q = 0; q < l.n; q++)
            for (int r = 0; r < SIDE; r++) s[r] += line[q * l.along][r];
        for (int64_t q = 0; q < l.n; q++)
            for (int r = 0; r < SIDE; r++) line[q * l.along][r] /= s[r];
    }
}

/* Multiplies each line by its sum, and takes the gradient back. */
static void unscale_lines(real m[][SIDE], real d[][SIDE], struct lines l, real sum[MOST][SIDE])
{
    for (int64_t k = 0; k < l.n; k++) {
        real (*line)[SIDE] = m + k * l.step, (*dline)[SIDE] = d + k * l.step, *restrict s = sum[k], dot[SIDE] = { 0 };
        for (int64_t q = 0; q < l.n * l.along; q += l.along)
            for (int r = 0; r < SIDE; r++) dot[r] += dline[q][r] * line[q][r];
        for (int64_t q = 0; q < l.n * l.along; q += l.along)
            for (int r = 0; r < SIDE; r++) {
                dline[q][r] = (dline[q][r] - dot[r]) / s[r];
                line[q][r] *= s[r];
            }
    }
}

/* Reads tokens and balances their matrices. sum has room for the sums of every division. */
static void balance(const struct args *a, int64_t from, int64_t tokens, real m[][SIDE], real sum[][MOST][SIDE])
{
    const struct attr *at = a->attr;
    int64_t n = shape_last(a->in[0].shape);
    read_tokens(&a->in[0], from, tokens, n, m);
    softmax_rows(m, n);
    for (int64_t c = 0; c < n * n; c++)
        for (int r = 0; r < SIDE; r++) m[c][r] += (real)at->eps;
    for (int64_t k = 0; k < 2 * at->iterations - 1; k++) scale_lines(m, lines_of(n, k), (real)at->eps, sum[k]);
}

static void block(const struct args *a, int64_t from, int64_t to)
{
    int64_t n = shape_last(a->in[0].shape);
    real m[MOST * MOST][SIDE], sum[2 * LONGEST - 1][MOST][SIDE];
    for (int64_t tokens; from < to; from += tokens) {
        tokens = to - from < SIDE ? to - from : SIDE;
        balance(a, from, tokens, m, sum);
        for (int64_t r = 0; r < tokens; r++)
            for (int64_t c = 0; c < n * n; c++) reals(&a->out[0])[(from + r) * n * n + c] = m[c][r];
    }
}

static void gradient(const struct args *a, int64_t from, int64_t to)
{
    const struct attr *at = a->attr;
    int64_t n = shape_last(a->in[0].shape);
    real m[MOST * MOST][SIDE], d[MOST * MOST][SIDE], sum[2 * LONGEST - 1][MOST][SIDE], beta = a->beta[0],
         *dx = reals(&a->din[0]);
    for (int64_t tokens; from < to; from += tokens) {
        tokens = to - from < SIDE ? to - from : SIDE;
        balance(a, from, tokens, m, sum);
        read_tokens(&a->dout[0], from, tokens, n, d);
        for (int64_t k = 2 * at->iterations - 2; k >= 0; k--) unscale_lines(m, d, lines_of(n, k), sum[k]);
        read_tokens(&a->in[0], from, tokens, n, m);
        softmax_rows(m, n);
        softmax_gradient(m, d, n);
        for (int64_t r = 0; r < tokens; r++)
            for (int64_t c = 0; c < n * n; c++) {
                int64_t i = (from + r) * n * n + c;
                dx[i] = keep(beta, dx[i]) + d[c][r];
            }
    }
}

static void forward(const struct args *a) { each(a, a->in[0].shape.dim[0], SOME, block); }
static void backward(const struct args *a) { if (a->din[0].data) each(a, a->in[0].shape.dim[0], SOME, gradient); }

KERNELS(sinkhorn) = { forward, backward, NULL };
OP(sinkhorn, .inputs = "logits", .infer = infer, .gradient = true, .cheap = true, .rows = 1, .rows_back = true,
   .reads_in = 1);
