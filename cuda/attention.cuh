/* What the kernels of attention share. The queries of all heads that read one key head are the rows of one problem:
   position after position, and in a position head after head. So a key is fetched once for all heads of its group, and
   the gradients of keys and values are sums over rows, in order. Rows go in tiles of 64; tiles of keys that no row of a
   tile sees are passed over. */
#ifndef SLUICE_CUDA_ATTENTION_CUH
#define SLUICE_CUDA_ATTENTION_CUH

#include "kernel.cuh"
#include "ptx.cuh"

enum { Q, K, V, START, POS, SINK, REL, INDEX };
enum { O, LOGIT_MAX, SINK_MASS, MASS };                         /* outputs */
enum { LSE };                                               /* saved: REAL [T,H], to base 2 */
enum { TILE = 64 };                                         /* rows of a tile, and keys */
#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f

/* The sizes of a call as kernels take them. A block works on key head blockIdx.y of sequence blockIdx.z, or of one
   `cut` of it where the width is cut in pieces. */
struct sizes {
    int seq, keys, heads, share, groups, width, value_width, window, chunk, rows, tiles, cuts;
    int value_row;                                          /* from a value to that of the next key head */
    uint64_t by_share;                                      /* 2^32 / share, rounded up */
    const int32_t *start, *pos;
    float scale, cap;                                       /* to base 2; no cap: 0 */
    int extent;                                             /* distances that have a bias: 0 without one */
    struct view rel;
    const float *sink;                                      /* NULL: none */
    bool sink_of_token;                                     /* [T,H], else [H] */
    __device__ int batch() const { return blockIdx.z / cuts; }
    __device__ int cut() const { return blockIdx.z % cuts; }
    /* Position of a row in its chunk, and which query it is among the [S,H] of its sequence. */
    __device__ int at(int row) const { return (int)(row * by_share >> 32); }
    __device__ int query(int row) const
    {
        int p = at(row);
        return p * heads + (int)blockIdx.y * share + row - p * share;
    }
    __device__ int64_t first_query() const { return (int64_t)batch() * seq * heads; }
    __device__ int64_t first_key() const { return (int64_t)batch() * keys * groups + blockIdx.y; }
};

/* The keys [first, last) that a row sees; none for a row past the end, or whose document begins after it. */
struct seen { int first, last; };
static __device__ inline struct seen seen_by(const struct sizes &s, int row)
{
    if (row >= s.rows) return { 0, 0 };
    int at = s.at(row), here = at + (s.pos ? *s.pos : 0), start = s.start[(int64_t)s.batch() * s.seq + at];
    int last = here < s.keys ? here + 1 : s.keys, first = start;
    if (s.window && here - s.window + 1 > first) first = here - s.window + 1;
    if (s.chunk) first = max(first, here - (here - start) % s.chunk);
    return { min(first, last), last };
}

/* The larger; NaN if the new one is. */
static __device__ inline float larger_number(float most, float now) { return now > most || now != now ? now : most; }

/* The sink, to base 2, of a row of [T,H]; 2^32 of them would be 16 GiB of each of their sums. */
static __device__ inline float sink_of(const struct sizes &s, int64_t row)
{
    return LOG2E * s.sink[s.sink_of_token ? row : (uint32_t)row % (uint32_t)s.heads];
}

/* What a row leaves of the sum of its weights to base 2, of which the largest score has 1: a factor on what it summed,
   and the log-sum-exp. A row that sees nothing is 0, and so is what backward makes of it. A sink comes last, as a score
   that no cap bends and whose value is 0. */
static __device__ inline float share_of(const struct sizes &s, int64_t row, float &most, float &sum)
{
    float sink = s.sink ? sink_of(s, row) : -INFINITY, now = larger_number(most, sink);
    if (sink == -INFINITY) return sum == 0 ? 0 : divide(1, sum);
    float fade = power_of_two(most - now);
    sum = sum * fade + power_of_two(sink - now);
    most = now;
    return divide(fade, sum);
}
static __device__ inline float lse_of(float most, float sum) { return sum == 0 ? 0 : most + log2f(sum) + (sum - sum); }

/* Of a tile of rows: together they see the keys [from, to), each of them sees [all_from, all_to). */
struct span { int from, to, all_from, all_to; };
static __device__ inline bool meets(const struct span &s, int key) { return s.from < key + TILE && s.to > key; }

static __device__ inline bool clear(const struct span &s, int key, int n)
{
    return s.all_from <= key && s.all_to >= key + n;
}

/* Called by all threads of a block, two warps or more. */
static __device__ inline struct span span_of(const struct sizes &s, int tile)
{
    __shared__ struct span half[TILE / WARP];
    int warp = threadIdx.x / WARP, row = tile * TILE + threadIdx.x;
    if (warp < TILE / WARP) {
        struct seen see = seen_by(s, row);
        bool none = row >= s.rows;
        struct span all = { __reduce_min_sync(0xFFFFFFFFu, none ? s.keys : see.first),
                            __reduce_max_sync(0xFFFFFFFFu, see.last), __reduce_max_sync(0xFFFFFFFFu, see.first),
                            __reduce_min_sync(0xFFFFFFFFu, none ? s.keys : see.last) };
        if (threadIdx.x % WARP == 0) half[warp] = all;
    }
    __syncthreads();
    return { min(half[0].from, half[1].from), max(half[0].to, half[1].to), max(half[0].all_from, half[1].all_from),
             min(half[0].all_to, half[1].all_to) };
}

/* The largest score of each head in a tile of rows, from those of its rows: `tops` is [B,G,tiles,share]. */
static __device__ inline void store_tops(const struct sizes &s, int tile, const float *row_top, float *tops)
{
    tops += (((int64_t)s.batch() * s.groups + blockIdx.y) * s.tiles + tile) * s.share;
    int first = tile * TILE, end = min(TILE, s.rows - first), head_of_first = first - s.at(first) * s.share;
    for (int head = threadIdx.x; head < s.share; head += blockDim.x) {
        float top = -INFINITY;
        int row = head - head_of_first;
        for (row += row < 0 ? s.share : 0; row < end; row += s.share) top = larger_number(top, row_top[row]);
        tops[head] = top;
    }
}

/* Adds N pieces of each row of a tile from shared memory, piece n of row i at piece(i, n), as columns from `column` on
   of rows of `width` values; row i goes to offset(i), or nowhere where that is negative. */
template <int N, class Piece, class Offset>
static __device__ inline void add_pieces(struct sum to, int width, int column, Piece piece, Offset offset)
{
    #pragma unroll 1
    for (int i = threadIdx.x; i < TILE * N; i += blockDim.x) {
        int rest = width - column - i % N * LANES;
        int64_t at = offset(i / N);
        const float *x = piece(i / N, i % N);
        if (at < 0 || rest <= 0) continue;
        at += width - rest;
        if (at % LANES == 0 && rest >= LANES) add8(to, at, { { x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7] } });
        else {
            #pragma unroll 1
            for (int l = 0; l < min(rest, (int)LANES); l++) add(to, at + l, x[l]);
        }
    }
}

/* ---- the host's side ---- */

/* The input that has the values: without v they are the first columns of keys. Their gradients come after those of the
   keys then, and are added to them. */
static inline const struct tensor &values_of(const struct args *a) { return a->in[V].data ? a->in[V] : a->in[K]; }
static inline struct sum values_sum(const struct args *a)
{
    struct sum within = { view_of(a->din[K]), 1 };
    return a->in[V].data ? sum_of(a, V) : within;
}

/* What backward makes first: delta = do . o of each row, [T,H], and the spans, [B,tiles]. */
struct backward_scratch { float *delta; struct span *spans; };

/* The whole of a call: where an index names the keys, bf16 on tensor cores for heads up to 256 wide, all else in
   float. */
void attention_forward_named(const struct args *a, struct sizes s, float *tops);
void attention_backward_named(const struct args *a, struct sizes s, struct backward_scratch b, void *scratch);
size_t attention_named_scratch(const struct args *a, const struct sizes &s);
void attention_forward_bf16(const struct args *a, struct sizes s, float *tops);
void attention_forward_float(const struct args *a, struct sizes s, float *tops);
void attention_backward_bf16(const struct args *a, struct sizes s, struct backward_scratch b);
void attention_backward_float(const struct args *a, struct sizes s, struct backward_scratch b);

/* Of each query the entropy of what it gives its keys, [T,H]. */
void attention_entropy(const struct args *a, struct sizes s);

/* What sinks give once the log-sum-exps are known, and what they get from delta. */
void attention_sink_forward(const struct args *a, struct sizes s);
void attention_sink_backward(const struct args *a, struct sizes s, const float *delta);
static inline bool bends(const struct sizes &s) { return s.extent || s.cap != 0; }

/* Blocks of a call: x of them for each key head and each cut of its width. */
static inline dim3 attention_grid(const struct args *a, const struct sizes &s, int x)
{
    return dim3(x, s.groups, (unsigned)(a->in[START].shape.dim[0] * s.cuts));
}
static inline int blocks_for(int n, int per) { return (n + per - 1) / per; }

#endif
