/* y = x - mean of x over the last dimension; dx = dy - mean of dy. Memory bounds it: a row is read once, stays in
   registers and is written once. */
#include "row.cuh"

template <bool HELD> static __device__ inline float mean_of(const struct row<HELD> &row, int lanes, float share)
{
    float sum = 0;
    for (int p = 0; p < row.pieces(); p++) {
        struct eight u = row.piece(p);
        for (int l = 0; l < LANES; l++) sum += u.v[l];
    }
    return row_sum(sum, lanes) * share;
}

template <bool HELD> ROWS_KERNEL center_rows(struct rows r, struct view x, struct sum y, float share)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(x, w, r);
        float mean = mean_of(row, r.lanes, share);
        for (int p = 0; p < row.pieces(); p++) {
            struct eight u = row.piece(p);
            for (int l = 0; l < LANES; l++) u.v[l] -= mean;
            row_add(y, row.at, row.column(p), w.d, u);
        }
    }
}

static void center_of(const struct args *a, struct view x, struct sum y)
{
    struct shape s = a->in[0].shape;
    LAUNCH_ROWS(a, center_rows, rows_of(s), x, y, 1 / (float)shape_last(s));
}

static void forward(const struct args *a) { center_of(a, view_of(a->in[0]), { view_of(a->out[0]), 0 }); }
static void backward(const struct args *a) { center_of(a, view_of(a->dout[0]), sum_of(a, 0)); }

TWIN(center, forward, backward);
