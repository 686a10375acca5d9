/* Ops in which the rows, or the values of a head, share their other operand. Bound by memory: x, dy and dx are moved
   once, rows by threads that share them; the gradient of a shared row costs one more reading of dy. */
#include "columns.cuh"
#include "row.cuh"

/* ---- add_row: x[t,:] + row;  drow = sum over t of dy ---- */

template <bool HELD> ROWS_KERNEL add_row_forward(struct rows r, struct view x, struct view by, struct view y)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(x, w, r);
        for (int p = 0; p < row.pieces(); p++) {
            struct eight u = row.piece(p), v = row_load(by, 0, row.column(p), w.d, 0);
            for (int l = 0; l < LANES; l++) u.v[l] += v.v[l];
            row_store(y, row.at, row.column(p), w.d, u);
        }
    }
}

template <bool HELD> ROWS_KERNEL add_row_backward(struct rows r, struct view dy, struct sum dx)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(dy, w, r);
        for (int p = 0; p < row.pieces(); p++) row_add(dx, row.at, row.column(p), w.d, row.piece(p));
    }
}

static void add_row_sum(const struct args *a)
{
    LAUNCH_ROWS(a, add_row_forward, rows_of(a->in[0].shape), view_of(a->in[0]), view_of(a->in[1]), view_of(a->out[0]));
}

static void add_row_gradient(const struct args *a)
{
    struct rows r = rows_of(a->in[0].shape);
    if (a->din[0].data) LAUNCH_ROWS(a, add_row_backward, r, view_of(a->dout[0]), sum_of(a, 0));
    if (a->din[1].data) columns_add(a, view_of(a->dout[0]), r.n, r.d, 1, sum_of(a, 1));
}

static size_t add_row_scratch(const struct args *a)
{
    return columns_bytes(shape_rows(a->in[0].shape), shape_last(a->in[0].shape));
}

TWIN(add_row, add_row_sum, add_row_gradient, NULL, add_row_scratch);

/* ---- grouped_add_row: x[r,:] + row of the expert of r;  drow = sum of dy over the expert's rows ---- */

/* The expert whose rows hold row r; `experts` where they are nobody's. */
static __device__ inline int expert_of(const int32_t *offsets, int experts, int64_t r)
{
    int low = 0, high = experts;
    while (low < high) {
        int middle = (low + high) / 2;
        if (r < offsets[middle + 1]) high = middle;
        else low = middle + 1;
    }
    return low;
}

template <bool HELD>
ROWS_KERNEL grouped_add_forward(struct rows r, struct view x, struct view by, const int32_t *offsets, int experts,
                                struct view y)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(x, w, r);
        int expert = expert_of(offsets, experts, w.row);
        for (int p = 0; p < row.pieces(); p++) {
            struct eight u = row.piece(p);
            if (expert < experts) {
                struct eight v = row_load(by, (int64_t)expert * r.d, row.column(p), w.d, 0);
                for (int l = 0; l < LANES; l++) u.v[l] += v.v[l];
            }
            row_store(y, row.at, row.column(p), w.d, u);
        }
    }
}

static void grouped_add_rows(const struct args *a)
{
    LAUNCH_ROWS(a, grouped_add_forward, rows_of(a->in[0].shape), view_of(a->in[0]), view_of(a->in[1]),
                ints(&a->in[2]), (int)a->in[1].shape.dim[0], view_of(a->out[0]));
}

static void grouped_add_gradient(const struct args *a)
{
    struct rows r = rows_of(a->in[0].shape);
    if (a->din[0].data) LAUNCH_ROWS(a, add_row_backward, r, view_of(a->dout[0]), sum_of(a, 0));
    if (a->din[1].data)
        columns_add_groups(a, view_of(a->dout[0]), ints(&a->in[2]), a->in[1].shape.dim[0], r.d, sum_of(a, 1));
}

TWIN(grouped_add_row, grouped_add_rows, grouped_add_gradient);

/* ---- mul_heads: x[t,h,:] by[t,h];  dx = by dy, dby = sum over the head of x dy ---- */

template <bool HELD> ROWS_KERNEL mul_heads_forward(struct rows r, struct view x, struct view by, struct view y)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        if (!w.d) continue;
        struct row<HELD> row(x, w, r);
        float factor = load(by, w.row);
        for (int p = 0; p < row.pieces(); p++) {
            struct eight u = row.piece(p);
            for (int l = 0; l < LANES; l++) u.v[l] *= factor;
            row_store(y, row.at, row.column(p), w.d, u);
        }
    }
}

template <bool HELD>
ROWS_KERNEL mul_heads_backward(struct rows r, struct view x, struct view by, struct view dy, struct sum dx,
                               struct sum dby)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(x, w, r), drow(dy, w, r);
        float factor = w.d ? load(by, w.row) : 0, dot = 0;
        for (int p = 0; p < row.pieces(); p++) {
            struct eight u = row.piece(p), g = drow.piece(p);
            for (int l = 0; l < LANES; l++) {
                dot += u.v[l] * g.v[l];
                g.v[l] *= factor;
            }
            row_add(dx, row.at, row.column(p), w.d, g);
        }
        dot = row_sum(dot, r.lanes);
        if (w.lane == 0 && w.d) add(dby, w.row, dot);
    }
}

static void mul_heads_product(const struct args *a)
{
    LAUNCH_ROWS(a, mul_heads_forward, rows_of(a->in[0].shape), view_of(a->in[0]), view_of(a->in[1]),
                view_of(a->out[0]));
}

static void mul_heads_gradient(const struct args *a)
{
    LAUNCH_ROWS(a, mul_heads_backward, rows_of(a->in[0].shape), view_of(a->in[0]), view_of(a->in[1]),
                view_of(a->dout[0]), sum_of(a, 0), sum_of(a, 1));
}

TWIN(mul_heads, mul_heads_product, mul_heads_gradient);
