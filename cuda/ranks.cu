/* What the GPUs of several ranks tell each other within a step; see runtime/ops/ranks.c. Bound by the links between
   them; beside these memory bounds it: sums read what W ranks have once, in the order of ranks, and write one. The host
   does not know how many rows go where, so that as many slots, C, go from each rank to each, and those of no row as
   well. Rows are read and written twice at either end, but for those that stay, which are once, and slots are found by
   a search in as many numbers as there are experts, which stay in the cache. */
#include "ranks.cuh"

/* ---- sums: y[i] = beta y[i] + the sum over ranks of parts[rank, i] ---- */

static __global__ void __launch_bounds__(BLOCK) sum_of_ranks(struct view parts, struct sum y, int64_t n, int ranks)
{
    for (int64_t i = first_item() * LANES; i < n; i += all_items() * LANES) {
        int d = n - i < LANES ? (int)(n - i) : (int)LANES;
        struct eight sum = {};
        for (int r = 0; r < ranks; r++) {
            struct eight part = row_load(parts, r * n + i, 0, d, 0);
            for (int l = 0; l < LANES; l++) sum.v[l] += part.v[l];
        }
        row_add(y, i, 0, d, sum);
    }
}

static void add_parts(const struct args *a, const struct tensor *parts, struct sum y, int64_t n)
{
    LAUNCH(a, sum_of_ranks, grid_for(a, n, BLOCK * LANES), BLOCK, 0, view_of(*parts), y, n,
           (int)(shape_count(parts->shape) / n));
}

/* din[0] += the sum over ranks of their parts of dout, stride bytes apart */
static void add_gradients(const struct args *a, size_t stride)
{
    if (!a->din[0].data) return;
    exchange_even(a, over_of(a), a->dout[0].data, stride, a->work[0].data, bytes_of(&a->in[0]));
    add_parts(a, &a->work[0], sum_of(a, 0), shape_count(a->in[0].shape));
}

/* ---- all_gather: rows of all ranks, one after the other;  dx is the sum over ranks of their dy of these ---- */

static void all_gather_forward(const struct args *a)
{
    exchange_even(a, over_of(a), a->in[0].data, 0, a->out[0].data, bytes_of(&a->in[0]));
}

static void all_gather_backward(const struct args *a) { add_gradients(a, bytes_of(&a->in[0])); }

TWIN(all_gather, all_gather_forward, all_gather_backward);
TWIN(regather, all_gather_forward, all_gather_backward);

/* ---- windows: some rows of n values, each `width` after the one before ---- */

struct window { int64_t first, width; };

static __global__ void __launch_bounds__(BLOCK)
move_window(struct view to, struct window t, struct view from, struct window f, int64_t rows, int64_t n, bool adds)
{
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y)
        for (int64_t column = first_item(); column < n; column += all_items()) {
            int64_t at = t.first + row * t.width + column;
            float value = load(from, f.first + row * f.width + column);
            store(to, at, adds ? load(to, at) + value : value);
        }
}

static void move(const struct args *a, struct view to, struct window t, struct view from, struct window f, int64_t rows,
                 int64_t n, bool adds)
{
    LAUNCH(a, move_window, grid_of(a, rows, n), BLOCK, 0, to, t, from, f, rows, n, adds);
}

/* ---- all_columns: columns of all ranks, side by side ---- */

static void all_columns_forward(const struct args *a)
{
    int64_t n = shape_last(a->in[0].shape), rows = shape_rows(a->in[0].shape), wide = shape_last(a->out[0].shape);
    exchange_even(a, over_of(a), a->in[0].data, 0, a->work[0].data, bytes_of(&a->in[0]));
    for (int64_t rank = 0; rank < wide / n; rank++)
        move(a, view_of(a->out[0]), { rank * n, wide }, view_of(a->work[0]), { rank * rows * n, n }, rows, n, false);
}

TWIN(all_columns, all_columns_forward);

/* ---- own_part: of a weight that all ranks have, what this one reads;  dw is dy there, and 0 elsewhere ---- */

/* Of the part, which has rows of n values, and where it lies in the whole. */
static struct window part_of(const struct args *a, int64_t *rows, int64_t *n)
{
    const struct own_part_attr *at = (const struct own_part_attr *)a->attr;
    struct shape part = a->out[0].shape, whole = a->in[0].shape;
    int64_t me = place_index(&comm_here()->place, (unsigned)at->over), width = whole.rank == 2 ? whole.dim[1] : 1;
    *rows = part.dim[0];
    *n = part.rank == 2 ? part.dim[1] : 1;
    return { me * (at->dim == 0 ? *rows * width : *n), width };
}

static void own_part_forward(const struct args *a)
{
    int64_t rows, n;
    struct window whole = part_of(a, &rows, &n);
    move(a, view_of(a->out[0]), { 0, n }, view_of(a->in[0]), whole, rows, n, false);
}

static void own_part_backward(const struct args *a)
{
    int64_t rows, n;
    struct window whole = part_of(a, &rows, &n);
    if (!a->din[0].data) return;
    if (a->beta[0] == 0) CUDA(cudaMemsetAsync(a->din[0].data, 0, bytes_of(&a->din[0]), device_of(a)->stream));
    move(a, view_of(a->din[0]), whole, view_of(a->dout[0]), { 0, n }, rows, n, true);
}

TWIN(own_part, own_part_forward, own_part_backward);

/* ---- all_reduce: the sum over ranks;  dx = dy ---- */

static void all_reduce_forward(const struct args *a)
{
    exchange_even(a, over_of(a), a->in[0].data, 0, a->work[0].data, bytes_of(&a->in[0]));
    add_parts(a, &a->work[0], { view_of(a->out[0]), 0 }, shape_count(a->in[0].shape));
}

static void all_reduce_backward(const struct args *a)
{
    if (a->din[0].data) add_parts(a, &a->dout[0], sum_of(a, 0), shape_count(a->in[0].shape));
}

TWIN(all_reduce, all_reduce_forward, all_reduce_backward);

/* ---- reduce_gradient: x;  dx is the sum of dy over ranks ---- */

static void reduce_gradient_forward(const struct args *a)
{
    copy(a, a->out[0].data, a->in[0].data, bytes_of(&a->in[0]));
}

static void reduce_gradient_backward(const struct args *a) { add_gradients(a, 0); }

TWIN(reduce_gradient, reduce_gradient_forward, reduce_gradient_backward);

/* ---- gather_sequences: the whole of sequences of which each rank has a part;  dx as of all_gather ---- */

/* Parts [R,C] of so many bytes to [C,R]. */
static void swap_parts(const struct args *a, const void *from, void *to, int64_t rows, int64_t columns, size_t bytes)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            copy(a, (char *)to + (size_t)(c * rows + r) * bytes, (const char *)from + (size_t)(r * columns + c) * bytes,
                 bytes);
}

static void gather_sequences_forward(const struct args *a)
{
    int64_t ranks = ((const struct over_attr *)a->attr)->ranks, sequences = a->in[1].shape.dim[0];
    size_t bytes = bytes_of(&a->in[0]);
    exchange_even(a, over_of(a), a->in[0].data, 0, a->work[0].data, bytes);
    swap_parts(a, a->work[0].data, a->out[0].data, ranks, sequences, bytes / (size_t)sequences);
}

static void gather_sequences_backward(const struct args *a)
{
    int64_t ranks = ((const struct over_attr *)a->attr)->ranks, sequences = a->in[1].shape.dim[0];
    size_t bytes = bytes_of(&a->in[0]);
    if (!a->din[0].data) return;
    swap_parts(a, a->dout[0].data, a->work[1].data, sequences, ranks, bytes / (size_t)sequences);
    exchange_even(a, over_of(a), a->work[1].data, bytes, a->work[0].data, bytes);
    add_parts(a, &a->work[0], sum_of(a, 0), shape_count(a->in[0].shape));
}

TWIN(gather_sequences, gather_sequences_forward, gather_sequences_backward);

/* ---- exchange_counts: rows for each expert of each rank, and from each rank for each expert of this one ---- */

/* start[i] = the sum of count(0) .. count(i-1), for i in [0,n]; by one block. */
template <class F> static __device__ inline void sums_before(int n, F count, int32_t *start)
{
    __shared__ int part[WARPS];
    int before = 0, warp = threadIdx.x / WARP;
    for (int at = 0; at < n; at += BLOCK) {
        int i = at + threadIdx.x, own = i < n ? count(i) : 0, up_to = warp_sum_up_to(own), all = 0;
        if (lane_of() == WARP - 1) part[warp] = up_to;
        __syncthreads();
        for (int w = 0; w < WARPS; w++) {
            if (w < warp) up_to += part[w];
            all += part[w];
        }
        if (i < n) start[i] = before + up_to - own;
        before += all;
        __syncthreads();
    }
    if (threadIdx.x == 0) start[n] = before;
}

/* Rows beyond `room` for a rank are a fault, and do not go. */
static __global__ void __launch_bounds__(BLOCK) ranks_count(const int32_t *offsets, int32_t *to, int experts, int mine,
                                                            int room, struct fault *fault)
{
    for (int64_t i = first_item(); i < experts; i += all_items()) {
        int e = (int)i, first = e - e % mine, before = offsets[e] - offsets[first],
            all = offsets[first + mine] - offsets[first];
        if (e == first && all > room) legal(fault, FAULT_ROOM, all, room);
        to[e] = max(0, min(offsets[e + 1] - offsets[e], room - before));
    }
}

static __global__ void __launch_bounds__(BLOCK) ranks_begin(const int32_t *from, int32_t *begin, int mine, int ranks)
{
    sums_before(mine, [=](int e) {
        int rows = 0;
        for (int r = 0; r < ranks; r++) rows += from[r * mine + e];
        return rows;
    }, begin);
}

static void exchange_counts_forward(const struct args *a)
{
    const struct exchange_counts_attr *at = (const struct exchange_counts_attr *)a->attr;
    int ranks = (int)at->ranks, mine = (int)a->out[0].shape.dim[1], experts = ranks * mine;
    int32_t *to = ints(&a->out[0]), *from = to + experts;
    size_t bytes = (size_t)mine * sizeof *to;
    LAUNCH(a, ranks_count, grid_for(a, experts, BLOCK), BLOCK, 0, ints(&a->in[0]), to, experts, mine,
           (int)(at->rows / ranks), device_of(a)->fault);
    exchange_even(a, (unsigned)at->over, to, bytes, from, bytes);
    LAUNCH(a, ranks_begin, 1, BLOCK, 0, from, ints(&a->out[1]), mine, ranks);
}

TWIN(exchange_counts, exchange_counts_forward);

/* ---- to_experts: rows to the ranks of their experts; from_experts: back ---- */

/* As they travel, the rows of rank r have slots r*room on, expert after expert. Rows from start[k] on, up to
   start[k+1], have the slots as many further as `ahead` says; rows from start[n] on have none. */
struct slots { int32_t *start, *ahead, *within; int n, room; };
struct route { const int32_t *to, *from; int ranks, mine; };

/* Where rows lie: by expert of all ranks, as `to` counts them, or by expert of this rank and then by rank, as `from`
   does. */
enum side { SENDERS, EXPERTS, SIDES };
struct both { struct slots of[SIDES]; };

/* A block a side. within: the sum of all counts before, in the order in which they travel. */
static __global__ void __launch_bounds__(BLOCK) ranks_find(struct route c, struct slots senders, struct slots experts)
{
    bool here = blockIdx.x == EXPERTS;
    struct slots s = here ? experts : senders;
    const int32_t *count = here ? c.from : c.to;
    auto place = [=](int k) { return here ? k % c.ranks * c.mine + k / c.ranks : k; };
    sums_before(s.n, [=](int i) { return count[i]; }, s.within);
    sums_before(s.n, [=](int k) { return count[place(k)]; }, s.start);
    __syncthreads();
    for (int k = threadIdx.x; k < s.n; k += BLOCK) {
        int i = place(k), rank = i / c.mine;
        s.ahead[k] = rank * s.room + s.within[i] - s.within[rank * c.mine] - s.start[k];
    }
}

/* -1: it has none */
static __device__ inline int slot_of(const struct slots &s, int64_t row)
{
    int low = 0, high = s.n;                                /* start[low] <= row < start[high] */
    if (row >= s.start[high]) return -1;
    while (high - low > 1) {
        int k = (low + high) / 2;
        if (s.start[k] <= row) low = k;
        else high = k;
    }
    return (int)row + s.ahead[low];
}

/* Rows to their slots: those for others to be sent, those that stay to where others' will come. */
ROWS_KERNEL ranks_pack(struct rows r, struct slots s, struct view x, struct view sent, struct view come, int me)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        int slot = slot_of(s, w.row);
        if (slot < 0) continue;
        struct view to = slot / s.room == me ? come : sent;
        for (int c = w.lane * LANES; c < w.d; c += r.lanes * LANES)
            row_store(to, (int64_t)slot * r.d, c, w.d, row_load(x, w.row * r.d, c, w.d, 0));
    }
}

/* Rows from their slots; 0 for those that have none. */
ROWS_KERNEL ranks_unpack(struct rows r, struct slots s, struct view come, struct sum y)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        int slot = slot_of(s, w.row);
        for (int c = w.lane * LANES; c < w.d; c += r.lanes * LANES) {
            struct eight row = {};
            if (slot >= 0) row = row_load(come, (int64_t)slot * r.d, c, w.d, 0);
            row_add(y, w.row * r.d, c, w.d, row);
        }
    }
}

static int experts_of(const struct args *a) { return (int)shape_count(a->in[1].shape) / 2; }

static size_t moved_scratch(const struct args *a)
{
    return SIDES * 3 * (size_t)(experts_of(a) + 1) * sizeof(int32_t);
}

static struct both find_slots(const struct args *a)
{
    int experts = experts_of(a), mine = (int)a->in[1].shape.dim[1], ranks = experts / mine;
    int32_t *counts = ints(&a->in[1]), *at = (int32_t *)a->scratch;
    struct both b;
    for (int side = 0; side < SIDES; side++, at += 3 * (experts + 1))
        b.of[side] = { at, at + experts + 1, at + 2 * (experts + 1), experts, (int)(a->work[0].shape.dim[0] / ranks) };
    LAUNCH(a, ranks_find, SIDES, BLOCK, 0, { counts, counts + experts, ranks, mine }, b.of[SENDERS],
           b.of[EXPERTS]);
    return b;
}

/* y += x, of which rows have another place at the other side; y has so many. */
static void move(const struct args *a, enum side from, const struct tensor *x, struct sum y, int64_t rows)
{
    const struct tensor *sent = &a->work[0], *come = &a->work[1];
    unsigned over = (unsigned)((const struct exchange_counts_attr *)a->attr)->over;
    struct both b = find_slots(a);
    struct slots packed = b.of[from], unpacked = b.of[from == SENDERS ? EXPERTS : SENDERS];
    struct rows given = rows_of(x->shape), got = rows_shape(rows, shape_last(x->shape));
    size_t part = (size_t)packed.room * (size_t)given.d * element_bytes(sent->format);
    LAUNCH(a, ranks_pack, grid_for(a, given.n, given.at_once), given.lanes * given.at_once, 0, given, packed,
           view_of(*x), view_of(*sent), view_of(*come), place_index(&comm_here()->place, over));
    exchange_others(a, over, sent->data, part, come->data, part);
    LAUNCH(a, ranks_unpack, grid_for(a, got.n, got.at_once), got.lanes * got.at_once, 0, got, unpacked, view_of(*come),
           y);
}

static void move_forward(const struct args *a, enum side from)
{
    move(a, from, &a->in[0], { view_of(a->out[0]), 0 }, a->out[0].shape.dim[0]);
}

static void move_back(const struct args *a, enum side from)
{
    if (a->din[0].data) move(a, from, &a->dout[0], sum_of(a, 0), a->in[0].shape.dim[0]);
}

static void to_experts_forward(const struct args *a) { move_forward(a, SENDERS); }
static void to_experts_backward(const struct args *a) { move_back(a, EXPERTS); }
TWIN(to_experts, to_experts_forward, to_experts_backward, NULL, moved_scratch);

static void from_experts_forward(const struct args *a) { move_forward(a, EXPERTS); }
static void from_experts_backward(const struct args *a) { move_back(a, SENDERS); }
TWIN(from_experts, from_experts_forward, from_experts_backward, NULL, moved_scratch);
