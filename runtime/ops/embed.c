/* y[t] = table[ids[t]]. Backward adds the rows of one id in the order of the tokens, in double,
   and writes the sum once. */
#define VERBS "graph/ops/tokens.h"
#include "op.h"
#include "cpu/sort.h"
#include "cpu/vec_math.h"

enum { AHEAD = 4 };                                         /* rows prefetched */

VERB struct node *embed(struct graph *g, struct node *table, struct node *ids)
{
    return graph_emit(g, &op_embed, NULL, table, ids);
}

static int infer(struct node *n, struct err *e)
{
    (void)e;
    int64_t tokens = shape_count(n->in[1]->shape);
    node_value(n, DTYPE_ACT, SHAPE(tokens, n->in[0]->shape.dim[1]));
    node_work(n, DTYPE_I32, SHAPE(2, tokens));              /* tokens by id; scratch of the sort */
    return 0;
}

/* The row of a token. An id outside the table is an invariant broken by whoever made the ids. */
static int64_t row_of(const struct args *a, int64_t token)
{
    int64_t id = ints(&a->in[1])[token], rows = a->in[0].shape.dim[0];
    INVARIANT(id >= 0 && id < rows, "embed: id %lld at token %lld, the table has %lld rows", (long long)id,
              (long long)token, (long long)rows);
    return id;
}

static void tokens(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = a->in[0].shape.dim[1];
    real x_buffer[d], y_buffer[d];
    for (int64_t t = from; t < to; t++) {
        real *y = row_write(&a->out[0], t * d, d, y_buffer);
        memcpy(y, row_read(&a->in[0], row_of(a, t) * d, d, x_buffer), (size_t)d * sizeof *y);
        row_done(&a->out[0], t * d, d, y);
    }
}

static void clear_rows(const struct args *a, int64_t from, int64_t to)
{
    size_t row = (size_t)a->din[0].shape.dim[1] * element_bytes(a->din[0].format);
    memset((char *)a->din[0].data + (size_t)from * row, 0, (size_t)(to - from) * row);
}

/* Places [from,to) of the tokens sorted by id; the run of an id belongs to the block in which it begins. */
static void runs(const struct args *a, int64_t from, int64_t to)
{
    const int32_t *order = ints(&a->work[0]), *ids = ints(&a->in[1]);
    int64_t d = a->in[0].shape.dim[1], n = shape_count(a->in[1].shape);
    real dy_buffer[d], row_buffer[d];
    double sum[d];
    while (from > 0 && from < to && ids[order[from]] == ids[order[from - 1]]) from++;
    while (from < to) {
        int64_t row = ids[order[from]];
        memset(sum, 0, sizeof sum);
        for (; from < n && ids[order[from]] == row; from++) {
            if (from + AHEAD < n) row_prefetch(&a->dout[0], order[from + AHEAD] * d, d);
            const real *dy = row_read(&a->dout[0], order[from] * d, d, dy_buffer);
            for (int64_t i = 0; i < d; i++) sum[i] += dy[i];
        }
        real *drow = row_add(&a->din[0], row * d, d, 1, row_buffer);
        for (int64_t i = 0; i < d; i++) drow[i] += (real)sum[i];
        row_done(&a->din[0], row * d, d, drow);
    }
}

static int64_t grain(int64_t d) { return d >= 4096 ? 1 : 4096 / d; }

static void forward(const struct args *a)
{
    each(a, shape_count(a->in[1].shape), grain(a->in[0].shape.dim[1]), tokens);
}

static void backward(const struct args *a)
{
    int64_t n = shape_count(a->in[1].shape), rows = a->in[0].shape.dim[0], d = a->in[0].shape.dim[1];
    int32_t *order = ints(&a->work[0]);
    if (!a->din[0].data) return;
    if (a->beta[0] == 0) each(a, rows, grain(d), clear_rows);
    all_positions(order, n);
    sort_positions(order, order + n, n, ints(&a->in[1]), rows);
    each(a, n, grain(d), runs);
}

KERNELS(embed) = { forward, backward, NULL };
OP(embed, .inputs = "table[V,D] ids:I32[B,S]",
   .outputs = "y[T,D]",
   .about = "rows of the table, ACT",
   .infer = infer, .gradient = true, .reads_in = 1 << 1, .looks_up = 1 << 0);
