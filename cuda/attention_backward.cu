/* Backward of attention in bf16. With p = 2^(s - lse) made anew from s = scale log2(e) q k and delta = do . o:

       dv += p^T do;  dp = do v^T;  ds = p (dp - delta);  dk += ds^T q;  dq += ds k.

   One kernel goes over keys for a tile of rows and sums dq, another over rows for a tile of keys and sums dk and dv:
   two of seven products are made twice, so that each sum has one owner and one order. Sums, scores and slopes stay in
   registers, where the fragments of p^T and ds^T that one product leaves are what the next takes. Long rows are bound
   by tensor cores. Shared memory: 24, 48, 64, 96 KiB at heads of 32, 64, 128, 256; for registers see budget.txt. */
#include "attention_backward.cuh"
#include "attention_tile.cuh"

/* Rows or keys that a loop takes at once, and how many such pairs of tiles shared memory holds beside the pair that
   stays: with two, one is under way while the other is multiplied. */
static __host__ __device__ constexpr int step_of(int w) { return w > 64 ? 32 : 64; }
static __host__ __device__ constexpr int stages_of(int w) { return w > 128 ? 1 : 2; }
/* Blocks among which the widths of dk and dv are cut, for registers. */
static __host__ __device__ constexpr int cuts_of(int w, int vw) { return w + vw > 256 ? 2 : 1; }

template <int W, int VW, bool BENT>
static __global__ void __launch_bounds__(THREADS, 1)
attention_backward_rows(struct sizes s, const __nv_bfloat16 *q, const __nv_bfloat16 *k, const __nv_bfloat16 *v,
                        const __nv_bfloat16 *dout, const float *lse, const float *delta, struct sum dq,
                        struct sum drel, float factor)
{
    constexpr int STEP = step_of(W), STAGES = stages_of(W), PAIR = STEP * (W + VW) / PIECE;
    extern __shared__ uint4 shared[];
    uint4 *queries = shared, *douts = queries + TILE * W / PIECE, *pairs = douts + TILE * VW / PIECE;
    int tile = s.tiles - 1 - blockIdx.x, warp = threadIdx.x / WARP,
        first = tile * TILE + warp * 16 + threadIdx.x % WARP / 4;
    struct span span = span_of(s, tile);
    struct row row[2] = { row_of(s, first, lse, delta), row_of(s, first + 8, lse, delta) };
    int query[2] = { s.query(first), s.query(first + 8) };
    float sum[W / 8][4] = { 0 };
    k += s.first_key() * s.width;
    v += s.first_key() * s.value_width;
    auto load_pair = [&](int stage, int key) {
        uint4 *keys = pairs + stage * PAIR;
        if (key < span.to) load_keys<W, STEP>(keys, s, k, s.width, key, span.to);
        if (key < span.to) load_keys<VW, STEP>(keys + STEP * W / PIECE, s, v, s.value_width, key, span.to);
        copy_commit();
    };
    load_rows<W, TILE>(queries, s, q + s.first_query() * s.width, s.width, tile * TILE);
    load_rows<VW, TILE>(douts, s, dout + s.first_query() * s.value_width, s.value_width, tile * TILE);
    load_pair(0, span.from);
    for (int key = span.from, stage = 0; key < span.to; key += STEP, stage = (stage + 1) % STAGES) {
        const uint4 *keys = pairs + stage * PAIR, *values = keys + STEP * W / PIECE;
        float p[STEP / 8][4], ds[STEP / 8][4];
        if (STAGES == 2) load_pair(stage ^ 1, key + STEP);
        copy_wait<STAGES - 1>();
        __syncthreads();
        multiply_rows<W>(p, queries, warp * 16, keys);
        multiply_rows<VW>(ds, douts, warp * 16, values);
        #pragma unroll
        for (int n = 0; n < STEP / 8; n++)
            for (int e = 0; e < 4; e++) {
                const struct row &r = row[e / 2];
                int at = key + n * 8 + threadIdx.x % 4 * 2 + e % 2;
                ds[n][e] = slope<BENT>(s, weight<BENT>(s, p[n][e], r, query[e / 2], at), ds[n][e], r);
                if (BENT && drel.to.data) add_slope(s, drel, r, query[e / 2], at, ds[n][e]);
            }
        multiply_weights<W>(sum, ds, keys, 0);
        __syncthreads();
        if (STAGES == 1) load_pair(0, key + STEP);
    }
    copy_wait<0>();
    add_tile((float *)shared, sum, factor, factor, dq, s.width, 0, [&](int i) {
        int row = tile * TILE + i;
        return row < s.rows ? (s.first_query() + s.query(row)) * s.width : -1;
    });
}

/* Scores lie transposed here: a lane's rows are keys, its columns the queries. */
template <int W, int VW, bool BENT>
static __global__ void __launch_bounds__(THREADS, 1)
attention_backward_keys(struct sizes s, const __nv_bfloat16 *q, const __nv_bfloat16 *k, const __nv_bfloat16 *v,
                        const __nv_bfloat16 *dout, const float *lse, const float *delta, const struct span *spans,
                        struct sum dk, struct sum dv, float factor)
{
    constexpr int STEP = step_of(W), STAGES = stages_of(W), CUTS = cuts_of(W, VW), PAIR = STEP * (W + VW) / PIECE;
    extern __shared__ uint4 shared[];
    __shared__ struct row known[STAGES][STEP];
    __shared__ int query_of[STAGES][STEP];
    uint4 *keys = shared, *values = keys + TILE * W / PIECE, *pairs = values + TILE * VW / PIECE;
    int key = blockIdx.x * TILE, warp = threadIdx.x / WARP, mine = key + warp * 16 + threadIdx.x % WARP / 4;
    struct reach rows = reach_of(s, spans, key);
    float sum_k[W / 8 / CUTS][4] = { 0 }, sum_v[VW / 8 / CUTS][4] = { 0 };
    q += s.first_query() * s.width;
    dout += s.first_query() * s.value_width;
    auto load_pair = [&](int stage, int row) {
        uint4 *queries = pairs + stage * PAIR;
        if (row < rows.to) load_rows<W, STEP>(queries, s, q, s.width, row);
        if (row < rows.to) load_rows<VW, STEP>(queries + STEP * W / PIECE, s, dout, s.value_width, row);
        if (row < rows.to && threadIdx.x < STEP) known[stage][threadIdx.x] = row_of(s, row + threadIdx.x, lse, delta);
        if (BENT && row < rows.to && threadIdx.x < STEP) query_of[stage][threadIdx.x] = s.query(row + threadIdx.x);
        copy_commit();
    };
    load_keys<W, TILE>(keys, s, k + s.first_key() * s.width, s.width, key, s.keys);
    load_keys<VW, TILE>(values, s, v + s.first_key() * s.value_width, s.value_width, key, s.keys);
    load_pair(0, rows.from);
    for (int row = rows.from, stage = 0; row < rows.to; row += STEP, stage = (stage + 1) % STAGES) {
        const uint4 *queries = pairs + stage * PAIR, *douts = queries + STEP * W / PIECE;
        const struct row *columns = known[stage] + threadIdx.x % 4 * 2;
        const int *query = query_of[stage] + threadIdx.x % 4 * 2;
        float p[STEP / 8][4], ds[STEP / 8][4];
        if (STAGES == 2) load_pair(stage ^ 1, row + STEP);
        copy_wait<STAGES - 1>();
        __syncthreads();
        multiply_rows<W>(p, keys, warp * 16, queries);
        #pragma unroll
        for (int n = 0; n < STEP / 8; n++)
            for (int e = 0; e < 4; e++)
                p[n][e] = weight<BENT>(s, p[n][e], columns[n * 8 + e % 2], BENT ? query[n * 8 + e % 2] : 0,
                                       mine + e / 2 * 8);
        multiply_weights<VW>(sum_v, p, douts, s.cut() * (VW / 8 / CUTS));
        multiply_rows<VW>(ds, values, warp * 16, douts);
        #pragma unroll
        for (int n = 0; n < STEP / 8; n++)
            for (int e = 0; e < 4; e++) ds[n][e] = slope<BENT>(s, p[n][e], ds[n][e], columns[n * 8 + e % 2]);
        multiply_weights<W>(sum_k, ds, queries, s.cut() * (W / 8 / CUTS));
        __syncthreads();
        if (STAGES == 1) load_pair(0, row + STEP);
    }
    copy_wait<0>();
    auto offset = [&](int i, int width) {
        return key + i < s.keys ? (s.first_key() + (int64_t)(key + i) * s.groups) * width : -1;
    };
    if (dk.to.data)
        add_tile((float *)shared, sum_k, factor, factor, dk, s.width, s.cut() * (W / CUTS),
                 [&](int i) { return offset(i, s.width); });
    if (dv.to.data)
        add_tile((float *)shared, sum_v, 1, 1, dv, s.value_width, s.cut() * (VW / CUTS),
                 [&](int i) { return offset(i, s.value_width); });
}

void attention_backward_bf16(const struct args *a, struct sizes s, struct backward_scratch b)
{
#define BYTES(W, VW) (tile_bytes(TILE, W + VW) + stages_of(W) * tile_bytes(step_of(W), W + VW))
#define INPUTS \
    (const __nv_bfloat16 *)a->in[Q].data, (const __nv_bfloat16 *)a->in[K].data, (const __nv_bfloat16 *)a->in[V].data, \
    (const __nv_bfloat16 *)a->dout[O].data, (const float *)a->save[LSE].data, b.delta
#define ROWS(W, VW, BENT) \
    LAUNCH_SHARED(a, (attention_backward_rows<W, VW, BENT>), attention_grid(a, s, s.tiles), THREADS, BYTES(W, VW), \
    s, INPUTS, sum_of(a, Q), bias_sum(a), s.scale * LN2)
#define KEYS(W, VW, BENT) s.cuts = cuts_of(W, VW); \
    LAUNCH_SHARED(a, (attention_backward_keys<W, VW, BENT>), attention_grid(a, s, blocks_for(s.keys, TILE)), THREADS, \
                  BYTES(W, VW), \
    s, INPUTS, b.spans, sum_of(a, K), sum_of(a, V), s.scale * LN2)
    if (a->din[Q].data || a->din[REL].data) BY_WIDTH(s, ROWS);
    if (a->din[K].data || a->din[V].data) BY_WIDTH(s, KEYS);
}
