/* y = x - mean of x over the last dimension; dx = dy - mean of dy. Memory bounds it: a row is read once, stays in
   registers and is written once. */
#include "row.cuh"

template <bool HELD> static __device__ inline float mean_of(const struct row<HELD> &row, const struct rows &r)
{
    float sum = 0;
    for (int p = 0; p < row.pieces(); p++) {
        struct eight u = row.piece(p);
        for (int l = 0; l < LANES; l++) sum += u.v[l];
    }
    return divide(row_sum(sum, r.lanes), (float)r.d);
}

template <bool HELD> ROWS_KERNEL center_rows(struct rows r, struct view x, struct sum y)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(x, w, r);
        float mean = mean_of(row, r);
        for (int p = 0; p < row.pieces(); p++) {
            struct eight u = row.piece(p);
            for (int l = 0; l < LANES; l++) u.v[l] -= mean;
            row_add(y, row.at, row.column(p), w.d, u);
        }
    }
}

static void forward(const struct args *a)
{
    struct sum y = { view_of(a->out[0]), 0 };
    LAUNCH_ROWS(a, center_rows, rows_of(a->in[0].shape), view_of(a->in[0]), y);
}

static void backward(const struct args *a)
{
    LAUNCH_ROWS(a, center_rows, rows_of(a->in[0].shape), view_of(a->dout[0]), sum_of(a, 0));
}

TWIN(center, forward, backward);
