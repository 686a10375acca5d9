/* z[t] = sum_j w[kw-1-j] x[t-j d] within a document, then silu; see runtime/ops/conv1d.c. Bound by memory: x is read
   once and kw - 1 times more from cache. dw is summed by lines of tokens, and the lines in their order; silu's dz,
   which kw tokens of dx and dw read, goes through scratch. */
#include "columns.cuh"
#include "row.cuh"

enum { X, W, START, POS, STATE };
enum { PER_LINE = 128, MOST_LINES = 256 };                  /* tokens whose dw one line sums, until there are many */

/* reach: how many tokens before its own one reads. */
struct conv {
    struct rows rows;
    int seq, taps, dilation, reach, ring;
    const int32_t *start, *pos;
    const float *past;
};

/* Where row is in its sequence, and the number of that. Divisions of 64 bits would be calls. */
static __device__ inline int token(const struct conv &s, int64_t row) { return (int)((unsigned)row % (unsigned)s.seq); }
static __device__ inline int64_t sequence(const struct conv &s, int64_t row) { return (unsigned)row / (unsigned)s.seq; }

/* How many of the taps of row t look at something. */
static __device__ inline int seen(const struct conv &s, int64_t row)
{
    int before = (s.pos ? s.pos[0] : 0) + token(s, row) - s.start[row];
    return before < 0 ? 0 : before < s.reach ? before / s.dilation + 1 : s.taps;
}

/* Where in what was before the chunk tap j of row looks. */
static __device__ inline int64_t past_row(const struct conv &s, int64_t row, int j)
{
    return sequence(s, row) * s.reach + s.reach + token(s, row) - j * s.dilation;
}

/* Columns from c on of what tap j of row looks at. */
static __device__ inline struct eight input(const struct conv &s, struct view x, int64_t row, int j, int c, int d)
{
    int back = j * s.dilation;
    struct view past = { (void *)s.past, false };
    return token(s, row) >= back ? row_load(x, (row - back) * s.rows.d, c, d, 0)
                                 : row_load(past, past_row(s, row, j) * s.rows.d, c, d, 0);
}

static __device__ inline struct eight convolve(const struct conv &s, struct view x, struct view w, int64_t row, int c,
                                               int d)
{
    struct eight z = {};
    for (int j = 0; j < seen(s, row); j++) {
        struct eight e = input(s, x, row, j, c, d);
        for (int l = 0; l < LANES; l++)
            if (c + l < d) z.v[l] += load(w, (int64_t)(c + l) * s.taps + s.taps - 1 - j) * e.v[l];
    }
    return z;
}

/* The last inputs before the chunk, before the ring takes its own. */
ROWS_KERNEL conv1d_past(struct conv s, const float *state, float *past, struct fault *fault)
{
    int before = s.pos[0];
    if (!legal(fault, FAULT_POSITION, before, INT32_MAX)) return;
    for (struct walk w = first_row(s.rows); w.first < s.rows.n; next_row(&w, s.rows)) {
        unsigned kept = s.reach, b = (unsigned)w.row / kept;
        int position = before - (int)kept + (int)((unsigned)w.row % kept);
        struct view from = { (void *)state, false }, to = { past, false };
        for (int c = w.lane * LANES; c < w.d; c += s.rows.lanes * LANES) {
            struct eight e = {};
            if (position >= 0) e = row_load(from, ((int64_t)b * s.ring + position % s.ring) * s.rows.d, c, w.d, 0);
            row_store(to, w.row * s.rows.d, c, w.d, e);
        }
    }
}

ROWS_KERNEL conv1d_forward(struct conv s, struct view x, struct view w, struct view y, float *state, bool silu)
{
    for (struct walk walk = first_row(s.rows); walk.first < s.rows.n; next_row(&walk, s.rows))
        for (int c = walk.lane * LANES; c < walk.d; c += s.rows.lanes * LANES) {
            struct eight z = convolve(s, x, w, walk.row, c, walk.d);
            for (int l = 0; l < LANES && silu; l++) z.v[l] *= sigmoid(z.v[l]);
            row_store(y, walk.row * s.rows.d, c, walk.d, z);
            int t = token(s, walk.row);
            if (!s.ring || t < s.seq - s.ring) continue;
            struct view ring = { state, false };
            row_store(ring, (sequence(s, walk.row) * s.ring + (s.pos[0] + t) % s.ring) * s.rows.d, c, walk.d,
                      input(s, x, walk.row, 0, c, walk.d));
        }
}

/* dz = dy silu'(z) */
ROWS_KERNEL conv1d_silu(struct conv s, struct view x, struct view w, struct view dy, struct view dz)
{
    for (struct walk walk = first_row(s.rows); walk.first < s.rows.n; next_row(&walk, s.rows))
        for (int c = walk.lane * LANES; c < walk.d; c += s.rows.lanes * LANES) {
            struct eight z = convolve(s, x, w, walk.row, c, walk.d),
                         d = row_load(dy, walk.row * s.rows.d, c, walk.d, 0);
            for (int l = 0; l < LANES; l++) {
                float p = sigmoid(z.v[l]);
                d.v[l] *= p + z.v[l] * p * (1 - p);
            }
            row_store(dz, walk.row * s.rows.d, c, walk.d, d);
        }
}

/* dx[t] = sum_j w[kw-1-j] dz[t+j d] over the tokens that read t. */
ROWS_KERNEL conv1d_inputs(struct conv s, struct view w, struct view dz, struct sum dx)
{
    for (struct walk walk = first_row(s.rows); walk.first < s.rows.n; next_row(&walk, s.rows))
        for (int c = walk.lane * LANES; c < walk.d; c += s.rows.lanes * LANES) {
            struct eight g = {};
            for (int j = 0, by = 0; j < s.taps && token(s, walk.row) + by < s.seq; j++, by += s.dilation) {
                if (j >= seen(s, walk.row + by)) continue;
                struct eight d = row_load(dz, (walk.row + by) * s.rows.d, c, walk.d, 0);
                for (int l = 0; l < LANES; l++)
                    if (c + l < walk.d) g.v[l] += load(w, (int64_t)(c + l) * s.taps + s.taps - 1 - j) * d.v[l];
            }
            row_add(dx, walk.row * s.rows.d, c, walk.d, g);
        }
}

/* lines[line, channel, kw-1-j] = sum of dz[t] x[t-j d] over the tokens of a line. */
static __global__ void __launch_bounds__(BLOCK)
conv1d_taps(struct conv s, struct view x, struct view dz, float *lines, int64_t per_line)
{
    int channel = blockIdx.x * BLOCK + threadIdx.x, j = blockIdx.z, d = s.rows.d;
    int64_t from = blockIdx.y * per_line, end = from + per_line < s.rows.n ? from + per_line : s.rows.n;
    if (channel >= d) return;
    float sum = 0;
    for (int64_t row = from; row < end; row++) {
        if (j >= seen(s, row)) continue;
        int back = j * s.dilation;
        float in = token(s, row) >= back ? load(x, (row - back) * d + channel)
                                         : s.past[past_row(s, row, j) * d + channel];
        sum += load(dz, row * d + channel) * in;
    }
    lines[((int64_t)blockIdx.y * d + channel) * s.taps + s.taps - 1 - j] = sum;
}

static struct conv conv_of(const struct args *a)
{
    struct conv s = { rows_of(a->in[X].shape), (int)a->in[START].shape.dim[1], (int)a->in[W].shape.dim[1] };
    s.dilation = (int)((const struct conv1d_attr *)a->attr)->dilation;
    s.reach = (s.taps - 1) * s.dilation;
    s.ring = a->in[STATE].data ? (int)a->in[STATE].shape.dim[1] : 0;
    s.start = ints(&a->in[START]);
    s.pos = a->in[POS].data ? ints(&a->in[POS]) : NULL;
    s.past = s.ring && s.reach > 0 ? reals(&a->save[0]) : NULL;
    return s;
}

static bool has_silu(const struct args *a) { return ((const struct conv1d_attr *)a->attr)->silu != 0; }

#define LAUNCH_CONV(a, kernel, s, ...) \
    LAUNCH(a, kernel, grid_for(a, (s).rows.n, (s).rows.at_once), (s).rows.lanes * (s).rows.at_once, 0, s, __VA_ARGS__)

static void forward(const struct args *a)
{
    struct conv s = conv_of(a), before = s;
    if (s.past) {
        before.rows = rows_shape(a->in[START].shape.dim[0] * s.reach, s.rows.d);
        LAUNCH_CONV(a, conv1d_past, before, reals(&a->in[STATE]), reals(&a->save[0]), device_of(a)->fault);
    }
    LAUNCH_CONV(a, conv1d_forward, s, view_of(a->in[X]), view_of(a->in[W]), view_of(a->out[0]), reals(&a->in[STATE]),
                has_silu(a));
}

static int64_t lines_of(const struct conv &s)
{
    int64_t lines = (s.rows.n + PER_LINE - 1) / PER_LINE;
    return lines < MOST_LINES ? lines : (int64_t)MOST_LINES;
}

/* Lines of dw, then dz: columns_add needs no scratch of its own for so few lines. */
static float *dz_in(const struct args *a, const struct conv &s)
{
    return (float *)a->scratch + (lines_of(s) * s.rows.d * s.taps + 3) / 4 * 4;
}

static void backward(const struct args *a)
{
    struct conv s = conv_of(a);
    struct view dz = view_of(a->dout[0]), x = view_of(a->in[X]), w = view_of(a->in[W]);
    if (has_silu(a)) {
        dz = { dz_in(a, s), false };
        LAUNCH_CONV(a, conv1d_silu, s, x, w, view_of(a->dout[0]), dz);
    }
    if (a->din[X].data) LAUNCH_CONV(a, conv1d_inputs, s, w, dz, sum_of(a, X));
    if (!a->din[W].data) return;
    int64_t lines = lines_of(s);
    dim3 grid((s.rows.d + BLOCK - 1) / BLOCK, (unsigned)lines, s.taps);
    LAUNCH(a, conv1d_taps, grid, BLOCK, 0, s, x, dz, (float *)a->scratch, (s.rows.n + lines - 1) / lines);
    columns_add(a, { a->scratch, false }, lines, s.rows.d * s.taps, 1, sum_of(a, W));
}

static size_t scratch(const struct args *a)
{
    struct conv s = conv_of(a);
    int64_t dz = has_silu(a) ? s.rows.n * s.rows.d : 0;
    return (size_t)((lines_of(s) * s.rows.d * s.taps + 3) / 4 * 4 + dz) * sizeof(float);
}

TWIN(conv1d, forward, backward, NULL, scratch);
