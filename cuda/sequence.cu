/* Tokens moved along their sequence: shift; slice, its first ones alone; mask_rows, those that are there; cache, which
   writes a chunk into a buffer of longer sequences, and ring, into one of their last rows. Memory bounds them: each
   value is read and written once. Integers pass as the floats of the same bits. */
#include "row.cuh"

/* ---- shift: out[b,s] = x[b,s+by], 0 past either end ---- */

static __global__ void __launch_bounds__(BLOCK)
shift_values(const uint32_t *x, uint32_t *y, unsigned n, unsigned length, int64_t by)
{
    for (unsigned i = (unsigned)first_item(); i < n; i += (unsigned)all_items()) {
        int64_t s = i % length + by;
        y[i] = s >= 0 && s < length ? x[i + by] : 0;
    }
}

static void shift_forward(const struct args *a)
{
    struct shape s = a->in[0].shape;
    int64_t n = shape_count(s);
    LAUNCH(a, shift_values, grid_for(a, n, BLOCK), BLOCK, 0, (const uint32_t *)a->in[0].data,
           (uint32_t *)a->out[0].data, (unsigned)n, (unsigned)s.dim[1], ((const struct shift_attr *)a->attr)->by);
}

TWIN(shift, shift_forward);

/* ---- slice: out[b,s,..] = x[b,s,..] for s < length;  dx[b,s,..] = dout[b,s,..], 0 beyond. A row is a position ---- */

ROWS_KERNEL slice_rows(struct rows r, struct view x, struct view y, unsigned whole, unsigned kept)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        int64_t from = ((int64_t)((unsigned)w.row / kept) * whole + (unsigned)w.row % kept) * r.d;
        for (int c = w.lane * LANES; c < w.d; c += r.lanes * LANES)
            row_store(y, w.row * r.d, c, w.d, row_load(x, from, c, w.d, 0));
    }
}

ROWS_KERNEL slice_spread(struct rows r, struct view dy, struct sum dx, unsigned whole, unsigned kept)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        unsigned position = (unsigned)w.row % whole;
        int64_t from = ((int64_t)((unsigned)w.row / whole) * kept + position) * r.d;
        for (int c = w.lane * LANES; c < w.d; c += r.lanes * LANES) {
            struct eight g = {};
            if (position < kept) g = row_load(dy, from, c, w.d, 0);
            row_add(dx, w.row * r.d, c, w.d, g);
        }
    }
}

/* Positions of all sequences of s, as rows. */
static struct rows positions(struct shape s)
{
    return rows_shape(s.dim[0] * s.dim[1], shape_count(s) / (s.dim[0] * s.dim[1]));
}

static void slice_forward(const struct args *a)
{
    struct rows r = positions(a->out[0].shape);
    LAUNCH(a, slice_rows, grid_for(a, r.n, r.at_once), r.lanes * r.at_once, 0, r, view_of(a->in[0]), view_of(a->out[0]),
           (unsigned)a->in[0].shape.dim[1], (unsigned)a->out[0].shape.dim[1]);
}

static void slice_backward(const struct args *a)
{
    struct rows r = positions(a->in[0].shape);
    if (a->din[0].data)
        LAUNCH(a, slice_spread, grid_for(a, r.n, r.at_once), r.lanes * r.at_once, 0, r, view_of(a->dout[0]),
               sum_of(a, 0), (unsigned)a->in[0].shape.dim[1], (unsigned)a->out[0].shape.dim[1]);
}

TWIN(slice, slice_forward, slice_backward);

/* ---- mask_rows: out[t] = x[t], or `value` where present[t] is 0;  dx[t] = dout[t], or 0 ---- */

enum { X, PRESENT };

/* y = x where it is there. */
ROWS_KERNEL mask_rows_select(struct rows r, struct view x, const float *present, float value, struct view y)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        bool there = w.d && present[w.row] != 0;
        for (int c = w.lane * LANES; c < w.d; c += r.lanes * LANES) {
            struct eight e;
            for (int l = 0; l < LANES; l++) e.v[l] = value;
            if (there) e = row_load(x, w.row * r.d, c, w.d, 0);
            row_store(y, w.row * r.d, c, w.d, e);
        }
    }
}

ROWS_KERNEL mask_rows_gradient(struct rows r, struct view dy, const float *present, struct sum dx)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        bool there = w.d && present[w.row] != 0;
        for (int c = w.lane * LANES; c < w.d; c += r.lanes * LANES) {
            struct eight g = {};
            if (there) g = row_load(dy, w.row * r.d, c, w.d, 0);
            row_add(dx, w.row * r.d, c, w.d, g);
        }
    }
}

static struct rows masked_rows(const struct args *a)
{
    int64_t n = shape_count(a->in[PRESENT].shape);
    return rows_shape(n, shape_count(a->in[X].shape) / n);
}

static void mask_rows_forward(const struct args *a)
{
    struct rows r = masked_rows(a);
    float value = (float)((const struct mask_rows_attr *)a->attr)->value;
    int32_t whole = (int32_t)((const struct mask_rows_attr *)a->attr)->value;
    if (a->in[X].format == FORMAT_I32) memcpy(&value, &whole, sizeof value);
    LAUNCH(a, mask_rows_select, grid_for(a, r.n, r.at_once), r.lanes * r.at_once, 0, r, view_of(a->in[X]),
           reals(&a->in[PRESENT]), value, view_of(a->out[0]));
}

static void mask_rows_backward(const struct args *a)
{
    struct rows r = masked_rows(a);
    if (a->din[X].data)
        LAUNCH(a, mask_rows_gradient, grid_for(a, r.n, r.at_once), r.lanes * r.at_once, 0, r, view_of(a->dout[0]),
               reals(&a->in[PRESENT]), sum_of(a, X));
}

TWIN(mask_rows, mask_rows_forward, mask_rows_backward);

/* ---- cache: rows [B*S,..] go to positions pos..pos+S-1 of buffer [B,C,..]; ring: of position p to entry p mod C. The
   value is the buffer itself ---- */

enum { BUFFER, ROWS, START, POS };

ROWS_KERNEL cache_rows(struct rows r, struct view x, struct view buffer, const int32_t *pos, unsigned length,
                       unsigned room, bool round, struct fault *fault)
{
    int32_t before = pos[0];
    if (!legal(fault, FAULT_POSITION, before, round ? INT32_MAX : (int64_t)room - length + 1)) return;
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        unsigned at = (unsigned)before + (unsigned)w.row % length;
        int64_t from = w.row * r.d,
                to = ((int64_t)((unsigned)w.row / length) * room + (round ? at % room : at)) * r.d;
        for (int c = w.lane * LANES; c < w.d; c += r.lanes * LANES)
            row_store(buffer, to, c, w.d, row_load(x, from, c, w.d, 0));
    }
}

static void write_rows(const struct args *a, bool round)
{
    struct shape start = a->in[START].shape;
    int64_t tokens = shape_count(start);
    struct rows r = rows_shape(tokens, shape_count(a->in[ROWS].shape) / tokens);
    LAUNCH(a, cache_rows, grid_for(a, r.n, r.at_once), r.lanes * r.at_once, 0, r, view_of(a->in[ROWS]),
           view_of(a->out[0]), ints(&a->in[POS]), (unsigned)start.dim[1], (unsigned)a->in[BUFFER].shape.dim[1],
           round, device_of(a)->fault);
}

static void cache_forward(const struct args *a) { write_rows(a, false); }

TWIN(cache, cache_forward);

static void ring_forward(const struct args *a) { write_rows(a, true); }

TWIN(ring, ring_forward);
