/* Ops on a row at a time: softmax, logsumexp, normalize, row_entropy, row_rms, cumsum, center. Memory bounds them: each
   reads its rows and writes its results once, which is the least; rows stay in registers in between. */
#include "warp.cuh"

template <bool HELD> static __device__ inline float top_of(const struct row<HELD> &x)
{
    float top = -INFINITY;
    for (int p = 0; p < x.pieces(); p++) {
        struct eight u = x.piece(p);
        for (int l = 0; l < LANES; l++) top = fmaxf(top, u.v[l]);
    }
    return row_top(top, x.lanes);
}

/* e^(x - top), 0 beyond the row's end, whose values are -INFINITY. */
static __device__ inline struct eight exp_of(struct eight x, float top)
{
    for (int l = 0; l < LANES; l++) x.v[l] = __expf(x.v[l] - top);
    return x;
}

template <bool HELD> static __device__ inline float sum_exp(const struct row<HELD> &x, float top)
{
    float sum = 0;
    for (int p = 0; p < x.pieces(); p++) {
        struct eight e = exp_of(x.piece(p), top);
        for (int l = 0; l < LANES; l++) sum += e.v[l];
    }
    return row_sum(sum, x.lanes);
}

template <bool HELD> static __device__ inline float sum_of_row(const struct row<HELD> &x)
{
    float sum = 0;
    for (int p = 0; p < x.pieces(); p++) {
        struct eight u = x.piece(p);
        for (int l = 0; l < LANES; l++) sum += u.v[l];
    }
    return row_sum(sum, x.lanes);
}

/* ---- softmax;  dx = y (dy - sum(y dy)) ---- */

template <bool HELD> ROWS_KERNEL softmax_forward(struct rows r, struct view x, struct view y)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(x, w, r, -INFINITY);
        float top = top_of(row), share = divide(1, sum_exp(row, top));
        for (int p = 0; p < row.pieces(); p++) {
            struct eight e = exp_of(row.piece(p), top);
            for (int l = 0; l < LANES; l++) e.v[l] *= share;
            row_store(y, row.at, row.column(p), w.d, e);
        }
    }
}

template <bool HELD> ROWS_KERNEL softmax_backward(struct rows r, struct view y, struct view dy, struct sum dx)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(y, w, r), drow(dy, w, r);
        float mean = 0;
        for (int p = 0; p < row.pieces(); p++) {
            struct eight u = row.piece(p), g = drow.piece(p);
            for (int l = 0; l < LANES; l++) mean += u.v[l] * g.v[l];
        }
        mean = row_sum(mean, r.lanes);
        for (int p = 0; p < row.pieces(); p++) {
            struct eight u = row.piece(p), g = drow.piece(p);
            for (int l = 0; l < LANES; l++) g.v[l] = u.v[l] * (g.v[l] - mean);
            row_add(dx, row.at, row.column(p), w.d, g);
        }
    }
}

static void softmax_rows(const struct args *a)
{
    LAUNCH_ROWS(a, softmax_forward, rows_of(a->in[0].shape), view_of(a->in[0]), view_of(a->out[0]));
}

static void softmax_gradient(const struct args *a)
{
    if (a->din[0].data)
        LAUNCH_ROWS(a, softmax_backward, rows_of(a->in[0].shape), view_of(a->out[0]), view_of(a->dout[0]),
                    sum_of(a, 0));
}
TWIN(softmax, softmax_rows, softmax_gradient);

/* ---- logsumexp: one value a row;  dx = dy e^(x - y) ---- */

template <bool HELD> ROWS_KERNEL logsumexp_forward(struct rows r, struct view x, float *y)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(x, w, r, -INFINITY);
        float top = top_of(row), sum = sum_exp(row, top);
        if (w.lane == 0 && w.d) y[w.row] = top + logf(sum);
    }
}

template <bool HELD>
ROWS_KERNEL logsumexp_backward(struct rows r, struct view x, const float *y, const float *dy, struct sum dx)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        if (!w.d) continue;
        struct row<HELD> row(x, w, r, -INFINITY);
        float lse = y[w.row], by = dy[w.row];
        for (int p = 0; p < row.pieces(); p++) {
            struct eight g = exp_of(row.piece(p), lse);
            for (int l = 0; l < LANES; l++) g.v[l] *= by;
            row_add(dx, row.at, row.column(p), w.d, g);
        }
    }
}

static void logsumexp_rows(const struct args *a)
{
    LAUNCH_ROWS(a, logsumexp_forward, rows_of(a->in[0].shape), view_of(a->in[0]), reals(&a->out[0]));
}

static void logsumexp_gradient(const struct args *a)
{
    if (a->din[0].data)
        LAUNCH_ROWS(a, logsumexp_backward, rows_of(a->in[0].shape), view_of(a->in[0]), reals(&a->out[0]),
                    reals(&a->dout[0]), sum_of(a, 0));
}
TWIN(logsumexp, logsumexp_rows, logsumexp_gradient);

/* ---- normalize: x / s, s = sum of the row + eps;  dx = (dy - sum(x dy) / s) / s ---- */

/* x / y, corrected once: a row of one value becomes 1 exactly. */
static __device__ inline float quotient(float x, float y, float reciprocal)
{
    float q = x * reciprocal;
    return fmaf(fmaf(-q, y, x), reciprocal, q);
}

template <bool HELD> ROWS_KERNEL normalize_forward(struct rows r, struct view x, struct view y, float eps)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(x, w, r);
        float by = sum_of_row(row) + eps, reciprocal = divide(1, by);
        for (int p = 0; p < row.pieces(); p++) {
            struct eight u = row.piece(p);
            for (int l = 0; l < LANES; l++) u.v[l] = quotient(u.v[l], by, reciprocal);
            row_store(y, row.at, row.column(p), w.d, u);
        }
    }
}

template <bool HELD>
ROWS_KERNEL normalize_backward(struct rows r, struct view x, struct view dy, struct sum dx, float eps)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(x, w, r), drow(dy, w, r);
        float sum = 0, dot = 0;
        for (int p = 0; p < row.pieces(); p++) {
            struct eight u = row.piece(p), g = drow.piece(p);
            for (int l = 0; l < LANES; l++) {
                sum += u.v[l];
                dot += u.v[l] * g.v[l];
            }
        }
        float by = divide(1, row_sum(sum, r.lanes) + eps), mean = row_sum(dot, r.lanes) * by;
        for (int p = 0; p < row.pieces(); p++) {
            struct eight g = drow.piece(p);
            for (int l = 0; l < LANES; l++) g.v[l] = (g.v[l] - mean) * by;
            row_add(dx, row.at, row.column(p), w.d, g);
        }
    }
}

static float eps_of(const struct args *a) { return (float)((const struct normalize_attr *)a->attr)->eps; }
static void normalize_rows(const struct args *a)
{
    LAUNCH_ROWS(a, normalize_forward, rows_of(a->in[0].shape), view_of(a->in[0]), view_of(a->out[0]), eps_of(a));
}
static void normalize_gradient(const struct args *a)
{
    if (a->din[0].data)
        LAUNCH_ROWS(a, normalize_backward, rows_of(a->in[0].shape), view_of(a->in[0]), view_of(a->dout[0]),
                    sum_of(a, 0), eps_of(a));
}
TWIN(normalize, normalize_rows, normalize_gradient);

/* ---- row_entropy: ln s - (sum of p ln p) / s, s = sum of p. A p of 0 adds 0; a row of zeros has none: NaN.
        dp = -dy (ln p - ln s + y) / s, 0 where p is 0 ---- */

template <bool HELD> ROWS_KERNEL row_entropy_forward(struct rows r, struct view p, float *y)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(p, w, r);
        float sum = sum_of_row(row), plogp = 0;
        for (int i = 0; i < row.pieces(); i++) {
            struct eight u = row.piece(i);
            for (int l = 0; l < LANES; l++) plogp += u.v[l] * logf(u.v[l] > 0 ? u.v[l] : 1);
        }
        plogp = row_sum(plogp, r.lanes);
        if (w.lane == 0 && w.d) y[w.row] = logf(sum) - divide(plogp, sum);
    }
}

template <bool HELD>
ROWS_KERNEL row_entropy_backward(struct rows r, struct view p, const float *y, const float *dy, struct sum dp)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(p, w, r);
        float sum = sum_of_row(row);
        if (!w.d) continue;
        float by = -divide(dy[w.row], sum), less = y[w.row] - logf(sum);
        for (int i = 0; i < row.pieces(); i++) {
            struct eight u = row.piece(i);
            for (int l = 0; l < LANES; l++) u.v[l] = u.v[l] > 0 ? by * (logf(u.v[l]) + less) : 0;
            row_add(dp, row.at, row.column(i), w.d, u);
        }
    }
}

static void row_entropy_rows(const struct args *a)
{
    LAUNCH_ROWS(a, row_entropy_forward, rows_of(a->in[0].shape), view_of(a->in[0]), reals(&a->out[0]));
}

static void row_entropy_gradient(const struct args *a)
{
    if (a->din[0].data)
        LAUNCH_ROWS(a, row_entropy_backward, rows_of(a->in[0].shape), view_of(a->in[0]), reals(&a->out[0]),
                    reals(&a->dout[0]), sum_of(a, 0));
}

TWIN(row_entropy, row_entropy_rows, row_entropy_gradient);

/* ---- row_rms: sqrt(mean x^2) ---- */

template <bool HELD> ROWS_KERNEL row_rms_forward(struct rows r, struct view x, float *y, float share)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(x, w, r);
        float sum = 0;
        for (int i = 0; i < row.pieces(); i++) {
            struct eight u = row.piece(i);
            for (int l = 0; l < LANES; l++) sum += u.v[l] * u.v[l];
        }
        sum = share * row_sum(sum, r.lanes);
        if (w.lane == 0 && w.d) y[w.row] = sum == 0 ? 0 : sum * rsqrtf(sum);
    }
}

static void row_rms_rows(const struct args *a)
{
    struct rows r = rows_of(a->in[0].shape);
    LAUNCH_ROWS(a, row_rms_forward, r, view_of(a->in[0]), reals(&a->out[0]), 1 / (float)r.d);
}

TWIN(row_rms, row_rms_rows);

/* ---- cumsum: a warp walks along a row, or back from its end;  dx is that of dy from the end ---- */

static __global__ void __launch_bounds__(BLOCK)
cumsum_walk(struct sum to, const float *x, int64_t rows, int d, bool from_end)
{
    EACH_ROW(r, rows) {
        float before = 0;
        for (int at = 0; at < d; at += WARP) {
            int step = at + lane_of(), column = from_end ? d - 1 - step : step;
            float up_to = before + warp_sum_up_to(step < d ? x[r * d + column] : 0.0f);
            if (step < d) add(to, r * d + column, up_to);
            before = __shfl_sync(ALL_LANES, up_to, WARP - 1);
        }
    }
}

static void launch_cumsum(const struct args *a, struct sum to, const struct tensor *x, bool from_end)
{
    int64_t rows = shape_rows(x->shape);
    LAUNCH(a, cumsum_walk, grid_for(a, rows, WARPS), BLOCK, 0, to, reals(x), rows, (int)shape_last(x->shape), from_end);
}

static void cumsum_forward(const struct args *a) { launch_cumsum(a, { view_of(a->out[0]), 0 }, &a->in[0], false); }
static void cumsum_backward(const struct args *a)
{
    if (a->din[0].data) launch_cumsum(a, sum_of(a, 0), &a->dout[0], true);
}

TWIN(cumsum, cumsum_forward, cumsum_backward);

/* ---- center: x - mean of x;  dx = dy - mean of dy ---- */

template <bool HELD> ROWS_KERNEL center_rows(struct rows r, struct view x, struct sum y, float share)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(x, w, r);
        float mean = sum_of_row(row) * share;
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

static void center_forward(const struct args *a) { center_of(a, view_of(a->in[0]), { view_of(a->out[0]), 0 }); }
static void center_backward(const struct args *a) { center_of(a, view_of(a->dout[0]), sum_of(a, 0)); }

TWIN(center, center_forward, center_backward);
