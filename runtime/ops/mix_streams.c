/* The streams of a token mixed: y[t,i] = sum over j of m[t,i,j] x[t,j], one matrix for each token or one for all.
   dx[t,j] = sum_i m[t,i,j] dy[t,i];  dm[t,i,j] = dy[t,i] x[t,j]. Hyper-connections (Zhu 2024) read with one row of m,
   write with one column, and mix with a square. Bound by memory: streams are few, and pass through the cache once. */
#define VERBS "graph/ops/broadcast.h"
#include "op.h"
#include "cpu/vec_math.h"

enum { X, M, MOST = 16, PIECE = 1024 };                     /* most streams; columns at a time */

VERB struct node *mix_streams(struct graph *g, struct node *x, struct node *m)
{
    return graph_emit(g, &op_mix_streams, NULL, x, m);
}

/* m is m[t * step + i * n + j]; step is 0 where all tokens have the same. */
struct mixing { int64_t tokens, n, m, d, step; };

static struct mixing mixing_of(struct shape x, struct shape m)
{
    int64_t rows = m.dim[m.rank - 2], columns = m.dim[m.rank - 1];
    return (struct mixing){ x.dim[0], columns, rows, x.dim[2], m.rank == 3 ? rows * columns : 0 };
}

static struct mixing mixing(const struct args *a) { return mixing_of(a->in[X].shape, a->in[M].shape); }

/* Tokens in a block; where they share m, each block has a line of sums for dm. */
static int64_t grain(struct mixing s)
{
    int64_t tokens = rows_grain((s.n + s.m) * s.d), least = blocks_of(s.tokens, PARTS);
    return s.step || tokens > least ? tokens : least;
}

static int infer(struct node *n, struct err *e)
{
    struct mixing s = mixing_of(n->in[X]->shape, n->in[M]->shape);
    if (s.n > MOST || s.m > MOST)
        return err_set(e, "%lld streams are more than %d", (long long)(s.n > s.m ? s.n : s.m), MOST);
    node_value(n, n->in[X]->dtype, SHAPE(s.tokens, s.m, s.d));
    if (!s.step) node_work(n, DTYPE_U8, SHAPE(blocks_of(s.tokens, grain(s)), s.n * s.m, (int64_t)sizeof(double)));
    return 0;
}

/* Token t's matrix. Of a tensor that is cut by rows, m is still the whole. */
static const real *matrix(const struct args *a, struct mixing s, int64_t t, real *buffer)
{
    return row_read(&a->in[M], s.step * (a->first_row + t), s.n * s.m, buffer);
}

/* Columns [c, c + w) of the streams of token t. */
static void streams(const struct tensor *x, int64_t t, int64_t n, int64_t d, int64_t c, int64_t w,
                    real buffer[MOST][PIECE], const real *row[MOST])
{
    for (int64_t j = 0; j < n; j++) row[j] = row_read(x, (t * n + j) * d + c, w, buffer[j]);
}

/* y := beta y + sum over j of by[j * step] x[j] */
static void mix(real *restrict y, real beta, const real *by, int64_t step, const real *const *x, int64_t n, int64_t w)
{
    for (int64_t i = 0; i < w; i++) y[i] = keep(beta, y[i]) + by[0] * x[0][i];
    for (int64_t j = 1; j < n; j++) {
        const real *restrict u = x[j], factor = by[j * step];
        for (int64_t i = 0; i < w; i++) y[i] += factor * u[i];
    }
}

static void block(const struct args *a, int64_t from, int64_t to)
{
    struct mixing s = mixing(a);
    real x_buffer[MOST][PIECE], y_buffer[PIECE], m_buffer[MOST * MOST];
    const real *x[MOST];
    for (int64_t t = from; t < to; t++) {
        const real *m = matrix(a, s, t, m_buffer);
        for (int64_t c = 0, w; c < s.d; c += w) {
            w = s.d - c < PIECE ? s.d - c : PIECE;
            streams(&a->in[X], t, s.n, s.d, c, w, x_buffer, x);
            for (int64_t i = 0; i < s.m; i++) {
                int64_t at = (t * s.m + i) * s.d + c;
                real *y = row_write(&a->out[0], at, w, y_buffer);
                mix(y, 0, m + i * s.n, 1, x, s.n, w);
                row_done(&a->out[0], at, w, y);
            }
        }
    }
}

/* Adds dy[i] x[j] of token t into sum[i * n + j], if that is wanted, and the gradients of its streams into dx. */
static void gradient_of(const struct args *a, struct mixing s, int64_t t, double *sum)
{
    real x_buffer[MOST][PIECE], dy_buffer[MOST][PIECE], dx_buffer[PIECE], m_buffer[MOST * MOST], beta = a->beta[X];
    const real *x[MOST], *dy[MOST], *m = matrix(a, s, t, m_buffer);
    double product;
    for (int64_t c = 0, w; c < s.d; c += w) {
        w = s.d - c < PIECE ? s.d - c : PIECE;
        streams(&a->dout[0], t, s.m, s.d, c, w, dy_buffer, dy);
        for (int64_t j = 0; j < s.n && a->din[X].data; j++) {
            int64_t at = (t * s.n + j) * s.d + c;
            real *dx = row_open(&a->din[X], at, w, beta, dx_buffer);
            mix(dx, beta, m + j, s.n, dy, s.m, w);
            row_done(&a->din[X], at, w, dx);
        }
        if (!sum) continue;
        streams(&a->in[X], t, s.n, s.d, c, w, x_buffer, x);
        for (int64_t ij = 0; ij < s.m * s.n; ij++) {
            const real *restrict u = x[ij % s.n], *restrict du = dy[ij / s.n];
            ROW_SUM(product, i, w, (double)u[i] * du[i]);
            sum[ij] += product;
        }
    }
}

/* dm[at ..] := beta dm + sum */
static void add_matrix(const struct args *a, int64_t at, int64_t n, const double *sum)
{
    real buffer[MOST * MOST], *dm = row_add(&a->din[M], at, n, a->beta[M], buffer);
    for (int64_t i = 0; i < n; i++) dm[i] += (real)sum[i];
    row_done(&a->din[M], at, n, dm);
}

static void gradient(const struct args *a, int64_t from, int64_t to)
{
    struct mixing s = mixing(a);
    int64_t n = s.n * s.m;
    double own[MOST * MOST], *sum = a->din[M].data ? own : NULL;
    if (sum && !s.step) sum = (double *)a->work[0].data + from / grain(s) * n;
    if (sum) memset(sum, 0, (size_t)n * sizeof *sum);
    for (int64_t t = from; t < to; t++) {
        gradient_of(a, s, t, sum);
        if (sum != own) continue;
        add_matrix(a, t * n, n, sum);
        memset(sum, 0, (size_t)n * sizeof *sum);
    }
}

static void forward(const struct args *a) { each(a, mixing(a).tokens, grain(mixing(a)), block); }

static void backward(const struct args *a)
{
    struct mixing s = mixing(a);
    int64_t n = s.n * s.m;
    each(a, s.tokens, grain(s), gradient);
    if (!a->din[M].data || s.step) return;
    double *sum = a->work[0].data;
    for (int64_t b = 1; b < blocks_of(s.tokens, grain(s)); b++)
        for (int64_t i = 0; i < n; i++) sum[i] += sum[b * n + i];
    add_matrix(a, 0, n, sum);
}

KERNELS(mix_streams) = { forward, backward, NULL };
OP(mix_streams, .inputs = "x[T,N,D] m[T,M,N|M,N]",
   .outputs = "y[T,M,D]",
   .about = "sum over j of m[t,i,j] x[t,j]",
   .infer = infer, .gradient = true, .cheap = true, .rows = 1, .rows_back = true,
   .reads_in = 3);
