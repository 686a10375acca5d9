/* Balanced assignment by an auction; see runtime/ops/assign.c, whose every number this gives. A block holds the auction
   of a group. A warp takes a bidder: lane l values columns l, l + 32, ..; then a warp takes a column and its bids, in
   any order, for what it keeps are the highest. Bound by latency: a round with few bidders takes some microseconds. */
#include "warp.cuh"

enum { THREADS = 1024 };
enum { BID, INTEGERS, PRICES, SUMS };                       /* of work */

/* As runtime/ops/assign.c's; slots: the rows that columns hold, in any order; now, next: how many rows have none. */
struct auction {
    const float *value;
    float *bid, *low, *high, *price;
    int *to, *target, *bidder, *loser, *slot, *first, *held, *room;
    int rows, columns;
};

static __device__ inline int warp_of() { return threadIdx.x / WARP; }
static __device__ inline int warps() { return blockDim.x / WARP; }

static __device__ inline float value_at(const struct auction &s, int t, int e)
{
    return s.value[(int64_t)t * s.columns + e];
}
static __device__ inline float worth(const struct auction &s, int t, int e, float low, float high)
{
    float x = value_at(s, t, e);
    return (x > high ? high : x >= low ? x : low) - low;
}

/* The best column of a row, the first of equal ones, and what the second best is worth. */
struct best { float value, second; int column; };
static __device__ inline struct best better(const struct best &x, const struct best &y)
{
    bool first = x.value > y.value || (x.value == y.value && x.column < y.column);
    const struct best &won = first ? x : y, &lost = first ? y : x;
    return { won.value, fmaxf(won.second, lost.value), won.column };
}
static __device__ inline struct best warp_best(struct best x)
{
    for (int step = WARP / 2; step > 0; step /= 2)
        x = better(x, { __shfl_xor_sync(ALL_LANES, x.value, step), __shfl_xor_sync(ALL_LANES, x.second, step),
                        __shfl_xor_sync(ALL_LANES, x.column, step) });
    return x;
}

/* Of the columns that `with_room` names, or all, at their prices or without. */
static __device__ inline struct best best_of(const struct auction &s, int t, bool priced, bool with_room)
{
    struct best mine = { -INFINITY, -INFINITY, INT_MAX };
    float low = s.low[t], high = s.high[t];
    for (int e = lane_of(); e < s.columns; e += WARP) {
        if (with_room && s.held[e] >= s.room[e]) continue;
        mine = better(mine, { worth(s, t, e, low, high) - (priced ? s.price[e] : 0), -INFINITY, e });
    }
    return warp_best(mine);
}

static __device__ inline float bound_values(const struct auction &s)
{
    float range = 0;
    for (int t = warp_of(); t < s.rows; t += warps()) {
        float low = INFINITY, high = -INFINITY;
        for (int e = lane_of(); e < s.columns; e += WARP) {
            float x = value_at(s, t, e);
            if (!isfinite(x)) continue;
            low = fminf(low, x);
            high = fmaxf(high, x);
        }
        low = -warp_max(-low);
        high = warp_max(high);
        if (low > high) low = high = 0;
        if (lane_of() == 0) s.low[t] = low, s.high[t] = high;
        range = fmaxf(range, high - low);
    }
    return block_max(range);
}

static __device__ inline void share_room(const struct auction &s)
{
    int each = s.rows / s.columns, more = s.rows % s.columns;
    for (int e = threadIdx.x; e < s.columns; e += blockDim.x) s.held[e] = 0;
    __syncthreads();
    for (int t = warp_of(); t < s.rows; t += warps()) {
        struct best b = best_of(s, t, false, false);
        if (lane_of() == 0) atomicAdd(&s.held[b.column], 1);
    }
    __syncthreads();
    for (int e = threadIdx.x; e < s.columns; e += blockDim.x) {
        int before = 0;
        for (int f = 0; f < s.columns; f++)
            before += s.held[f] > s.held[e] || (s.held[f] == s.held[e] && f < e);
        s.room[e] = each + (before < more);
        s.price[e] = s.room[e] > 0 ? 0 : INFINITY;
    }
    __syncthreads();
    for (int e = threadIdx.x; e < s.columns; e += blockDim.x) {
        int first = 0;
        for (int f = 0; f < e; f++) first += s.room[f];
        s.first[e] = first;
        s.held[e] = 0;
    }
    __syncthreads();
}

static __device__ inline bool is_lower(float bid, int t, float than, int u)
{
    return bid < than || (bid == than && t > u);
}

/* The lowest bid that a column holds. */
struct lowest { float bid; int row, slot; };
static __device__ inline struct lowest lowest_of(const struct auction &s, int first, int held)
{
    struct lowest x = { INFINITY, -1, -1 };
    for (int i = lane_of(); i < held; i += WARP) {
        int t = s.slot[first + i];
        if (is_lower(s.bid[t], t, x.bid, x.row)) x = { s.bid[t], t, i };
    }
    for (int step = WARP / 2; step > 0; step /= 2) {
        struct lowest y = { __shfl_xor_sync(ALL_LANES, x.bid, step), __shfl_xor_sync(ALL_LANES, x.row, step),
                            __shfl_xor_sync(ALL_LANES, x.slot, step) };
        if (y.row >= 0 && (x.row < 0 || is_lower(y.bid, y.row, x.bid, x.row))) x = y;
    }
    __syncwarp();                                           /* all have read the slots */
    return x;
}

/* A warp gives a column the highest of what it holds and is bid; who has none then goes to the losers. */
static __device__ inline void keep_highest(const struct auction &s, int e, int bidders, int *losers)
{
    int first = s.first[e], held = s.held[e], room = s.room[e];
    bool asked = false;
    struct lowest low = { 0, -1, -1 };
    if (held == room) low = lowest_of(s, first, held);
    for (int from = 0; from < bidders; from += WARP) {
        int mine = from + lane_of() < bidders ? s.bidder[from + lane_of()] : -1;
        for (unsigned bids = __ballot_sync(ALL_LANES, mine >= 0 && s.target[mine] == e); bids; bids &= bids - 1) {
            int t = __shfl_sync(ALL_LANES, mine, __ffs((int)bids) - 1), out = -1;
            asked = true;
            if (held < room) {
                if (lane_of() == 0) s.slot[first + held] = t;
                held++;
            } else if (is_lower(low.bid, low.row, s.bid[t], t)) {
                out = low.row;
                if (lane_of() == 0) s.slot[first + low.slot] = t;
            } else out = t;
            if (lane_of() == 0) {
                if (out != t) s.to[t] = e;
                if (out >= 0 && out != t) s.to[out] = -1;
                if (out >= 0) s.loser[atomicAdd(losers, 1)] = out;
            }
            __syncwarp();                                   /* slots are written */
            if (held == room && out != t) low = lowest_of(s, first, held);
        }
    }
    if (lane_of() == 0 && asked) {
        s.held[e] = held;
        if (held == room) s.price[e] = low.bid;
    }
}

/* One warp: row after row takes what is left. */
static __device__ inline int finish(const struct auction &s)
{
    int left = 0;
    for (int from = 0; from < s.rows; from += WARP) {
        bool none = from + lane_of() < s.rows && s.to[from + lane_of()] < 0;
        for (unsigned rows = __ballot_sync(ALL_LANES, none); rows; rows &= rows - 1) {
            int t = from + __ffs((int)rows) - 1;
            struct best b = best_of(s, t, false, true);
            __syncwarp();                                   /* all have read who has none, and what is held */
            if (lane_of() == 0) s.to[t] = b.column, s.held[b.column]++;
            __syncwarp();
            left++;
        }
    }
    return left;
}

static __global__ void __launch_bounds__(THREADS, 1)
assign_forward(struct auction s, float *sums, int rounds, float share)
{
    __shared__ int losers;
    __shared__ float eps;
    int64_t group = blockIdx.x;
    s.value += group * s.rows * s.columns;
    s.bid += 3 * group * s.rows;
    s.low = s.bid + s.rows;
    s.high = s.low + s.rows;
    s.price += group * s.columns;
    s.to += group * s.rows;
    s.target += 4 * group * s.rows;
    s.bidder = s.target + s.rows;
    s.loser = s.bidder + s.rows;
    s.slot = s.loser + s.rows;
    s.first += 3 * group * s.columns;
    s.held = s.first + s.columns;
    s.room = s.held + s.columns;
    float range = bound_values(s);
    if (threadIdx.x == 0) eps = range > 0 ? range * share : 1;
    for (int t = threadIdx.x; t < s.rows; t += blockDim.x) s.bidder[t] = t, s.to[t] = -1;
    share_room(s);
    int bidders = s.rows, round = 0;
    for (; bidders > 0 && round < rounds; round++) {
        if (threadIdx.x == 0) losers = 0;
        for (int i = warp_of(); i < bidders; i += warps()) {
            int t = s.bidder[i];
            struct best b = best_of(s, t, true, false);
            if (lane_of() != 0) continue;
            s.target[t] = b.column;
            s.bid[t] = s.price[b.column] + (b.value - (b.second == -INFINITY ? b.value : b.second)) + eps;
        }
        __syncthreads();
        for (int e = warp_of(); e < s.columns; e += warps()) keep_highest(s, e, bidders, &losers);
        __syncthreads();
        bidders = losers;
        int *next = s.loser;
        s.loser = s.bidder;
        s.bidder = next;
        __syncthreads();                                    /* all have read how many lost */
    }
    if (warp_of() != 0) return;
    int left = bidders > 0 ? finish(s) : 0;
    if (lane_of() == 0) sums[2 * group] = (float)round, sums[2 * group + 1] = (float)left;
}

static __global__ void __launch_bounds__(WARP)
assign_means(const float *sums, float *rounds, float *left, int64_t groups, int64_t rows)
{
    float of_rounds = 0, of_left = 0;                       /* of integers */
    for (int64_t i = threadIdx.x; i < groups; i += WARP) of_rounds += sums[2 * i], of_left += sums[2 * i + 1];
    of_rounds = warp_sum(of_rounds);
    of_left = warp_sum(of_left);
    if (threadIdx.x == 0) *rounds = divide(of_rounds, (float)groups), *left = divide(of_left, (float)rows);
}

static void forward(const struct args *a)
{
    const struct assign_attr *at = (const struct assign_attr *)a->attr;
    int64_t rows = a->in[0].shape.dim[0];
    int columns = (int)a->in[0].shape.dim[1];
    int32_t *integers = ints(&a->work[INTEGERS]);
    struct auction s = { .value = reals(&a->in[0]), .bid = reals(&a->work[BID]), .low = NULL, .high = NULL,
                         .price = reals(&a->work[PRICES]), .to = ints(&a->out[0]), .target = integers, .bidder = NULL,
                         .loser = NULL, .slot = NULL, .first = integers + 4 * rows, .held = NULL, .room = NULL,
                         .rows = (int)(rows / at->groups), .columns = columns };
    LAUNCH(a, assign_forward, (unsigned)at->groups, THREADS, 0, s, reals(&a->work[SUMS]), (int)at->rounds,
           (float)at->eps);
    LAUNCH(a, assign_means, 1, WARP, 0, reals(&a->work[SUMS]), reals(&a->out[1]), reals(&a->out[2]), at->groups, rows);
}

TWIN(assign, forward);
