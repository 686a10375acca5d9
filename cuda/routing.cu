/* Routing: which experts a token takes (topk), what it thinks of them (pick) and gives them (scatter), how busy they
   are (load). A warp takes a token. topk reads its keys from memory once, which bounds it while k is small: each
   further choice costs a pass over what a lane holds. pick and scatter move what they must. */
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

/* ---- pick: out[t,j] = x[t, index[t,j]];  scatter: out[t,e] = sum over the j with index[t,j] = e of value[t,j].
        Each is the other's gradient; what is no column counts for nothing. ---- */

static __global__ void __launch_bounds__(BLOCK)
values_at(struct sum to, const float *x, const int32_t *index, int64_t tokens, int experts, int k)
{
    EACH_ROW(t, tokens)
        for (int j = lane_of(); j < k; j += WARP) {
            int e = index[t * k + j];
            add(to, t * k + j, e >= 0 && e < experts ? x[t * experts + e] : 0);
        }
}

static __global__ void __launch_bounds__(BLOCK)
values_to(struct sum to, const float *value, const int32_t *index, int64_t tokens, int experts, int k)
{
    EACH_ROW(t, tokens)
        for (int e = lane_of(); e < experts; e += WARP) {
            float sum = 0;
            for (int j = 0; j < k; j++) sum += index[t * k + j] == e ? value[t * k + j] : 0;
            add(to, t * experts + e, sum);
        }
}

/* dense: the tensor of all experts; sparse: that of the chosen. */
static void launch_at(const struct args *a, struct sum sparse, const struct tensor *dense)
{
    struct shape index = a->in[1].shape;
    LAUNCH(a, values_at, grid_for(a, index.dim[0], WARPS), BLOCK, 0, sparse, reals(dense), ints(&a->in[1]),
           index.dim[0], (int)dense->shape.dim[1], (int)index.dim[1]);
}

static void launch_to(const struct args *a, struct sum dense, const struct tensor *sparse, int64_t experts)
{
    struct shape index = a->in[1].shape;
    LAUNCH(a, values_to, grid_for(a, index.dim[0], WARPS), BLOCK, 0, dense, reals(sparse), ints(&a->in[1]),
           index.dim[0], (int)experts, (int)index.dim[1]);
}

static struct sum written(const struct args *a) { return { view_of(a->out[0]), 0 }; }

static void pick_forward(const struct args *a) { launch_at(a, written(a), &a->in[0]); }
static void pick_backward(const struct args *a)
{
    if (a->din[0].data) launch_to(a, sum_of(a, 0), &a->dout[0], a->in[0].shape.dim[1]);
}
static void scatter_forward(const struct args *a) { launch_to(a, written(a), &a->in[0], a->out[0].shape.dim[1]); }
static void scatter_backward(const struct args *a) { if (a->din[0].data) launch_at(a, sum_of(a, 0), &a->dout[0]); }

TWIN(pick, pick_forward, pick_backward);
TWIN(scatter, scatter_forward, scatter_backward);

/* ---- merge_groups: the first of a token's choices of a group stands for all, with the sum of their gates ---- */

static __device__ inline int first_of(const int32_t *index, int j, int size)
{
    int i = 0;
    while (index[i] < 0 || index[i] / size != index[j] / size) i++;
    return i;
}

static __global__ void __launch_bounds__(BLOCK)
merge_forward(const float *gate, const int32_t *index, float *sum, int32_t *group, int64_t tokens, int k, int size)
{
    EACH_ROW(t, tokens)
        for (int j = lane_of(); j < k; j += WARP) {
            const int32_t *own = index + t * k;
            bool first = own[j] >= 0 && first_of(own, j, size) == j;
            float all = 0;
            for (int i = j; i < k && first; i++)
                all += own[i] >= 0 && own[i] / size == own[j] / size ? gate[t * k + i] : 0;
            sum[t * k + j] = all;
            group[t * k + j] = first ? own[j] / size : -1;
        }
}

static __global__ void __launch_bounds__(BLOCK)
merge_backward(struct sum dgate, const float *dsum, const int32_t *index, int64_t tokens, int k, int size)
{
    EACH_ROW(t, tokens)
        for (int j = lane_of(); j < k; j += WARP) {
            const int32_t *own = index + t * k;
            add(dgate, t * k + j, own[j] < 0 ? 0 : dsum[t * k + first_of(own, j, size)]);
        }
}

static int group_size(const struct args *a) { return (int)((const struct merge_groups_attr *)a->attr)->size; }

static void merge_choices(const struct args *a)
{
    struct shape s = a->in[1].shape;
    LAUNCH(a, merge_forward, grid_for(a, s.dim[0], WARPS), BLOCK, 0, reals(&a->in[0]), ints(&a->in[1]),
           reals(&a->out[0]), ints(&a->out[1]), s.dim[0], (int)s.dim[1], group_size(a));
}

static void merge_back(const struct args *a)
{
    struct shape s = a->in[1].shape;
    if (!a->din[0].data) return;
    LAUNCH(a, merge_backward, grid_for(a, s.dim[0], WARPS), BLOCK, 0, sum_of(a, 0), reals(&a->dout[0]),
           ints(&a->in[1]), s.dim[0], (int)s.dim[1], group_size(a));
}

TWIN(merge_groups, merge_choices, merge_back);

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
