/* y = x w^T, dense and grouped. */
#define VERBS "graph/ops/products.h"
#include "op.h"
#include "cpu/gemm.h"

enum { X, W, OFFSETS };

/* ---- matmul: [T,K] [N,K] -> [T,N] ---- */

struct matmul_attr { enum dtype out; };

VERB struct node *matmul(struct graph *g, struct node *x, struct node *w, enum dtype out)
{
    return graph_emit(g, &op_matmul, &out, x, w);
}

static int matmul_infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, *(const enum dtype *)n->attr, SHAPE(n->in[X]->shape.dim[0], n->in[W]->shape.dim[0]));
    return 0;
}

/* 2 R K N, R rows of x. */
static void cost(const struct node *n, struct cost *c)
{
    c->flops = 2 * (double)shape_count(n->in[X]->shape) * (double)shape_last(n->shape);
}

/* The three products of training, dense when E = 0. */
struct sizes { int64_t rows, k, n; int experts; const int32_t *offsets; };

static struct matrix weight_of(const struct tensor *w, const struct sizes *s)
{
    struct matrix m = matrix_of(w, s->k);                   /* [N,K] */
    m.stack = s->n * s->k;
    return m;
}

/* Where activations are bf16 already, weights may be too; results that are REAL are exact. */
static bool narrow(const struct args *a) { return a->in[X].format == FORMAT_BF16 && a->out[0].format == FORMAT_BF16; }

static void forward(const struct args *a, const struct sizes *s)
{
    gemm(a, &(struct gemm){
        .m = s->rows, .n = s->n, .k = s->k,
        .a = matrix_of(&a->in[X], s->k), .b = matrix_transposed(weight_of(&a->in[W], s)),
        .c = matrix_of(&a->out[0], s->n),
        .narrow = narrow(a), .cut = GEMM_ROWS, .groups = s->experts, .offsets = s->offsets });
}

/* dx = dy w;  dw = dy^T x */
static void backward(const struct args *a, const struct sizes *s)
{
    if (a->din[X].data)
        gemm(a, &(struct gemm){
            .m = s->rows, .n = s->k, .k = s->n,
            .a = matrix_of(&a->dout[0], s->n), .b = weight_of(&a->in[W], s), .c = matrix_of(&a->din[X], s->k),
            .beta = a->beta[X], .narrow = narrow(a), .cut = GEMM_ROWS, .groups = s->experts, .offsets = s->offsets });
    if (a->din[W].data)
        gemm(a, &(struct gemm){ .m = s->n, .n = s->k, .k = s->rows,
                                .a = matrix_transposed(matrix_of(&a->dout[0], s->n)),
                                .b = matrix_of(&a->in[X], s->k), .c = weight_of(&a->din[W], s), .beta = a->beta[W],
                                .narrow = narrow(a), .cut = GEMM_DEPTH, .groups = s->experts, .offsets = s->offsets });
}

static struct sizes matmul_sizes(const struct args *a)
{
    struct shape x = a->in[X].shape, w = a->in[W].shape;
    return (struct sizes){ .rows = x.dim[0], .k = x.dim[1], .n = w.dim[0] };
}

static void matmul_forward(const struct args *a)
{
    struct sizes s = matmul_sizes(a);
    forward(a, &s);
}

static void matmul_backward(const struct args *a)
{
    struct sizes s = matmul_sizes(a);
    backward(a, &s);
}

KERNELS(matmul) = { matmul_forward, matmul_backward, NULL };

ATTRIBUTES(matmul, struct matmul_attr,
    CHOICE(struct matmul_attr, out, NEEDED, "act real", "dtype of the result"));
OP(matmul, .inputs = "x[T,K] w[N,K]",
   .outputs = "y:ANY[T,N]",
   .about = "x w^T",
   ATTR(matmul), .infer = matmul_infer, .cost = cost, .gradient = true, .reads_in = 1u << X | 1u << W,
   .packs = 1u << W, .rows = 1u << X, .rows_back = true, .factors = 1u << X | 1u << W);

/* ---- grouped_matmul: rows offsets[e] .. offsets[e+1] of [R,K] with w[e] of [E,N,K] -> [R,N]; later rows are 0 ---- */

VERB struct node *grouped_matmul(struct graph *g, struct node *x, struct node *w, struct node *offsets)
{
    return graph_emit(g, &op_grouped_matmul, NULL, x, w, offsets);
}

static int grouped_infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, n->in[X]->dtype, SHAPE(n->in[X]->shape.dim[0], n->in[W]->shape.dim[1]));
    return 0;
}

/* Where the experts' rows begin among those that are here. */
static struct sizes grouped_sizes(const struct args *a, int32_t *local)
{
    struct shape x = a->in[X].shape, w = a->in[W].shape;
    struct sizes s = { .rows = x.dim[0], .k = x.dim[1], .n = w.dim[1], .experts = (int)w.dim[0], .offsets = local };
    const int32_t *offsets = ints(&a->in[OFFSETS]);
    INVARIANT(offsets[0] == 0, "the first expert begins at row %d", offsets[0]);
    for (int e = 0; e <= s.experts; e++) {
        int64_t here = offsets[e] - a->first_row;
        INVARIANT(e == 0 || offsets[e - 1] <= offsets[e], "expert %d ends at row %d before it begins at %d", e - 1,
                  offsets[e], offsets[e - 1]);
        local[e] = (int32_t)(here < 0 ? 0 : here < s.rows ? here : s.rows);
    }
    return s;
}

static void grouped_forward(const struct args *a)
{
    int32_t local[a->in[OFFSETS].shape.dim[0]];
    struct sizes s = grouped_sizes(a, local);
    forward(a, &s);
}

static void grouped_backward(const struct args *a)
{
    int32_t local[a->in[OFFSETS].shape.dim[0]];
    struct sizes s = grouped_sizes(a, local);
    backward(a, &s);
}

KERNELS(grouped_matmul) = { grouped_forward, grouped_backward, NULL };
OP(grouped_matmul, .inputs = "x[R,K] w[E,N,K] offsets:I32[E+1]",
   .outputs = "y[R,N]",
   .about = "rows offsets[e] to offsets[e+1] of x times w[e]^T; 0 from the last offset on",
   .infer = grouped_infer, .cost = cost, .gradient = true,
   .reads_in = 1u << X | 1u << W | 1u << OFFSETS, .packs = 1u << W, .rows = 1u << X, .rows_back = true,
   .groups = 1u << OFFSETS, .factors = 1u << X | 1u << W);
