/* Experts with room for so many: which tokens they choose (topk_columns), which pairs find no room (drop_over_capacity)
   or have no weight (drop_zero). A block takes some experts of a group of tokens and looks for the c-th largest key of
   each, five bits in a pass. Keys end in the rank that decides ties, so no two are equal. Each pass reads all keys of
   the group, after the first from L2: latency bounds it, of 7 passes and one for each 32-fold of the group's length. */
#include "warp.cuh"

enum { DIGIT = 5, DIGITS = 1 << DIGIT, THREADS = 1024 };
enum { TOKEN_COLUMNS = 8, PAIR_COLUMNS = 32 };              /* of a block; 8: a sector of memory */

static int bits_for(int64_t n)
{
    int bits = 0;
    while ((n - 1) >> bits) bits++;
    return bits;
}

/* The key of what is masked is below all, NaN too. */
static __device__ inline uint32_t masked_word(float key) { return key == -INFINITY ? 0 : word_of(key); }

/* Finds the c-th largest key of each column, c = keys.most(column), or 0 where there are not as many. keys.at(i, &key)
   says which column item i is of, -1: of none. All threads of a block. */
template <int COLUMNS, class KEYS>
static __device__ inline void nth_largest(uint64_t (&nth)[COLUMNS], const KEYS &keys)
{
    __shared__ int32_t count[COLUMNS][DIGITS];              /* largest digit first */
    __shared__ int64_t left[COLUMNS];                       /* of the keys that begin as nth, so many are among the c */
    for (int i = threadIdx.x; i < COLUMNS; i += THREADS) nth[i] = 0, left[i] = keys.most(i);
    for (int shift = (keys.bits + DIGIT - 1) / DIGIT * DIGIT - DIGIT; shift >= 0; shift -= DIGIT) {
        for (int i = threadIdx.x; i < COLUMNS * DIGITS; i += THREADS) count[i / DIGITS][i % DIGITS] = 0;
        __syncthreads();
        for (int64_t i = threadIdx.x; i < keys.n; i += THREADS) {
            uint64_t key;
            int column = keys.at(i, &key);
            if (column < 0 || (key ^ nth[column]) >> shift >> DIGIT != 0) continue;
            atomicAdd(&count[column][DIGITS - 1 - (int)(key >> shift & (DIGITS - 1))], 1);
        }
        __syncthreads();
        for (int column = threadIdx.x / WARP; column < COLUMNS; column += THREADS / WARP) {
            int number = count[column][lane_of()], up_to = warp_sum_up_to(number);
            unsigned enough = __ballot_sync(ALL_LANES, up_to >= left[column]);
            int last = enough ? __ffs((int)enough) - 1 : WARP - 1;
            __syncwarp();                                   /* all have read what one writes */
            if (lane_of() == last) {
                left[column] -= up_to - number;
                nth[column] |= (uint64_t)(DIGITS - 1 - last) << shift;
            }
        }
        __syncthreads();
    }
}

/* ---- topk_columns ---- */

/* Keys of some columns of a group: the word, then how many tokens of the group come after. */
struct token_keys {
    const float *key;
    int64_t n, c;
    int tokens, experts, columns, tie_bits, bits;

    __device__ int64_t most(int) const { return c; }
    __device__ int64_t offset(int64_t i) const { return i / TOKEN_COLUMNS * experts + i % TOKEN_COLUMNS; }
    __device__ int at(int64_t i, uint64_t *to) const
    {
        int column = (int)(i % TOKEN_COLUMNS);
        if (column >= columns) return -1;
        *to = (uint64_t)masked_word(key[offset(i)]) << tie_bits | (uint64_t)(tokens - 1 - i / TOKEN_COLUMNS);
        return column;
    }
};

static __global__ void __launch_bounds__(THREADS, 1)
choose_tokens(struct token_keys keys, int32_t *index, float *threshold)
{
    __shared__ uint64_t nth[TOKEN_COLUMNS];
    int tiles = (keys.experts + TOKEN_COLUMNS - 1) / TOKEN_COLUMNS, group = (int)blockIdx.x / tiles,
        first = (int)blockIdx.x % tiles * TOKEN_COLUMNS;
    int64_t from = (int64_t)group * keys.tokens * keys.experts + first;
    keys.key += from;
    keys.columns = min(TOKEN_COLUMNS, keys.experts - first);
    nth_largest(nth, keys);
    for (int64_t i = threadIdx.x; i < keys.n; i += THREADS) {
        uint64_t key;
        int column = keys.at(i, &key);
        if (column < 0) continue;
        index[from + keys.offset(i)] = key >> keys.tie_bits && key >= nth[column] ? first + column : -1;
    }
    if ((int)threadIdx.x >= keys.columns) return;
    uint32_t word = (uint32_t)(nth[threadIdx.x] >> keys.tie_bits), bits = word >> 31 ? word ^ 1u << 31 : ~word;
    threshold[(int64_t)group * keys.experts + first + threadIdx.x] = word == 0   ? -INFINITY
                                                                     : word == 1 ? NAN
                                                                                 : __uint_as_float(bits);
}

static __global__ void __launch_bounds__(BLOCK)
choice_mean(const float *threshold, float *mean, int64_t groups, int experts)
{
    for (int64_t e = first_item(); e < experts; e += all_items()) {
        double sum = 0;
        for (int64_t group = 0; group < groups; group++) sum += threshold[group * experts + e];
        mean[e] = (float)(sum / (double)groups);
    }
}

static void choice_forward(const struct args *a)
{
    const struct topk_columns_attr *at = (const struct topk_columns_attr *)a->attr;
    int tokens = (int)(a->in[0].shape.dim[0] / at->groups), experts = (int)a->in[0].shape.dim[1],
        tiles = (experts + TOKEN_COLUMNS - 1) / TOKEN_COLUMNS, tie_bits = bits_for(tokens);
    struct token_keys keys = { reals(&a->in[0]), (int64_t)tokens * TOKEN_COLUMNS, at->c, tokens, experts, 0, tie_bits,
                               32 + tie_bits };
    LAUNCH(a, choose_tokens, (unsigned)(at->groups * tiles), THREADS, 0, keys, ints(&a->out[0]), reals(&a->work[0]));
    LAUNCH(a, choice_mean, grid_for(a, experts, BLOCK), BLOCK, 0, reals(&a->work[0]), reals(&a->out[1]), at->groups,
           experts);
}

TWIN(topk_columns, choice_forward);

/* ---- drop_over_capacity ---- */

enum { INDEX, GATE, ROOM };

/* Keys of a group's pairs, of some experts: the gate's word or none, then how many pairs have less priority. */
struct pair_keys {
    const int32_t *index;
    const float *gate, *room;
    int64_t n, capacity;
    int tokens, first, columns, tie_bits, bits;
    unsigned k;
    bool by_choice, room_of_each;

    __device__ int64_t most(int column) const
    {
        if (!room || column >= columns) return capacity;
        float now = room[room_of_each ? first + column : 0];
        return now < (float)capacity ? (int64_t)now : capacity;
    }
    __device__ int at(int64_t i, uint64_t *to) const
    {
        int column = index[i] - first;
        if (column < 0 || column >= columns) return -1;
        int64_t rank = by_choice ? (int64_t)((unsigned)i % k) * tokens + (unsigned)i / k : i;
        *to = (gate ? (uint64_t)masked_word(gate[i]) << tie_bits : 0) | (uint64_t)(n - 1 - rank);
        return column;
    }
};

/* numbers [groups,tiles,2]: pairs and those that are dropped. The first tile also takes pairs of no expert. */
static __global__ void __launch_bounds__(THREADS, 1)
drop_pairs(struct pair_keys keys, int32_t *kept, int32_t *numbers, int experts)
{
    __shared__ uint64_t nth[PAIR_COLUMNS];
    int tiles = (experts + PAIR_COLUMNS - 1) / PAIR_COLUMNS, pairs = 0, dropped = 0;
    int64_t from = blockIdx.x / tiles * keys.n;
    keys.index += from;
    if (keys.gate) keys.gate += from;
    keys.first = (int)blockIdx.x % tiles * PAIR_COLUMNS;
    keys.columns = min(PAIR_COLUMNS, experts - keys.first);
    nth_largest(nth, keys);
    if (keys.room) {                                        /* where there is none no key is large enough */
        int column = (int)threadIdx.x;
        if (column < PAIR_COLUMNS && keys.most(column) <= 0) nth[column] = ~(uint64_t)0;
        __syncthreads();
    }
    for (int64_t i = threadIdx.x; i < keys.n; i += THREADS) {
        uint64_t key;
        int expert = keys.index[i], column = keys.at(i, &key);
        if (column < 0) {
            if (keys.first == 0 && (expert < 0 || expert >= experts)) kept[from + i] = expert;
            continue;
        }
        bool fits = key >= nth[column];
        kept[from + i] = fits ? expert : -1;
        pairs++;
        dropped += !fits;
    }
    pairs = block_sum(pairs);
    dropped = block_sum(dropped);
    if (threadIdx.x == 0) numbers[2 * blockIdx.x] = pairs, numbers[2 * blockIdx.x + 1] = dropped;
}

static __global__ void __launch_bounds__(WARP) drop_share(const int32_t *numbers, float *share, int64_t n)
{
    double pairs = 0, dropped = 0;
    for (int64_t i = threadIdx.x; i < n; i += WARP) {
        pairs += numbers[2 * i];
        dropped += numbers[2 * i + 1];
    }
    pairs = warp_sum(pairs);
    dropped = warp_sum(dropped);
    if (threadIdx.x == 0) *share = pairs > 0 ? (float)(dropped / pairs) : 0;
}

static int64_t room_tiles(const struct drop_over_capacity_attr *at)
{
    return at->groups * ((at->experts + PAIR_COLUMNS - 1) / PAIR_COLUMNS);
}

static void room_forward(const struct args *a)
{
    const struct drop_over_capacity_attr *at = (const struct drop_over_capacity_attr *)a->attr;
    int k = (int)a->in[INDEX].shape.dim[1], tokens = (int)(a->in[INDEX].shape.dim[0] / at->groups);
    int64_t pairs = (int64_t)tokens * k, tiles = room_tiles(at);
    int tie_bits = bits_for(pairs);
    bool by_gate = at->first == PRIORITY_GATE, by_choice = at->first == PRIORITY_CHOICE;
    const float *room = a->in[ROOM].data ? reals(&a->in[ROOM]) : NULL;
    struct pair_keys keys = { ints(&a->in[INDEX]), by_gate ? reals(&a->in[GATE]) : NULL, room, pairs, at->capacity,
                              tokens, 0, 0, tie_bits, tie_bits + (by_gate ? 32 : 0), (unsigned)k, by_choice,
                              room && a->in[ROOM].shape.dim[0] > 1 };
    int32_t *numbers = (int32_t *)a->scratch;
    LAUNCH(a, drop_pairs, (unsigned)tiles, THREADS, 0, keys, ints(&a->out[0]), numbers, (int)at->experts);
    LAUNCH(a, drop_share, 1, WARP, 0, numbers, reals(&a->out[1]), tiles);
}

static size_t room_scratch(const struct args *a)
{
    return (size_t)room_tiles((const struct drop_over_capacity_attr *)a->attr) * 2 * sizeof(int32_t);
}

TWIN(drop_over_capacity, room_forward, NULL, NULL, room_scratch);

/* ---- drop_zero ---- */

static __global__ void __launch_bounds__(BLOCK)
drop_weightless(const int32_t *index, const float *gate, int32_t *kept, int64_t pairs)
{
    for (int64_t i = first_item(); i < pairs; i += all_items()) kept[i] = gate[i] == 0 ? -1 : index[i];
}

static void zero_forward(const struct args *a)
{
    int64_t pairs = shape_count(a->out[0].shape);
    LAUNCH(a, drop_weightless, grid_for(a, pairs, BLOCK), BLOCK, 0, ints(&a->in[INDEX]), reals(&a->in[GATE]),
           ints(&a->out[0]), pairs);
}

TWIN(drop_zero, zero_forward);
