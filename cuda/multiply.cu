/* Ops in which rows, or all values, share the factor that they are multiplied by. Bound by memory: x, dy and dx are
   moved once; the gradient of the factor is summed in the same pass, by blocks that depend on the shape alone. */
#include "lines.cuh"

/* ---- mul_row: x[t,:] row;  dx = row dy, drow = sum over t of x dy ---- */

template <bool HELD> ROWS_KERNEL mul_row_forward(struct rows r, struct view x, struct view by, struct view y)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(x, w, r);
        for (int p = 0; p < row.pieces(); p++) {
            struct eight u = row.piece(p), v = row_load(by, 0, row.column(p), w.d, 0);
            for (int l = 0; l < LANES; l++) u.v[l] *= v.v[l];
            row_store(y, row.at, row.column(p), w.d, u);
        }
    }
}

/* lines NULL: drow is not wanted. */
template <bool HELD>
ROWS_KERNEL mul_row_backward(struct rows r, struct view x, struct view by, struct view dy, struct sum dx, float *lines)
{
    float *line = lines + (int64_t)blockIdx.x * r.d;
    struct eight drow = {};
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<HELD> row(x, w, r), arrives(dy, w, r);
        for (int p = 0; p < row.pieces(); p++) {
            struct eight u = row.piece(p), g = arrives.piece(p), v = row_load(by, 0, row.column(p), w.d, 0);
            for (int l = 0; l < LANES; l++) {
                u.v[l] *= g.v[l];
                g.v[l] *= v.v[l];
            }
            row_add(dx, row.at, row.column(p), w.d, g);
            if (!HELD && lines) add_to_line(line, w.first == blockIdx.x, row.column(p), w.d, u);
            for (int l = 0; l < LANES && HELD; l++) drow.v[l] += u.v[l];
        }
    }
    if (HELD && lines) write_line(line, r, drow);
}

static void mul_row_product(const struct args *a)
{
    LAUNCH_ROWS(a, mul_row_forward, rows_of(a->in[0].shape), view_of(a->in[0]), view_of(a->in[1]), view_of(a->out[0]));
}

static void mul_row_gradient(const struct args *a)
{
    struct rows r = rows_of(a->in[0].shape);
    int64_t lines = lines_of(r);
    float *line = a->din[1].data ? (float *)a->scratch : NULL;
    LAUNCH_ROWS_IN(a, (int)lines, mul_row_backward, r, view_of(a->in[0]), view_of(a->in[1]), view_of(a->dout[0]),
                   sum_of(a, 0), line);
    if (line) columns_add(a, { line, false }, lines, r.d, 1, sum_of(a, 1));
}

static size_t mul_row_scratch(const struct args *a) { return lines_bytes(rows_of(a->in[0].shape)); }

TWIN(mul_row, mul_row_product, mul_row_gradient, NULL, mul_row_scratch);

/* ---- mul_scalar: s x;  dx = s dy, ds = sum of x dy ---- */

enum { PARTS = 512, PART = BLOCK * LANES * 4 };   /* most blocks of backward; values of a block, until there are many */

static __global__ void __launch_bounds__(BLOCK)
mul_scalar_forward(struct view x, const float *s, struct view y, int64_t n)
{
    int64_t whole = n / LANES;
    float by = *s;
    for (int64_t i = first_item(); i < whole; i += all_items()) {
        struct eight u = load8(x, i * LANES);
        for (int l = 0; l < LANES; l++) u.v[l] *= by;
        store8(y, i * LANES, u);
    }
#pragma unroll 1                                            /* for which it would divide */
    for (int64_t i = whole * LANES + first_item(); i < n; i += all_items()) store(y, i, by * load(x, i));
}

/* part NULL: ds is not wanted. */
static __global__ void __launch_bounds__(BLOCK)
mul_scalar_backward(struct view x, const float *s, struct view dy, struct sum dx, double *part, int64_t n)
{
    int64_t whole = n / LANES;
    float by = *s, dot = 0;
    for (int64_t i = first_item(); i < whole; i += all_items()) {
        struct eight g = load8(dy, i * LANES), u = {};
        if (part) u = load8(x, i * LANES);
        for (int l = 0; l < LANES; l++) {
            dot += u.v[l] * g.v[l];
            g.v[l] *= by;
        }
        add8(dx, i * LANES, g);
    }
    for (int64_t i = whole * LANES + first_item(); i < n; i += all_items()) {
        float g = load(dy, i);
        if (part) dot += load(x, i) * g;
        add(dx, i, by * g);
    }
    if (!part) return;
    double sum = block_sum((double)dot);
    if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

/* One block: the parts in their order, by each thread every BLOCK-th. */
static __global__ void __launch_bounds__(BLOCK) mul_scalar_finish(const double *part, int parts, struct sum ds)
{
    double sum = 0;
    for (int i = threadIdx.x; i < parts; i += BLOCK) sum += part[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) add(ds, 0, (float)sum);
}

static int64_t parts_of(int64_t n)
{
    int64_t parts = (n + PART - 1) / PART;
    return parts < PARTS ? parts : (int64_t)PARTS;
}

static void mul_scalar_product(const struct args *a)
{
    int64_t n = shape_count(a->in[0].shape);
    LAUNCH(a, mul_scalar_forward, grid_for(a, n, BLOCK * LANES), BLOCK, 0, view_of(a->in[0]), reals(&a->in[1]),
           view_of(a->out[0]), n);
}

static void mul_scalar_gradient(const struct args *a)
{
    int64_t n = shape_count(a->in[0].shape), parts = parts_of(n);
    double *part = a->din[1].data ? (double *)a->scratch : NULL;
    LAUNCH(a, mul_scalar_backward, (int)parts, BLOCK, 0, view_of(a->in[0]), reals(&a->in[1]), view_of(a->dout[0]),
           sum_of(a, 0), part, n);
    if (part) LAUNCH(a, mul_scalar_finish, 1, BLOCK, 0, part, (int)parts, sum_of(a, 1));
}

static size_t mul_scalar_scratch(const struct args *a)
{
    return (size_t)parts_of(shape_count(a->in[0].shape)) * sizeof(double);
}

TWIN(mul_scalar, mul_scalar_product, mul_scalar_gradient, NULL, mul_scalar_scratch);
