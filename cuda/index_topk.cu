/* CUDA side of runtime/ops/index_topk.c. A block takes a token and a thread a key, BLOCK keys at a time. Those that go
   before the worst of the best so far wait in shared memory; when there is no room for them, what waits is sorted and
   the best stay. Words to sort by are distinct, so what stays does not depend on when that is. Bound by reading keys,
   once for each token, from the cache of the second level; for backward see named.cuh. */
#include "named.cuh"
#include "warp.cuh"

enum { Q, K, W, START, POS, KEPT };
enum { SCORE, INDEX };                                      /* outputs */

struct sizes {
    int seq, heads, width, keys, chosen, room, window, chunk, pool, relu;
    const int32_t *start, *pos;
    const float *count;
    struct view q, k;
    const float *w;
    /* Of the `chosen` that there is room for. */
    __device__ int keep() const { return count ? max(1, (int)fminf(*count, (float)chosen)) : chosen; }
    __device__ int64_t token() const { return (int64_t)blockIdx.y * seq + blockIdx.x; }
    __device__ int64_t offset(int key) const { return ((int64_t)blockIdx.y * keys + key) * width; }
};

static struct sizes sizes_of(const struct args *a)
{
    const struct index_topk_attr *at = (const struct index_topk_attr *)a->attr;
    struct shape q = a->in[Q].shape, k = a->in[K].shape, start = a->in[START].shape;
    struct sizes s = { (int)start.dim[1], (int)q.dim[1], (int)q.dim[2], (int)(k.rank == 3 ? k.dim[1] : start.dim[1]),
                       (int)at->chosen, BLOCK, (int)at->window, (int)at->chunk, (int)at->pool, (int)at->relu,
                       ints(&a->in[START]), a->in[POS].data ? ints(&a->in[POS]) : NULL,
                       a->in[KEPT].data ? reals(&a->in[KEPT]) : NULL, view_of(a->in[Q]), view_of(a->in[K]),
                       reals(&a->in[W]) };
    while (s.room < s.chosen + BLOCK) s.room *= 2;
    return s;
}

static dim3 tokens_of(const struct sizes &s, const struct args *a)
{
    return dim3(s.seq, (unsigned)a->in[START].shape.dim[0]);
}

/* ---- forward ---- */

/* A score and its key as one word: larger for what goes before. 0: none. */
static __device__ inline uint64_t word_of_pair(float score, int key)
{
    return (uint64_t)word_of(score) << 32 | (uint32_t)~key;
}
static __device__ inline float score_of(uint32_t word)
{
    return word == 1 ? __uint_as_float(0x7FC00000u) : __uint_as_float(word >> 31 ? word ^ 1u << 31 : ~word);
}

/* Largest first: Batcher's bitonic sort of a power of two of words. */
static __device__ inline void sort_words(uint64_t *word, int n)
{
    for (int size = 2; size <= n; size *= 2)
        for (int step = size / 2; step > 0; step /= 2) {
            for (int i = threadIdx.x; i < n / 2; i += BLOCK) {
                int low = i / step * 2 * step + i % step;
                uint64_t x = word[low], y = word[low + step];
                if ((x < y) == ((low & size) == 0)) {
                    word[low] = y;
                    word[low + step] = x;
                }
            }
            __syncthreads();
        }
}

/* I of a key, of which queries [J,N] are in shared memory. */
static __device__ inline float index_score(const struct sizes &s, int key, const float *queries)
{
    float sum = 0, z[GROUP];
    for (int j = 0; j < s.heads; j += GROUP) {
        row_products(z, s.k, s.offset(key), s.width, queries + j * s.width);
        #pragma unroll
        for (int n = 0; n < GROUP; n++)
            if (j + n < s.heads) sum += s.w[s.token() * s.heads + j + n] * (s.relu && z[n] < 0 ? 0 : z[n]);
    }
    return sum;
}

static __global__ void __launch_bounds__(BLOCK) index_topk_forward(struct sizes s, int32_t *index, float *score)
{
    extern __shared__ uint64_t words[];
    __shared__ int taken[WARPS];
    float *queries = (float *)(words + s.room);
    int64_t token = s.token();
    int here = blockIdx.x + (s.pos ? *s.pos : 0), start = s.start[token], last = here < s.keys ? here + 1 : s.keys,
        first = start, count = 0, keep = s.keep();
    uint64_t least = 0;
    if (s.window) first = max(first, here - s.window + 1);
    if (s.chunk) first = max(first, here - (here - start) % s.chunk);
    if (s.pool) {                                           /* windows, as in runtime/cpu/seen.h */
        first = start / s.pool;
        last = min(first + max(here + 1 - start, 0) / s.pool, s.keys);
    }
    for (int j = 0; j < s.heads; j += GROUP)
        load_vectors(queries + j * s.width, s.q, token * s.heads + j, min((int)GROUP, s.heads - j), s.width);
    __syncthreads();
    for (int from = first; from < last; from += BLOCK) {
        int key = from + threadIdx.x, before = 0, all = 0;
        uint64_t word = key < last ? word_of_pair(index_score(s, key, queries), key) : 0;
        unsigned takers = __ballot_sync(ALL_LANES, word > least);
        if (lane_of() == 0) taken[threadIdx.x / WARP] = __popc(takers);
        __syncthreads();
        for (int w = 0; w < WARPS; w++) {
            before += w < (int)threadIdx.x / WARP ? taken[w] : 0;
            all += taken[w];
        }
        if (count + all > s.room) {
            for (int i = count + threadIdx.x; i < s.room; i += BLOCK) words[i] = 0;
            __syncthreads();
            sort_words(words, s.room);
            count = keep;
            least = words[count - 1];
        }
        if (takers >> lane_of() & 1) words[count + before + __popc(takers & ((1u << lane_of()) - 1))] = word;
        count += all;
        __syncthreads();
    }
    for (int i = count + threadIdx.x; i < s.room; i += BLOCK) words[i] = 0;
    __syncthreads();
    sort_words(words, s.room);
    for (int i = threadIdx.x; i < s.chosen; i += BLOCK) {
        uint64_t word = i < keep ? words[i] : 0;
        index[token * s.chosen + i] = word ? (int)~(uint32_t)word : -1;
        score[token * s.chosen + i] = word ? score_of((uint32_t)(word >> 32)) : -INFINITY;
    }
}

static void forward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    size_t bytes = s.room * sizeof(uint64_t) + (size_t)(s.heads + GROUP - 1) / GROUP * GROUP * s.width * sizeof(float);
    LAUNCH_SHARED(a, index_topk_forward, tokens_of(s, a), BLOCK, bytes, s, ints(&a->out[INDEX]), reals(&a->out[SCORE]));
}

/* ---- backward: as in runtime/ops/index_topk.c ---- */

/* g w where the product is kept, else 0: dz. */
static __device__ inline float slope_of(const struct sizes &s, float z, float g, float w)
{
    return s.relu && !(z > 0) ? 0 : g * w;
}

/* dq and dw of a token's heads, GROUP at a time. */
static __global__ void __launch_bounds__(BLOCK)
index_topk_rows(struct sizes s, const int32_t *index, const float *dscore, struct sum dq, struct sum dw)
{
    extern __shared__ float shared[];
    float *slopes = shared, *queries = shared + GROUP * s.chosen;
    int64_t token = s.token();
    index += token * s.chosen;
    for (int head = 0; head < s.heads; head += GROUP) {
        int64_t row = token * s.heads + head;
        int heads = min((int)GROUP, s.heads - head);
        float of_weight[GROUP] = { 0 };
        load_vectors(queries, s.q, row, heads, s.width);
        __syncthreads();
        for (int e = threadIdx.x; e < s.chosen; e += BLOCK) {
            float z[GROUP] = { 0 }, g = 0;
            if (index[e] >= 0) {
                g = dscore[token * s.chosen + e];
                row_products(z, s.k, s.offset(index[e]), s.width, queries);
            }
            #pragma unroll
            for (int n = 0; n < GROUP; n++) {
                float w = n < heads ? s.w[row + n] : 0;
                slopes[n * s.chosen + e] = slope_of(s, z[n], g, w);
                of_weight[n] += s.relu && !(z[n] > 0) ? 0 : g * z[n];
            }
        }
        __syncthreads();
        #pragma unroll
        for (int n = 0; n < GROUP; n++) {
            float sum = block_sum(of_weight[n]);
            if (threadIdx.x == 0 && n < heads) add(dw, row + n, sum);
        }
        sum_rows<GROUP>(s.k, s.width, s.chosen, slopes, s.chosen,
                        [&](int e) { return index[e] < 0 ? -1 : s.offset(index[e]); },
                        [&](int n, int c, float sum) {
                            if (n < heads) add(dq, (row + n) * s.width + c, sum);
                        });
    }
}

static __global__ void __launch_bounds__(BLOCK)
index_topk_pairs(struct sizes s, const int32_t *index, struct pairs p)
{
    for (int e = threadIdx.x; e < s.chosen; e += BLOCK) {
        int64_t i = s.token() * s.chosen + e;
        p.key[i] = index[i] < 0 ? (int)p.below : (int)blockIdx.y * s.keys + index[i];
    }
}

/* dk of key blockIdx.x of a sequence: over the heads of all tokens that chose it, BLOCK at a time. */
static __global__ void __launch_bounds__(BLOCK)
index_topk_keys(struct sizes s, struct pairs p, const float *dscore, struct sum dk)
{
    __shared__ float slopes[BLOCK];
    __shared__ int rows[BLOCK];
    extern __shared__ float shared[];
    float *key = shared, *sum = shared + GROUP * s.width;
    int64_t at = (int64_t)blockIdx.y * s.keys + blockIdx.x;
    int all = (p.begins[at + 1] - p.begins[at]) * s.heads;
    load_vectors(key, s.k, at, 1, s.width);
    for (int c = threadIdx.x; c < s.width; c += BLOCK) sum[c] = 0;
    __syncthreads();
    for (int first = 0; first < all; first += BLOCK) {
        int mine = first + threadIdx.x;
        if (mine < all) {
            int pair = p.order[p.begins[at] + mine / s.heads], row = pair / s.chosen * s.heads + mine % s.heads;
            float z[1];
            row_products(z, s.q, (int64_t)row * s.width, s.width, key);
            slopes[threadIdx.x] = slope_of(s, z[0], dscore[pair], s.w[row]);
            rows[threadIdx.x] = row;
        }
        __syncthreads();
        sum_rows<1>(s.q, s.width, min((int)BLOCK, all - first), slopes, 0,
                    [&](int i) { return (int64_t)rows[i] * s.width; }, [&](int, int c, float x) { sum[c] += x; });
    }
    for (int c = threadIdx.x; c < s.width; c += BLOCK) add(dk, at * s.width + c, sum[c]);
}

static int64_t keys_of(const struct args *a) { return shape_rows(a->in[K].shape); }

static void backward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    const float *dscore = reals(&a->dout[SCORE]);
    const int32_t *index = ints(&a->out[INDEX]);
    size_t row = s.width * sizeof(float);
    if (a->din[Q].data || a->din[W].data)
        LAUNCH_SHARED(a, index_topk_rows, tokens_of(s, a), BLOCK, GROUP * (s.chosen * sizeof(float) + row), s, index,
                      dscore, sum_of(a, Q), sum_of(a, W));
    if (!a->din[K].data) return;
    struct pairs pairs = pairs_in(a->scratch, shape_count(a->out[INDEX].shape), keys_of(a));
    LAUNCH(a, index_topk_pairs, tokens_of(s, a), BLOCK, 0, s, index, pairs);
    pairs_sort(a, &pairs);
    LAUNCH_SHARED(a, index_topk_keys, dim3(s.keys, (unsigned)a->in[START].shape.dim[0]), BLOCK, (GROUP + 1) * row, s,
                  pairs, dscore, sum_of(a, K));
}

static size_t scratch(const struct args *a) { return pairs_bytes(shape_count(a->out[INDEX].shape), keys_of(a)); }

TWIN(index_topk, forward, backward, NULL, scratch);
