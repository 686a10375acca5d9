/* y = x / sqrt(sum of x^2 + eps) over the last dimension. Memory bounds it: forward reads x and writes y, backward
   reads x and dy and adds to dx, each once; rows stay in registers in between. */
#include "norm.cuh"

template <bool HELD> ROWS_KERNEL l2norm_forward(struct rows r, struct view x, struct view y, float eps)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(x, w, r);
        float by = inverse_rms(row, 1, eps);
        for (int p = 0; p < row.pieces(); p++) {
            struct eight u = row.piece(p);
            for (int l = 0; l < LANES; l++) u.v[l] *= by;
            row_store(y, row.at, row.column(p), w.d, u);
        }
    }
}

/* dx = r dy - x r^3 sum(dy x) */
template <bool HELD> ROWS_KERNEL l2norm_backward(struct rows r, struct view x, struct view dy, struct sum dx, float eps)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(x, w, r), drow(dy, w, r);
        float by = inverse_rms(row, 1, eps), dot = 0;
        for (int p = 0; p < row.pieces(); p++) {
            struct eight u = row.piece(p), du = drow.piece(p);
            for (int l = 0; l < LANES; l++) dot += du.v[l] * u.v[l];
        }
        float pull = row_sum(dot, r.lanes) * by * by * by;
        for (int p = 0; p < row.pieces(); p++) {
            struct eight u = row.piece(p), g = drow.piece(p);
            for (int l = 0; l < LANES; l++) g.v[l] = by * g.v[l] - u.v[l] * pull;
            row_add(dx, row.at, row.column(p), w.d, g);
        }
    }
}

static void forward(const struct args *a)
{
    LAUNCH_ROWS(a, l2norm_forward, rows_of(a->in[0].shape), view_of(a->in[0]), view_of(a->out[0]),
                (float)((const struct l2norm_attr *)a->attr)->eps);
}

static void backward(const struct args *a)
{
    LAUNCH_ROWS(a, l2norm_backward, rows_of(a->in[0].shape), view_of(a->in[0]), view_of(a->dout[0]), sum_of(a, 0),
                (float)((const struct l2norm_attr *)a->attr)->eps);
}

TWIN(l2norm, forward, backward);
