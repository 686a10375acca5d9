/* Rows of matrices, or columns, are made as long as 1 after a step: nGPT (Loshchilov 2024, arXiv 2410.01131). A vector
   of zeros stays one. Columns go in strips, so that memory is read along rows. */
#define VERBS "graph/ops/update.h"
#include "op.h"
#include "cpu/vec_math.h"

enum { W, CLIP };
enum { STRIP = 64 };                                        /* columns at a time */

VERB struct node *unit_norm(struct graph *g, struct node *w, struct node *clip, bool columns)
{
    struct unit_norm_attr at = { columns };
    return graph_emit(g, &op_unit_norm, &at, w, clip);
}

struct vectors { int64_t rows, cols, strips, n; };          /* strips: of a matrix; n: vectors of all matrices */

static struct vectors vectors_of(struct shape w, const struct unit_norm_attr *at)
{
    struct stack k = shape_stack(w);
    struct vectors v = { .rows = k.rows, .cols = k.columns };
    v.strips = blocks_of(v.cols, STRIP);
    v.n = shape_count(w) / (at->columns ? v.rows : v.cols);
    return v;
}

static int infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_REAL, SHAPE(1));
    node_work(n, DTYPE_U8, SHAPE(vectors_of(n->in[W]->shape, n->attr).n * (int64_t)sizeof(double)));
    return 0;
}

static real factor(double square) { return square > 0 ? (real)(1 / sqrt(square)) : 1; }

static void rows(const struct args *a, int64_t from, int64_t to)
{
    struct vectors v = vectors_of(a->in[W].shape, a->attr);
    for (int64_t r = from; r < to; r++) {
        real *w = reals(&a->in[W]) + r * v.cols;
        double sum;
        ROW_SUM(sum, i, v.cols, (double)w[i] * (double)w[i]);
        real by = factor(((double *)a->work[0].data)[r] = sum);
        for (int64_t i = 0; i < v.cols; i++) w[i] *= by;
    }
}

static void strips(const struct args *a, int64_t from, int64_t to)
{
    struct vectors v = vectors_of(a->in[W].shape, a->attr);
    for (int64_t s = from; s < to; s++) {
        int64_t matrix = s / v.strips, first = s % v.strips * STRIP,
                n = v.cols - first < STRIP ? v.cols - first : STRIP;
        real *w = reals(&a->in[W]) + matrix * v.rows * v.cols + first, by[STRIP];
        double sum[STRIP] = { 0 };
        for (int64_t r = 0; r < v.rows; r++)
            for (int64_t i = 0; i < n; i++) sum[i] += (double)w[r * v.cols + i] * (double)w[r * v.cols + i];
        for (int64_t i = 0; i < n; i++)
            by[i] = factor(((double *)a->work[0].data)[matrix * v.cols + first + i] = sum[i]);
        for (int64_t r = 0; r < v.rows; r++)
            for (int64_t i = 0; i < n; i++) w[r * v.cols + i] *= by[i];
    }
}

static void forward(const struct args *a)
{
    const struct unit_norm_attr *at = a->attr;
    struct vectors v = vectors_of(a->in[W].shape, at);
    const double *square = (const double *)a->work[0].data;
    double sum;
    reals(&a->out[0])[0] = 0;
    if (reals(&a->in[CLIP])[1] == 0) return;
    if (at->columns) each(a, v.n / v.cols * v.strips, 1, strips);
    else each(a, v.n, rows_grain(v.cols), rows);
    ROW_SUM(sum, i, v.n, square[i]);
    reals(&a->out[0])[0] = (real)sqrt(sum / (double)v.n);
}

KERNELS(unit_norm) = { forward, NULL, NULL };

ATTRIBUTES(unit_norm, struct unit_norm_attr, BOOL(struct unit_norm_attr, columns, false, "columns in place of rows"));
OP(unit_norm, .inputs = "w*:REAL[..,N,D] clip:REAL[2]",
   .outputs = "length:REAL[1]",
   .about = "rows of matrices, or columns, over their lengths, where clip says that the step counts; how long they "
          "were before, as a root mean square, or 0",
   ATTR(unit_norm), .infer = infer);
