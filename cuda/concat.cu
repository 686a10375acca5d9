/* Rows side by side: [.., Di] for i in [0,n) to [.., sum of Di]. Memory bounds it: each value is read and written
   once, one launch an input. */
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

static void forward(const struct args *a)
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
static void backward(const struct args *a)
{
    int64_t width = shape_last(a->out[0].shape), at = 0;
    for (int i = 0; i < a->n_in; i++) {
        int64_t d = shape_last(a->in[i].shape);
        if (a->din[i].data) move(a, d, view_of(a->dout[0]), { at, width }, sum_of(a, i), { 0, d });
        at += d;
    }
}

TWIN(concat, forward, backward);
