/* Rows sorted by expert, each plus its row: y[r] = x[r] + row[e] where offsets[e] <= r < offsets[e+1]. Rows
   behind the last offset are nobody's and stay as they are. */
#define VERBS "graph/ops/broadcast.h"
#include "op.h"
#include "cpu/vec_math.h"

enum { X, ROW, OFFSETS };
enum { STRIP = 256 };                                       /* columns summed at a time */

VERB struct node *grouped_add_row(struct graph *g, struct node *x, struct node *row, struct node *offsets)
{
    return graph_emit(g, &op_grouped_add_row, NULL, x, row, offsets);
}

static void add_rows(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = a->in[X].shape.dim[1], experts = a->in[ROW].shape.dim[0], e = 0;
    const int32_t *end = ints(&a->in[OFFSETS]) + 1;
    real x_buffer[d], y_buffer[d], row_buffer[d];
    for (int64_t r = from; r < to; r++) {
        while (e < experts && r >= end[e]) e++;
        const real *restrict x = row_read(&a->in[X], r * d, d, x_buffer);
        const real *restrict row = e < experts ? row_read(&a->in[ROW], e * d, d, row_buffer) : NULL;
        real *restrict y = row_write(&a->out[0], r * d, d, y_buffer);
        for (int64_t i = 0; i < d; i++) y[i] = row ? x[i] + row[i] : x[i];
        row_done(&a->out[0], r * d, d, y);
    }
}

static void pass_gradient(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = a->in[X].shape.dim[1];
    real dx_buffer[d], dy_buffer[d], beta = a->beta[X];
    for (int64_t r = from; r < to; r++) {
        const real *restrict dy = row_read(&a->dout[0], r * d, d, dy_buffer);
        real *restrict dx = row_open(&a->din[X], r * d, d, beta, dx_buffer);
        for (int64_t i = 0; i < d; i++) dx[i] = keep(beta, dx[i]) + dy[i];
        row_done(&a->din[X], r * d, d, dx);
    }
}

/* drow[e] = sum of dy over the rows of expert e */
static void sum_experts(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = a->in[X].shape.dim[1];
    const int32_t *offsets = ints(&a->in[OFFSETS]);
    real dy_buffer[STRIP], row_buffer[STRIP];
    for (int64_t e = from; e < to; e++)
        for (int64_t at = 0, n; at < d; at += n) {
            double sum[STRIP] = { 0 };
            n = d - at < STRIP ? d - at : STRIP;
            for (int64_t r = offsets[e]; r < offsets[e + 1]; r++) {
                const real *restrict dy = row_read(&a->dout[0], r * d + at, n, dy_buffer);
                for (int64_t i = 0; i < n; i++) sum[i] += dy[i];
            }
            real *drow = row_add(&a->din[ROW], e * d + at, n, a->beta[ROW], row_buffer);
            for (int64_t i = 0; i < n; i++) drow[i] += (real)sum[i];
            row_done(&a->din[ROW], e * d + at, n, drow);
        }
}

static void forward(const struct args *a)
{
    each(a, a->in[X].shape.dim[0], rows_grain(a->in[X].shape.dim[1]), add_rows);
}

static void backward(const struct args *a)
{
    if (a->din[X].data) each(a, a->in[X].shape.dim[0], rows_grain(a->in[X].shape.dim[1]), pass_gradient);
    if (a->din[ROW].data) each(a, a->in[ROW].shape.dim[0], 1, sum_experts);
}

KERNELS(grouped_add_row) = { forward, backward, NULL };
OP(grouped_add_row, .inputs = "x[R,D] row[E,D] offsets:I32[E+1]",
   .outputs = "y[R,D]",
   .about = "each row of x plus the row of its expert; rows from the last offset on are nobody's and stay as they are",
   .infer = infer_same, .gradient = true, .reads_in = 1u << OFFSETS);
