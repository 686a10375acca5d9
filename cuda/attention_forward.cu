/* Forward of attention in bf16. A block takes 64 rows and goes through the keys that they see; scores stay in
   registers, the maximum and the sum of a row are carried along (Milakov & Gimelshein 2018, Dao 2023). The next keys
   are under way during the product with the values, and the values during that with the keys. Long rows are bound by
   tensor cores, short ones by memory: q and o move once, k and v once for each tile of rows, mostly from the cache
   of the second level; the least is once. Shared memory: 12, 24, 48, 64 KiB at heads of 32, 64, 128, 256; for
   registers see budget.txt. */
#include "attention_bend.cuh"
#include "attention_tile.cuh"

/* Keys that a loop takes at once. */
static __host__ __device__ constexpr int step_of(int w) { return w > 128 ? 32 : 64; }

/* Scores that a row may not look at become -infinity. */
template <int N> static __device__ inline void hide(float (&score)[N][4], int key, const struct seen (&see)[2])
{
    #pragma unroll
    for (int n = 0; n < N; n++)
        for (int e = 0; e < 4; e++) {
            int j = key + n * 8 + threadIdx.x % 4 * 2 + e % 2;
            if (j < see[e / 2].first || j >= see[e / 2].last) score[n][e] = -INFINITY;
        }
}

/* The same of scores that a bias or a cap bends; they become scores to base 2. */
template <int N> static __device__ inline void bend(const struct sizes &s, float (&score)[N][4], int key,
                                                    const struct seen (&see)[2], const int (&query)[2], float (&top)[2])
{
    #pragma unroll
    for (int n = 0; n < N; n++)
        for (int e = 0; e < 4; e++)
            score[n][e] = bent(s, score[n][e], see[e / 2], query[e / 2], key + n * 8 + threadIdx.x % 4 * 2 + e % 2,
                               top[e / 2]);
}

static __device__ inline float quad_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 2));
}

/* Takes scores into the running softmax of two rows: they become 2^(score - most), and what was summed before is made
   to fit. The sum is this lane's own part. */
template <int N, int M>
static __device__ inline void advance(float (&score)[N][4], float scale, float (&most)[2], float (&sum)[2],
                                      float (&o)[M][4])
{
    #pragma unroll
    for (int half = 0; half < 2; half++) {
        float top = -INFINITY;
        for (int n = 0; n < N; n++) top = fmaxf(top, fmaxf(score[n][2 * half], score[n][2 * half + 1]));
        top = fmaxf(most[half], quad_max(top) * scale);
        float some = top == -INFINITY ? 0 : top, fade = power_of_two(most[half] - some);
        most[half] = top;
        sum[half] *= fade;
        for (int n = 0; n < N; n++)
            for (int e = 2 * half; e < 2 * half + 2; e++) {
                score[n][e] = power_of_two(score[n][e] * scale - some);
                sum[half] += score[n][e];
            }
        for (int m = 0; m < M; m++) { o[m][2 * half] *= fade; o[m][2 * half + 1] *= fade; }
    }
}

template <int W, int VW, bool BENT>
static __global__ void __launch_bounds__(THREADS, 1)
attention_forward_rows(struct sizes s, const __nv_bfloat16 *q, const __nv_bfloat16 *k, const __nv_bfloat16 *v,
                       struct view out, float *lse, float *tops)
{
    constexpr int STEP = step_of(W);
    extern __shared__ uint4 shared[];
    __shared__ float row_top[TILE];
    uint4 *queries = shared, *keys = queries + TILE * W / PIECE, *values = keys + STEP * W / PIECE;
    int tile = s.tiles - 1 - blockIdx.x, warp = threadIdx.x / WARP,
        local = warp * 16 + threadIdx.x % WARP / 4;         /* the longest first */
    struct span span = span_of(s, tile);
    struct seen see[2] = { seen_by(s, tile * TILE + local), seen_by(s, tile * TILE + local + 8) };
    int query[2] = { s.query(tile * TILE + local), s.query(tile * TILE + local + 8) };
    float o[VW / 8][4] = { 0 }, most[2] = { -INFINITY, -INFINITY }, sum[2] = { 0 }, top[2] = { -INFINITY, -INFINITY },
          share[2] = { 0 };
    k += s.first_key() * s.width;
    v += s.first_key() * s.value_width;
    load_rows<W, TILE>(queries, s, q + s.first_query() * s.width, s.width, tile * TILE);
    load_keys<W, STEP>(keys, s, k, s.width, span.from, span.to);
    copy_commit();
    for (int key = span.from; key < span.to; key += STEP) {
        float score[STEP / 8][4];
        copy_wait<0>();
        __syncthreads();
        load_keys<VW, STEP>(values, s, v, s.value_width, key, span.to);
        copy_commit();
        multiply_rows<W>(score, queries, warp * 16, keys);
        copy_wait<0>();
        __syncthreads();
        if (key + STEP < span.to) load_keys<W, STEP>(keys, s, k, s.width, key + STEP, span.to);
        copy_commit();
        if (BENT) bend(s, score, key, see, query, top);
        else if (!clear(span, key, STEP)) hide(score, key, see);
        advance(score, BENT ? 1 : s.scale, most, sum, o);
        multiply_weights<VW>(o, score, values, 0);
    }
    copy_wait<0>();
    #pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = tile * TILE + local + 8 * half;
        sum[half] += __shfl_xor_sync(0xFFFFFFFFu, sum[half], 1);
        sum[half] += __shfl_xor_sync(0xFFFFFFFFu, sum[half], 2);
        top[half] = BENT ? quad_max(top[half]) : most[half];
        if (row >= s.rows) continue;
        int64_t at = s.first_query() + s.query(row);
        share[half] = share_of(s, at, most[half], sum[half]);
        if (threadIdx.x % 4 != 0) continue;
        lse[at] = lse_of(most[half], sum[half]);
        row_top[local + 8 * half] = top[half] * LN2 + (sum[half] - sum[half]);
    }
    add_tile((float *)shared, o, share[0], share[1], { out, 0 }, s.value_width, 0, [&](int i) {
        int row = tile * TILE + i;
        return row < s.rows ? (s.first_query() + s.query(row)) * s.value_width : -1;
    });
    store_tops(s, tile, row_top, tops);
}

void attention_forward_bf16(const struct args *a, struct sizes s, float *tops)
{
#define FORWARD(W, VW, BENT) \
    LAUNCH_SHARED(a, (attention_forward_rows<W, VW, BENT>), attention_grid(a, s, s.tiles), THREADS, \
    tile_bytes(TILE + step_of(W), W) + tile_bytes(step_of(W), VW), \
    s, (const __nv_bfloat16 *)a->in[Q].data, (const __nv_bfloat16 *)a->in[K].data, \
    (const __nv_bfloat16 *)a->in[V].data, view_of(a->out[O]), \
    (float *)a->save[LSE].data, tops)
    BY_WIDTH(s, FORWARD);
}
