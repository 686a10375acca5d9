/* Where experts are computed; see runtime/ops/placement.c. Choices are a few numbers for each token, which memory
   bounds; what is placed is found by a thread a node, which latency bounds, of a few hundred experts. Copies are bound
   by the links between ranks: the host does not know whose they are, so that each rank has a slot at each for each of
   its copies, most of them empty. */
#include "ranks.cuh"
extern "C" {
#include "backend/placement.h"
}

/* ---- choose_nodes ---- */

/* The first of n places that holds x, or is free. */
static __device__ inline int place_of(const int32_t *places, int n, int32_t x)
{
    int m = 0;
    while (m < n && places[m] != -1 && places[m] != x) m++;
    return m;
}

struct choices { int k, most, there, each; };
static __global__ void __launch_bounds__(BLOCK) nodes_choose(const int32_t *index, int32_t *node, float *number,
                                                             int32_t *pair, int64_t tokens, struct choices c,
                                                             int experts, struct fault *fault)
{
    for (int64_t t = first_item(); t < tokens; t += all_items()) {
        int32_t *nodes = node + t * c.most, *pairs = pair + t * c.most * c.there;
        float *numbers = number + t * c.most * c.there;
        for (int m = 0; m < c.most; m++) nodes[m] = -1;
        for (int i = 0; i < c.most * c.there; i++) { numbers[i] = 0; pairs[i] = -1; }
        for (int j = 0; j < c.k; j++) {
            int32_t e = index[t * c.k + j];
            if (e < 0 || e >= experts) continue;
            int m = place_of(nodes, c.most, e / c.each);
            if (!legal(fault, FAULT_EXPERT, m, c.most)) continue;
            int i = place_of(pairs + m * c.there, c.there, -1);
            if (!legal(fault, FAULT_EXPERT, i, c.there)) continue;
            nodes[m] = e / c.each;
            pairs[m * c.there + i] = j;
            numbers[m * c.there + i] = (float)(e % c.each + 1);
        }
    }
}

static void choose_nodes_forward(const struct args *a)
{
    const struct choose_nodes_attr *at = (const struct choose_nodes_attr *)a->attr;
    int64_t tokens = a->in[0].shape.dim[0];
    struct choices c = { (int)a->in[0].shape.dim[1], (int)at->most, (int)(a->out[1].shape.dim[1] / at->most),
                         (int)(at->experts / at->nodes) };
    LAUNCH(a, nodes_choose, grid_for(a, tokens, BLOCK), BLOCK, 0, ints(&a->in[0]), ints(&a->out[0]), reals(&a->out[1]),
           ints(&a->out[2]), tokens, c, (int)at->experts, device_of(a)->fault);
}

TWIN(choose_nodes, choose_nodes_forward);

/* ---- read_index ---- */

static __global__ void __launch_bounds__(BLOCK) index_read(const float *number, int32_t *index, int64_t n)
{
    #pragma unroll 1
    for (int64_t i = first_item(); i < n; i += all_items()) index[i] = (int32_t)number[i] - 1;
}

static void read_index_forward(const struct args *a)
{
    int64_t n = shape_count(a->in[0].shape);
    LAUNCH(a, index_read, grid_for(a, n, BLOCK), BLOCK, 0, reals(&a->in[0]), ints(&a->out[0]), n);
}

TWIN(read_index, read_index_forward);

/* ---- place_copies ---- */

static __global__ void __launch_bounds__(WARP) copies_place(const float *load, int32_t *table, int32_t *begin,
                                                            int32_t *places, int32_t *work, struct placement p,
                                                            int nodes)
{
    int node = (int)first_item(), copies = p.ranks * p.spare, all = p.experts + copies, first = node * p.experts;
    if (node >= nodes) return;
    struct placed found = { work + 2 * first, work + 2 * first + p.experts, table + node * copies };
    placement_find(p, load + first, found);
    for (int e = 0, next = node * all; e < p.experts; e++) {
        int n = placement_places(p, found, e, places + next);
        for (int i = 0; i < n; i++) places[next + i] += node * all;
        begin[first + e] = next;
        next += n;
    }
    for (int i = 0; i < copies; i++) found.table[i] += first;
    if (node == nodes - 1) begin[first + p.experts] = (node + 1) * all;
}

static void place_copies_forward(const struct args *a)
{
    const struct place_copies_attr *at = (const struct place_copies_attr *)a->attr;
    struct placement p = { (int)(at->experts / at->nodes), (int)at->ranks, (int)at->spare };
    int32_t *begin = ints(&a->out[1]);
    LAUNCH(a, copies_place, (int)((at->nodes + WARP - 1) / WARP), WARP, 0, reals(&a->in[0]), ints(&a->out[0]), begin,
           begin + at->experts + 1, ints(&a->work[0]), p, (int)at->nodes);
}

TWIN(place_copies, place_copies_forward);

/* ---- spread ---- */

struct sorted { const int32_t *index, *offsets, *inverse; };
static __global__ void __launch_bounds__(BLOCK) pairs_spread(struct sorted s, const int32_t *begin,
                                                             const int32_t *places, int32_t *out, int64_t pairs, int me)
{
    #pragma unroll 1
    for (int64_t i = first_item(); i < pairs; i += all_items()) {
        out[i] = -1;
        if (s.inverse[i] < 0) continue;
        int e = s.index[i], turn = s.inverse[i] - s.offsets[e] + me;
        out[i] = places[begin[e] + turn % (begin[e + 1] - begin[e])];
    }
}

static void spread_forward(const struct args *a)
{
    int64_t pairs = shape_count(a->in[0].shape);
    const int32_t *begin = ints(&a->in[3]);
    LAUNCH(a, pairs_spread, grid_for(a, pairs, BLOCK), BLOCK, 0,
           { ints(&a->in[0]), ints(&a->in[1]), ints(&a->in[2]) }, begin, begin + a->in[1].shape.dim[0],
           ints(&a->out[0]), pairs, place_index(&comm_here()->place, over_of(a)));
}

TWIN(spread, spread_forward);

/* ---- with_copies ---- */

/* Of a node: its first rank, this one among its own, experts of each; the copies of all. */
struct copies { const int32_t *of; int first, me, own, spare, all; };

static __device__ inline int home_of(const struct copies &c, int i) { return c.of[i] / c.own - c.first; }

static struct copies copies_of(const struct args *a)
{
    const struct with_copies_attr *at = (const struct with_copies_attr *)a->attr;
    const struct place *here = &comm_here()->place;
    int me = place_index(here, (unsigned)at->over), first = place_index(here, OVER_EP) - me;
    return { ints(&a->in[1]) + first * at->spare, first, me, (int)a->in[0].shape.dim[0], (int)at->spare,
             (int)(at->ranks * at->spare) };
}

/* Slots of copies of this rank's experts. */
static __global__ void __launch_bounds__(BLOCK) copies_pack(struct copies c, struct view w, struct view sent,
                                                            int64_t each)
{
    for (int i = blockIdx.y; i < c.all; i += gridDim.y) {
        if (home_of(c, i) != c.me) continue;
        #pragma unroll 1
        for (int64_t k = first_item(); k < each; k += all_items())
            store(sent, i * each + k, load(w, c.of[i] % c.own * each + k));
    }
}

/* come: of each rank the slots of this one's copies; those of their homes. */
static __global__ void __launch_bounds__(BLOCK) copies_unpack(struct copies c, struct view come, struct view y,
                                                              int64_t each)
{
    for (int i = blockIdx.y; i < c.spare; i += gridDim.y) {
        int64_t from = (home_of(c, c.me * c.spare + i) * c.spare + i) * each, to = (c.own + i) * each;
        #pragma unroll 1
        for (int64_t k = first_item(); k < each; k += all_items()) store(y, to + k, load(come, from + k));
    }
}

/* dw = beta dw + dy + the sum over its copies of theirs, in the order of their places */
static __global__ void __launch_bounds__(BLOCK) copies_add(struct copies c, struct view dy, struct view come,
                                                           struct sum dw, int64_t each)
{
    for (int expert = blockIdx.y; expert < c.own; expert += gridDim.y)
        for (int64_t k = first_item(); k < each; k += all_items()) {
            int64_t at = expert * each + k;
            float old = dw.beta == 0 ? 0 : dw.beta * load(dw.to, at), sum = old + load(dy, at);
            for (int i = 0; i < c.all; i++)
                if (home_of(c, i) == c.me && c.of[i] % c.own == expert) sum += load(come, i * each + k);
            store(dw.to, at, sum);
        }
}

static int64_t each_of(const struct args *a) { return shape_count(a->in[0].shape) / a->in[0].shape.dim[0]; }

static void with_copies_forward(const struct args *a)
{
    struct copies c = copies_of(a);
    int64_t each = each_of(a);
    unsigned over = (unsigned)((const struct with_copies_attr *)a->attr)->over;
    size_t part = (size_t)(c.spare * each) * element_bytes(a->in[0].format);
    struct view come = { a->scratch, a->in[0].format == FORMAT_BF16 }, sent = view_of(a->work[0]);
    copy(a, a->out[0].data, a->in[0].data, bytes_of(&a->in[0]));
    LAUNCH(a, copies_pack, grid_of(a, c.all, each), BLOCK, 0, c, view_of(a->in[0]), sent, each);
    exchange_even(a, over, sent.data, part, come.data, part);
    LAUNCH(a, copies_unpack, grid_of(a, c.spare, each), BLOCK, 0, c, come, view_of(a->out[0]), each);
}

static void with_copies_backward(const struct args *a)
{
    struct copies c = copies_of(a);
    int64_t each = each_of(a);
    unsigned over = (unsigned)((const struct with_copies_attr *)a->attr)->over;
    size_t part = (size_t)(c.spare * each) * element_bytes(a->in[0].format);
    exchange_even(a, over, (const char *)a->dout[0].data + bytes_of(&a->in[0]), 0, a->work[0].data, part);
    if (a->din[0].data)
        LAUNCH(a, copies_add, grid_of(a, c.own, each), BLOCK, 0, c, view_of(a->dout[0]), view_of(a->work[0]),
               sum_of(a, 0), each);
}

static size_t with_copies_scratch(const struct args *a) { return bytes_of(&a->work[0]); }

TWIN(with_copies, with_copies_forward, with_copies_backward, NULL, with_copies_scratch);

/* ---- rows_away ---- */

static __global__ void rows_leave(const int32_t *offsets, float *rows, int experts, int mine, int each)
{
    *rows = (float)(offsets[experts] - (offsets[mine + each] - offsets[mine]));
}

static void rows_away_forward(const struct args *a)
{
    int experts = (int)a->in[0].shape.dim[0] - 1,
        each = experts / (int)((const struct over_attr *)a->attr)->ranks,
        mine = place_index(&comm_here()->place, over_of(a)) * each;
    LAUNCH(a, rows_leave, 1, 1, 0, ints(&a->in[0]), reals(&a->out[0]), experts, mine, each);
}

TWIN(rows_away, rows_away_forward);
