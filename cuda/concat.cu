/* Rows side by side, some columns of rows, and rows side by side with themselves. Memory bounds them: each value is
   read and written once, by concat in one launch an input. */
#include "row.cuh"

/* Rows of d values, each `stride` after the one before. */
struct strip { int64_t first, stride; };

ROWS_KERNEL concat_move(struct rows r, struct view x, struct strip from, struct sum y, struct strip to)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        int64_t at = from.first + w.row * from.stride, goal = to.first + w.row * to.stride;
        for (int c = w.lane * LANES; c < w.d; c += r.lanes * LANES)
            row_add(y, goal, c, w.d, row_load(x, at, c, w.d, 0));
    }
}

static void move(const struct args *a, int64_t d, struct view x, struct strip from, struct sum y, struct strip to)
{
    struct rows r = rows_shape(shape_rows(a->out[0].shape), d);
    LAUNCH(a, concat_move, grid_for(a, r.n, r.at_once), r.lanes * r.at_once, 0, r, x, from, y, to);
}

/* ---- concat: [.., Di] for i in [0,n) to [.., sum of Di] ---- */

static void concat_forward(const struct args *a)
{
    int64_t width = shape_last(a->out[0].shape), at = 0;
    struct sum y = { view_of(a->out[0]), 0 };
    for (int i = 0; i < a->n_in; i++) {
        int64_t d = shape_last(a->in[i].shape);
        move(a, d, view_of(a->in[i]), { 0, d }, y, { at, width });
        at += d;
    }
}

/* dxi is its share of dy. */
static void concat_backward(const struct args *a)
{
    int64_t width = shape_last(a->out[0].shape), at = 0;
    for (int i = 0; i < a->n_in; i++) {
        int64_t d = shape_last(a->in[i].shape);
        if (a->din[i].data) move(a, d, view_of(a->dout[0]), { at, width }, sum_of(a, i), { 0, d });
        at += d;
    }
}

TWIN(concat, concat_forward, concat_backward);

/* ---- columns: x[t, from + i] for i in [0,n);  dx is dy there, and 0 elsewhere ---- */

ROWS_KERNEL columns_clear(struct rows r, struct view dy, struct view dx, int from, int n)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r))
        for (int c = w.lane * LANES; c < w.d; c += r.lanes * LANES) {
            struct eight g;
            for (int l = 0; l < LANES; l++) {
                int i = c + l - from;
                g.v[l] = i >= 0 && i < n ? load(dy, w.row * n + i) : 0;
            }
            row_store(dx, w.row * r.d, c, w.d, g);
        }
}

static void columns_forward(const struct args *a)
{
    const struct columns_attr *r = (const struct columns_attr *)a->attr;
    struct sum y = { view_of(a->out[0]), 0 };
    move(a, r->n, view_of(a->in[0]), { r->from, shape_last(a->in[0].shape) }, y, { 0, r->n });
}

/* Whoever is the first to write dx clears the columns that are not its own. */
static void columns_backward(const struct args *a)
{
    const struct columns_attr *r = (const struct columns_attr *)a->attr;
    struct view dy = view_of(a->dout[0]);
    struct sum dx = sum_of(a, 0);
    if (!dx.to.data) return;
    struct rows all = rows_of(a->in[0].shape);
    if (dx.beta == 0)
        LAUNCH(a, columns_clear, grid_for(a, all.n, all.at_once), all.lanes * all.at_once, 0, all, dy, dx.to,
               (int)r->from, (int)r->n);
    else move(a, r->n, dy, { 0, r->n }, dx, { r->from, shape_last(a->in[0].shape) });
}

TWIN(columns, columns_forward, columns_backward);

/* ---- repeat: y[t,k,..] = x[t,..] for k in [0,n);  dx = sum over k of dy, in their order ---- */

ROWS_KERNEL repeat_rows(struct rows r, struct view x, struct view y, int n)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r))
        for (int c = w.lane * LANES; c < w.d; c += r.lanes * LANES) {
            struct eight u = row_load(x, w.row * r.d, c, w.d, 0);
            for (int k = 0; k < n; k++) row_store(y, (w.row * n + k) * r.d, c, w.d, u);
        }
}

ROWS_KERNEL repeat_sum(struct rows r, struct view dy, struct sum dx, int n)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r))
        for (int c = w.lane * LANES; c < w.d; c += r.lanes * LANES) {
            struct eight sum = {};
            for (int k = 0; k < n; k++) {
                struct eight g = row_load(dy, (w.row * n + k) * r.d, c, w.d, 0);
                for (int l = 0; l < LANES; l++) sum.v[l] += g.v[l];
            }
            row_add(dx, w.row * r.d, c, w.d, sum);
        }
}

/* All that x has of a token. */
static struct rows tokens(const struct args *a)
{
    struct shape y = a->out[0].shape;
    return rows_shape(y.dim[0], shape_count(y) / (y.dim[0] * y.dim[1]));
}

static void repeat_forward(const struct args *a)
{
    struct rows r = tokens(a);
    LAUNCH(a, repeat_rows, grid_for(a, r.n, r.at_once), r.lanes * r.at_once, 0, r, view_of(a->in[0]),
           view_of(a->out[0]), (int)a->out[0].shape.dim[1]);
}

static void repeat_backward(const struct args *a)
{
    struct rows r = tokens(a);
    LAUNCH(a, repeat_sum, grid_for(a, r.n, r.at_once), r.lanes * r.at_once, 0, r, view_of(a->dout[0]), sum_of(a, 0),
           (int)a->out[0].shape.dim[1]);
}

TWIN(repeat, repeat_forward, repeat_backward);
