/* y = x w^T of operands in FP8, dense and of experts, as DeepSeek-V3 (arXiv 2412.19437, 3.3) and TransformerEngine
   multiply them. No FP8 unit is needed: operands are rounded to numbers of FP8 times their scales, and the product is
   that of matmul, of floats. That is sum over blocks of s_x s_w (sum of x8 w8), but for the rounding of each scaled
   value to a float and of sums of floats. Scales that are powers of two leave operands exact in bf16, so that there
   products of bf16 activations are those of bf16 units.

   All three products of training have such operands, and roundings have slope 1:
       y = x w^T      tiles of x: 128 values along K of a row; of w: 128 x 128, of each expert's matrix
       dx = dy w      of dy: 128 along N; w as in y
       dw = dy^T x    128 rows of a column of dy, and of x as y read it, which is rounded once more; within an expert
   With one scale for a tensor the same values serve all three. */
#define VERBS "graph/ops/products.h"
#include "op.h"
#include "base/fp8.h"
#include "cpu/gemm.h"
#include <math.h>

enum { X, W, OFFSETS, HISTORY };                            /* inputs */
enum { DY = 2, PARTS };    /* work: X and W quantised, DY likewise, and the largest values of parts */
enum { TILE = 128, N_PARTS = 256 };

VERB struct node *fp8_matmul(struct graph *g, struct node *x, struct node *w, struct node *offsets,
                             struct node *history, struct fp8_attr a)
{
    return graph_emit(g, &op_fp8_matmul, &a, x, w, offsets, history);
}

static int infer(struct node *n, struct err *e)
{
    const struct fp8_attr *at = n->attr;
    struct shape x = n->in[X]->shape, w = n->in[W]->shape, y = SHAPE(x.dim[0], w.dim[w.rank - 2]);
    enum dtype held = at->power ? DTYPE_ACT : DTYPE_REAL;
    if ((w.rank == 3) != (n->in[OFFSETS] != NULL)) return err_set(e, "a stack of matrices, and only that, has offsets");
    if ((at->scaling == FP8_DELAYED) != (n->in[HISTORY] != NULL))
        return err_set(e, "delayed scaling, and only that, has a history");
    node_value(n, DTYPE_ACT, y);
    if (at->scaling != FP8_TILE) node_output(n, DTYPE_REAL, SHAPE(2));
    node_work(n, held, x);
    node_work(n, held, w);
    node_work(n, held, y);
    if (at->scaling != FP8_TILE) node_work(n, DTYPE_REAL, SHAPE(N_PARTS));
    return 0;
}

/* 2 R K N, R rows of x. */
static void cost(const struct node *n, struct cost *c)
{
    c->flops = 2 * (double)shape_count(n->in[X]->shape) * (double)shape_last(n->shape);
}

/* ---- quantising ---- */

/* Who shares a scale: values of a row, of a column, of a block of both, or all, by `amax`. */
enum shared { OF_ROW, OF_COLUMN, OF_BLOCK, OF_ALL };

/* Rows of `cols` values in segments, which share no scale: of `high` rows each, or where offsets has them. */
struct quantise {
    const struct tensor *from, *to; int64_t cols, high; int segments; const int32_t *offsets;
    enum shared shared; enum fp8_format format; bool power; float amax;
};

static int64_t segment(const struct quantise *q, int e) { return q->offsets ? q->offsets[e] : e * q->high; }

static inline float larger(float a, float b) { return b > a ? b : a; }

/* top[c] = the largest size in column c, or that and what it was. */
static void find_top(const struct quantise *q, int64_t at, int64_t n, float *restrict top)
{
    real buffer[TILE];
    const real *restrict x = row_read(q->from, at, n, buffer);
    for (int64_t c = 0; c < n; c++) top[c] = larger(top[c], fabsf((float)x[c]));
}

static void spread(float *top, int64_t n)
{
    float all = 0;
    for (int64_t c = 0; c < n; c++) all = larger(all, top[c]);
    for (int64_t c = 0; c < n; c++) top[c] = all;
}

struct scales { float into[TILE], back[TILE]; };

static void find_scales(const struct quantise *q, int64_t n, const float *restrict top, struct scales *restrict s)
{
    struct fp8_scale one = { 0, 0 };
    for (int64_t c = 0; c < n; c++) {
        if (c == 0 || top[c] != top[c - 1]) one = fp8_scale_of(q->format, top[c], q->power);
        s->into[c] = one.into;
        s->back[c] = one.back;
    }
}

static inline __attribute__((always_inline)) void
round_row(enum fp8_format f, int64_t n, const struct scales *s, const real *restrict x, real *restrict y)
{
    for (int64_t c = 0; c < n; c++)
        y[c] = (real)fp8_quantized(f, (struct fp8_scale){ s->into[c], s->back[c] }, (float)x[c]);
}

/* n values from `at` on; they may be changed in place. */
static void write_row(const struct quantise *q, int64_t at, int64_t n, const struct scales *s)
{
    real x_buffer[TILE], y_buffer[TILE], y[TILE];
    const real *x = row_read(q->from, at, n, x_buffer);
    switch (q->format) {                                    /* each a loop of its own, in vectors */
    case FP8_NONE: memcpy(y, x, (size_t)n * sizeof *y); break;
    case FP8_E4M3: round_row(FP8_E4M3, n, s, x, y); break;
    case FP8_E5M2: round_row(FP8_E5M2, n, s, x, y); break;
    }
    real *to = row_write(q->to, at, n, y_buffer);
    memcpy(to, y, (size_t)n * sizeof *to);
    row_done(q->to, at, n, to);
}

/* `rows` x `n` values, TILE of each at most. */
static void region(const struct quantise *q, int64_t row, int64_t rows, int64_t col, int64_t n)
{
    float top[TILE] = { 0 };
    struct scales s;
    for (int64_t r = row; r < row + rows && (q->shared == OF_COLUMN || q->shared == OF_BLOCK); r++)
        find_top(q, r * q->cols + col, n, top);
    if (q->shared == OF_BLOCK) spread(top, n);
    for (int64_t c = 0; c < n && q->shared == OF_ALL; c++) top[c] = q->amax;
    if (q->shared != OF_ROW) find_scales(q, n, top, &s);
    for (int64_t r = row; r < row + rows; r++) {
        if (q->shared == OF_ROW) {
            memset(top, 0, sizeof top);
            find_top(q, r * q->cols + col, n, top);
            spread(top, n);
            find_scales(q, n, top, &s);
        }
        write_row(q, r * q->cols + col, n, &s);
    }
}

static void regions(const struct args *a, int64_t from, int64_t to)
{
    const struct quantise *q = a->attr;
    int64_t wide = blocks_of(q->cols, TILE), first = 0;
    for (int e = 0; from < to; e++) {
        int64_t begin = segment(q, e), end = segment(q, e + 1), n = blocks_of(end - begin, TILE) * wide;
        for (; from < to && from < first + n; from++) {
            int64_t row = begin + (from - first) / wide * TILE, col = (from - first) % wide * TILE;
            region(q, row, end - row < TILE ? end - row : TILE, col, q->cols - col < TILE ? q->cols - col : TILE);
        }
        first += n;
    }
}

/* The largest sizes of N_PARTS parts of all values. */
static void parts(const struct args *a, int64_t from, int64_t to)
{
    const struct quantise *q = a->attr;
    int64_t n = segment(q, q->segments) * q->cols;
    for (int64_t p = from; p < to; p++) {
        float top[TILE] = { 0 };
        for (int64_t at = p * n / N_PARTS, end = (p + 1) * n / N_PARTS; at < end; at += TILE)
            find_top(q, at, end - at < TILE ? end - at : TILE, top);
        spread(top, TILE);
        reals(&a->work[PARTS])[p] = top[0];
    }
}

static float largest(const struct args *a, const struct quantise *q)
{
    struct args with = *a;
    float top = 0;
    with.attr = q;
    each(&with, N_PARTS, 1, parts);
    for (int p = 0; p < N_PARTS; p++) top = larger(top, (float)reals(&a->work[PARTS])[p]);
    return top;
}

/* By what operand k is scaled: the largest size of its history, [H,3]; of this step where there is none. */
static float amax_of(const struct args *a, int k, float now)
{
    const struct tensor *history = &a->in[HISTORY];
    float top = 0;
    for (int64_t i = 0; history->data && i < history->shape.dim[0]; i++)
        top = larger(top, (float)reals(history)[3 * i + k]);
    return top > 0 ? top : now;
}

static void run(const struct args *a, const struct quantise *q)
{
    struct args with = *a;
    int64_t n = 0;
    for (int e = 0; e < q->segments; e++) n += blocks_of(segment(q, e + 1) - segment(q, e), TILE);
    with.attr = q;
    each(&with, n * blocks_of(q->cols, TILE), 1, regions);
}

/* Operand k as it is read: x and dy in the segments of experts' rows, w in those of their matrices. */
static struct quantise operand(const struct args *a, int k)
{
    const struct fp8_attr *at = a->attr;
    const struct tensor *of = k == DY ? &a->dout[0] : &a->in[k];
    struct shape w = a->in[W].shape;
    bool stack = a->in[OFFSETS].data != NULL;
    return (struct quantise){
        .from = of, .to = &a->work[k], .cols = shape_last(of->shape),
        .high = k == W ? w.dim[w.rank - 2] : of->shape.dim[0], .segments = stack ? (int)w.dim[0] : 1,
        .offsets = stack && k != W ? ints(&a->in[OFFSETS]) : NULL,
        .format = (enum fp8_format)(k == DY ? at->gradient : at->forward), .power = at->power };
}

/* Into the operand's work; tiles: who shares a scale where not all do. */
static void quantise(const struct args *a, int k, enum shared tiles)
{
    struct quantise q = operand(a, k);
    q.shared = tiles;
    if (((const struct fp8_attr *)a->attr)->scaling != FP8_TILE) {
        q.shared = OF_ALL;
        q.amax = amax_of(a, k, k == DY ? largest(a, &q) : (float)reals(&a->out[1])[k]);
    }
    run(a, &q);
}

/* The same once more, of what is in the work already, by tiles. */
static void quantise_again(const struct args *a, int k, enum shared tiles)
{
    struct quantise q = operand(a, k);
    q.from = q.to;
    q.shared = tiles;
    run(a, &q);
}

/* ---- products ---- */

static struct matrix matrices_of(const struct tensor *w)
{
    struct matrix m = matrix_of(w, shape_last(w->shape));   /* [N,K] */
    m.stack = w->shape.dim[w->shape.rank - 2] * shape_last(w->shape);
    return m;
}

/* c of the extents of dy [R,N] and w [N,K]; narrow where all operands and y are bf16. */
static struct gemm product_of(const struct args *a, enum gemm_cut cut)
{
    struct shape w = a->in[W].shape;
    bool stack = a->in[OFFSETS].data != NULL;
    return (struct gemm){
        .narrow = a->work[X].format == FORMAT_BF16, .cut = cut, .groups = stack ? (int)w.dim[0] : 0,
        .offsets = stack ? ints(&a->in[OFFSETS]) : NULL };
}

static void forward(const struct args *a)
{
    const struct fp8_attr *at = a->attr;
    struct gemm g = product_of(a, GEMM_ROWS);
    for (int k = X; k <= W && at->scaling != FP8_TILE; k++) {
        struct quantise q = operand(a, k);
        reals(&a->out[1])[k] = largest(a, &q);
    }
    quantise(a, X, OF_ROW);
    quantise(a, W, OF_BLOCK);
    g.m = a->out[0].shape.dim[0];
    g.n = a->out[0].shape.dim[1];
    g.k = shape_last(a->in[X].shape);
    g.a = matrix_of(&a->work[X], g.k);
    g.b = matrix_transposed(matrices_of(&a->work[W]));
    g.c = matrix_of(&a->out[0], g.n);
    gemm(a, &g);
}

/* dx = dy w */
static void backward_rows(const struct args *a)
{
    struct gemm g = product_of(a, GEMM_ROWS);
    quantise(a, W, OF_BLOCK);
    quantise(a, DY, OF_ROW);
    g.m = a->dout[0].shape.dim[0];
    g.n = shape_last(a->in[X].shape);
    g.k = a->dout[0].shape.dim[1];
    g.a = matrix_of(&a->work[DY], g.k);
    g.b = matrices_of(&a->work[W]);
    g.c = matrix_of(&a->din[X], g.n);
    g.beta = a->beta[X];
    gemm(a, &g);
}

/* dw = dy^T x */
static void backward_weight(const struct args *a)
{
    const struct fp8_attr *at = a->attr;
    struct gemm g = product_of(a, GEMM_DEPTH);
    quantise(a, X, OF_ROW);
    if (at->scaling == FP8_TILE) quantise_again(a, X, OF_COLUMN);
    quantise(a, DY, OF_COLUMN);
    g.m = a->dout[0].shape.dim[1];
    g.n = shape_last(a->in[X].shape);
    g.k = a->dout[0].shape.dim[0];
    g.a = matrix_transposed(matrix_of(&a->work[DY], g.m));
    g.b = matrix_of(&a->work[X], g.n);
    g.c = matrices_of(&a->din[W]);
    g.beta = a->beta[W];
    gemm(a, &g);
}

static void backward(const struct args *a)
{
    if (a->din[X].data) backward_rows(a);
    if (a->din[W].data) backward_weight(a);
}

KERNELS(fp8_matmul) = { forward, backward, NULL };

ATTRIBUTES(fp8_matmul, struct fp8_attr,
    CHOICE(struct fp8_attr, forward, NEEDED, FP8_FORMATS, "format of x and w"),
    CHOICE(struct fp8_attr, gradient, NEEDED, FP8_FORMATS, "format of the gradient of y"),
    CHOICE(struct fp8_attr, scaling, NEEDED, "tile tensor delayed",
           "who shares a scale: 128 values along the sum; a tensor; the same, by its past"),
    BOOL(struct fp8_attr, power, false, "scales are powers of two"));
OP(fp8_matmul, .inputs = "x[R,K] w[N,K|E,N,K] offsets?:I32[E+1] history?:REAL[H,3]",
   .outputs = "y:ACT[R,N] amax:REAL[2]",
   .about = "matmul, or grouped_matmul, of operands in FP8, and gradients of such; largest size of x and of w where "
            "tensors have one scale. history: of that in steps before, of x, w and the gradient of y",
   ATTR(fp8_matmul), .infer = infer, .cost = cost, .gradient = true, .no_grad = 1u << HISTORY, .no_grad_out = 1u << 1,
   .reads_in = 1u << X | 1u << W | 1u << OFFSETS | 1u << HISTORY, .reads_out = 1u << 1,
   .factors = 1u << X | 1u << W);
