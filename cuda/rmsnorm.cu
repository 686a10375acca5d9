/* y = gain x / sqrt(mean(x^2) + eps) over the last dimension; no gain: 1. zero_centred: (1 + gain) in place of gain.
   Memory bounds it: forward reads x and writes y, backward reads x and dy and adds to dx, each once, which is the
   least; rows stay in registers in between. The gradient of the gain costs LINES/T of that again; see lines.cuh. */
#include "lines.cuh"
#include "norm.cuh"

/* x = a + b, rounded as it is stored, then its norm: x is not read again. */
ROWS_KERNEL add_rmsnorm_forward(struct rows r, struct view a, struct view b, struct view x, struct view gain,
                                struct view y, float eps, float centre)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<true> row(a, w, r), other(b, w, r);
        for (int l = 0; l < LANES; l++) {
            float sum = row.held.v[l] + other.held.v[l];
            row.held.v[l] = as_stored(x, sum);
        }
        row_store(x, row.at, row.column(0), w.d, row.held);
        float by = inverse_rms(row, r.d, eps);
        struct eight f = factor(gain, centre, row.column(0), w.d);
        for (int l = 0; l < LANES; l++) f.v[l] *= row.held.v[l] * by;
        row_store(y, row.at, row.column(0), w.d, f);
    }
}

template <bool HELD>
ROWS_KERNEL rmsnorm_forward(struct rows r, struct view x, struct view gain, struct view y, float eps, float centre)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(x, w, r);
        float by = inverse_rms(row, r.d, eps);
        for (int p = 0; p < row.pieces(); p++) {
            struct eight u = row.piece(p), f = factor(gain, centre, row.column(p), w.d);
            for (int l = 0; l < LANES; l++) u.v[l] = f.v[l] * (u.v[l] * by);
            row_store(y, row.at, row.column(p), w.d, u);
        }
    }
}

/* dx = r gain dy - x r^3/d sum(gain dy x);  dgain = sum over rows of dy x r. lines NULL: dgain is not wanted. */
template <bool HELD>
ROWS_KERNEL rmsnorm_backward(struct rows r, struct view x, struct view gain, struct view dy, struct sum dx,
                             float *lines, float eps, float centre)
{
    float *line = lines + (int64_t)blockIdx.x * r.d;
    struct eight dgain = {};
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(x, w, r), drow(dy, w, r);
        float by = inverse_rms(row, r.d, eps), dot = 0;
        for (int p = 0; p < row.pieces(); p++) {
            struct eight u = row.piece(p), du = drow.piece(p), f = factor(gain, centre, row.column(p), w.d);
            for (int l = 0; l < LANES; l++) dot += f.v[l] * du.v[l] * u.v[l];
        }
        float pull = divide(row_sum(dot, r.lanes) * by * by * by, (float)r.d);
        for (int p = 0; p < row.pieces(); p++) {
            struct eight u = row.piece(p), du = drow.piece(p), f = factor(gain, centre, row.column(p), w.d), g, share;
            for (int l = 0; l < LANES; l++) {
                g.v[l] = by * (f.v[l] * du.v[l]) - u.v[l] * pull;
                share.v[l] = w.d ? du.v[l] * (u.v[l] * by) : 0;
            }
            row_add(dx, row.at, row.column(p), w.d, g);
            if (!HELD && lines) add_to_line(line, w.first == blockIdx.x, row.column(p), w.d, share);
            for (int l = 0; l < LANES && HELD; l++) dgain.v[l] += share.v[l];
        }
    }
    if (HELD && lines) write_line(line, r, dgain);
}

static size_t scratch(const struct args *a) { return lines_bytes(rows_of(a->in[0].shape)); }

static void forward(const struct args *a)
{
    const struct rmsnorm_attr *at = (const struct rmsnorm_attr *)a->attr;
    LAUNCH_ROWS(a, rmsnorm_forward, rows_of(a->in[0].shape), view_of(a->in[0]), view_of(a->in[1]), view_of(a->out[0]),
                (float)at->eps, centre_of(a));
}

static void add_forward(const struct args *a)
{
    const struct rmsnorm_attr *at = (const struct rmsnorm_attr *)a->next->attr;
    struct rows r = rows_of(a->next->in[0].shape);
    LAUNCH(a, add_rmsnorm_forward, grid_for(a, r.n, r.at_once), r.lanes * r.at_once, 0, r, view_of(a->in[0]),
           view_of(a->in[1]), view_of(a->out[0]), view_of(a->next->in[1]), view_of(a->next->out[0]), (float)at->eps,
           centre_of(a->next));
}

extern "C" kernel *fuse_add_rmsnorm(const struct args *norm)
{
    return rows_of(norm->in[0].shape).d <= ROW_HELD ? add_forward : NULL;
}

static void backward(const struct args *a)
{
    const struct rmsnorm_attr *at = (const struct rmsnorm_attr *)a->attr;
    struct rows r = rows_of(a->in[0].shape);
    int64_t lines = lines_of(r);
    float *line = a->din[1].data ? (float *)a->scratch : NULL;
    LAUNCH_ROWS_IN(a, (int)lines, rmsnorm_backward, r, view_of(a->in[0]), view_of(a->in[1]), view_of(a->dout[0]),
                   sum_of(a, 0), line, (float)at->eps, centre_of(a));
    if (line) columns_add(a, { line, false }, lines, r.d, 1, sum_of(a, 1));
}

TWIN(rmsnorm, forward, backward, NULL, scratch);
