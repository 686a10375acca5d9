/* Rows side by side, some columns of rows, and rows side by side with themselves. Bound by memory. */
#define VERBS "graph/ops/rows.h"
#include "op.h"
#include "cpu/vec_math.h"

/* ---- concat: [.., Di] for i in [0,n) to [.., sum of Di] ---- */

VERB struct node *concat(struct graph *g, int n, struct node *const *x)
{
    return graph_emit_n(g, &op_concat, NULL, n, x);
}

static int concat_infer(struct node *n, struct err *e)
{
    (void)e;
    struct shape out = n->in[0]->shape;
    for (int i = 1; i < n->n_in; i++) out.dim[out.rank - 1] += shape_last(n->in[i]->shape);
    node_value(n, n->in[0]->dtype, out);
    return 0;
}

static void concat_rows(const struct args *a, int64_t from, int64_t to)
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
static void concat_gradient(const struct args *a, int64_t from, int64_t to)
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

static void concat_forward(const struct args *a)
{
    each(a, shape_rows(a->out[0].shape), rows_grain(shape_last(a->out[0].shape)), concat_rows);
}

static void concat_backward(const struct args *a)
{
    each(a, shape_rows(a->out[0].shape), rows_grain(shape_last(a->out[0].shape)), concat_gradient);
}

KERNELS(concat) = { concat_forward, concat_backward, NULL };
OP(concat, .inputs = "x..[..,_]",
   .outputs = "y[..,_]",
   .about = "rows side by side",
   .infer = concat_infer, .gradient = true);

/* ---- columns: x[t, from + i] for i in [0,n);  dx is dy there, and 0 elsewhere ---- */

VERB struct node *columns(struct graph *g, struct node *x, int64_t from, int64_t n)
{
    struct columns_attr r = { from, n };
    return graph_emit(g, &op_columns, &r, x);
}

static int columns_infer(struct node *n, struct err *e)
{
    char text[64];
    const struct columns_attr *r = n->attr;
    struct shape s = n->in[0]->shape;
    if (r->from + r->n > shape_last(s))
        return err_set(e, "rows of %s have no columns %lld to %lld", shape_text(s, text), (long long)r->from,
                       (long long)(r->from + r->n - 1));
    s.dim[s.rank - 1] = r->n;
    node_value(n, n->in[0]->dtype, s);
    return 0;
}

static void columns_rows(const struct args *a, int64_t from, int64_t to)
{
    const struct columns_attr *r = a->attr;
    size_t element = element_bytes(a->in[0].format), n = (size_t)r->n * element,
           d = (size_t)shape_last(a->in[0].shape) * element;
    const char *x = (const char *)a->in[0].data + (size_t)r->from * element;
    for (int64_t t = from; t < to; t++) memcpy((char *)a->out[0].data + (size_t)t * n, x + (size_t)t * d, n);
}

/* Whoever is the first to write dx clears the columns that are not its own. */
static void columns_gradient(const struct args *a, int64_t from, int64_t to)
{
    const struct columns_attr *r = a->attr;
    int64_t d = shape_last(a->in[0].shape), n = r->n;
    bool first = a->beta[0] == 0;
    int64_t width = first ? d : n, skipped = first ? r->from : 0;
    real dx_buffer[width], dy_buffer[n];
    for (int64_t t = from; t < to; t++) {
        int64_t at = t * d + r->from - skipped;
        const real *restrict dy = row_read(&a->dout[0], t * n, n, dy_buffer);
        real *restrict dx = row_add(&a->din[0], at, width, a->beta[0], dx_buffer);
        for (int64_t i = 0; i < n; i++) dx[skipped + i] += dy[i];
        row_done(&a->din[0], at, width, dx);
    }
}

static void columns_forward(const struct args *a)
{
    each(a, shape_rows(a->out[0].shape), rows_grain(shape_last(a->out[0].shape)), columns_rows);
}

static void columns_backward(const struct args *a)
{
    if (a->din[0].data) each(a, shape_rows(a->out[0].shape), rows_grain(shape_last(a->in[0].shape)), columns_gradient);
}

KERNELS(columns) = { columns_forward, columns_backward, NULL };

ATTRIBUTES(columns, struct columns_attr,
    INT(struct columns_attr, from, NEEDED, 0, INT32_MAX, "", "the first of them"),
    INT(struct columns_attr, n, NEEDED, 1, INT32_MAX, "", "how many"));
OP(columns, .inputs = "x:ANY[..,D]",
   .outputs = "y:ANY[..,N]",
   .about = "some columns",
   ATTR(columns), .infer = columns_infer, .gradient = true, .rows = 1, .rows_back = true);

/* ---- repeat: y[t,k,..] = x[t,..] for k in [0,n);  dx = sum over k of dy, in their order ---- */

struct repeat_attr { int64_t n; };

VERB struct node *repeat(struct graph *g, struct node *x, int64_t n)
{
    return graph_emit(g, &op_repeat, &n, x);
}

static int repeat_infer(struct node *n, struct err *e)
{
    char text[64];
    int64_t copies = *(const int64_t *)n->attr;
    struct shape x = n->in[0]->shape, y = { x.rank + 1, { x.dim[0], copies } };
    if (x.rank == SHAPE_RANK) return err_set(e, "cannot repeat rows of %s: no more dimensions", shape_text(x, text));
    for (int i = 1; i < x.rank; i++) y.dim[i + 1] = x.dim[i];
    node_value(n, n->in[0]->dtype, y);
    return 0;
}

/* Values of a row, which is all that x has of token t. */
static int64_t row_of(const struct args *a)
{
    struct shape y = a->out[0].shape;
    return shape_count(y) / (y.dim[0] * y.dim[1]);
}

static void repeat_rows(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = row_of(a), n = a->out[0].shape.dim[1];
    real x_buffer[d], y_buffer[d];
    for (int64_t t = from; t < to; t++) {
        const real *x = row_read(&a->in[0], t * d, d, x_buffer);
        for (int64_t k = t * n; k < (t + 1) * n; k++) {
            real *y = row_write(&a->out[0], k * d, d, y_buffer);
            memcpy(y, x, (size_t)d * sizeof *y);
            row_done(&a->out[0], k * d, d, y);
        }
    }
}

static void repeat_gradient(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = row_of(a), n = a->out[0].shape.dim[1];
    real dx_buffer[d], dy_buffer[d], sum[d];
    for (int64_t t = from; t < to; t++) {
        memset(sum, 0, sizeof sum);
        for (int64_t k = t * n; k < (t + 1) * n; k++) {
            const real *restrict dy = row_read(&a->dout[0], k * d, d, dy_buffer);
            for (int64_t i = 0; i < d; i++) sum[i] += dy[i];
        }
        real beta = a->beta[0], *restrict dx = row_open(&a->din[0], t * d, d, beta, dx_buffer);
        for (int64_t i = 0; i < d; i++) dx[i] = keep(beta, dx[i]) + sum[i];
        row_done(&a->din[0], t * d, d, dx);
    }
}

static void each_token(const struct args *a, void (*body)(const struct args *, int64_t, int64_t))
{
    struct shape y = a->out[0].shape;
    each(a, y.dim[0], rows_grain(shape_count(y) / y.dim[0]), body);
}

static void repeat_forward(const struct args *a) { each_token(a, repeat_rows); }
static void repeat_backward(const struct args *a) { if (a->din[0].data) each_token(a, repeat_gradient); }

KERNELS(repeat) = { repeat_forward, repeat_backward, NULL };

ATTRIBUTES(repeat, struct repeat_attr,
    INT(struct repeat_attr, n, NEEDED, 1, INT32_MAX, "", "copies"));
OP(repeat, .inputs = "x[T,..]",
   .outputs = "y[T,N,..]",
   .about = "n copies of each row",
   ATTR(repeat), .infer = repeat_infer, .gradient = true, .rows = 1, .rows_back = true);
