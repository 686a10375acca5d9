/* y = x w^T and its gradients, and products of any formats for other files. cuBLASLt computes them, and the
   arithmetic bounds it; memory bounds the conversions, which are few: a router's rows become floats, as its
   scores must be exact. */
#include "product.cuh"
#include "gemm.h"

enum { X, W };

/* ---- formats ---- */

/* to = beta to + from */
static __global__ void __launch_bounds__(BLOCK) matmul_convert(struct view from, struct sum to, int64_t n)
{
    int64_t whole = n / LANES;
    for (int64_t i = first_item(); i < whole; i += all_items()) add8(to, i * LANES, load8(from, i * LANES));
    for (int64_t i = whole * LANES + first_item(); i < n; i += all_items()) add(to, i, load(from, i));
}

static void convert(const struct args *a, struct view from, struct sum to, int64_t n)
{
    LAUNCH(a, matmul_convert, grid_for(a, n, BLOCK * LANES), BLOCK, 0, from, to, n);
}

static size_t bytes_of(const struct operand &o, bool bf16) { return (size_t)(o.rows * o.cols) * (bf16 ? 2 : 4); }
static bool at_hand(const struct operand &o, bool bf16) { return o.bf16 == bf16 || (bf16 && o.packed); }

size_t operand_scratch(const struct operand &o, bool bf16)
{
    return at_hand(o, bf16) ? 0 : scratch_round(bytes_of(o, bf16));
}

const void *operand_as(const struct args *a, const struct operand &o, bool bf16, char **scratch)
{
    if (at_hand(o, bf16)) return o.bf16 == bf16 ? o.data : o.packed;
    void *made = *scratch;
    *scratch += operand_scratch(o, bf16);
    convert(a, { o.data, o.bf16 }, { { made, bf16 }, 0 }, o.rows * o.cols);
    return made;
}

/* Exact products have results in float: those that are kept as bf16 are rounded afterwards. */
static bool rounds_result(const struct product &p) { return p.c.bf16 && !p.narrow; }

size_t product_scratch(const struct product &p)
{
    return operand_scratch(p.a, p.narrow) + operand_scratch(p.b, p.narrow) +
           (rounds_result(p) ? scratch_round(bytes_of(p.c, false)) : 0);
}

void product(const struct args *a, const struct product &p, void *scratch)
{
    char *rest = (char *)scratch;
    bool rounds = rounds_result(p);
    struct gemm g = {};
    g.m = p.c.rows;
    g.n = p.c.cols;
    g.k = p.a.transposed ? p.a.rows : p.a.cols;
    g.a = operand_as(a, p.a, p.narrow, &rest);
    g.b = operand_as(a, p.b, p.narrow, &rest);
    g.c = rounds ? rest : p.c.data;
    g.in = p.narrow ? GEMM_BF16 : GEMM_F32;
    g.out = p.c.bf16 && !rounds ? GEMM_BF16 : GEMM_F32;
    g.a_row = p.a.row;
    g.b_row = p.b.row;
    g.c_row = p.c.row;
    g.a_transposed = p.a.transposed;
    g.b_transposed = p.b.transposed;
    g.alpha = 1;
    g.beta = rounds ? 0 : p.beta;
    gemm(device_of(a), &g);
    if (rounds) convert(a, { g.c, false }, { { p.c.data, true }, p.beta }, p.c.rows * p.c.cols);
}

/* ---- matmul ---- */

struct products { struct product y, dx, dw; };

/* dx = dy w;  dw = dy^T x. dout and din are NULL in forward. */
static struct products products_of(const struct args *a)
{
    struct shape size = a->in[W].shape;
    struct operand x = operand_of(a->in[X], size.dim[1]), w = operand_of(a->in[W], size.dim[1]),
                   y = operand_of(a->out[0], size.dim[0]);
    struct operand dx = x, dw = w, dy = y;
    bool narrow = x.bf16 && y.bf16;
    if (a->dout) dy = operand_of(a->dout[0], size.dim[0]);
    if (a->din) {
        dx = operand_of(a->din[X], size.dim[1]);
        dw = operand_of(a->din[W], size.dim[1]);
    }
    return {
        { x, operand_transposed(w), y, 0, narrow },
        { dy, w, dx, a->din ? a->beta[X] : 0, narrow },
        { operand_transposed(dy), x, dw, a->din ? a->beta[W] : 0, narrow },
    };
}

static void forward(const struct args *a) { product(a, products_of(a).y, a->scratch); }

static void backward(const struct args *a)
{
    struct products p = products_of(a);
    if (p.dx.c.data) product(a, p.dx, a->scratch);
    if (p.dw.c.data) product(a, p.dw, a->scratch);
}

static size_t scratch(const struct args *a)
{
    struct products p = products_of(a);
    size_t y = product_scratch(p.y), dx = product_scratch(p.dx), dw = product_scratch(p.dw), most = y > dx ? y : dx;
    return most > dw ? most : dw;
}

TWIN(matmul, forward, backward, NULL, scratch);
