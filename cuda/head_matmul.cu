/* Each head by a matrix of its own, all of them as one batched product of cuBLASLt: heads lie side by side in the rows
   of tokens. Bound by memory where tokens are few, as in decoding; else by the arithmetic. */
#include "product.cuh"
#include "gemm.h"

enum { X, W };

struct sizes { int64_t tokens, heads, k, n; bool transposed, bf16; };

static struct sizes sizes_of(const struct args *a)
{
    struct shape x = a->in[X].shape, w = a->in[W].shape;
    bool transposed = ((const struct head_matmul_attr *)a->attr)->transposed;
    return { x.dim[0], x.dim[1], x.dim[2], w.dim[transposed ? 2 : 1], transposed, a->in[X].format == FORMAT_BF16 };
}

/* An operand of the products of all heads: a matrix of each, as it lies. */
struct matrices { const void *data; int64_t row, stride; bool transposed; };

static struct matrices heads(const struct sizes &s, const void *data, int64_t width, bool transposed)
{
    return { data, s.heads * width, width, transposed };
}

/* w[h]^T, which is [K,N], and with `flip` w[h]. */
static struct matrices weights(const struct sizes &s, const void *data, bool flip)
{
    return { data, s.transposed ? s.n : s.k, s.n * s.k, s.transposed == flip };
}

static void multiply(const struct args *a, const struct sizes &s, int64_t m, int64_t n, int64_t k,
                     const struct matrices &left, const struct matrices &right, const struct matrices &c, bool bf16,
                     float beta)
{
    struct gemm g = {};
    g.m = m;
    g.n = n;
    g.k = k;
    g.a = left.data;
    g.b = right.data;
    g.c = (void *)c.data;
    g.in = s.bf16 ? GEMM_BF16 : GEMM_F32;
    g.out = bf16 ? GEMM_BF16 : GEMM_F32;
    g.a_row = left.row;
    g.b_row = right.row;
    g.c_row = c.row;
    g.a_transposed = left.transposed;
    g.b_transposed = right.transposed;
    g.alpha = 1;
    g.beta = beta;
    g.batch = (int)s.heads;
    g.a_stride = left.stride;
    g.b_stride = right.stride;
    g.c_stride = c.stride;
    gemm(device_of(a), &g);
}

static const void *matrices(const struct args *a, const struct sizes &s)
{
    char *scratch = (char *)a->scratch;
    return operand_as(a, operand_of(a->in[W], s.k), s.bf16, &scratch);
}

static void forward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    multiply(a, s, s.tokens, s.n, s.k, heads(s, a->in[X].data, s.k, false), weights(s, matrices(a, s), false),
             heads(s, a->out[0].data, s.n, false), s.bf16, 0);
}

/* dx[h] = dy[h] w[h];  dw[h] = dy[h]^T x[h], or x[h]^T dy[h] where it lies transposed */
static void backward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    const void *x = a->in[X].data, *dy = a->dout[0].data;
    struct matrices dw = weights(s, a->din[W].data, false);
    if (a->din[X].data)
        multiply(a, s, s.tokens, s.k, s.n, heads(s, dy, s.n, false), weights(s, matrices(a, s), true),
                 heads(s, a->din[X].data, s.k, false), s.bf16, a->beta[X]);
    if (!a->din[W].data) return;
    if (s.transposed)
        multiply(a, s, s.k, s.n, s.tokens, heads(s, x, s.k, true), heads(s, dy, s.n, false), dw, false, a->beta[W]);
    else multiply(a, s, s.n, s.k, s.tokens, heads(s, dy, s.n, true), heads(s, x, s.k, false), dw, false, a->beta[W]);
}

static size_t scratch(const struct args *a)
{
    struct sizes s = sizes_of(a);
    return operand_scratch(operand_of(a->in[W], s.k), s.bf16);
}

TWIN(head_matmul, forward, backward, NULL, scratch);
