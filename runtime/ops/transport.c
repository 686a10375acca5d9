/* Entropic transport between the rows and columns of each group, by iteration in the log domain: the plan e^y with
   y = value / temperature + a_t + b_e that is closest to e^(value / temperature) and whose columns sum to `column`,
   rows to `row` or at most to that, and values are at most `most`. Sinkhorn 1967 where both are equalities; the rest is
   Dykstra's, with projections of Kullback and Leibler (Benamou 2015). Of an equality's correction nothing is left, that
   of a row's cap is -a_t, and that of the box is what y has above log most: so that y alone is kept, uncut.

   A cycle: cut, rows, columns. At first the largest y of a column is 0, so that no column that has values at all ever
   sums to 0. */
#define VERBS "graph/ops/routing.h"
#include "op.h"
#include "cpu/vec_math.h"

enum { ROWS = 64 };                                         /* a block */
enum { ROW_SHIFT, COLUMN_SHIFT, BLOCK_SUMS, STATE };        /* of work */
enum { CYCLES, RESTS };                                     /* of a group's state: how many were run; whether no more */

VERB struct node *transport(struct graph *g, struct node *value, struct transport_attr a)
{
    return graph_emit(g, &op_transport, &a, value);
}

static int infer(struct node *n, struct err *e)
{
    const struct transport_attr *at = n->attr;
    int64_t rows = n->in[0]->shape.dim[0], columns = n->in[0]->shape.dim[1];
    if (rows % at->groups != 0)
        return err_set(e, "%lld rows cannot be divided into %lld groups", (long long)rows, (long long)at->groups);
    node_value(n, DTYPE_REAL, n->in[0]->shape);
    node_output(n, DTYPE_REAL, SHAPE(1));                   /* cycles, mean over groups */
    node_work(n, DTYPE_REAL, SHAPE(rows));
    node_work(n, DTYPE_REAL, SHAPE(at->groups, columns));
    node_work(n, DTYPE_REAL, SHAPE(at->groups, blocks_of(rows / at->groups, ROWS), columns));
    node_work(n, DTYPE_REAL, SHAPE(at->groups, 2));
    return 0;
}

/* Rows [from, to) of a group, which is one of its blocks. */
struct part { const struct transport_attr *at; int64_t group, from, to, columns; real *sums; };

static int64_t group_rows(const struct args *a)
{
    return a->in[0].shape.dim[0] / ((const struct transport_attr *)a->attr)->groups;
}

static struct part part_of(const struct args *a, int64_t number)
{
    int64_t rows = group_rows(a), columns = shape_last(a->in[0].shape), blocks = blocks_of(rows, ROWS),
            group = number / blocks, first = number % blocks * ROWS, last = first + ROWS < rows ? first + ROWS : rows;
    return (struct part){ a->attr, group, group * rows + first, group * rows + last, columns,
                          reals(&a->work[BLOCK_SUMS]) + number * columns };
}

static real *column_shift(const struct args *a, int64_t group)
{
    return reals(&a->work[COLUMN_SHIFT]) + group * shape_last(a->in[0].shape);
}
static real *state_of(const struct args *a, int64_t group) { return reals(&a->work[STATE]) + 2 * group; }

/* value / temperature; what is not finite is masked. */
static void read_row(const struct args *a, const struct part *p, int64_t t, real *x)
{
    const real *value = reals(&a->in[0]) + t * p->columns;
    real by = (real)(1 / p->at->temperature);
    for (int64_t e = 0; e < p->columns; e++)
        x[e] = value[e] > -(real)INFINITY && value[e] < (real)INFINITY ? value[e] * by : -(real)INFINITY;
}

static void shift_row(const struct args *a, const struct part *p, int64_t t, real *x)
{
    const real *column = column_shift(a, p->group), row = reals(&a->work[ROW_SHIFT])[t];
    for (int64_t e = 0; e < p->columns; e++) x[e] += row + column[e];
}

/* ---- before the first cycle ---- */

static void column_tops(const struct args *a, int64_t from, int64_t to)
{
    for (; from < to; from++) {
        struct part p = part_of(a, from);
        real x[p.columns];
        for (int64_t e = 0; e < p.columns; e++) p.sums[e] = -(real)INFINITY;
        for (int64_t t = p.from; t < p.to; t++) {
            reals(&a->work[ROW_SHIFT])[t] = 0;
            read_row(a, &p, t, x);
            for (int64_t e = 0; e < p.columns; e++) p.sums[e] = x[e] > p.sums[e] ? x[e] : p.sums[e];
        }
    }
}

static void begin_group(const struct args *a, int64_t group)
{
    int64_t columns = shape_last(a->in[0].shape), blocks = blocks_of(group_rows(a), ROWS);
    const real *tops = reals(&a->work[BLOCK_SUMS]) + group * blocks * columns;
    real *shift = column_shift(a, group);
    for (int64_t e = 0; e < columns; e++) {
        real top = -(real)INFINITY;
        for (int64_t k = 0; k < blocks; k++) top = tops[k * columns + e] > top ? tops[k * columns + e] : top;
        shift[e] = top > -(real)INFINITY ? -top : 0;
    }
    state_of(a, group)[CYCLES] = state_of(a, group)[RESTS] = 0;
}

/* ---- a cycle ---- */

/* Moves a row to its sum and adds what it is then to the sums of columns. */
static void move_row(const struct args *a, const struct part *p, int64_t t, real *x)
{
    const struct transport_attr *at = p->at;
    real *shift = &reals(&a->work[ROW_SHIFT])[t], before = *shift,
         cut = at->most > 0 ? (real)log(at->most) : (real)INFINITY;
    read_row(a, p, t, x);
    shift_row(a, p, t, x);
    for (int64_t e = 0; e < p->columns; e++) x[e] = x[e] < cut ? x[e] : cut;
    real top = row_top(x, p->columns);
    if (top == -(real)INFINITY) return;                     /* a row that is masked as a whole */
    real sum = (real)row_exp(x, p->columns, 1, top, 1), over = top + (real)log(sum) - (real)log(at->row);
    if (at->capped) *shift = over > before ? before - over : 0;         /* -a_t was given back: 0 or below it stays */
    else *shift = before - over;
    real by = (real)exp(top + *shift - before);
    for (int64_t e = 0; e < p->columns; e++) p->sums[e] += x[e] * by;
}

static void move_rows(const struct args *a, int64_t from, int64_t to)
{
    for (; from < to; from++) {
        struct part p = part_of(a, from);
        real x[p.columns];
        if (state_of(a, p.group)[RESTS] != 0) continue;
        memset(p.sums, 0, (size_t)p.columns * sizeof *p.sums);
        for (int64_t t = p.from; t < p.to; t++) move_row(a, &p, t, x);
    }
}

/* Moves columns to their sum. A group rests when no column was off by more than the tolerance: whether it does. */
static bool move_columns(const struct args *a, int64_t group)
{
    const struct transport_attr *at = a->attr;
    int64_t columns = shape_last(a->in[0].shape), blocks = blocks_of(group_rows(a), ROWS);
    const real *sums = reals(&a->work[BLOCK_SUMS]) + group * blocks * columns;
    real *shift = column_shift(a, group), *state = state_of(a, group), off = 0;
    if (state[RESTS] != 0) return true;
    for (int64_t e = 0; e < columns; e++) {
        double sum = 0;
        for (int64_t k = 0; k < blocks; k++) sum += (double)sums[k * columns + e];
        if (!(sum > 0)) continue;
        real by = (real)log(at->column / sum);
        shift[e] += by;
        off = (real)fabs(by) > off ? (real)fabs(by) : off;
    }
    state[CYCLES]++;
    state[RESTS] = off < (real)at->tolerance;
    return state[RESTS] != 0;
}

static void write_rows(const struct args *a, int64_t from, int64_t to)
{
    for (; from < to; from++) {
        struct part p = part_of(a, from);
        for (int64_t t = p.from; t < p.to; t++) {
            real *y = reals(&a->out[0]) + t * p.columns;
            read_row(a, &p, t, y);
            shift_row(a, &p, t, y);
        }
    }
}

static void forward(const struct args *a)
{
    const struct transport_attr *at = a->attr;
    int64_t parts = at->groups * blocks_of(group_rows(a), ROWS);
    double cycles = 0;
    each(a, parts, 1, column_tops);
    for (int64_t group = 0; group < at->groups; group++) begin_group(a, group);
    for (int64_t i = 0, resting = 0; i < at->iterations && resting < at->groups; i++) {
        each(a, parts, 1, move_rows);
        resting = 0;
        for (int64_t group = 0; group < at->groups; group++) resting += move_columns(a, group);
    }
    each(a, parts, 1, write_rows);
    for (int64_t group = 0; group < at->groups; group++) cycles += (double)state_of(a, group)[CYCLES];
    reals(&a->out[1])[0] = (real)(cycles / (double)at->groups);
}

KERNELS(transport) = { forward, NULL, NULL };

ATTRIBUTES(transport, struct transport_attr,
    INT(struct transport_attr, groups, NEEDED, 1, INT32_MAX, "", "of rows, each with a plan of its own"),
    INT(struct transport_attr, iterations, NEEDED, 1, 1 << 20, "", "cycles over the constraints at most"),
    BOOL(struct transport_attr, capped, NEEDED, "rows sum to `row` at most"),
    REAL(struct transport_attr, row, NEEDED, ABOVE_0, HUGE_VAL, "", "what a row sums to"),
    REAL(struct transport_attr, column, NEEDED, ABOVE_0, HUGE_VAL, "", "what a column sums to"),
    REAL(struct transport_attr, most, NEEDED, 0, HUGE_VAL, "", "the largest value of the plan; 0: any"),
    REAL(struct transport_attr, temperature, NEEDED, ABOVE_0, HUGE_VAL, "", "of the values"),
    REAL(struct transport_attr, tolerance, NEEDED, 0, HUGE_VAL, "",
         "cycles end when no column's sum was off by this share"));
OP(transport, .inputs = "value:REAL[T,E]",
   .outputs = "y:REAL[T,E] cycles:REAL[1]",
   .about = "the log of a plan of transport between the rows and columns of each group of T / groups rows, value / "
          "temperature and a number for each row and column, such that columns of e^y sum to `column` and rows to "
          "`row`, where y is cut to log most; columns and rows within the tolerance, if there were cycles enough. What "
          "is not finite is masked; no gradient",
   ATTR(transport), .infer = infer);
