/* The counting sort of sort.cuh, in three steps: how many positions each chunk has for each bucket; from these, bucket
   by bucket, how many lie in the chunks before; each position's rank. Keys are read twice and ranks written once, 20
   bytes a position beside the table; up to some 100 000 positions, latency bounds it. */
#include "warp.cuh"
#include "sort.cuh"

/* positions of a chunk, bytes of a block, most bits of a digit */
enum { SHORTEST = 512, SHARED = 48 << 10, DIGIT = 10 };

struct chunks { int length, n; };

/* At least as many positions as buckets: the table is not longer than the keys. */
static struct chunks chunks_of(int64_t n, int buckets)
{
    int length = buckets < SHORTEST ? SHORTEST : (buckets + WARP - 1) / WARP * WARP;
    return { length, (int)((n + length - 1) / length) };
}

/* Takes the warp's next WARP positions in: gives each its number among those of its bucket. Lanes without a position,
   or whose position has no bucket, have bucket -1. */
static __device__ inline int sort_rank(int32_t *count, int bucket)
{
    unsigned peers = __match_any_sync(ALL_LANES, bucket);
    int before = __popc(peers & ((1u << lane_of()) - 1)), first = bucket >= 0 ? count[bucket] : 0;
    __syncwarp();
    if (bucket >= 0 && before == 0) count[bucket] = first + __popc(peers);
    __syncwarp();
    return first + before;
}

static __device__ inline int sort_bucket_of(const struct sort &s, int position)
{
    int bucket = s.key[position] >> s.shift & s.mask;
    if (bucket < -1) legal(s.fault, FAULT_BUCKET, bucket, s.buckets);
    return bucket >= 0 && bucket < s.buckets ? bucket : -1;
}

/* table[bucket][chunk] = count */
static __global__ void __launch_bounds__(BLOCK) sort_count(struct sort s, struct chunks chunks)
{
    extern __shared__ int32_t counts[];
    int32_t *count = counts + threadIdx.x / WARP * s.buckets;
    int64_t chunk = first_warp();
    if (chunk >= chunks.n) return;
    for (int b = lane_of(); b < s.buckets; b += WARP) count[b] = 0;
    __syncwarp();
    for (int64_t i = chunk * chunks.length + lane_of(), round = 0; round < chunks.length; i += WARP, round += WARP)
        sort_rank(count, i < s.n ? sort_bucket_of(s, s.from ? s.from[i] : (int)i) : -1);
    for (int b = lane_of(); b < s.buckets; b += WARP) s.table[(int64_t)b * chunks.n + chunk] = count[b];
}

/* A warp a bucket: table[bucket][chunk] := the sum of the chunks before; counts[bucket] = that of all. */
static __global__ void __launch_bounds__(BLOCK) sort_scan(struct sort s, struct chunks chunks)
{
    EACH_ROW(bucket, s.buckets) {
        int32_t *row = s.table + bucket * chunks.n;
        int before = 0;
        for (int at = 0; at < chunks.n; at += WARP) {
            int chunk = at + lane_of(), count = chunk < chunks.n ? row[chunk] : 0, up_to = warp_sum_up_to(count);
            if (chunk < chunks.n) row[chunk] = before + up_to - count;
            before += __shfl_sync(ALL_LANES, up_to, WARP - 1);
        }
        if (lane_of() == 0) s.counts[bucket] = before;
    }
}

static __global__ void __launch_bounds__(BLOCK) sort_scatter(struct sort s, struct chunks chunks)
{
    extern __shared__ int32_t nexts[];
    int32_t *next = nexts + threadIdx.x / WARP * s.buckets;
    int64_t chunk = first_warp();
    if (chunk >= chunks.n) return;
    int offset = 0;
    for (int at = 0; at < s.buckets; at += WARP) {
        int b = at + lane_of(), count = b < s.buckets ? s.counts[b] : 0, up_to = warp_sum_up_to(count),
            first = offset + up_to - count;
        if (b < s.buckets) next[b] = first + s.table[(int64_t)b * chunks.n + chunk];
        if (b < s.buckets && chunk == 0 && s.offsets) s.offsets[b] = min(first, s.rows);
        offset += __shfl_sync(ALL_LANES, up_to, WARP - 1);
    }
    if (lane_of() == 0 && chunk == 0 && s.offsets) s.offsets[s.buckets] = min(offset, s.rows);
    if (lane_of() == 0 && chunk == 0 && offset > s.rows) legal(s.fault, FAULT_ROWS, offset, s.rows);
    __syncwarp();
    for (int64_t i = chunk * chunks.length + lane_of(), round = 0; round < chunks.length; i += WARP, round += WARP) {
        int position = i >= s.n ? -1
                       : s.from ? s.from[i]
                                : (int)i,
            bucket = position < 0 ? -1 : sort_bucket_of(s, position), to = sort_rank(next, bucket);
        if (position < 0) continue;
        bool has_row = bucket >= 0 && to < s.rows;
        if (has_row) s.order[to] = position;
        if (s.inverse) s.inverse[position] = has_row ? to : -1;
        if (i >= offset && i < s.rows) s.order[i] = -1;
    }
}

size_t sort_table_bytes(int64_t n, int buckets) { return (size_t)chunks_of(n, buckets).n * buckets * sizeof(int32_t); }

void sort_bucket(const struct args *a, const struct sort *s)
{
    struct chunks chunks = chunks_of(s->n, s->buckets);
    int room = SHARED / (int)(s->buckets * sizeof(int32_t)), warps = room < WARPS ? room : WARPS,
        blocks = (chunks.n + warps - 1) / (warps ? warps : 1);
    INVARIANT(warps > 0, "a sort into %d buckets", s->buckets);
    LAUNCH(a, sort_count, blocks, warps * WARP, warps * s->buckets * sizeof(int32_t), *s, chunks);
    LAUNCH(a, sort_scan, grid_for(a, s->buckets, WARPS), BLOCK, 0, *s, chunks);
    LAUNCH(a, sort_scatter, blocks, warps * WARP, warps * s->buckets * sizeof(int32_t), *s, chunks);
}

struct digits { int n, bits; };

static struct digits digits_of(int64_t below)
{
    int bits = 1;
    while ((below - 1) >> bits) bits++;
    int n = (bits + DIGIT - 1) / DIGIT;
    return { n, (bits + n - 1) / n };
}

size_t sort_scratch_bytes(int64_t n, int64_t below)
{
    int buckets = 1 << digits_of(below).bits;
    return sort_table_bytes(n, buckets) + buckets * sizeof(int32_t);
}

int32_t *sort_positions(const struct args *a, const int32_t *key, int64_t n, int64_t below, int32_t *order,
                        int32_t *spare, void *scratch)
{
    struct digits digits = digits_of(below);
    int buckets = 1 << digits.bits;
    struct sort s = { .key = key, .from = NULL, .n = (int)n, .rows = (int)n, .buckets = buckets, .shift = 0,
                      .mask = buckets - 1, .order = order, .inverse = NULL, .offsets = NULL,
                      .counts = (int32_t *)scratch, .table = (int32_t *)scratch + buckets,
                      .fault = device_of(a)->fault };
    for (int digit = 0; digit < digits.n; digit++) {
        s.shift = digit * digits.bits;
        sort_bucket(a, &s);
        s.from = s.order;
        s.order = s.order == order ? spare : order;
    }
    return (int32_t *)s.from;
}
