/* Attention: the choice of kernels, what they start from in backward, and the largest score of each
   head. See attention.cuh. */
#include "attention.cuh"

enum { ACROSS = 4, WIDEST_BF16 = 256 };                     /* ACROSS: lanes that share a row */

/* One sequence's rows cut in tiles; offsets within a sequence are of 32 bits. */
static struct sizes sizes_of(const struct args *a)
{
    const struct attention_attr *at = (const struct attention_attr *)a->attr;
    struct shape q = a->in[Q].shape, k = a->in[K].shape, start = a->in[START].shape;
    struct sizes s = {};
    s.seq = (int)start.dim[1];
    s.keys = (int)(k.rank == 4 ? k.dim[1] : start.dim[1]);
    s.heads = (int)q.dim[1];
    s.groups = (int)k.dim[k.rank - 2];
    s.share = s.heads / s.groups;
    s.width = (int)q.dim[2];
    s.value_width = (int)(at->values ? at->values : shape_last(a->in[V].shape));
    s.value_row = at->values ? s.width : s.value_width;
    s.window = (int)at->window;
    s.chunk = (int)at->chunk;
    s.rows = s.seq * s.share;
    s.tiles = blocks_for(s.rows, TILE);
    s.cuts = 1;
    s.by_share = ((1ull << 32) + s.share - 1) / s.share;
    s.start = (const int32_t *)a->in[START].data;
    s.pos = a->in[POS].data ? (const int32_t *)a->in[POS].data : NULL;
    s.scale = (float)at->scale * LOG2E;
    s.cap = (float)at->softcap * LOG2E;
    s.extent = a->in[REL].data ? (int)shape_last(a->in[REL].shape) : 0;
    s.rel = view_of(a->in[REL]);
    s.sink = (const float *)a->in[SINK].data;
    s.sink_of_token = a->in[SINK].shape.rank == 2;
    int64_t widest = max(s.width, s.value_width), share = s.share;
    INVARIANT(start.dim[1] * share * share < 1ll << 32 && start.dim[1] * s.heads * widest < 1ll << 31 &&
                  (s.keys + TILE) * s.groups * widest < 1ll << 31,
              "attention over %lld positions of %d heads, %lld wide, is beyond 32-bit offsets", (long long)start.dim[1],
              s.heads, (long long)widest);
    return s;
}

static bool all_bf16(const struct args *a, const struct sizes &s)
{
    return a->in[Q].format == FORMAT_BF16 && a->in[K].format == FORMAT_BF16 && a->in[V].data &&
           a->in[V].format == FORMAT_BF16 && s.width <= WIDEST_BF16 && s.value_width <= WIDEST_BF16;
}

/* logit_max: one warp for each head goes through what the tiles found. */
static __global__ void __launch_bounds__(WARP)
attention_logit_max(struct sizes s, int batch, const float *tops, float *logit_max)
{
    int group = blockIdx.x / s.share, head = blockIdx.x % s.share;
    float top = -INFINITY;
    for (int i = threadIdx.x; i < batch * s.tiles; i += WARP) {
        int b = i / s.tiles, tile = i % s.tiles;
        top = larger_number(top, tops[(((int64_t)b * s.groups + group) * s.tiles + tile) * s.share + head]);
    }
    top = warp_max(top);
    if (threadIdx.x == 0) logit_max[blockIdx.x] = top;
}

static void forward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    float *tops = (float *)a->scratch;
    bool named = a->in[INDEX].data;
    if (named) s.tiles = s.seq;                             /* a token is its tile */
    if (named) attention_forward_named(a, s, tops);
    else if (all_bf16(a, s)) attention_forward_bf16(a, s, tops);
    else attention_forward_float(a, s, tops);
    LAUNCH(a, attention_logit_max, s.heads, WARP, 0, s, (int)a->in[START].shape.dim[0], tops,
           (float *)a->out[LOGIT_MAX].data);
    if (s.sink) attention_sink_forward(a, s);
    else if (named)
        CUDA(cudaMemsetAsync(a->out[SINK_MASS].data, 0, s.heads * sizeof(float), device_of(a)->stream));
}

/* delta = do . o of each row of a tile, and the tile's span. Bound by memory: do and o are read once. */
static __global__ void __launch_bounds__(TILE * ACROSS)
attention_delta(struct sizes s, struct view dout, struct view out, float *delta, struct span *spans)
{
    int row = blockIdx.x * TILE + threadIdx.x / ACROSS, lane = threadIdx.x % ACROSS, width = s.value_width;
    int64_t at = row < s.rows ? s.first_query() + s.query(row) : 0;
    float sum = 0;
    struct span span = span_of(s, blockIdx.x);
    if (threadIdx.x == 0 && blockIdx.y == 0) spans[s.batch() * s.tiles + blockIdx.x] = span;
    if (width % LANES == 0)
        for (int i = lane * LANES; i < width; i += ACROSS * LANES) {
            struct eight x = load8(dout, at * width + i), y = load8(out, at * width + i);
            for (int l = 0; l < LANES; l++) sum += x.v[l] * y.v[l];
        }
    else
        for (int i = lane; i < width; i += ACROSS) sum += load(dout, at * width + i) * load(out, at * width + i);
    sum += __shfl_xor_sync(0xFFFFFFFFu, sum, 1);
    sum += __shfl_xor_sync(0xFFFFFFFFu, sum, 2);
    if (row < s.rows && lane == 0) delta[at] = sum;
}

/* What backward keeps of each row, and of each tile; with an index its pairs follow. */
static size_t deltas_bytes(const struct args *a)
{
    return shape_count(a->save[LSE].shape) * sizeof(float) / 16 * 16 + 16;
}
static size_t spans_bytes(const struct args *a, const struct sizes &s)
{
    return (size_t)a->in[START].shape.dim[0] * s.tiles * sizeof(struct span);
}

static void backward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    struct backward_scratch b = { (float *)a->scratch, (struct span *)((char *)a->scratch + deltas_bytes(a)) };
    LAUNCH(a, attention_delta, attention_grid(a, s, s.tiles), TILE * ACROSS, 0, s, view_of(a->dout[O]),
           view_of(a->out[O]), b.delta, b.spans);
    /* a bias has a gradient where its score is seen; elsewhere it is 0 */
    if (a->din[REL].data && a->beta[REL] == 0)
        CUDA(cudaMemsetAsync(a->din[REL].data, 0, shape_count(a->din[REL].shape) * element_bytes(a->din[REL].format),
                             device_of(a)->stream));
    if (a->in[INDEX].data) attention_backward_named(a, s, b, (char *)b.spans + spans_bytes(a, s));
    else if (all_bf16(a, s)) attention_backward_bf16(a, s, b);
    else attention_backward_float(a, s, b);
    if (a->din[SINK].data) attention_sink_backward(a, s, b.delta);
}

static size_t scratch(const struct args *a)
{
    struct sizes s = sizes_of(a);
    bool named = a->in[INDEX].data;
    size_t tops = (size_t)a->in[START].shape.dim[0] * (named ? s.seq : s.tiles) * s.heads * sizeof(float),
           backward = deltas_bytes(a) + spans_bytes(a, s) + (named ? attention_named_scratch(a, s) : 0);
    return tops > backward ? tops : backward;
}

TWIN(attention, forward, backward, NULL, scratch);

static void entropy(const struct args *a) { attention_entropy(a, sizes_of(a)); }

TWIN(attention_entropy, entropy);
