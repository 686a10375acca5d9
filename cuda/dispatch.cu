/* Rows on their way to experts and back. Memory bounds them. Of tokens x [T,D] and rows y [R,D], gather reads x,
   most of it K times but once from memory, and writes y; its backward reads dy and writes dx; unpermute is the same
   the other way round, and so is combine, but that its backward reads y and dout and writes dy. That is the least. A
   warp takes a row; sums run over the slots in their order. What goes to no expert has no row, inverse -1; the last
   rows, of order -1, are nobody's: what is in them reaches no token. */
#include "warp.cuh"
#include "sort.cuh"

/* outputs of dispatch; ORDER and INVERSE are inputs of the others, too */
enum { OFFSETS, ORDER, INVERSE, COUNTS };
enum { GATE = 3 };                                          /* of combine */

/* ---- dispatch: see sort.cu ---- */

static void dispatch_forward(const struct args *a)
{
    struct sort s = { .key = ints(&a->in[0]), .from = NULL, .n = (int)shape_count(a->in[0].shape),
                      .rows = (int)a->out[ORDER].shape.dim[0], .buckets = (int)a->out[COUNTS].shape.dim[0],
                      .shift = 0, .mask = -1,
                      .order = ints(&a->out[ORDER]), .inverse = ints(&a->out[INVERSE]),
                      .offsets = ints(&a->out[OFFSETS]), .counts = ints(&a->out[COUNTS]),
                      .table = (int32_t *)a->scratch, .fault = device_of(a)->fault };
    sort_bucket(a, &s);
}

static size_t dispatch_scratch(const struct args *a)
{
    return sort_table_bytes(shape_count(a->in[0].shape), (int)a->out[COUNTS].shape.dim[0]);
}

TWIN(dispatch, dispatch_forward, NULL, NULL, dispatch_scratch);

/* ---- gather: row r = x[order[r] / K], or 0 ---- */

static __global__ void __launch_bounds__(BLOCK)
rows_of_tokens(struct view x, struct sum out, const int32_t *order, int64_t rows, int k, int d)
{
    EACH_ROW(r, rows) {
        int from = order[r];
        int64_t at = from < 0 ? -1 : (int64_t)((unsigned)from / (unsigned)k) * d;
        EACH_EIGHT(c, d) {
            struct eight row = {};
            if (at >= 0) row = row_load(x, at, c, d, 0);
            row_add(out, r * d, c, d, row);
        }
    }
}

/* A row of the token, -1 if it has none. */
static __device__ inline int some_row(const int32_t *inverse, int k)
{
    int row = -1;
    for (int j = 0; j < k; j++) row = max(row, inverse[j]);
    return row;
}

/* sum_j by[j] y[inverse[j]] from column c on; by NULL: all 1. A slot without a row reads `some` instead and does not
   add it: there is no branch, so that several rows are on their way at once. */
static __device__ inline struct eight sum_of_rows(struct view y, const int32_t *inverse, const float *by, int some,
                                                  int k, int c, int d)
{
    struct eight sum = { 0 };
    for (int j = 0; j < k && some >= 0; j++) {
        int at = inverse[j];
        struct eight row = row_load(y, (int64_t)(at < 0 ? some : at) * d, c, d, 0);
        float f = by ? by[j] : 1;
        for (int l = 0; l < LANES; l++) sum.v[l] += at < 0 ? 0 : f * row.v[l];
    }
    return sum;
}

static __global__ void __launch_bounds__(BLOCK)
tokens_of_rows(struct view y, struct sum out, const int32_t *inverse, int64_t tokens, int k, int d)
{
    EACH_ROW(t, tokens) {
        int some = some_row(inverse + t * k, k);
        EACH_EIGHT(c, d) row_add(out, t * d, c, d, sum_of_rows(y, inverse + t * k, NULL, some, k, c, d));
    }
}

/* out[r] = x[order[r] / K], or 0 */
static void spread(const struct args *a, struct view x, struct sum out, int64_t rows)
{
    LAUNCH(a, rows_of_tokens, grid_for(a, rows, WARPS), BLOCK, 0, x, out, ints(&a->in[ORDER]), rows,
           (int)a->in[INVERSE].shape.dim[1], (int)a->in[0].shape.dim[1]);
}

/* out[t] = sum_j y[inverse[t,j]] */
static void collect(const struct args *a, struct view y, struct sum out, int64_t tokens)
{
    LAUNCH(a, tokens_of_rows, grid_for(a, tokens, WARPS), BLOCK, 0, y, out, ints(&a->in[INVERSE]), tokens,
           (int)a->in[INVERSE].shape.dim[1], (int)a->in[0].shape.dim[1]);
}

static struct sum out_of(const struct args *a) { return { view_of(a->out[0]), 0 }; }

static void gather_rows(const struct args *a)
{
    spread(a, view_of(a->in[0]), out_of(a), a->out[0].shape.dim[0]);
}

static void gather_back(const struct args *a)
{
    if (a->din[0].data) collect(a, view_of(a->dout[0]), sum_of(a, 0), a->in[0].shape.dim[0]);
}

TWIN(gather, gather_rows, gather_back);

static void unpermute_tokens(const struct args *a)
{
    collect(a, view_of(a->in[0]), out_of(a), a->out[0].shape.dim[0]);
}

static void unpermute_back(const struct args *a)
{
    if (a->din[0].data) spread(a, view_of(a->dout[0]), sum_of(a, 0), a->in[0].shape.dim[0]);
}

TWIN(unpermute, unpermute_tokens, unpermute_back);

/* ---- combine: out[t] = sum_j gate[t,j] y[inverse[t,j]] over the rows that there are ---- */

static __global__ void __launch_bounds__(BLOCK) combine_forward(struct view y, struct view out, const int32_t *inverse,
                                                                const float *gate, int64_t tokens, int k, int d)
{
    EACH_ROW(t, tokens) {
        int some = some_row(inverse + t * k, k);
        EACH_EIGHT(c, d) row_store(out, t * d, c, d, sum_of_rows(y, inverse + t * k, gate + t * k, some, k, c, d));
    }
}

/* dy[inverse[t,j]] = gate[t,j] dout[t];  dgate[t,j] = <dout[t], y[inverse[t,j]]>. A warp takes a slot and its row of y;
   those of one token follow one another, so that dout comes from memory once. Slots are no fewer than rows: that of
   slot i also takes row i if it is nobody's. */
static __global__ void __launch_bounds__(BLOCK)
combine_backward(struct view y, struct sum dy, struct view dout, const int32_t *order, const int32_t *inverse,
                 const float *gate, struct sum dgate, int64_t slots, int64_t rows, int k, int d)
{
    EACH_ROW(i, slots) {
        int64_t token = (unsigned)i / (unsigned)k, row = inverse[i];
        float by = gate[i], dot = 0;
        if (i < rows && order[i] < 0) EACH_EIGHT(c, d) row_add(dy, i * d, c, d, {});
        if (row >= 0) EACH_EIGHT(c, d) {
            struct eight g = row_load(dout, token * d, c, d, 0);
            if (dgate.to.data) {
                struct eight v = row_load(y, row * d, c, d, 0);
                for (int l = 0; l < LANES; l++) dot += g.v[l] * v.v[l];
            }
            for (int l = 0; l < LANES; l++) g.v[l] *= by;
            row_add(dy, row * d, c, d, g);
        }
        dot = warp_sum(dot);
        if (lane_of() == 0) add(dgate, i, dot);
    }
}

static void combine_tokens(const struct args *a)
{
    int64_t tokens = a->out[0].shape.dim[0];
    LAUNCH(a, combine_forward, grid_for(a, tokens, WARPS), BLOCK, 0, view_of(a->in[0]), view_of(a->out[0]),
           ints(&a->in[INVERSE]), reals(&a->in[GATE]), tokens, (int)a->in[INVERSE].shape.dim[1],
           (int)a->in[0].shape.dim[1]);
}

static void combine_back(const struct args *a)
{
    int64_t slots = shape_count(a->in[INVERSE].shape);
    LAUNCH(a, combine_backward, grid_for(a, slots, WARPS), BLOCK, 0, view_of(a->in[0]), sum_of(a, 0),
           view_of(a->dout[0]), ints(&a->in[ORDER]), ints(&a->in[INVERSE]), reals(&a->in[GATE]), sum_of(a, GATE), slots,
           a->in[0].shape.dim[0], (int)a->in[INVERSE].shape.dim[1], (int)a->in[0].shape.dim[1]);
}

TWIN(combine, combine_tokens, combine_back);
