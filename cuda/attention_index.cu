/* Attention to the keys that an index names, in bf16 and float alike: each token has keys of its own, so no tile of
   keys serves several. See named.cuh. A block takes a token, and of its heads GROUP at a time; all their scores are
   kept in shared memory, 4 GROUP bytes for a key, so that the masses of keys are known when the sums are. */
#include "attention_backward.cuh"
#include "named.cuh"

/* Rows of `entries`, of each token or of each head, which name `chosen` keys: one each, or `run` keys from
   start + run index on. alone: keys are no positions, all that are named are seen. */
struct named {
    const int32_t *index;
    int entries, run, chosen;
    bool of_heads, of_blocks, alone;
};

/* A token, and the GROUP or less of its heads from `head` on, which read the same keys. */
struct group { int64_t token; int at, head, n, most, start; struct seen see; };

static __device__ inline struct seen seen_of(const struct sizes &s, const struct named &named, int row)
{
    struct seen all = { 0, s.keys };
    return named.alone ? all : seen_by(s, row);
}

static __device__ inline struct group group_of(const struct sizes &s, const struct named &named)
{
    int at = blockIdx.x, most = named.of_heads ? 1 : min((int)GROUP, s.share);
    int64_t token = (int64_t)s.batch() * s.seq + at;
    return { token, at, 0, most, most, s.start[token], seen_of(s, named, at * s.share) };
}

static __device__ inline void next_group(struct group *g, const struct sizes &s)
{
    g->head += g->n;
    g->n = min(g->most, s.share - g->head % s.share);
}

/* The row of the index that names keys of a group, and the key that number e of all that it names is. */
static __device__ inline int64_t index_row(const struct sizes &s, const struct named &named, const struct group &g)
{
    return named.of_heads ? g.token * s.heads + g.head : g.token;
}
static __device__ inline int key_at(const struct named &named, const struct group &g, int64_t row, int e)
{
    if (!named.of_blocks) return named.index[row * named.entries + e];
    int block = named.index[row * named.entries + e / named.run];
    return block < 0 ? -1 : g.start + block * named.run + e % named.run;
}

/* Where in k, or v, the key lies that an entry names: negative if the token does not see it. row: of a key head. */
static __device__ inline int64_t offset_of(const struct sizes &s, const struct group &g, int key, int row)
{
    if (key < g.see.first || key >= g.see.last) return -1;
    return (((int64_t)s.batch() * s.keys + key) * s.groups + g.head / s.share) * row;
}

/* Weights of the scores of head n of a group, which a thread made of every BLOCK-th entry, and what the row leaves. */
static __device__ inline void share_out(const struct sizes &s, int64_t row, int chosen, float *score, float top,
                                        float largest, float *lse, float *tops)
{
    top = block_max(top);
    largest = block_max(largest);
    float some = top == -INFINITY ? 0 : top, sum = 0;
    for (int e = threadIdx.x; e < chosen; e += BLOCK) sum += score[e] = power_of_two(score[e] - some);
    sum = block_sum(sum);
    float share = share_of(s, row, top, sum);
    for (int e = threadIdx.x; e < chosen; e += BLOCK) score[e] *= share;
    if (threadIdx.x == 0) {
        *lse = lse_of(top, sum);
        *tops = largest * LN2 + (sum - sum);
    }
}

template <bool BENT>
static __global__ void __launch_bounds__(BLOCK)
attention_named_forward(struct sizes s, struct named named, struct view q, struct view k, struct view v,
                        struct view out, float *lse, float *tops, float *mass)
{
    extern __shared__ float shared[];
    float *score = shared, *queries = shared + GROUP * named.chosen;
    struct group g = group_of(s, named);
    for (; g.head < s.heads; next_group(&g, s)) {
        int64_t row = g.token * s.heads + g.head, names = index_row(s, named, g);
        float top[GROUP], largest[GROUP];
        for (int n = 0; n < GROUP; n++) top[n] = largest[n] = -INFINITY;
        load_vectors(queries, q, row, g.n, s.width);
        __syncthreads();
        for (int e = threadIdx.x; e < named.chosen; e += BLOCK) {
            float z[GROUP];
            int key = key_at(named, g, names, e);
            int64_t at = offset_of(s, g, key, s.width);
            if (at >= 0) row_products(z, k, at, s.width, queries);
            #pragma unroll
            for (int n = 0; n < GROUP; n++) {
                if (at < 0 || n >= g.n) z[n] = -INFINITY;
                else if (BENT) z[n] = bent(s, z[n], g.see, g.at * s.heads + g.head + n, key, largest[n]);
                else z[n] *= s.scale;
                top[n] = fmaxf(top[n], z[n]);
                score[n * named.chosen + e] = z[n];
            }
        }
        #pragma unroll
        for (int n = 0; n < GROUP; n++) {
            if (n >= g.n) continue;
            int64_t tile = ((int64_t)s.batch() * s.groups + g.head / s.share) * s.tiles + g.at;
            share_out(s, row + n, named.chosen, score + n * named.chosen, top[n], BENT ? largest[n] : top[n],
                      lse + row + n, tops + tile * s.share + g.head % s.share + n);
        }
        __syncthreads();                                    /* an entry's keys are other threads' */
        for (int e = threadIdx.x; e < named.entries; e += BLOCK) {
            float sum = named.of_heads || g.head == 0 ? 0 : mass[names * named.entries + e];
            for (int n = 0; n < g.n; n++)
                for (int l = 0; l < named.run; l++) sum += score[n * named.chosen + e * named.run + l];
            mass[names * named.entries + e] = sum;
        }
        __syncthreads();
        sum_rows<GROUP>(v, s.value_width, named.chosen, score, named.chosen,
                        [&](int e) { return offset_of(s, g, key_at(named, g, names, e), s.value_row); },
                        [&](int n, int c, float sum) {
                            if (n < g.n) store(out, (row + n) * s.value_width + c, sum);
                        });
    }
}

/* Entropy of the keys that a token sees, or of those of them that an index names, by the heads of a GROUP: log of the
   sum of 2^z less the mean of z. Threads take every BLOCK-th key; what each has of the sums is to its own largest
   score. */
template <bool BENT>
static __global__ void __launch_bounds__(BLOCK)
attention_entropy_tokens(struct sizes s, struct named named, struct view q, struct view k, float *entropy)
{
    extern __shared__ float queries[];
    struct group g = group_of(s, named);
    for (; g.head < s.heads; next_group(&g, s)) {
        int64_t row = g.token * s.heads + g.head, names = named.index ? index_row(s, named, g) : 0;
        int first = named.index ? 0 : g.see.first, end = named.index ? named.chosen : g.see.last;
        float top[GROUP], sum[GROUP] = { 0 }, mean[GROUP] = { 0 }, largest = 0;
        for (int n = 0; n < GROUP; n++) top[n] = -INFINITY;
        load_vectors(queries, q, row, g.n, s.width);
        __syncthreads();
        for (int e = first + threadIdx.x; e < end; e += BLOCK) {
            float z[GROUP];
            int key = named.index ? key_at(named, g, names, e) : e;
            int64_t at = offset_of(s, g, key, s.width);
            if (at < 0) continue;
            row_products(z, k, at, s.width, queries);
            #pragma unroll
            for (int n = 0; n < GROUP; n++) {
                if (n >= g.n) continue;
                z[n] = BENT ? bent(s, z[n], g.see, g.at * s.heads + g.head + n, key, largest) : z[n] * s.scale;
                float now = fmaxf(top[n], z[n]), fade = power_of_two(top[n] - now), weight = power_of_two(z[n] - now);
                sum[n] = sum[n] * fade + weight;
                mean[n] = mean[n] * fade + weight * z[n];
                top[n] = now;
            }
        }
        #pragma unroll
        for (int n = 0; n < GROUP; n++) {
            float all = block_max(top[n]), fade = top[n] == -INFINITY ? 0 : power_of_two(top[n] - all);
            float total = block_sum(sum[n] * fade), middle = block_sum(mean[n] * fade);
            if (threadIdx.x == 0 && n < g.n)
                entropy[row + n] = total > 0 ? LN2 * (all + log2f(total) - divide(middle, total)) : 0;
        }
        __syncthreads();
    }
}

/* dq: ds of all entries of a GROUP of heads, and the sum of their keys by them. */
template <bool BENT>
static __global__ void __launch_bounds__(BLOCK)
attention_named_rows(struct sizes s, struct named named, struct view q, struct view k, struct view v, struct view dout,
                     const float *lse, const float *delta, struct sum dq, float factor)
{
    extern __shared__ float shared[];
    float *slopes = shared, *queries = shared + GROUP * named.chosen, *douts = queries + GROUP * s.width;
    struct group g = group_of(s, named);
    for (; g.head < s.heads; next_group(&g, s)) {
        int64_t first = g.token * s.heads + g.head, names = index_row(s, named, g);
        load_vectors(queries, q, first, g.n, s.width);
        load_vectors(douts, dout, first, g.n, s.value_width);
        __syncthreads();
        for (int e = threadIdx.x; e < named.chosen; e += BLOCK) {
            float z[GROUP], dp[GROUP];
            int key = key_at(named, g, names, e);
            int64_t at = offset_of(s, g, key, s.width);
            if (at >= 0) row_products(z, k, at, s.width, queries);
            if (at >= 0) row_products(dp, v, offset_of(s, g, key, s.value_row), s.value_width, douts);
            #pragma unroll
            for (int n = 0; n < GROUP; n++) {
                float ds = 0;
                if (at >= 0 && n < g.n) {
                    struct row row = { g.see, lse[first + n], delta[first + n] };
                    ds = slope<BENT>(s, weight<BENT>(s, z[n], row, g.at * s.heads + g.head + n, key), dp[n], row);
                }
                slopes[n * named.chosen + e] = ds;
            }
        }
        __syncthreads();
        sum_rows<GROUP>(k, s.width, named.chosen, slopes, named.chosen,
                        [&](int e) { return offset_of(s, g, key_at(named, g, names, e), s.width); },
                        [&](int n, int c, float sum) {
                            if (n < g.n) add(dq, (first + n) * s.width + c, factor * sum);
                        });
    }
}

/* Four blocks of a multiprocessor: with registers for more it would spill. */
static __global__ void __launch_bounds__(BLOCK, 4)
attention_named_pairs(struct sizes s, struct named named, struct pairs p)
{
    struct group g = group_of(s, named);
    for (; g.head < (named.of_heads ? s.heads : 1); next_group(&g, s))
        for (int e = threadIdx.x; e < named.chosen; e += BLOCK) {
            int64_t row = index_row(s, named, g), i = row * named.chosen + e;
            int key = key_at(named, g, row, e), of = s.batch() * s.keys + key;
            if (named.of_heads) of = of * s.groups + g.head / s.share;
            p.key[i] = key < g.see.first || key >= g.see.last ? (int)p.below : of;
        }
}

/* dk and dv of key blockIdx.x of a head, and the gradients of biases: over the heads of all tokens that name it, or
   over the heads that do, BLOCK at a time. Who names it twice has pairs that follow one another: the first adds what
   all of them give a bias. With registers for more than four blocks of a multiprocessor it would spill. */
template <bool BENT>
static __global__ void __launch_bounds__(BLOCK, 4)
attention_named_keys(struct sizes s, struct named by, struct pairs p, struct view q, struct view k, struct view v,
                     struct view dout, const float *lse, const float *delta, struct sum dk, struct sum dv,
                     struct sum drel, float factor)
{
    __shared__ float weights[BLOCK], slopes[BLOCK];
    __shared__ int queries[BLOCK];
    extern __shared__ float shared[];
    float *keys = shared, *values = keys + GROUP * s.width, *sum_k = values + GROUP * s.value_width,
          *sum_v = sum_k + s.width;
    int key = blockIdx.x, named = s.batch() * s.keys + key, heads = by.of_heads ? 1 : s.share;
    int64_t at = s.first_key() + (int64_t)key * s.groups;
    if (by.of_heads) named = named * s.groups + blockIdx.y;
    int rows = (p.begins[named + 1] - p.begins[named]) * heads;
    load_vectors(keys, k, at, 1, s.width);
    for (int c = threadIdx.x; c < s.value_width; c += BLOCK) values[c] = load(v, at * s.value_row + c);
    for (int c = threadIdx.x; c < s.width + s.value_width; c += BLOCK) sum_k[c] = 0;
    __syncthreads();
    for (int first = 0; first < rows; first += BLOCK) {
        int mine = first + threadIdx.x, n = min((int)BLOCK, rows - first);
        struct row row = {};
        if (mine < rows) {
            int names = p.order[p.begins[named] + mine / heads] / by.chosen,
                token = (by.of_heads ? names / s.heads : names) - s.batch() * s.seq,
                number = token * s.share + (by.of_heads ? names : mine) % s.share;
            row = row_of(s, number, lse, delta);
            row.see = seen_of(s, by, number);
            int query = s.query(number);
            float z[1], dp[1];
            row_products(z, q, (s.first_query() + query) * s.width, s.width, keys);
            row_products(dp, dout, (s.first_query() + query) * s.value_width, s.value_width, values);
            weights[threadIdx.x] = weight<BENT>(s, z[0], row, query, key);
            slopes[threadIdx.x] = slope<BENT>(s, weights[threadIdx.x], dp[0], row);
            queries[threadIdx.x] = query;
        }
        __syncthreads();
        int before = (int)threadIdx.x - heads;
        if (BENT && drel.to.data && mine < rows && (before < 0 || queries[before] != queries[threadIdx.x])) {
            float sum = 0;
            for (int i = threadIdx.x; i < n && queries[i] == queries[threadIdx.x]; i += heads) sum += slopes[i];
            add_slope(s, drel, row, queries[threadIdx.x], key, sum);
        }
        sum_rows<1>(q, s.width, n, slopes, 0, [&](int i) { return (s.first_query() + queries[i]) * s.width; },
                    [&](int, int c, float sum) { sum_k[c] += sum; });
        sum_rows<1>(dout, s.value_width, n, weights, 0,
                    [&](int i) { return (s.first_query() + queries[i]) * s.value_width; },
                    [&](int, int c, float sum) { sum_v[c] += sum; });
    }
    for (int c = threadIdx.x; c < s.width; c += BLOCK) add(dk, at * s.width + c, factor * sum_k[c]);
    for (int c = threadIdx.x; c < s.value_width; c += BLOCK) add(dv, at * s.value_row + c, sum_v[c]);
}

/* ---- the host's side ---- */

static struct named named_of(const struct args *a)
{
    int block = (int)((const struct attention_attr *)a->attr)->block, run = block ? block : 1,
        entries = (int)shape_last(a->in[INDEX].shape);
    return { (const int32_t *)a->in[INDEX].data, entries, run, entries * run, a->in[INDEX].shape.rank == 3, block > 0,
             a->in[K].shape.rank == 4 && !a->in[POS].data };
}

/* Blocks of a token each. */
static dim3 tokens_of(const struct args *a, const struct sizes &s)
{
    return dim3(s.seq, 1, (unsigned)a->in[START].shape.dim[0]);
}

/* CASE(bent) */
#define BY_BEND(s, CASE) do { if (bends(s)) CASE(true); else CASE(false); } while (0)

void attention_forward_named(const struct args *a, struct sizes s, float *tops)
{
    struct named named = named_of(a);
    size_t bytes = GROUP * (size_t)(named.chosen + s.width) * sizeof(float);
#define FORWARD(BENT) \
    LAUNCH_SHARED(a, (attention_named_forward<BENT>), tokens_of(a, s), BLOCK, bytes, s, named, view_of(a->in[Q]), \
                  view_of(a->in[K]), view_of(values_of(a)), view_of(a->out[O]), (float *)a->save[LSE].data, tops, \
                  (float *)a->out[MASS].data)
    s.tiles = s.seq;
    BY_BEND(s, FORWARD);
}

void attention_entropy(const struct args *a, struct sizes s)
{
    struct named named = { };
    if (a->in[INDEX].data) named = named_of(a);
#define ENTROPY(BENT) \
    LAUNCH_SHARED(a, (attention_entropy_tokens<BENT>), tokens_of(a, s), BLOCK, GROUP * s.width * sizeof(float), s, \
                  named, view_of(a->in[Q]), view_of(a->in[K]), reals(&a->out[0]))
    BY_BEND(s, ENTROPY);
}

static int64_t pairs_of(const struct args *a) { return shape_count(a->in[INDEX].shape) * named_of(a).run; }
static int64_t rows_of_keys(const struct args *a, const struct sizes &s)
{
    return a->in[START].shape.dim[0] * s.keys * (named_of(a).of_heads ? s.groups : 1);
}

size_t attention_named_scratch(const struct args *a, const struct sizes &s)
{
    return pairs_bytes(pairs_of(a), rows_of_keys(a, s));
}

void attention_backward_named(const struct args *a, struct sizes s, struct backward_scratch b, void *scratch)
{
    struct named named = named_of(a);
    size_t wide = (size_t)(s.width + s.value_width) * sizeof(float);
#define INPUTS \
    view_of(a->in[Q]), view_of(a->in[K]), view_of(values_of(a)), view_of(a->dout[O]), \
    (const float *)a->save[LSE].data, b.delta
#define ROWS(BENT) \
    LAUNCH_SHARED(a, (attention_named_rows<BENT>), tokens_of(a, s), BLOCK, \
                  GROUP * (named.chosen * sizeof(float) + wide), s, named, INPUTS, sum_of(a, Q), s.scale * LN2)
#define KEYS(BENT) \
    LAUNCH_SHARED(a, (attention_named_keys<BENT>), attention_grid(a, s, s.keys), BLOCK, (GROUP + 1) * wide, s, \
                  named, pairs, INPUTS, sum_of(a, K), values_sum(a), bias_sum(a), s.scale * LN2)
    if (a->din[Q].data) BY_BEND(s, ROWS);
    if (!a->din[K].data && !a->din[V].data && !a->din[REL].data) return;
    struct pairs pairs = pairs_in(scratch, pairs_of(a), rows_of_keys(a, s));
    LAUNCH(a, attention_named_pairs, tokens_of(a, s), BLOCK, 0, s, named, pairs);
    pairs_sort(a, &pairs);
    BY_BEND(s, KEYS);
}
