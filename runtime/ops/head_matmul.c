/* Each head by a matrix of its own: y[t,h] = x[t,h] w[h]^T, or x[t,h] w[h] where the matrices lie transposed. Latent
   attention decodes with it: queries to the width of the latents, and what was read of these to the width of a value. A
   block is some tokens of one head; bound by memory where tokens are few, as each matrix serves those of its head. */
#define VERBS "graph/ops/products.h"
#include "op.h"
#include "cpu/gemm.h"

enum { X, W, ROWS = 256 };                                  /* ROWS: tokens of a block */

VERB struct node *head_matmul(struct graph *g, struct node *x, struct node *w, bool transposed)
{
    struct head_matmul_attr a = { transposed };
    return graph_emit(g, &op_head_matmul, &a, x, w);
}

struct sizes { int64_t tokens, heads, k, n; bool transposed; };
static struct sizes sizes_of(const struct head_matmul_attr *a, struct shape x, struct shape w)
{
    return (struct sizes){ x.dim[0], x.dim[1], x.dim[2], a->transposed ? w.dim[2] : w.dim[1], a->transposed };
}

static int infer(struct node *n, struct err *e)
{
    char text[64], other[64];
    struct shape x = n->in[X]->shape, w = n->in[W]->shape;
    struct sizes s = sizes_of(n->attr, x, w);
    if (w.dim[s.transposed ? 1 : 2] != s.k)
        return err_set(e, "heads %s meet matrices %s%s", shape_text(x, text), shape_text(w, other),
                       s.transposed ? ", transposed" : "");
    node_value(n, n->in[X]->dtype, SHAPE(s.tokens, s.heads, s.n));
    return 0;
}

static void cost(const struct node *n, struct cost *c)
{
    c->flops = 2 * (double)shape_count(n->in[X]->shape) * (double)shape_last(n->shape);
}

static struct sizes sizes(const struct args *a) { return sizes_of(a->attr, a->in[X].shape, a->in[W].shape); }

/* Head h of [T,H,width], from token `from` on; its matrix, [K,N]. */
static struct matrix head_of(const struct tensor *t, const struct sizes *s, int64_t h, int64_t width, int64_t from)
{
    return matrix_at(matrix_of(t, s->heads * width), from, h * width);
}
static struct matrix weight_of(const struct tensor *t, const struct sizes *s, int64_t h)
{
    struct matrix m = matrix_moved(matrix_of(t, s->transposed ? s->n : s->k), h * s->n * s->k);
    return s->transposed ? m : matrix_transposed(m);
}

/* Blocks of tokens, head after head. */
static int64_t blocks(const struct sizes *s) { return blocks_of(s->tokens, ROWS); }
static int64_t rows_from(const struct sizes *s, int64_t from)
{
    return s->tokens - from < ROWS ? s->tokens - from : ROWS;
}

static bool narrow(const struct args *a) { return a->in[X].format == FORMAT_BF16; }

static void forward_blocks(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes(a);
    for (int64_t at = from; at < to; at++) {
        int64_t h = at / blocks(&s), row = at % blocks(&s) * ROWS;
        gemm_here(&(struct gemm){
            .m = rows_from(&s, row), .n = s.n, .k = s.k, .a = head_of(&a->in[X], &s, h, s.k, row),
            .b = weight_of(&a->in[W], &s, h), .c = head_of(&a->out[0], &s, h, s.n, row), .narrow = narrow(a) });
    }
}

/* dx[h] = dy[h] w[h] */
static void x_blocks(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes(a);
    for (int64_t at = from; at < to; at++) {
        int64_t h = at / blocks(&s), row = at % blocks(&s) * ROWS;
        gemm_here(&(struct gemm){
            .m = rows_from(&s, row), .n = s.k, .k = s.n, .a = head_of(&a->dout[0], &s, h, s.n, row),
            .b = matrix_transposed(weight_of(&a->in[W], &s, h)), .c = head_of(&a->din[X], &s, h, s.k, row),
            .beta = a->beta[X], .narrow = narrow(a) });
    }
}

/* dw[h] = dy[h]^T x[h], or x[h]^T dy[h] where it lies transposed. */
static void w_heads(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes(a);
    for (int64_t h = from; h < to; h++) {
        struct matrix x = head_of(&a->in[X], &s, h, s.k, 0), dy = head_of(&a->dout[0], &s, h, s.n, 0),
                      dw = weight_of(&a->din[W], &s, h);
        gemm_here(&(struct gemm){
            .m = s.transposed ? s.k : s.n, .n = s.transposed ? s.n : s.k, .k = s.tokens,
            .a = matrix_transposed(s.transposed ? x : dy), .b = s.transposed ? dy : x,
            .c = s.transposed ? dw : matrix_transposed(dw), .beta = a->beta[W], .narrow = narrow(a) });
    }
}

static void forward(const struct args *a)
{
    struct sizes s = sizes(a);
    each(a, s.heads * blocks(&s), 1, forward_blocks);
}

static void backward(const struct args *a)
{
    struct sizes s = sizes(a);
    if (a->din[X].data) each(a, s.heads * blocks(&s), 1, x_blocks);
    if (a->din[W].data) each(a, s.heads, 1, w_heads);
}

KERNELS(head_matmul) = { forward, backward, NULL };

ATTRIBUTES(head_matmul, struct head_matmul_attr,
    BOOL(struct head_matmul_attr, transposed, NEEDED, "a matrix is [K,N], not [N,K]"));
OP(head_matmul, .inputs = "x[T,H,K] w:REAL[H,_,_]",
   .outputs = "y[T,H,N]",
   .about = "each head by a matrix of its own: x[t,h] w[h]^T, or x[t,h] w[h]",
   ATTR(head_matmul), .infer = infer, .cost = cost, .gradient = true, .reads_in = 1u << X | 1u << W,
   .factors = 1u << X | 1u << W);
