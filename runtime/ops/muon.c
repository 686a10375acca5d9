/* Muon: momentum, made (nearly) orthogonal by Newton-Schulz steps, so that every direction of a matrix moves alike.
       M = mu M + g;  w -= lr (scale O + decay w),  O = NS(M or g + mu M). Jordan 2024; Moonlight.
   No step at all leaves u / |u|, momentum whose length alone is fixed. Around the steps, where it is asked for:
       even     rows of u become equally long before (MuonEq)
       neurons  O / sqrt(v), as long as O was; v = b2 v + (1-b2) mean of O^2, of each row or column (NorMuon, Li 2025)
       snap     |O| becomes sqrt(min(N,K)) (Muon+)
   The leading dimensions of a weight are a stack of independent matrices [N,K]; a vector is one row. heads: so are the
   rows of each head (Muon Split, GLM-5). cautious, radius: as of adamw. m is what its tensor says, enum moment_as. */
#define VERBS "graph/ops/update.h"
#include "moment.h"
#include "step.h"
#include "backend/quintic.h"
#include "cpu/gemm.h"

enum { W, GRAD, M, LR, CLIP, V, RADIUS };                   /* inputs */
enum { HEADS_MOST = 1 << 20 };
enum { BANDS = 4, BAND = 32 };    /* of a symmetric product: most of them, and what their columns are a multiple of */

VERB struct node *muon(struct graph *g, struct node *w, struct node *grad, struct node *m, struct node *lr,
                       struct node *clip, struct node *v, struct node *radius, struct muon_attr a)
{
    return graph_emit(g, &op_muon, &a, w, grad, m, lr, clip, v, radius);
}

/* A stack of [rows,cols]; low and high are the smaller and the larger of the two. */
struct sizes { int64_t stack, rows, cols, low, high; };

static struct sizes sizes_of(struct shape w, const struct muon_attr *at)
{
    struct stack k = shape_stack(w);
    int64_t heads = at->heads ? at->heads : 1;
    struct sizes s = { .stack = k.matrices * heads, .rows = k.rows / heads, .cols = k.columns };
    s.low = s.rows < s.cols ? s.rows : s.cols;
    s.high = s.rows < s.cols ? s.cols : s.rows;
    return s;
}

/* Neurons of a matrix: its rows, or where `columns`, its columns. */
static bool has_columns(const struct sizes *s, const struct muon_attr *at)
{
    return at->neurons == NEURONS_SHORT && s->rows < s->cols;
}

static int check(const struct node *n, const char *name, int input, int64_t count, struct err *e)
{
    int64_t has = n->in[input] ? shape_count(n->in[input]->shape) : count;
    if (has == count) return 0;
    return err_set(e, "muon: '%s' has %lld values, %lld are needed", name, (long long)has, (long long)count);
}

static int infer(struct node *n, struct err *e)
{
    const struct muon_attr *at = n->attr;
    struct shape w = n->in[W]->shape;
    if (at->heads && (w.rank < 2 || w.dim[w.rank - 2] % at->heads))
        return err_set(e, "muon: %lld heads do not divide the rows of a weight %s", (long long)at->heads,
                       shape_text(w, (char[64]){ 0 }));
    struct sizes s = sizes_of(w, at);
    int64_t blocks = step_blocks(s.stack);
    if (step_check_pace(n, LR, e)) return -1;
    if (moment_check(n, M, "m", s.stack, e) != 0) return -1;
    if ((at->neurons != NEURONS_NONE) != (n->in[V] != NULL))
        return err_set(e, "muon: neurons have v, and nothing else");
    if (check(n, "v", V, s.stack * (has_columns(&s, at) ? s.cols : s.rows), e) != 0) return -1;
    if (check(n, "radius", RADIUS, s.stack, e) != 0) return -1;
    node_value(n, DTYPE_REAL, SHAPE(SUMS));
    step_work(n, s.stack);
    node_work(n, DTYPE_REAL, SHAPE(blocks, 2 * s.low * s.high + 2 * s.low * s.low));
    node_work(n, DTYPE_U8, SHAPE(blocks, s.high * (int64_t)sizeof(double)));       /* of each line */
    return 0;
}

static void cost(const struct node *n, struct cost *c)
{
    const struct muon_attr *at = n->attr;
    struct shape w = n->in[W]->shape;
    struct sizes s = sizes_of(w, at);
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

/* X := a X + b A X + c A^2 X with A = X X^T, the other way round where X is tall; returns where the last X is. */
static real *newton_schulz(const struct args *a, const struct sizes *s, real *x)
{
    const struct muon_attr *at = a->attr;
    int64_t low = s->low, high = s->high;
    real *next = x + low * high, *first = next + low * high, *second = first + low * low;      /* X, A, A^2 */
    bool tall = s->rows > s->cols;
    for (int step = 0; step < at->steps; step++) {
        struct quintic q = quintic_of((int)at->quintics, step, (int)at->steps);
        struct matrix old = matrix(x, s->cols), one = matrix(first, low), two = matrix(second, low),
                      wide = tall ? matrix_transposed(old) : old;
        symmetric(a, s, low, high, wide, matrix_transposed(wide), first);
        symmetric(a, s, low, low, one, one, second);
        for (int64_t i = 0; i < low * low; i++) second[i] = (real)q.b * first[i] + (real)q.c * second[i];
        for (int64_t i = 0; i < low * high; i++) next[i] = (real)q.a * x[i];
        product(a, s, s->rows, s->cols, low, tall ? old : two, tall ? two : old, matrix(next, s->cols), 1);
        real *spare = x;
        x = next;
        next = spare;
    }
    return x;
}

/* ---- lines of a matrix: its rows, or its columns ---- */

static void square_lines(const struct sizes *s, const real *x, bool columns, double *square)
{
    for (int64_t c = 0; columns && c < s->cols; c++) square[c] = 0;
    for (int64_t r = 0; r < s->rows; r++) {
        const real *row = x + r * s->cols;
        if (!columns) square[r] = step_squares(row, s->cols);
        for (int64_t c = 0; columns && c < s->cols; c++) square[c] += (double)row[c] * (double)row[c];
    }
}

static void scale_lines(const struct sizes *s, real *x, bool columns, const double *by)
{
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t c = 0; c < s->cols; c++) x[r * s->cols + c] *= (real)by[columns ? c : r];
}

/* Rows of zeros stay as they are. */
static void even_rows(const struct sizes *s, real *x, double *line)
{
    double sum = 0;
    square_lines(s, x, false, line);
    for (int64_t r = 0; r < s->rows; r++) sum += line[r];
    for (int64_t r = 0; r < s->rows; r++) line[r] = line[r] > 0 ? sqrt(sum / ((double)s->rows * line[r])) : 1;
    scale_lines(s, x, false, line);
}

static void level_neurons(const struct args *a, const struct sizes *s, real *x, real *v, double *line)
{
    const struct muon_attr *at = a->attr;
    bool columns = has_columns(s, at);
    int64_t n = columns ? s->cols : s->rows, width = columns ? s->rows : s->cols;
    double before = 0, after = 0;
    square_lines(s, x, columns, line);
    for (int64_t i = 0; i < n; i++) {
        v[i] = (real)(at->beta2 * (double)v[i] + (1 - at->beta2) * line[i] / (double)width);
        double square = line[i];
        line[i] = 1 / sqrt(fmax((double)v[i], 1e-10));
        before += square;
        after += square * line[i] * line[i];
    }
    for (int64_t i = 0; i < n; i++) line[i] *= after > 0 ? sqrt(before / after) : 1;
    scale_lines(s, x, columns, line);
}

static void lengthen(real *x, int64_t n, double length)
{
    double squares = step_squares(x, n);
    real by = squares > 0 ? (real)(length / sqrt(squares)) : 1;
    for (int64_t i = 0; i < n; i++) x[i] *= by;
}

/* ---- a matrix after the other ---- */

/* n values of m from the room in which they are read. */
static inline void add_gradient(real mu, bool nesterov, int64_t n, real clip, const real *restrict grad,
                                real *restrict m, real *restrict x)
{
    for (int64_t i = 0; i < n; i++) {
        real g = clip * grad[i];
        m[i] = mu * m[i] + g;
        x[i] = nesterov ? g + mu * m[i] : m[i];
    }
}

/* Takes the gradient of matrix number `which` in; x := what is to be made orthogonal, divided so that no singular value
   is above 1. */
static void load_momentum(const struct args *a, const struct sizes *s, int64_t which, real *restrict x, double *line)
{
    const struct muon_attr *at = a->attr;
    int64_t n = s->rows * s->cols, start = which * n, block = which * moment_blocks(n);
    real clip = reals(&a->in[CLIP])[0], mu = (real)(at->momentum * (double)step_pace(a, LR).momentum),
         room[MOMENT_BLOCK];
    for (int64_t i = 0; i < n; i += MOMENT_BLOCK, block++) {
        int64_t some = n - i < MOMENT_BLOCK ? n - i : MOMENT_BLOCK;
        real *m = moment_read(&a->in[M], start + i, block, some, false, room);
        add_gradient(mu, at->nesterov, some, clip, reals(&a->in[GRAD]) + start + i, m, x + i);
        moment_write(&a->in[M], start + i, block, some, false, m);
    }
    if (at->even) even_rows(s, x, line);
    real by = (real)(1 / quintic_divisor((int)at->quintics, sqrt(step_squares(x, n))));
    for (int64_t i = 0; i < n; i++) x[i] *= by;
}

static void matrices(const struct args *a, int64_t from, int64_t to)
{
    const struct muon_attr *at = a->attr;
    const struct step_pace pace = step_pace(a, LR);
    const struct step_move move = { pace.rate, (real)at->scale, (real)(at->decay * (double)pace.decay), at->cautious };
    struct sizes s = sizes_of(a->in[W].shape, at);
    int64_t n = s.rows * s.cols, neurons = has_columns(&s, at) ? s.cols : s.rows, block = from / step_grain(s.stack);
    real *room = reals(&a->work[1]) + block * a->work[1].shape.dim[1];
    double *line = (double *)a->work[2].data + block * s.high;
    for (int64_t i = from; i < to; i++) {
        real *w = reals(&a->in[W]) + i * n;
        load_momentum(a, &s, i, room, line);
        real *x = newton_schulz(a, &s, room);
        if (at->neurons) level_neurons(a, &s, x, reals(&a->in[V]) + i * neurons, line);
        if (at->snap) lengthen(x, n, sqrt((double)s.low));
        if (a->in[RADIUS].data) step_turn(&move, n, w, x, reals(&a->in[RADIUS]) + i, step_part(a, i));
        else step_move(&move, n, w, x, step_part(a, i));
    }
}

static void forward(const struct args *a)
{
    struct sizes s = sizes_of(a->in[W].shape, a->attr);
    step_matrices(a, reals(&a->in[CLIP])[1] != 0, s.stack, matrices);
}

KERNELS(muon) = { forward, NULL, NULL };

ATTRIBUTES(muon, struct muon_attr,
    REAL(struct muon_attr, momentum, NEEDED, 0, 1, "", "decay of m"),
    REAL(struct muon_attr, decay, NEEDED, 0, HUGE_VAL, "", "of w, times lr"),
    REAL(struct muon_attr, scale, NEEDED, -HUGE_VAL, HUGE_VAL, "", "factor on the orthogonal change"),
    BOOL(struct muon_attr, nesterov, NEEDED, "looks a step ahead"),
    INT(struct muon_attr, steps, NEEDED, 0, 100, "", "of Newton and Schulz"),
    CHOICE(struct muon_attr, quintics, QUINTIC_JORDAN, QUINTICS, "polynomials of the steps"),
    BOOL(struct muon_attr, even, false, "rows become equally long before the steps"),
    CHOICE(struct muon_attr, neurons, NEURONS_NONE, "none row short", "what v keeps the size of"),
    BOOL(struct muon_attr, snap, false, "the Frobenius norm becomes that of an orthogonal matrix"),
    BOOL(struct muon_attr, cautious, false, "w decays only where it goes the way of the step"),
    REAL(struct muon_attr, beta2, 0, 0, 1, "", "decay of v"),
    INT(struct muon_attr, heads, 0, 0, HEADS_MOST, "", "whose rows are a matrix each; 0: rows are of one matrix"));
OP(muon, .inputs = "w*:REAL[..] grad:REAL[..] m*:REAL|U8 lr:REAL[P] clip:REAL[2] v?*:REAL radius?*:REAL[E]",
   .outputs = "change:REAL[3]",
   .about = "Muon, each matrix of a stack by itself, a vector as one row. lr, sums, radius and what m is as of adamw, "
            "codes of each matrix in blocks of their own",
   ATTR(muon), .infer = infer, .cost = cost);
