/* CUDA side of runtime/ops/block_topk.c. First a thread takes a column and makes the mean of a block; then a warp takes
   a head of a token, a lane every WARP-th block, and its best are taken one by one. Means lie at begin / block, where
   no other whole block of any document begins; with a cache each token has its own. Bound by memory. */
#include "warp.cuh"

enum { Q, K, START, POS };

struct sizes {
    int seq, heads, groups, width, keys, chosen, block, window, chunk, slots;
    const int32_t *start, *pos;
    struct view q, k;
    __device__ int here(int at) const { return at + (pos ? *pos : 0); }
};

static struct sizes sizes_of(const struct args *a)
{
    const struct block_topk_attr *at = (const struct block_topk_attr *)a->attr;
    struct shape q = a->in[Q].shape, k = a->in[K].shape, start = a->in[START].shape;
    int keys = (int)(k.rank == 4 ? k.dim[1] : start.dim[1]), block = (int)at->block;
    return { (int)start.dim[1], (int)q.dim[1], (int)k.dim[k.rank - 2], (int)q.dim[2], keys, (int)at->chosen, block,
             (int)at->window, (int)at->chunk, (keys + block - 1) / block, ints(&a->in[START]),
             a->in[POS].data ? ints(&a->in[POS]) : NULL, view_of(a->in[Q]), view_of(a->in[K]) };
}

/* Where the block that belongs at `slot` begins: -1 if no whole one does. row: the token with a cache, else its
   sequence. Called by all threads of a block. */
static __device__ inline int begin_of(const struct sizes &s, int slot, int row)
{
    __shared__ int begin;
    if (threadIdx.x == 0) begin = -1;
    __syncthreads();
    if (s.pos) {
        int start = s.start[row], at = start + (slot - start / s.block) * s.block;
        return at >= start && at + s.block <= s.here(row % s.seq) + 1 ? at : -1;
    }
    const int32_t *start = s.start + (int64_t)row * s.seq;
    for (int at = slot * s.block + threadIdx.x; at < (slot + 1) * s.block && at + s.block <= s.seq; at += BLOCK)
        if (start[at] <= at && (at - start[at]) % s.block == 0 && start[at + s.block - 1] == start[at]) begin = at;
    __syncthreads();
    return begin;
}

static __global__ void __launch_bounds__(BLOCK) block_topk_means(struct sizes s, float *mean)
{
    int row = blockIdx.x, group = blockIdx.y, slot = blockIdx.z, begin = begin_of(s, slot, row);
    int64_t first = (int64_t)(s.pos ? row / s.seq : row) * s.keys + begin;
    mean += (((int64_t)row * s.groups + group) * s.slots + slot) * s.width;
    for (int c = threadIdx.x; begin >= 0 && c < s.width; c += BLOCK) {
        float sum = 0;
        for (int j = 0; j < s.block; j++) sum += load(s.k, ((first + j) * s.groups + group) * s.width + c);
        mean[c] = divide(sum, (float)s.block);
    }
}

/* A score and its block as one word: larger for what is chosen before. 0: taken, or none. */
static __device__ inline uint64_t word_of_pair(float score, int block)
{
    return (uint64_t)word_of(score) << 32 | (uint32_t)~block;
}

static __device__ inline uint64_t warp_largest(uint64_t word)
{
    for (int step = WARP / 2; step > 0; step /= 2) {
        uint64_t other = __shfl_xor_sync(ALL_LANES, word, step);
        word = other > word ? other : word;
    }
    return word;
}

/* Heads of a token, of each sequence. */
static __global__ void __launch_bounds__(BLOCK) block_topk_choose(struct sizes s, const float *mean, int32_t *index)
{
    extern __shared__ uint64_t words[];
    uint64_t *word = words + threadIdx.x / WARP * s.slots;
    int64_t token = (int64_t)blockIdx.y * s.seq + blockIdx.x;
    int here = s.here(blockIdx.x), start = s.start[token], first = start, share = s.heads / s.groups;
    if (s.window) first = max(first, here - s.window + 1);
    if (s.chunk) first = max(first, here - (here - start) % s.chunk);
    int from = (first - start) / s.block, own = here < start ? -1 : (here - start) / s.block;
    for (int h = threadIdx.x / WARP; h < s.heads; h += WARPS) {
        int64_t row = token * s.heads + h;
        const float *means = mean + (((s.pos ? token : (int64_t)blockIdx.y) * s.groups + h / share) * s.slots +
                                     start / s.block) * s.width;
        for (int i = from + lane_of(); i < own; i += WARP) {
            float sum = 0;
            for (int c = 0; c < s.width; c++) sum += load(s.q, row * s.width + c) * means[(int64_t)i * s.width + c];
            word[i] = word_of_pair(sum, i);
        }
        if (lane_of() == 0) index[row * s.chosen] = own;
        for (int n = 1; n < s.chosen; n++) {
            uint64_t best = 0;
            for (int i = from + lane_of(); i < own; i += WARP) best = max(best, word[i]);
            best = warp_largest(best);
            int taken = best ? (int)~(uint32_t)best : -1;
            if (lane_of() == 0) index[row * s.chosen + n] = taken;
            if (taken >= 0 && (taken - from) % WARP == lane_of()) word[taken] = 0;
        }
    }
}

static size_t scratch(const struct args *a)
{
    struct sizes s = sizes_of(a);
    int64_t rows = a->in[POS].data ? shape_count(a->in[START].shape) : a->in[START].shape.dim[0];
    return (size_t)rows * s.groups * s.slots * s.width * sizeof(float);
}

static void forward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    int64_t sequences = a->in[START].shape.dim[0], rows = s.pos ? sequences * s.seq : sequences;
    float *mean = (float *)a->scratch;
    LAUNCH(a, block_topk_means, dim3((unsigned)rows, s.groups, s.slots), BLOCK, 0, s, mean);
    LAUNCH_SHARED(a, block_topk_choose, dim3(s.seq, (unsigned)sequences), BLOCK,
                  WARPS * (size_t)s.slots * sizeof(uint64_t), s, mean, ints(&a->out[0]));
}

TWIN(block_topk, forward, NULL, NULL, scratch);
