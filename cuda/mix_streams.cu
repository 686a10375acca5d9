/* The streams of a token mixed: y[t,i] = sum over j of m[t,i,j] x[t,j]. Bound by memory: streams are few, so that those
   of a token are read again from the nearest cache. */
#include "columns.cuh"
#include "warp.cuh"

enum { X, M, LINES = 512 };                                 /* most lines of dm where tokens share m */

/* A matrix of token t: cell (i,j) is number t step + i down + j across of its tensor. */
struct matrix { int64_t step; int rows, columns, down, across; };

static struct matrix matrix_of(const struct args *a)
{
    struct shape s = a->in[M].shape;
    int rows = (int)s.dim[s.rank - 2], columns = (int)s.dim[s.rank - 1];
    return { s.rank == 3 ? (int64_t)rows * columns : 0, rows, columns, columns, 1 };
}

static struct matrix transposed(struct matrix m) { return { m.step, m.columns, m.rows, m.across, m.down }; }

/* y[t,i] := beta y[t,i] + sum over j of m[t,i,j] x[t,j] */
ROWS_KERNEL mix_rows(struct rows r, struct view x, struct view m, struct matrix s, struct sum y)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r))
        for (int c = w.lane * LANES; c < w.d; c += r.lanes * LANES)
            for (int i = 0; i < s.rows; i++) {
                struct eight sum = {};
                for (int j = 0; j < s.columns; j++) {
                    struct eight u = row_load(x, (w.row * s.columns + j) * r.d, c, w.d, 0);
                    float by = load(m, w.row * s.step + i * s.down + j * s.across);
                    for (int l = 0; l < LANES; l++) sum.v[l] += by * u.v[l];
                }
                row_add(y, (w.row * s.rows + i) * r.d, c, w.d, sum);
            }
}

/* Line b is the sum over `per` tokens from b per on of dy[t,i] x[t,j], a warp for each (i,j). */
static __global__ void __launch_bounds__(BLOCK)
mix_products(struct view x, struct view dy, int64_t tokens, int64_t per, struct matrix s, int d, struct sum line)
{
    int cells = s.rows * s.columns;
    for (int64_t b = blockIdx.x; b * per < tokens; b += gridDim.x) {
        int64_t end = (b + 1) * per < tokens ? (b + 1) * per : tokens;
        for (int cell = threadIdx.x / WARP; cell < cells; cell += WARPS) {
            int i = cell / s.columns, j = cell % s.columns;
            float sum = 0;
            for (int64_t t = b * per; t < end; t++)
                EACH_EIGHT(c, d) {
                    struct eight u = row_load(x, (t * s.columns + j) * d, c, d, 0);
                    struct eight g = row_load(dy, (t * s.rows + i) * d, c, d, 0);
                    for (int l = 0; l < LANES; l++) sum += u.v[l] * g.v[l];
                }
            sum = warp_sum(sum);
            if (lane_of() == 0) add(line, b * cells + cell, sum);
        }
    }
}

static void mix(const struct args *a, struct view x, struct matrix m, struct sum y)
{
    struct rows r = rows_shape(a->in[X].shape.dim[0], shape_last(a->in[X].shape));
    LAUNCH(a, mix_rows, grid_for(a, r.n, r.at_once), r.lanes * r.at_once, 0, r, x, view_of(a->in[M]), m, y);
}

static void forward(const struct args *a)
{
    struct sum y = { view_of(a->out[0]), 0 };
    mix(a, view_of(a->in[X]), matrix_of(a), y);
}

/* Tokens of a line, by shape alone: their own line where they have their own matrix. */
static int64_t per_line(const struct args *a)
{
    return matrix_of(a).step ? 1 : (a->in[X].shape.dim[0] + LINES - 1) / LINES;
}

static void backward(const struct args *a)
{
    struct matrix m = matrix_of(a);
    int64_t tokens = a->in[X].shape.dim[0], per = per_line(a), lines = (tokens + per - 1) / per;
    struct view x = view_of(a->in[X]), dy = view_of(a->dout[0]), line = { a->scratch, false };
    struct sum all = { line, 0 };
    int d = (int)shape_last(a->in[X].shape);
    if (a->din[X].data) mix(a, dy, transposed(m), sum_of(a, X));
    if (!a->din[M].data) return;
    LAUNCH(a, mix_products, grid_for(a, lines, 1), BLOCK, 0, x, dy, tokens, per, m, d, m.step ? sum_of(a, M) : all);
    if (!m.step) columns_add(a, line, lines, m.rows * m.columns, 1, sum_of(a, M));
}

static size_t scratch(const struct args *a)
{
    struct matrix m = matrix_of(a);
    return m.step ? 0 : (size_t)(LINES * m.rows * m.columns) * sizeof(float);
}

TWIN(mix_streams, forward, backward, NULL, scratch);
