/* What ranks tell each other within a step. Sums go in the order of ranks, so that all have the same bits; bound by the
   links between them. */
#define VERBS "graph/ops/ranks.h"
#include "op.h"
#include "comm/comm.h"
#include "cpu/vec_math.h"

enum { VALUES = 4096 };                                     /* of a block */

static __attribute__((unused)) struct over_attr attr_of(const struct graph *g, unsigned over)
{
    return (struct over_attr){ over, place_group(&g->leaves->here, over) };
}

static unsigned over_of(const struct args *a) { return (unsigned)((const struct over_attr *)a->attr)->over; }

static size_t bytes_of(const struct tensor *t) { return (size_t)shape_count(t->shape) * element_bytes(t->format); }

static size_t row_bytes(const struct tensor *t) { return (size_t)shape_last(t->shape) * element_bytes(t->format); }

/* To each of a group its part of `from`, stride bytes apart, 0: to all the same; from each its part. */
static void exchange_even(unsigned over, const char *from, size_t stride, char *to, size_t bytes)
{
    const struct comm *c = comm_here();
    int n = place_group(&c->place, over), me = place_index(&c->place, over), k = 0;
    struct parcel parcel[2 * n];
    for (int i = 0; i < n; i++) {
        if (i == me) { memcpy(to + (size_t)i * bytes, from + (size_t)i * stride, bytes); continue; }
        int peer = place_member(&c->place, over, i);
        parcel[k++] = (struct parcel){ peer, true, to + (size_t)i * bytes, bytes };
        parcel[k++] = (struct parcel){ peer, false, (char *)from + (size_t)i * stride, bytes };
    }
    c->exchange(parcel, k);
}

/* to[i] = beta to[i] + the sum over ranks of parts[rank, i], `to` being as a part. */
static void sum_parts(const struct tensor *parts, const struct tensor *to, real beta, int64_t from, int64_t end)
{
    int64_t n = end - from, ranks = parts->shape.dim[0], each_part = shape_count(parts->shape) / ranks;
    real sum[n], buffer[n];
    real *restrict row = row_open(to, from, n, beta, buffer);
    memset(sum, 0, sizeof sum);
    for (int64_t r = 0; r < ranks; r++) {
        real wide[n];
        const real *restrict part = row_read(parts, r * each_part + from, n, wide);
        for (int64_t i = 0; i < n; i++) sum[i] += part[i];
    }
    for (int64_t i = 0; i < n; i++) row[i] = keep(beta, row[i]) + sum[i];
    row_done(to, from, n, row);
}

/* dx[i] = beta dx[i] + x[i] */
static void add_values(const struct args *a, const struct tensor *x, int64_t from, int64_t to)
{
    int64_t n = to - from;
    real wide[n], buffer[n], beta = a->beta[0];
    const real *restrict g = row_read(x, from, n, wide);
    real *restrict dx = row_open(&a->din[0], from, n, beta, buffer);
    for (int64_t i = 0; i < n; i++) dx[i] = keep(beta, dx[i]) + g[i];
    row_done(&a->din[0], from, n, dx);
}

static void add_incoming(const struct args *a, int64_t from, int64_t to)
{
    sum_parts(&a->work[0], &a->din[0], a->beta[0], from, to);
}

static void set_incoming(const struct args *a, int64_t from, int64_t to)
{
    sum_parts(&a->work[0], &a->out[0], 0, from, to);
}

/* Of a shape, one for each rank. */
static __attribute__((unused)) struct shape for_ranks(struct shape s, int64_t ranks)
{
    return SHAPE(ranks, shape_count(s));
}

#define OVER_ROWS(type) \
    INT(type, over, NEEDED, 1, OVER_ALL, "", "axes, a bit each"), \
    INT(type, ranks, NEEDED, 2, INT32_MAX, "", "how many they are along these")
#define OVER_ATTRIBUTES(name) ATTRIBUTES(name, struct over_attr, OVER_ROWS(struct over_attr))
#define ROOM_ATTRIBUTES(name) \
    ATTRIBUTES(name, struct exchange_counts_attr, OVER_ROWS(struct exchange_counts_attr), \
        INT(struct exchange_counts_attr, rows, NEEDED, 1, INT32_MAX, "", "that there is room for"))

/* ---- all_gather: rows of all ranks, one after the other;  dx is the sum over ranks of their dy of these ---- */

VERB struct node *all_gather(struct graph *g, struct node *x, unsigned over)
{
    struct over_attr at = attr_of(g, over);
    return at.ranks == 1 ? x : graph_emit(g, &op_all_gather, &at, x);
}

static int all_gather_infer(struct node *n, struct err *e)
{
    const struct over_attr *at = n->attr;
    struct shape s = n->in[0]->shape;
    (void)e;
    node_work(n, n->in[0]->dtype, for_ranks(s, at->ranks));
    s.dim[0] *= at->ranks;
    node_value(n, n->in[0]->dtype, s);
    return 0;
}

static void all_gather_forward(const struct args *a)
{
    exchange_even(over_of(a), a->in[0].data, 0, a->out[0].data, bytes_of(&a->in[0]));
}

static void all_gather_backward(const struct args *a)
{
    size_t bytes = bytes_of(&a->in[0]);
    exchange_even(over_of(a), a->dout[0].data, bytes, a->work[0].data, bytes);
    if (a->din[0].data) each(a, shape_count(a->in[0].shape), VALUES, add_incoming);
}

KERNELS(all_gather) = { all_gather_forward, all_gather_backward, NULL };
OVER_ATTRIBUTES(all_gather);
OP(all_gather, .inputs = "x[N,..]", .outputs = "y[_,..]",
   .about = "rows of all ranks, in their order, of a weight once a step; the gradient is the sum over ranks of theirs",
   ATTR(all_gather), .infer = all_gather_infer, .gradient = true, .once = true,
   .travels = true, .travels_back = true);

/* ---- regather: the same, to be gathered anew for backward rather than kept ---- */

VERB struct node *regather(struct graph *g, struct node *x, unsigned over)
{
    struct over_attr at = attr_of(g, over);
    return at.ranks == 1 ? x : graph_emit(g, &op_regather, &at, x);
}

KERNELS(regather) = { all_gather_forward, all_gather_backward, NULL };
OVER_ATTRIBUTES(regather);
OP(regather, .inputs = "x[N,..]", .outputs = "y[_,..]",
   .about = "as all_gather, anew for backward rather than kept: weights of which ranks keep parts",
   ATTR(regather), .infer = all_gather_infer, .gradient = true, .cheap = true, .again = true,
   .travels = true, .travels_back = true);

/* ---- all_columns: columns of all ranks, side by side ---- */

VERB struct node *all_columns(struct graph *g, struct node *x, unsigned over)
{
    struct over_attr at = attr_of(g, over);
    return at.ranks == 1 ? x : graph_emit(g, &op_all_columns, &at, x);
}

static int all_columns_infer(struct node *n, struct err *e)
{
    const struct over_attr *at = n->attr;
    struct shape s = n->in[0]->shape;
    (void)e;
    node_work(n, n->in[0]->dtype, for_ranks(s, at->ranks));
    s.dim[s.rank - 1] *= at->ranks;
    node_value(n, n->in[0]->dtype, s);
    return 0;
}

static void all_columns_forward(const struct args *a)
{
    size_t bytes = bytes_of(&a->in[0]), row = row_bytes(&a->in[0]), wide = row_bytes(&a->out[0]);
    const char *from = a->work[0].data;
    exchange_even(over_of(a), a->in[0].data, 0, a->work[0].data, bytes);
    for (size_t rank = 0; rank < wide / row; rank++)
        for (size_t r = 0; r < bytes / row; r++, from += row)
            memcpy((char *)a->out[0].data + r * wide + rank * row, from, row);
}

KERNELS(all_columns) = { all_columns_forward, NULL, NULL };
OVER_ATTRIBUTES(all_columns);
OP(all_columns, .inputs = "x[N,K]", .outputs = "y[N,_]", .about = "columns of all ranks, side by side in their order",
   ATTR(all_columns), .infer = all_columns_infer, .once = true, .travels = true);

/* ---- own_part: of a weight that all ranks have, what this one reads: some of its rows, or of its columns;  dw is dy
   there, and 0 elsewhere ---- */

VERB struct node *own_part(struct graph *g, struct node *w, unsigned over, int dim)
{
    struct over_attr at = attr_of(g, over);
    if (at.ranks == 1) return w;
    return graph_emit(g, &op_own_part, &((struct own_part_attr){ at.over, at.ranks, dim }), w);
}

static int own_part_infer(struct node *n, struct err *e)
{
    const struct own_part_attr *at = n->attr;
    struct shape s = n->in[0]->shape;
    char text[64];
    if (at->dim >= s.rank || s.rank > 2 || s.dim[at->dim] % at->ranks != 0)
        return err_set(e, "dimension %d of %s cannot be divided among %d ranks", (int)at->dim, shape_text(s, text),
                       (int)at->ranks);
    s.dim[at->dim] /= at->ranks;
    node_value(n, DTYPE_REAL, s);
    return 0;
}

/* The first of its rows and columns among those of the whole, which has `width`; n: columns of the part. */
struct window { int64_t row, column, rows, n, width; };

static struct window window_of(const struct args *a)
{
    const struct own_part_attr *at = a->attr;
    struct shape part = a->out[0].shape, whole = a->in[0].shape;
    int64_t me = place_index(&comm_here()->place, (unsigned)at->over), rows = part.dim[0],
            n = part.rank == 2 ? part.dim[1] : 1;
    return (struct window){ at->dim == 0 ? me * rows : 0, at->dim == 1 ? me * n : 0, rows, n,
                            whole.rank == 2 ? whole.dim[1] : 1 };
}

static void take_rows(const struct args *a, int64_t from, int64_t to)
{
    struct window p = window_of(a);
    for (int64_t r = from; r < to; r++)
        memcpy(reals(&a->out[0]) + r * p.n, reals(&a->in[0]) + (p.row + r) * p.width + p.column,
               (size_t)p.n * sizeof(real));
}

/* Rows of the whole. */
static void part_gradient(const struct args *a, int64_t from, int64_t to)
{
    struct window p = window_of(a);
    for (int64_t r = from; r < to; r++) {
        real *dw = reals(&a->din[0]) + r * p.width;
        if (a->beta[0] == 0) memset(dw, 0, (size_t)p.width * sizeof *dw);
        if (r < p.row || r >= p.row + p.rows) continue;
        const real *restrict dy = reals(&a->dout[0]) + (r - p.row) * p.n;
        for (int64_t i = 0; i < p.n; i++) dw[p.column + i] += dy[i];
    }
}

static void own_part_forward(const struct args *a)
{
    each(a, a->out[0].shape.dim[0], rows_grain(window_of(a).n), take_rows);
}

static void own_part_backward(const struct args *a)
{
    if (a->din[0].data) each(a, a->in[0].shape.dim[0], rows_grain(window_of(a).width), part_gradient);
}

KERNELS(own_part) = { own_part_forward, own_part_backward, NULL };
ATTRIBUTES(own_part, struct own_part_attr,
    OVER_ROWS(struct own_part_attr),
    INT(struct own_part_attr, dim, NEEDED, 0, 1, "", "that is cut among them: 0: rows, 1: columns"));
OP(own_part, .inputs = "w:REAL[..]", .outputs = "part:REAL[..]",
   .about = "of a weight that all ranks have, the rows or columns that this one reads",
   ATTR(own_part), .infer = own_part_infer, .gradient = true, .once = true);

/* ---- all_reduce: the sum over ranks, which all go on with alike;  dx = dy ---- */

VERB struct node *all_reduce(struct graph *g, struct node *x, unsigned over)
{
    struct over_attr at = attr_of(g, over);
    return at.ranks == 1 ? x : graph_emit(g, &op_all_reduce, &at, x);
}

static int reduced_infer(struct node *n, struct err *e)
{
    const struct over_attr *at = n->attr;
    (void)e;
    node_value(n, n->in[0]->dtype, n->in[0]->shape);
    node_work(n, n->in[0]->dtype, for_ranks(n->in[0]->shape, at->ranks));
    return 0;
}

static void all_reduce_forward(const struct args *a)
{
    exchange_even(over_of(a), a->in[0].data, 0, a->work[0].data, bytes_of(&a->in[0]));
    each(a, shape_count(a->in[0].shape), VALUES, set_incoming);
}

static void pass_back(const struct args *a, int64_t from, int64_t to) { add_values(a, &a->dout[0], from, to); }

static void all_reduce_backward(const struct args *a)
{
    if (a->din[0].data) each(a, shape_count(a->in[0].shape), VALUES, pass_back);
}

KERNELS(all_reduce) = { all_reduce_forward, all_reduce_backward, NULL };
OVER_ATTRIBUTES(all_reduce);
OP(all_reduce, .inputs = "x[..]", .outputs = "y[..]",
   .about = "the sum over ranks, which all go on with alike: the gradient is that of each",
   ATTR(all_reduce), .infer = reduced_infer, .gradient = true, .travels = true);

/* ---- reduce_gradient: x;  dx is the sum of dy over ranks, each of which makes something else of it ---- */

VERB struct node *reduce_gradient(struct graph *g, struct node *x, unsigned over)
{
    struct over_attr at = attr_of(g, over);
    return at.ranks == 1 ? x : graph_emit(g, &op_reduce_gradient, &at, x);
}

static void reduce_gradient_forward(const struct args *a)
{
    memcpy(a->out[0].data, a->in[0].data, bytes_of(&a->in[0]));
}

static void reduce_gradient_backward(const struct args *a)
{
    exchange_even(over_of(a), a->dout[0].data, 0, a->work[0].data, bytes_of(&a->in[0]));
    if (a->din[0].data) each(a, shape_count(a->in[0].shape), VALUES, add_incoming);
}

KERNELS(reduce_gradient) = { reduce_gradient_forward, reduce_gradient_backward, NULL };
OVER_ATTRIBUTES(reduce_gradient);
OP(reduce_gradient, .inputs = "x[..]", .outputs = "y[..]",
   .about = "x, of which each rank makes something else: the gradient is the sum over ranks of theirs",
   ATTR(reduce_gradient), .infer = reduced_infer, .gradient = true, .travels_back = true);

/* ---- gather_sequences: the whole of sequences of which each rank has a part;  dx is the sum over ranks of their dy
   of it ---- */

VERB struct node *gather_sequences(struct graph *g, struct node *x, struct node *start, unsigned over)
{
    struct over_attr at = attr_of(g, over);
    return graph_emit(g, &op_gather_sequences, &at, x, start);
}

/* What is exchanged lies by rank and then by sequence: what came, and in backward what goes. */
static int gather_sequences_infer(struct node *n, struct err *e)
{
    const struct over_attr *at = n->attr;
    struct shape x = n->in[0]->shape, start = n->in[1]->shape,
                 whole = { .rank = 2, .dim = { start.dim[0], at->ranks * start.dim[1] } };
    if (x.dim[0] != shape_count(start) || x.rank == SHAPE_RANK) {
        char have[64], need[64];
        return err_set(e, "rows %s are not those of sequences %s", shape_text(x, have), shape_text(start, need));
    }
    for (int i = 1; i < x.rank; i++) whole.dim[whole.rank++] = x.dim[i];
    node_value(n, n->in[0]->dtype, whole);
    node_work(n, n->in[0]->dtype, for_ranks(x, at->ranks));
    node_work(n, n->in[0]->dtype, for_ranks(x, at->ranks));
    return 0;
}

/* Parts [R,C] of so many bytes to [C,R]. */
static void swap_parts(const char *from, char *to, int64_t rows, int64_t columns, size_t bytes)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            memcpy(to + (size_t)(c * rows + r) * bytes, from + (size_t)(r * columns + c) * bytes, bytes);
}

static void gather_sequences_forward(const struct args *a)
{
    int64_t ranks = ((const struct over_attr *)a->attr)->ranks, sequences = a->in[1].shape.dim[0];
    size_t bytes = bytes_of(&a->in[0]);
    exchange_even(over_of(a), a->in[0].data, 0, a->work[0].data, bytes);
    swap_parts(a->work[0].data, a->out[0].data, ranks, sequences, bytes / (size_t)sequences);
}

static void gather_sequences_backward(const struct args *a)
{
    int64_t ranks = ((const struct over_attr *)a->attr)->ranks, sequences = a->in[1].shape.dim[0];
    size_t bytes = bytes_of(&a->in[0]);
    swap_parts(a->dout[0].data, a->work[1].data, sequences, ranks, bytes / (size_t)sequences);
    exchange_even(over_of(a), a->work[1].data, bytes, a->work[0].data, bytes);
    if (a->din[0].data) each(a, shape_count(a->in[0].shape), VALUES, add_incoming);
}

KERNELS(gather_sequences) = { gather_sequences_forward, gather_sequences_backward, NULL };
OVER_ATTRIBUTES(gather_sequences);
OP(gather_sequences, .inputs = "x:ANY[T,..] start:I32[B,S]", .outputs = "y:ANY[B,_,..]",
   .about = "[B,W S,..]: the sequences of which each rank has S tokens, in the order of ranks; the gradient is the sum "
            "over ranks of theirs. start: of documents, says how many sequences there are",
   ATTR(gather_sequences), .infer = gather_sequences_infer, .gradient = true, .no_grad = 1u << 1,
   .travels = true, .travels_back = true);

/* ---- exchange_counts: how many rows go to the experts of each rank, and come to this rank's ---- */

/* Sorted by expert as op dispatch leaves them, the rows for each rank's experts lie together: E/W experts a rank. */
VERB struct node *exchange_counts(struct graph *g, struct node *offsets, int64_t rows, unsigned over)
{
    struct over_attr at = attr_of(g, over);
    return graph_emit(g, &op_exchange_counts, &((struct exchange_counts_attr){ at.over, at.ranks, rows }), offsets);
}

static int exchange_counts_infer(struct node *n, struct err *e)
{
    const struct exchange_counts_attr *at = n->attr;
    int64_t experts = n->in[0]->shape.dim[0] - 1;
    if (experts % at->ranks != 0)
        return err_set(e, "%lld experts cannot be divided among %lld ranks", (long long)experts, (long long)at->ranks);
    node_value(n, DTYPE_I32, SHAPE(2 * at->ranks, experts / at->ranks));
    node_output(n, DTYPE_I32, SHAPE(experts / at->ranks + 1));
    return 0;
}

/* More rows than there is room for would be lost. */
static void check_room(const struct args *a, int64_t rows)
{
    const struct exchange_counts_attr *at = a->attr;
    if (rows > at->rows)
        comm_fail("%lld rows come to the experts of this rank, and train.ranks.room leaves room for %lld: give it "
                  "more, or 0, with which no choice of experts is too much", (long long)rows, (long long)at->rows);
}

static void exchange_counts_forward(const struct args *a)
{
    const struct exchange_counts_attr *at = a->attr;
    int64_t ranks = at->ranks, mine = a->out[0].shape.dim[1];
    const int32_t *offsets = ints(&a->in[0]);
    int32_t *to = ints(&a->out[0]), *from = to + ranks * mine, *begin = ints(&a->out[1]);
    for (int64_t e = 0; e < ranks * mine; e++) to[e] = offsets[e + 1] - offsets[e];
    size_t bytes = (size_t)mine * sizeof *to;
    exchange_even((unsigned)at->over, (char *)to, bytes, (char *)from, bytes);
    begin[0] = 0;
    for (int64_t e = 0; e < mine; e++) {
        begin[e + 1] = begin[e];
        for (int64_t r = 0; r < ranks; r++) begin[e + 1] += from[r * mine + e];
    }
    check_room(a, begin[mine]);
}

KERNELS(exchange_counts) = { exchange_counts_forward, NULL, NULL };

ROOM_ATTRIBUTES(exchange_counts);
OP(exchange_counts, .inputs = "offsets:I32[E+1]", .outputs = "counts:I32[_,_] offsets:I32[_]",
   .about = "[2 W,E/W]: rows for each expert of each rank, then rows from each rank for each expert of this one; where "
            "the rows of each of these begin",
   ATTR(exchange_counts), .infer = exchange_counts_infer, .travels = true);

/* ---- to_experts: rows to the ranks of their experts; from_experts: back. Each is the other's transpose ---- */

/* counts: as exchange_counts gives them. Sorted by this rank's experts, rows of one come in the order of ranks. */
VERB struct node *to_experts(struct graph *g, struct node *x, struct node *counts)
{
    return g->failed ? g->poison : graph_emit(g, &op_to_experts, counts->attr, x, counts);
}

VERB struct node *from_experts(struct graph *g, struct node *y, struct node *counts, int64_t rows)
{
    if (g->failed) return g->poison;
    struct exchange_counts_attr at = *(const struct exchange_counts_attr *)counts->attr;
    at.rows = rows;
    return graph_emit(g, &op_from_experts, &at, y, counts);
}

/* work: room for the rows that may come to a rank, twice: by rank as they are sent or come, and as they are added to a
   gradient. */
static int moved_infer(struct node *n, bool to_experts, struct err *e)
{
    const struct exchange_counts_attr *at = n->attr;
    struct shape in = n->in[0]->shape, out = SHAPE(at->rows, shape_last(in)), most = to_experts ? out : in;
    if (most.dim[0] < in.dim[0] || most.dim[0] < out.dim[0])
        return err_set(e, "%lld rows: experts have less room than a rank sends", (long long)at->rows);
    node_value(n, n->in[0]->dtype, out);
    for (int i = 0; i < 2; i++) node_work(n, n->in[0]->dtype, most);
    return 0;
}
static int to_experts_infer(struct node *n, struct err *e) { return moved_infer(n, true, e); }
static int from_experts_infer(struct node *n, struct err *e) { return moved_infer(n, false, e); }

/* What goes where: `to` has n rows for each expert of each rank, `from` likewise comes. */
struct counts { int64_t ranks, mine; const int32_t *to, *from; };

static struct counts counts_of(const struct args *a)
{
    const struct tensor *t = &a->in[1];
    int64_t ranks = t->shape.dim[0] / 2, mine = t->shape.dim[1];
    return (struct counts){ ranks, mine, ints(t), ints(t) + ranks * mine };
}

static int64_t sum_of(const int32_t *n, int64_t count)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < count; i++) sum += n[i];
    return sum;
}

/* Between rows by rank and expert and rows by expert and rank. */
static void transpose(struct counts c, size_t row, char *by_rank, char *by_expert, bool to_expert)
{
    char *source[c.ranks];                                  /* the next rows of each rank */
    for (int64_t r = 0; r < c.ranks; r++) {
        source[r] = by_rank;
        by_rank += (size_t)sum_of(c.from + r * c.mine, c.mine) * row;
    }
    for (int64_t e = 0; e < c.mine; e++)
        for (int64_t r = 0; r < c.ranks; r++) {
            size_t bytes = (size_t)c.from[r * c.mine + e] * row;
            memcpy(to_expert ? by_expert : source[r], to_expert ? source[r] : by_expert, bytes);
            source[r] += bytes;
            by_expert += bytes;
        }
}

/* Rows by rank: `sent` with as many as send[rank], `come` with as many as receive[rank]. */
static void exchange_rows(const struct args *a, size_t row, char *sent, const int32_t *send, char *come,
                          const int32_t *receive)
{
    const struct comm *c = comm_here();
    struct counts n = counts_of(a);
    unsigned over = (unsigned)((const struct exchange_counts_attr *)a->attr)->over;
    struct parcel parcel[2 * n.ranks];
    int k = 0, me = place_index(&c->place, over);
    for (int i = 0; i < n.ranks; i++) {
        size_t out = (size_t)sum_of(send + i * n.mine, n.mine) * row,
               in = (size_t)sum_of(receive + i * n.mine, n.mine) * row;
        int peer = place_member(&c->place, over, i);
        if (i == me) memcpy(come, sent, in);
        else {
            parcel[k++] = (struct parcel){ peer, true, come, in };
            parcel[k++] = (struct parcel){ peer, false, sent, out };
        }
        come += in;
        sent += out;
    }
    c->exchange(parcel, k);
}

/* What is beyond the rows that there are is nobody's, and 0. */
static void clear_rest(const struct tensor *t, int64_t rows, int64_t all, size_t row)
{
    memset((char *)t->data + (size_t)rows * row, 0, (size_t)(all - rows) * row);
}

/* x by expert to y by this rank's, which has so many rows: through `staging`. */
static void send_rows(const struct args *a, const struct tensor *x, const struct tensor *y, int64_t rows,
                      const struct tensor *staging)
{
    struct counts c = counts_of(a);
    size_t row = row_bytes(x);
    exchange_rows(a, row, x->data, c.to, staging->data, c.from);
    transpose(c, row, staging->data, y->data, true);
    clear_rest(y, sum_of(c.from, c.ranks * c.mine), rows, row);
}

static void return_rows(const struct args *a, const struct tensor *y, const struct tensor *x, int64_t rows,
                        const struct tensor *staging)
{
    struct counts c = counts_of(a);
    size_t row = row_bytes(y);
    transpose(c, row, staging->data, y->data, false);
    exchange_rows(a, row, staging->data, c.from, x->data, c.to);
    clear_rest(x, sum_of(c.to, c.ranks * c.mine), rows, row);
}

static void add_moved(const struct args *a, int64_t from, int64_t to) { add_values(a, &a->work[1], from, to); }

static void to_experts_forward(const struct args *a)
{
    send_rows(a, &a->in[0], &a->out[0], a->out[0].shape.dim[0], &a->work[0]);
}

static void to_experts_backward(const struct args *a)
{
    return_rows(a, &a->dout[0], &a->work[1], a->in[0].shape.dim[0], &a->work[0]);
    if (a->din[0].data) each(a, shape_count(a->in[0].shape), VALUES, add_moved);
}

static void from_experts_forward(const struct args *a)
{
    return_rows(a, &a->in[0], &a->out[0], a->out[0].shape.dim[0], &a->work[0]);
}

static void from_experts_backward(const struct args *a)
{
    send_rows(a, &a->dout[0], &a->work[1], a->in[0].shape.dim[0], &a->work[0]);
    if (a->din[0].data) each(a, shape_count(a->in[0].shape), VALUES, add_moved);
}

KERNELS(to_experts) = { to_experts_forward, to_experts_backward, NULL };
ROOM_ATTRIBUTES(to_experts);
OP(to_experts, .inputs = "x[R,D] counts:I32[_,_]", .outputs = "y[_,D]",
   .about = "rows that are sorted by expert to the ranks of their experts, sorted by these; 0 beyond those that there "
          "are",
   ATTR(to_experts), .infer = to_experts_infer, .gradient = true, .reads_in = 1u << 1,
   .travels = true, .travels_back = true);

KERNELS(from_experts) = { from_experts_forward, from_experts_backward, NULL };
ROOM_ATTRIBUTES(from_experts);
OP(from_experts, .inputs = "y[R,D] counts:I32[_,_]", .outputs = "x[_,D]",
   .about = "what experts make of rows that came by to_experts, back to those who sent them",
   ATTR(from_experts), .infer = from_experts_infer, .gradient = true, .reads_in = 1u << 1,
   .travels = true, .travels_back = true);
