/* Rows side by side: [.., Di] for i in [0,n) to [.., sum of Di]. */
#include "op.h"
#include "cpu/vec_math.h"

VERB struct node *concat(struct graph *g, int n, struct node *const *x)
{
    return graph_emit_n(g, &op_concat, NULL, 0, n, x);
}

static int infer(struct node *n, struct err *e)
{
    char first[64], other[64];
    struct shape out = n->in[0]->shape;
    int last = out.rank - 1;
    for (int i = 0; i < n->n_in; i++) {
        struct shape s = n->in[i]->shape, as_first = s;
        if (n->in[i]->dtype > DTYPE_REAL) return err_set(e, "integers cannot be used here");
        as_first.dim[last] = n->in[0]->shape.dim[last];
        if (!shape_equal(as_first, n->in[0]->shape))
            return err_set(e, "rows of %s and of %s cannot stand side by side", shape_text(n->in[0]->shape, first),
                           shape_text(s, other));
        if (i > 0) out.dim[last] += s.dim[last];
    }
    node_value(n, n->in[0]->dtype, out);
    return 0;
}

static void rows(const struct args *a, int64_t from, int64_t to)
{
    int64_t width = shape_last(a->out[0].shape);
    real x_buffer[width], y_buffer[width];
    for (int64_t t = from; t < to; t++) {
        real *y = row_write(&a->out[0], t * width, width, y_buffer);
        for (int64_t i = 0, at = 0; i < a->n_in; i++) {
            int64_t d = shape_last(a->in[i].shape);
            memcpy(y + at, row_read(&a->in[i], t * d, d, x_buffer), (size_t)d * sizeof *y);
            at += d;
        }
        row_done(&a->out[0], t * width, width, y);
    }
}

/* dxi is its share of dy. */
static void gradient(const struct args *a, int64_t from, int64_t to)
{
    int64_t width = shape_last(a->out[0].shape);
    real dx_buffer[width], dy_buffer[width];
    for (int64_t t = from; t < to; t++) {
        const real *restrict dy = row_read(&a->dout[0], t * width, width, dy_buffer);
        for (int64_t i = 0, at = 0; i < a->n_in; i++) {
            int64_t d = shape_last(a->in[i].shape);
            if (a->din[i].data) {
                real beta = a->beta[i], *restrict dx = row_open(&a->din[i], t * d, d, beta, dx_buffer);
                for (int64_t j = 0; j < d; j++) dx[j] = keep(beta, dx[j]) + dy[at + j];
                row_done(&a->din[i], t * d, d, dx);
            }
            at += d;
        }
    }
}

static void forward(const struct args *a)
{
    each(a, shape_rows(a->out[0].shape), rows_grain(shape_last(a->out[0].shape)), rows);
}

static void backward(const struct args *a)
{
    each(a, shape_rows(a->out[0].shape), rows_grain(shape_last(a->out[0].shape)), gradient);
}

KERNELS(concat) = { forward, backward, NULL };
OP(concat, .inputs = "x..", .infer = infer, .gradient = true);
