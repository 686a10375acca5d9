/* Attention in float, and for heads of any width: no tensor cores, every product in full precision. All products are of
   tiles of 64 x 64 by outer products from shared memory, of which a thread owns 4 x 4; the width goes in chunks of 64.
   Bound by fused multiply-adds: a chunk is 64^3 of them for 2 x 64^2 values loaded. Backward is as in
   attention_backward.cu. */
#include "attention_backward.cuh"

enum { SIDE = 16, OWN = TILE / SIDE, THREADS = SIDE * SIDE, CHUNK = TILE, PIECES = CHUNK / LANES };
typedef float tile_of[TILE][TILE];

/* What a thread owns of a product: rows 4 (thread / 16) + i, columns 4 (thread % 16) + j. */
static __device__ inline int own_row() { return threadIdx.x / SIDE * OWN; }
static __device__ inline int own_column() { return threadIdx.x % SIDE * OWN; }

/* c += left^T right over the first rows of both: `depth` and what is left of four, which are of zeros. */
static __device__ inline void multiply(float (&c)[OWN][OWN], const tile_of &left, const tile_of &right, int depth)
{
    #pragma unroll 1
    for (int first = 0; first < depth; first += 4)
        #pragma unroll
        for (int k = first; k < first + 4; k++) {
            float4 x = *(const float4 *)&left[k][own_row()], y = *(const float4 *)&right[k][own_column()];
            float a[OWN] = { x.x, x.y, x.z, x.w }, b[OWN] = { y.x, y.y, y.z, y.w };
            for (int i = 0; i < OWN; i++) for (int j = 0; j < OWN; j++) c[i][j] = fmaf(a[i], b[j], c[i][j]);
        }
}

/* Columns [from, from + CHUNK) of 64 rows of `width` values, as they are or transposed; row i is at offset(i), or
   is of zeros where that is negative. Transposed, neighbouring threads have neighbouring rows, so that what they
   write shares no bank. */
template <bool TRANSPOSED, class Offset>
static __device__ inline void load_chunk(tile_of &tile, struct view x, int64_t first, int width, int from,
                                         Offset offset)
{
    #pragma unroll 1
    for (int i = threadIdx.x; i < TILE * PIECES; i += THREADS) {
        int row = TRANSPOSED ? i % TILE : i / PIECES, piece = TRANSPOSED ? i / TILE : i % PIECES,
            column = from + piece * LANES, at = offset(row);
        float *to = TRANSPOSED ? &tile[piece * LANES][row] : &tile[row][piece * LANES];
        constexpr int STEP = TRANSPOSED ? TILE : 1;
        if (at >= 0 && column + LANES <= width && (first + at) % LANES == 0) {
            struct eight e = load8(x, first + at + column);
            for (int l = 0; l < LANES; l++) to[l * STEP] = e.v[l];
        } else {
            #pragma unroll 1
            for (int l = 0; l < LANES; l++)
                to[l * STEP] = at >= 0 && column + l < width ? load(x, first + at + column + l) : 0;
        }
    }
}

/* A tensor as tiles are loaded from it: rows of queries [T,H,width], or the first `width` columns of keys [T,G,row],
   before `end`. */
struct source { struct view x; int width, row; };
template <bool TRANSPOSED>
static __device__ inline void load_rows(tile_of &tile, const struct sizes &s, const struct source &x, int row, int from)
{
    load_chunk<TRANSPOSED>(tile, x.x, s.first_query() * x.width, x.width, from,
                       [&](int i) { return row + i < s.rows ? s.query(row + i) * x.width : -1; });
}

template <bool TRANSPOSED>
static __device__ inline void load_keys(tile_of &tile, const struct sizes &s, const struct source &x, int key, int end,
                                        int from)
{
    load_chunk<TRANSPOSED>(tile, x.x, s.first_key() * x.row, x.width, from,
                       [&](int i) { return key + i < end ? (key + i) * s.groups * x.row : -1; });
}

/* c = x y^T over the whole width: c's rows are of `rows` and its columns keys, or with
   KEYS_FIRST the other way round. */
template <bool KEYS_FIRST>
static __device__ inline void scores_of(float (&c)[OWN][OWN], tile_of &left, tile_of &right, const struct sizes &s,
                                        const struct source &rows, int row, const struct source &keys, int key, int end)
{
    for (int i = 0; i < OWN; i++) for (int j = 0; j < OWN; j++) c[i][j] = 0;
    for (int from = 0; from < rows.width; from += CHUNK) {
        __syncthreads();
        load_rows<true>(KEYS_FIRST ? right : left, s, rows, row, from);
        load_keys<true>(KEYS_FIRST ? left : right, s, keys, key, end, from);
        __syncthreads();
        multiply(c, left, right, min(CHUNK, rows.width - from));
    }
}

/* What the threads own of a product, rows times `factor`, as columns from `column` on of rows of `width`
   values, by way of `tile`. */
template <class Offset>
static __device__ inline void add_chunk(tile_of &tile, const float (&c)[OWN][OWN], const float (&factor)[OWN],
                                        struct sum to, int width, int column, Offset offset)
{
    __syncthreads();
    for (int i = 0; i < OWN; i++)
        *(float4 *)&tile[own_row() + i][own_column()] = make_float4(c[i][0] * factor[i], c[i][1] * factor[i],
                                                                    c[i][2] * factor[i], c[i][3] * factor[i]);
    __syncthreads();
    add_pieces<PIECES>(to, width, column, [&](int i, int n) { return &tile[i][n * LANES]; }, offset);
}

template <int CHUNKS, class Offset>
static __device__ inline void add_chunks(tile_of &tile, const float (&c)[CHUNKS][OWN][OWN], float factor, struct sum to,
                                         int width, int column, Offset offset)
{
    float same[OWN] = { factor, factor, factor, factor };
    #pragma unroll
    for (int n = 0; n < CHUNKS; n++) add_chunk(tile, c[n], same, to, width, column + n * CHUNK, offset);
}

/* Over the 16 threads that own parts of one row. */
static __device__ inline float row_max(float x)
{
    for (int step = SIDE / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, step));
    return x;
}
static __device__ inline float row_sum(float x)
{
    for (int step = SIDE / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, step);
    return x;
}

/* CHUNKS, 1 or 2: how much of the width a block sums; a wider one is cut among blocks. With one, two blocks share a
   multiprocessor; bent scores need its registers for one. */
template <int CHUNKS, bool BENT>
static __global__ void __launch_bounds__(THREADS, BENT ? 1 : 3 - CHUNKS)
attention_forward_float(struct sizes s, struct source q, struct source k, struct source v, struct view out,
                        float *lse, float *tops)
{
    __shared__ __align__(16) tile_of left, right;
    __shared__ float row_top[TILE];
    int tile = s.tiles - 1 - blockIdx.x, row = tile * TILE, column = s.cut() * CHUNKS * CHUNK;
    struct span span = span_of(s, tile);
    float o[CHUNKS][OWN][OWN] = { 0 }, most[OWN], sum[OWN], largest[OWN];
    struct seen see[OWN];
    int query[OWN];
    for (int i = 0; i < OWN; i++) {
        most[i] = largest[i] = -INFINITY;
        sum[i] = 0;
        see[i] = seen_by(s, row + own_row() + i);
        query[i] = s.query(row + own_row() + i);
    }
    for (int key = span.from; key < span.to; key += TILE) {
        float p[OWN][OWN];
        scores_of<false>(p, left, right, s, q, row, k, key, span.to);
        #pragma unroll
        for (int i = 0; i < OWN; i++) {
            float top = -INFINITY, part = 0;
            #pragma unroll
            for (int j = 0; j < OWN; j++) {
                int at = key + own_column() + j;
                if (BENT) p[i][j] = bent(s, p[i][j], see[i], query[i], at, largest[i]);
                else p[i][j] = at >= see[i].first && at < see[i].last ? p[i][j] * s.scale : -INFINITY;
                top = fmaxf(top, p[i][j]);
            }
            top = fmaxf(most[i], row_max(top));
            float some = top == -INFINITY ? 0 : top, fade = power_of_two(most[i] - some);
            for (int j = 0; j < OWN; j++) part += p[i][j] = power_of_two(p[i][j] - some);
            most[i] = top;
            sum[i] = sum[i] * fade + row_sum(part);
            for (int c = 0; c < CHUNKS; c++) for (int j = 0; j < OWN; j++) o[c][i][j] *= fade;
        }
        __syncthreads();
        for (int j = 0; j < OWN; j++)
            *(float4 *)&left[own_column() + j][own_row()] = make_float4(p[0][j], p[1][j], p[2][j], p[3][j]);
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) {
            load_keys<false>(right, s, v, key, span.to, column + c * CHUNK);
            __syncthreads();
            multiply(o[c], left, right, TILE);
            __syncthreads();
        }
    }
    #pragma unroll
    for (int i = 0; i < OWN; i++) {
        bool there = row + own_row() + i < s.rows;
        largest[i] = BENT ? row_max(largest[i]) : most[i];
        int64_t at = there ? s.first_query() + s.query(row + own_row() + i) : 0;
        float share = there ? share_of(s, at, most[i], sum[i]) : 0;
        if (there && own_column() == 0 && s.cut() == 0) {
            lse[at] = lse_of(most[i], sum[i]);
            row_top[own_row() + i] = largest[i] * LN2 + (sum[i] - sum[i]);
        }
        sum[i] = share;
    }
    #pragma unroll
    for (int c = 0; c < CHUNKS; c++)
        add_chunk(left, o[c], sum, { out, 0 }, v.width, column + c * CHUNK,
                  [&](int i) { return row + i < s.rows ? (s.first_query() + s.query(row + i)) * v.width : -1; });
    if (s.cut() == 0) store_tops(s, tile, row_top, tops);
}

/* dq: a thread owns scores of 4 keys and 4 rows, so that ds lies as the product with the keys wants it. */
template <int CHUNKS, bool BENT> static __global__ void __launch_bounds__(THREADS, BENT ? 1 : 3 - CHUNKS)
attention_backward_rows_float(struct sizes s, struct source q, struct source k, struct source v, struct source dout,
                              const float *lse, const float *delta, struct sum dq, struct sum drel, float factor)
{
    __shared__ __align__(16) tile_of left, right;
    int tile = s.tiles - 1 - blockIdx.x, first = tile * TILE, column = s.cut() * CHUNKS * CHUNK;
    struct span span = span_of(s, tile);
    float sum[CHUNKS][OWN][OWN] = { 0 };
    struct row row[OWN];
    int query[OWN];
    for (int j = 0; j < OWN; j++) {
        row[j] = row_of(s, first + own_column() + j, lse, delta);
        query[j] = s.query(first + own_column() + j);
    }
    for (int key = span.from; key < span.to; key += TILE) {
        float p[OWN][OWN], ds[OWN][OWN];
        scores_of<true>(p, left, right, s, q, first, k, key, span.to);
        scores_of<true>(ds, left, right, s, dout, first, v, key, span.to);
        __syncthreads();
        #pragma unroll
        for (int i = 0; i < OWN; i++) {
            #pragma unroll
            for (int j = 0; j < OWN; j++) {
                int at = key + own_row() + i;
                ds[i][j] = slope<BENT>(s, weight<BENT>(s, p[i][j], row[j], query[j], at), ds[i][j], row[j]);
                if (BENT && drel.to.data && s.cut() == 0) add_slope(s, drel, row[j], query[j], at, ds[i][j]);
            }
            *(float4 *)&left[own_row() + i][own_column()] = make_float4(ds[i][0], ds[i][1], ds[i][2], ds[i][3]);
        }
        #pragma unroll
        for (int c = 0; c < CHUNKS; c++) {
            load_keys<false>(right, s, k, key, span.to, column + c * CHUNK);
            __syncthreads();
            multiply(sum[c], left, right, TILE);
            __syncthreads();
        }
    }
    add_chunks(left, sum, factor, dq, q.width, column,
               [&](int i) { return first + i < s.rows ? (s.first_query() + s.query(first + i)) * q.width : -1; });
}

/* dk and dv: a thread owns scores of 4 rows and 4 keys. */
template <int CHUNKS, bool BENT>
static __global__ void __launch_bounds__(THREADS, 3 - CHUNKS)
attention_backward_keys_float(struct sizes s, struct source q, struct source k, struct source v, struct source dout,
                              const float *lse, const float *delta, const struct span *spans, struct sum dk,
                              struct sum dv, float factor)
{
    __shared__ __align__(16) tile_of left, right;
    int key = blockIdx.x * TILE, column = s.cut() * CHUNKS * CHUNK;
    float sum_k[CHUNKS][OWN][OWN] = { 0 }, sum_v[CHUNKS][OWN][OWN] = { 0 };
    struct reach rows = reach_of(s, spans, key);
    for (int first = rows.from; first < rows.to; first += TILE) {
        float p[OWN][OWN], ds[OWN][OWN];
        scores_of<false>(p, left, right, s, q, first, k, key, s.keys);
        scores_of<false>(ds, left, right, s, dout, first, v, key, s.keys);
        __syncthreads();
        #pragma unroll
        for (int i = 0; i < OWN; i++) {
            struct row row = row_of(s, first + own_row() + i, lse, delta);
            #pragma unroll
            for (int j = 0; j < OWN; j++) {
                p[i][j] = weight<BENT>(s, p[i][j], row, BENT ? s.query(first + own_row() + i) : 0,
                                       key + own_column() + j);
                ds[i][j] = slope<BENT>(s, p[i][j], ds[i][j], row);
            }
            *(float4 *)&left[own_row() + i][own_column()] = make_float4(p[i][0], p[i][1], p[i][2], p[i][3]);
        }
        #pragma unroll
        for (int c = 0; c < CHUNKS; c++) {
            load_rows<false>(right, s, dout, first, column + c * CHUNK);
            __syncthreads();
            multiply(sum_v[c], left, right, TILE);
            __syncthreads();
        }
        for (int i = 0; i < OWN; i++)
            *(float4 *)&left[own_row() + i][own_column()] = make_float4(ds[i][0], ds[i][1], ds[i][2], ds[i][3]);
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) {
            load_rows<false>(right, s, q, first, column + c * CHUNK);
            __syncthreads();
            multiply(sum_k[c], left, right, TILE);
            __syncthreads();
        }
    }
    auto offset = [&](int i, int row) {
        return key + i < s.keys ? (s.first_key() + (int64_t)(key + i) * s.groups) * row : -1;
    };
    if (dk.to.data) add_chunks(left, sum_k, factor, dk, k.width, column, [&](int i) { return offset(i, k.row); });
    if (dv.to.data) add_chunks(left, sum_v, 1, dv, v.width, column, [&](int i) { return offset(i, v.row); });
}

static struct source source_of(const struct tensor &t)
{
    return { view_of(t), (int)shape_last(t.shape), (int)shape_last(t.shape) };
}
static struct source source_of_values(const struct args *a, const struct sizes &s)
{
    return { view_of(values_of(a)), s.value_width, s.value_row };
}

/* CASE(chunks, bent) of what a block sums of `width`. */
#define BY_CHUNKS(s, width, CASE) do { \
    int chunks_ = blocks_for(width, CHUNK); \
    (s).cuts = blocks_for(chunks_, 2); \
    if (chunks_ <= 1 && bends(s)) CASE(1, true); \
    else if (chunks_ <= 1) CASE(1, false); \
    else if (bends(s)) CASE(2, true); \
    else CASE(2, false); \
} while (0)

void attention_forward_float(const struct args *a, struct sizes s, float *tops)
{
#define FORWARD(CHUNKS, BENT) \
    LAUNCH(a, (attention_forward_float<CHUNKS, BENT>), attention_grid(a, s, s.tiles), THREADS, 0, \
    s, source_of(a->in[Q]), source_of(a->in[K]), source_of_values(a, s), view_of(a->out[O]), \
    (float *)a->save[LSE].data, tops)
    BY_CHUNKS(s, s.value_width, FORWARD);
}

void attention_backward_float(const struct args *a, struct sizes s, struct backward_scratch b)
{
#define INPUTS source_of(a->in[Q]), source_of(a->in[K]), source_of_values(a, s), source_of(a->dout[O]), \
    (const float *)a->save[LSE].data, b.delta
#define ROWS(CHUNKS, BENT) \
    LAUNCH(a, (attention_backward_rows_float<CHUNKS, BENT>), attention_grid(a, s, s.tiles), THREADS, 0, \
    s, INPUTS, sum_of(a, Q), bias_sum(a), s.scale * LN2)
#define KEYS(CHUNKS, BENT) \
    LAUNCH(a, (attention_backward_keys_float<CHUNKS, BENT>), attention_grid(a, s, blocks_for(s.keys, TILE)), \
           THREADS, 0, \
    s, INPUTS, b.spans, sum_of(a, K), values_sum(a), s.scale * LN2)
    if (a->din[Q].data || a->din[REL].data) BY_CHUNKS(s, s.width, ROWS);
    if (a->din[K].data || a->din[V].data) BY_CHUNKS(s, max(s.width, s.value_width), KEYS);
}
