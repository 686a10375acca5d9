/* grouped_matmul by cuBLASLt, a product for each expert that has rows: SLUICE_CUDA_GROUPED=library. The library takes
   sizes from the host alone, which waits in every call for where the experts' rows begin, so that no step can be
   recorded. It is there to check our own kernel (grouped_matmul.cu), and for few experts with many rows each, where its
   products may gain more than the waits cost: not measured on hardware.

   The arithmetic bounds it; the bytes are those of a matmul for each expert. An expert's rows are another number in
   every step, and for each number that is new the library searches an algorithm. */
#include "product.cuh"
extern "C" {
#include "parts.h"
}

#include <stdio.h>
#include <stdlib.h>

enum { X, W, OFFSETS };

bool grouped_by_library(void) { return device_switch("SLUICE_CUDA_GROUPED", "library", "own"); }

void grouped_open(void)
{
    if (!grouped_by_library() || device_switch("SLUICE_CUDA_GRAPH", "off", "on")) return;
    fprintf(stderr, "SLUICE_CUDA_GROUPED=library: needs SLUICE_CUDA_GRAPH=off, as the host waits within a step\n");
    exit(2);
}

/* Operands as the products read them, y and x in rows, w and dw [E*N,K]; where the experts' rows
   begin [E+1], to be freed. */
struct call { struct operand x, w, y; int32_t *offsets; int experts; int64_t n; };

static struct call call_of(const struct args *a)
{
    struct shape w = a->in[W].shape;
    struct call c = { operand_of(a->in[X], w.dim[2]), operand_of(a->in[W], w.dim[2]), operand_of(a->out[0], w.dim[1]),
                      NULL, (int)w.dim[0], w.dim[1] };
    size_t bytes = ((size_t)c.experts + 1) * sizeof *c.offsets;
    c.offsets = (int32_t *)xmalloc(bytes);
    device_get(a->device, c.offsets, a->in[OFFSETS].data, bytes);
    return c;
}

/* The same operand in other memory. */
static struct operand operand_in(struct operand o, const void *data, bool bf16)
{
    o.data = (void *)data;
    o.packed = NULL;
    o.bf16 = bf16;
    return o;
}

static struct operand weights(const struct args *a, const struct call &c)
{
    char *scratch = (char *)a->scratch;
    return operand_in(c.w, operand_as(a, c.w, c.x.bf16, &scratch), c.x.bf16);
}

static struct operand rows_of(const struct call &c, const struct operand &o, int expert)
{
    return operand_rows(o, c.offsets[expert], c.offsets[expert + 1] - c.offsets[expert]);
}
static struct operand rows_left(const struct call &c, const struct operand &o)
{
    return operand_rows(o, c.offsets[c.experts], o.rows - c.offsets[c.experts]);
}

static struct operand weight_of(const struct call &c, const struct operand &o, int expert)
{
    return operand_rows(o, expert * c.n, c.n);
}

/* C = beta C, where beta is 0 or 1. */
static void add_nothing(const struct args *a, const struct operand &c, float beta)
{
    if (beta == 0) device_clear(a->device, c.data, (size_t)(c.rows * c.cols) * (c.bf16 ? 2 : 4));
}

/* The product's operands have one format, that of the rows, and need no scratch. The library takes
   no product of no depth. */
static void multiply(const struct args *a, const struct operand &left, const struct operand &right,
                     const struct operand &c, float beta)
{
    if (left.rows == 0) add_nothing(a, c, beta);
    else product(a, { left, right, c, beta, left.bf16 }, NULL);
}

void grouped_library_forward(const struct args *a)
{
    struct call c = call_of(a);
    struct operand w = weights(a, c);
    for (int e = 0; e < c.experts; e++)
        multiply(a, rows_of(c, c.x, e), operand_transposed(weight_of(c, w, e)), rows_of(c, c.y, e), 0);
    add_nothing(a, rows_left(c, c.y), 0);
    free(c.offsets);
}

/* dx = dy w;  dw = dy^T x */
void grouped_library_backward(const struct args *a)
{
    struct call c = call_of(a);
    struct operand dy = operand_in(c.y, a->dout[0].data, c.y.bf16);
    if (a->din[X].data) {
        struct operand w = weights(a, c), dx = operand_in(c.x, a->din[X].data, c.x.bf16);
        for (int e = 0; e < c.experts; e++)
            multiply(a, rows_of(c, dy, e), weight_of(c, w, e), rows_of(c, dx, e), a->beta[X]);
        add_nothing(a, rows_left(c, dx), a->beta[X]);
    }
    if (a->din[W].data) {
        struct operand dw = operand_in(c.w, a->din[W].data, c.w.bf16);
        for (int e = 0; e < c.experts; e++)
            multiply(a, operand_transposed(rows_of(c, dy, e)), rows_of(c, c.x, e), weight_of(c, dw, e), a->beta[W]);
    }
    free(c.offsets);
}
