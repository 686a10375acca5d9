/* Rotary positions: the pair (a, b) of a head is rotated by the angle p base^(-2i/D), p counted from the start of the
   document; backward rotates dy back. Memory bounds it: x and y are moved once, which is the least. There is no table
   of angles: a thread computes those of its pairs and rotates them in HEADS heads. */
#include "norm.cuh"
#include <math.h>

enum { X, START, POS };                                     /* inputs */
enum { HEADS = 4, POWERS = 10 };                            /* 2^POWERS: most pairs of a head */

enum : uint64_t { WHOLE = 1ull << 63 };

/* tokens [B,S] of `heads` heads of `wide` values. Pair i of a head are the values first + i and first + gap + i; of
   neighbours, gap 1, first + 2i and the next. A head is cut into `units` of N neighbours: pairs, then values that are
   not rotated. power[k]: base^(-2/D) to the power 2^k, as a fraction of WHOLE; so is what frequencies are multiplied
   by: from pair `bent` on `bend`, less by `step` for each pair, and from `slow` on `least`. */
struct rotations {
    int64_t length;
    unsigned tokens, heads, groups, units, pairs, first, gap, wide;
    float sign, amplitude;
    unsigned bent, slow;
    uint64_t power[POWERS], bend, step, least;
};

/* Angles are fractions of a circle in 64 bits, so that their product with any position is exact: whole circles fall off
   the top. base^(-2i/D) / 2pi: */
static __device__ inline uint64_t frequency_of_pair(const struct rotations &t, unsigned pair)
{
    uint64_t frequency = 0x28BE60DB9391054Aull;                  /* 2^64 / 2pi */
#pragma unroll
    for (int k = 0; k < POWERS; k++) if (pair >> k & 1) frequency = __umul64hi(frequency, t.power[k]) << 1;
    return frequency;
}

/* The frequency of a pair as its context was stretched. */
static __device__ inline uint64_t stretched(const struct rotations &t, unsigned pair, uint64_t frequency)
{
    if (pair < t.bent) return frequency;
    return __umul64hi(frequency, pair < t.slow ? t.bend - (pair - t.bent) * t.step : t.least) << 1;
}

/* Number j of the values that are not rotated. */
static __device__ inline unsigned still(const struct rotations &t, unsigned j)
{
    if (j < t.first) return j;
    if (t.gap == 1) return j + 2 * t.pairs;
    return j - t.first < t.gap - t.pairs ? j + t.pairs : j + 2 * t.pairs;
}

/* x c + other s, rounded alike wherever it stands. */
static __device__ inline float rotated(float x, float other, float c, float s)
{
    return __fmaf_rn(x, c, __fmul_rn(other, s));
}

/* N neighbours, one or eight. */
template <int N> static __device__ inline struct eight take(struct view x, int64_t i)
{
    if constexpr (N == LANES) return load8(x, i);
    return { { load(x, i) } };
}
template <int N> static __device__ inline void give(struct sum y, int64_t i, const struct eight &e)
{
    if constexpr (N == LANES) add8(y, i, e);
    else add(y, i, e.v[0]);
}

/* The first of N pairs of neighbours among 2 N values, the second of them; and back. */
template <int N> static __device__ inline void part(struct eight &a, struct eight &b)
{
    struct eight low = a, high = b;
    for (int l = 0; l < N; l++) {
        a.v[l] = 2 * l < N ? low.v[2 * l % N] : high.v[2 * l % N];
        b.v[l] = 2 * l + 1 < N ? low.v[(2 * l + 1) % N] : high.v[(2 * l + 1) % N];
    }
}
template <int N> static __device__ inline void join(struct eight &a, struct eight &b)
{
    struct eight first = a, second = b;
    for (int l = 0; l < N; l++) {
        a.v[l] = l % 2 ? second.v[l / 2] : first.v[l / 2];
        b.v[l] = (l + N) % 2 ? second.v[(l + N) / 2] : first.v[(l + N) / 2];
    }
}

/* The pairs from `pair` on, N of them, in the heads from x + at on. */
template <int N, bool NEIGHBOURS>
static __device__ inline void rotate_pairs(const struct rotations &t, unsigned pair, int64_t position, unsigned heads,
                                         struct view x, struct sum y, int64_t at)
{
    struct eight c, s;
    uint64_t frequency = frequency_of_pair(t, pair);
    for (int l = 0; l < N; l++) {
        uint64_t by = stretched(t, pair + l, frequency);
        int32_t angle = (int32_t)(by * (uint64_t)position >> 32);            /* -1/2 .. 1/2 circles */
        sincospif((float)angle * 0x1p-31f, &s.v[l], &c.v[l]);
        s.v[l] *= t.sign * t.amplitude;
        c.v[l] *= t.amplitude;
        frequency = __umul64hi(frequency, t.power[0]) << 1;
    }
    at += t.first + (NEIGHBOURS ? 2 * pair : pair);
    unsigned gap = NEIGHBOURS ? N : t.gap;
    for (unsigned h = 0; h < heads; h++, at += t.wide) {
        struct eight a = take<N>(x, at), b = take<N>(x, at + gap), u, v;
        if (NEIGHBOURS) part<N>(a, b);
        for (int l = 0; l < N; l++) {
            u.v[l] = rotated(a.v[l], b.v[l], c.v[l], -s.v[l]);
            v.v[l] = rotated(b.v[l], a.v[l], c.v[l], s.v[l]);
        }
        if (NEIGHBOURS) join<N>(u, v);
        give<N>(y, at, u);
        give<N>(y, at + gap, v);
    }
}

template <int N, bool NEIGHBOURS>
static __global__ void __launch_bounds__(BLOCK)
rope_rotate(const struct rotations t, struct view x, struct sum y, const int32_t *start, const int32_t *pos)
{
    unsigned items = t.tokens * t.groups * t.units;
    for (unsigned i = (unsigned)first_item(); i < items; i += (unsigned)all_items()) {
        unsigned unit = i % t.units * N, group = i / t.units % t.groups, token = i / t.units / t.groups;
        unsigned head = group * HEADS, heads = t.heads - head < HEADS ? t.heads - head : (unsigned)HEADS;
        int64_t at = ((int64_t)token * t.heads + head) * t.wide;
        if (unit < t.pairs) {
            int64_t position = (pos ? pos[0] : 0) + (int64_t)(token % (unsigned)t.length) - start[token];
            rotate_pairs<N, NEIGHBOURS>(t, unit, position, heads, x, y, at);
        } else {
            at += still(t, unit - t.pairs);
            for (unsigned h = 0; h < heads; h++, at += t.wide) give<N>(y, at, take<N>(x, at));
        }
    }
}

/* The same after a norm of the heads: lanes of a warp share a head, and each gets the other halves of
   its pairs from another. */
ROWS_KERNEL rmsnorm_rope_forward(struct rows r, const struct rotations t, struct view x, struct view gain,
                                 struct view y, struct view z, const int32_t *start, const int32_t *pos, float eps,
                                 float centre)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r)) {
        struct row<true> row(x, w, r);
        float by = inverse_rms(row, r.d, eps);
        struct eight u = row.held, f = factor(gain, centre, row.column(0), w.d), other;
        for (int l = 0; l < LANES; l++) u.v[l] = as_stored(y, f.v[l] * (u.v[l] * by));
        row_store(y, row.at, row.column(0), w.d, u);
        unsigned column = (unsigned)row.column(0), pair = column - t.first, late = pair - t.gap;
        bool is_late = column >= t.first + t.gap && late < t.pairs, is_early = column >= t.first && pair < t.pairs;
        int far = (int)(t.gap / LANES), lane = (int)(threadIdx.x % WARP);
        for (int l = 0; l < LANES; l++)
            other.v[l] = __shfl_sync(0xFFFFFFFFu, u.v[l], is_late ? lane - far : is_early ? lane + far : lane);
        unsigned token = w.d ? (unsigned)w.row / t.heads : 0;
        int64_t position = (pos ? pos[0] : 0) + (int64_t)(token % (unsigned)t.length) - start[token];
        if (is_late) pair = late;
        uint64_t frequency = frequency_of_pair(t, pair);
        for (int l = 0; l < LANES && (is_late || is_early); l++) {
            float c, s;
            uint64_t by = stretched(t, pair + l, frequency);
            sincospif((float)(int32_t)(by * (uint64_t)position >> 32) * 0x1p-31f, &s, &c);
            s *= t.amplitude;
            u.v[l] = rotated(u.v[l], other.v[l], c * t.amplitude, is_late ? s : -s);
            frequency = __umul64hi(frequency, t.power[0]) << 1;
        }
        row_store(z, row.at, row.column(0), w.d, u);
    }
}

/* As bend of runtime/ops/rope.c. */
static void stretch(struct rotations *t, const struct rope_attr *at)
{
    double slow = 1 / at->factor, slope = at->high > at->low ? (1 - slow) / (at->high - at->low) : 0;
    double bent = at->factor == 1 ? t->pairs : at->high <= at->low ? ceil(at->high) : floor(at->low) + 1;
    t->slow = (unsigned)fmin(ceil(at->high), t->pairs);
    t->bent = (unsigned)fmin(bent, t->pairs);
    if (t->slow < t->bent) t->slow = t->bent;
    t->least = (uint64_t)(slow * (double)WHOLE);
    t->step = (uint64_t)(slope * (double)WHOLE);
    t->bend = (uint64_t)((1 - slope * (t->bent - at->low)) * (double)WHOLE);
}

static struct rotations rotations_of(const struct args *a, float sign)
{
    const struct rope_attr *at = (const struct rope_attr *)a->attr;
    struct shape x = a->in[X].shape;
    int64_t w = x.dim[2], pairs = at->width / 2;
    double depth = (double)(at->where == ROPE_PROPORTIONAL ? w : at->width);
    struct rotations t = { a->in[START].shape.dim[1], (unsigned)x.dim[0], (unsigned)x.dim[1],
                       (unsigned)((x.dim[1] + HEADS - 1) / HEADS), (unsigned)(w - pairs), (unsigned)pairs,
                       (unsigned)(at->where == ROPE_LAST ? w - at->width : 0),
                       (unsigned)(at->interleaved ? 1 : at->where == ROPE_PROPORTIONAL ? w / 2 : pairs), (unsigned)w,
                       sign, (float)at->amplitude, 0, 0, {}, 0, 0, 0 };
    INVARIANT(pairs <= 1 << POWERS && at->base > 1, "rope: %lld pairs, base %g", (long long)pairs, at->base);
    for (int k = 0; k < POWERS && pairs; k++) t.power[k] = (uint64_t)(pow(at->base, -2.0 * (1 << k) / depth) * 0x1p63);
    stretch(&t, at);
    return t;
}

static void rotate(const struct args *a, float sign, struct view x, struct sum y)
{
    struct rotations t = rotations_of(a, sign);
    const int32_t *start = ints(&a->in[START]), *pos = a->in[POS].data ? ints(&a->in[POS]) : NULL;
    bool neighbours = t.gap == 1, eights = (t.wide | t.pairs | t.first | (neighbours ? 0 : t.gap)) % LANES == 0;
    if (eights) t.units /= LANES;
    int64_t items = (int64_t)t.tokens * t.groups * t.units;
    INVARIANT(items <= UINT32_MAX, "rope: %lld pairs at once", (long long)items);
    int grid = grid_for(a, items, BLOCK);
    if (eights && neighbours) LAUNCH(a, (rope_rotate<LANES, true>), grid, BLOCK, 0, t, x, y, start, pos);
    else if (eights) LAUNCH(a, (rope_rotate<LANES, false>), grid, BLOCK, 0, t, x, y, start, pos);
    else if (neighbours) LAUNCH(a, (rope_rotate<1, true>), grid, BLOCK, 0, t, x, y, start, pos);
    else LAUNCH(a, (rope_rotate<1, false>), grid, BLOCK, 0, t, x, y, start, pos);
}

static void forward(const struct args *a)
{
    struct sum y = { view_of(a->out[0]), 0 };
    rotate(a, 1, view_of(a->in[X]), y);
}

static void norm_forward(const struct args *a)
{
    const struct rmsnorm_attr *at = (const struct rmsnorm_attr *)a->attr;
    const struct args *b = a->next;
    struct rows r = rows_of(a->in[0].shape);
    LAUNCH(a, rmsnorm_rope_forward, grid_for(a, r.n, r.at_once), r.lanes * r.at_once, 0, r, rotations_of(b, 1),
           view_of(a->in[0]), view_of(a->in[1]), view_of(a->out[0]), view_of(b->out[0]), ints(&b->in[START]),
           b->in[POS].data ? ints(&b->in[POS]) : NULL, (float)at->eps, centre_of(a));
}

/* Heads of whole eights whose pairs lie in lanes of one warp, halves apart. */
extern "C" kernel *fuse_rmsnorm_rope(const struct args *norm, const struct args *rope)
{
    struct rotations t = rotations_of(rope, 1);
    int64_t d = shape_last(norm->in[0].shape);
    bool fits = d == t.wide && d <= WARP * LANES && (d & (d - 1)) == 0 &&
                (t.wide | t.pairs | t.first | t.gap) % LANES == 0 && t.pairs > 0;
    return fits ? norm_forward : NULL;
}

static void backward(const struct args *a) { if (a->din[X].data) rotate(a, -1, view_of(a->dout[0]), sum_of(a, X)); }

TWIN(rope, forward, backward);
