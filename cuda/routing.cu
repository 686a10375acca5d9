/* Routing: which experts a token takes (topk), what it thinks of them (pick), how busy they are (load). A warp takes a
   token. topk reads its keys from memory once, which bounds it while k is small: each further choice costs a pass over
   what a lane holds. pick moves what it must. */
#include "warp.cuh"

enum { SHARED = 48 << 10 };                                 /* bytes of a block */

/* ---- topk: the K largest keys of a row, largest first; ties go to the lower index, NaN comes last ---- */

/* The first of the largest words of this lane. */
struct candidate { uint32_t word, expert; };
static __device__ inline struct candidate topk_best(const uint32_t *word, int experts)
{
    struct candidate best = { 0, UINT32_MAX };
    for (int e = lane_of(); e < experts; e += WARP) if (word[e] > best.word) best = { word[e], (uint32_t)e };
    return best;
}

/* A lane alone reads and writes the words of experts lane, lane + 32, ...; the word of what is taken is 0. */
static __global__ void __launch_bounds__(BLOCK)
topk_forward(const float *key, int32_t *index, float *margin, int64_t tokens, int experts, int k)
{
    extern __shared__ uint32_t words[];
    uint32_t *word = words + threadIdx.x / WARP * experts;
    EACH_ROW(t, tokens) {
        const float *row = key + t * experts;
        for (int e = lane_of(); e < experts; e += WARP) word[e] = word_of(row[e]);
        struct candidate best = topk_best(word, experts);
        uint32_t last = 0, chosen = 0;
        for (int j = 0; j <= k && j < experts; j++) {
            uint32_t top = __reduce_max_sync(ALL_LANES, best.word);
            last = chosen;
            chosen = __reduce_min_sync(ALL_LANES, best.word == top ? best.expert : UINT32_MAX);
            if (lane_of() == 0 && j < k) index[t * k + j] = (int32_t)chosen;
            if (best.expert != chosen) continue;
            word[chosen] = 0;
            best = topk_best(word, experts);
        }
        if (lane_of() == 0) margin[t] = k < experts ? row[last] - row[chosen] : 0;
    }
}

static void topk_tokens(const struct args *a)
{
    int64_t tokens = a->in[0].shape.dim[0];
    int experts = (int)a->in[0].shape.dim[1], room = SHARED / (int)(experts * sizeof(uint32_t)),
        warps = room < WARPS ? room : WARPS;
    INVARIANT(warps > 0, "topk of %d experts", experts);
    LAUNCH(a, topk_forward, grid_for(a, tokens, warps), warps * WARP, warps * experts * sizeof(uint32_t),
           reals(&a->in[0]), ints(&a->out[0]), reals(&a->out[1]), tokens, experts, (int)a->out[0].shape.dim[1]);
}

TWIN(topk, topk_tokens);

/* ---- pick: out[t,j] = x[t, index[t,j]], 0 where that is no column ---- */

static __global__ void __launch_bounds__(BLOCK)
pick_forward(const float *x, const int32_t *index, float *out, int64_t tokens, int experts, int k)
{
    EACH_ROW(t, tokens)
        for (int j = lane_of(); j < k; j += WARP) {
            int e = index[t * k + j];
            out[t * k + j] = e >= 0 && e < experts ? x[t * experts + e] : 0;
        }
}

/* dx[t,e] = sum over the j with index[t,j] = e of dout[t,j] */
static __global__ void __launch_bounds__(BLOCK)
pick_backward(struct sum dx, const int32_t *index, const float *dout, int64_t tokens, int experts, int k)
{
    EACH_ROW(t, tokens)
        for (int e = lane_of(); e < experts; e += WARP) {
            float sum = 0;
            for (int j = 0; j < k; j++) sum += index[t * k + j] == e ? dout[t * k + j] : 0;
            add(dx, t * experts + e, sum);
        }
}

static void pick_values(const struct args *a)
{
    int64_t tokens = a->in[0].shape.dim[0];
    LAUNCH(a, pick_forward, grid_for(a, tokens, WARPS), BLOCK, 0, reals(&a->in[0]), ints(&a->in[1]), reals(&a->out[0]),
           tokens, (int)a->in[0].shape.dim[1], (int)a->in[1].shape.dim[1]);
}

static void pick_back(const struct args *a)
{
    int64_t tokens = a->in[0].shape.dim[0];
    if (!a->din[0].data) return;
    LAUNCH(a, pick_backward, grid_for(a, tokens, WARPS), BLOCK, 0, sum_of(a, 0), ints(&a->in[1]), reals(&a->dout[0]),
           tokens, (int)a->in[0].shape.dim[1], (int)a->in[1].shape.dim[1]);
}

TWIN(pick, pick_values, pick_back);

/* ---- load: E n_i / sum n, 1 when balanced; all 0 when nothing was routed ---- */

static __device__ inline double count_at(const void *counts, bool integers, int i)
{
    return integers ? ((const int32_t *)counts)[i] : ((const float *)counts)[i];
}

static __global__ void __launch_bounds__(WARP) load_forward(const void *counts, bool integers, float *out, int experts)
{
    double sum = 0;
    for (int i = threadIdx.x; i < experts; i += WARP) sum += count_at(counts, integers, i);
    sum = warp_sum(sum);
    for (int i = threadIdx.x; i < experts; i += WARP)
        out[i] = sum > 0 ? (float)(experts * count_at(counts, integers, i) / sum) : 0;
}

static void load_experts(const struct args *a)
{
    LAUNCH(a, load_forward, 1, WARP, 0, a->in[0].data, a->in[0].format == FORMAT_I32, reals(&a->out[0]),
           (int)a->in[0].shape.dim[0]);
}

TWIN(load, load_experts);
