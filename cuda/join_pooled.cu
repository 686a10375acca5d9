/* CUDA side of runtime/ops/join_pooled.c. A thread takes a value, or an entry of the index. Bound by memory. */
#include "kernel.cuh"

enum { K, ENTRIES, CHOSEN, START, POS, PLACE };
enum { KEYS, INDEX };                                       /* outputs */

/* As in runtime/ops/join_pooled.c. */
struct sizes {
    int seq, keys, rows, entries, width, all, window, m;
    const int32_t *start, *pos, *chosen, *place;
    __device__ int first() const { return pos ? *pos + seq - rows : 0; }
    __device__ int ahead() const { return place ? *pos - *place : 0; }
};

static struct sizes sizes_of(const struct args *a)
{
    const struct join_pooled_attr *at = (const struct join_pooled_attr *)a->attr;
    struct shape k = a->in[K].shape, start = a->in[START].shape, entries = a->in[ENTRIES].shape;
    bool cached = a->in[POS].data;
    int window = (int)at->window;
    return { (int)start.dim[1], (int)(cached ? k.dim[1] : start.dim[1]),
             (int)(a->out[KEYS].shape.dim[1] - entries.dim[1]), (int)entries.dim[1], (int)entries.dim[2],
             (int)shape_last(a->out[INDEX].shape) - window, window, (int)at->m,
             ints(&a->in[START]), cached ? ints(&a->in[POS]) : NULL,
             a->in[CHOSEN].data ? ints(&a->in[CHOSEN]) : NULL, a->in[PLACE].data ? ints(&a->in[PLACE]) : NULL };
}

static __global__ void __launch_bounds__(BLOCK)
join_pooled_keys(struct sizes s, struct view k, struct view entries, struct view keys, int64_t n)
{
    for (int64_t i = first_item(); i < n; i += all_items()) {
        int64_t row = i / s.width, b = row / (s.rows + s.entries);
        int at = (int)(row % (s.rows + s.entries)), from = s.first() + at - s.ahead(), c = (int)(i % s.width);
        float x = 0;
        if (at >= s.rows) x = load(entries, (b * s.entries + at - s.rows) * s.width + c);
        else if (from >= 0) x = load(k, (b * s.keys + from) * s.width + c);
        store(keys, i, x);
    }
}

static __global__ void __launch_bounds__(BLOCK) join_pooled_index(struct sizes s, int32_t *index, int64_t n)
{
    for (int64_t i = first_item(); i < n; i += all_items()) {
        int64_t t = i / (s.window + s.all);
        int j = (int)(i % (s.window + s.all)), start = s.start[t], here = (s.pos ? *s.pos : 0) + (int)(t % s.seq);
        if (j < s.window) index[i] = here - j < start ? -1 : here - j - s.first();
        else {
            int slot = s.chosen ? s.chosen[t * s.all + j - s.window] : j - s.window, from = start / s.m;
            index[i] = slot >= from && slot < from + max(here + 1 - start, 0) / s.m ? s.rows + slot : -1;
        }
    }
}

static void forward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    int64_t keys = shape_count(a->out[KEYS].shape), index = shape_count(a->out[INDEX].shape);
    LAUNCH(a, join_pooled_keys, grid_for(a, keys, BLOCK), BLOCK, 0, s, view_of(a->in[K]), view_of(a->in[ENTRIES]),
           view_of(a->out[KEYS]), keys);
    LAUNCH(a, join_pooled_index, grid_for(a, index, BLOCK), BLOCK, 0, s, ints(&a->out[INDEX]), index);
}

/* To `n` values of rows, `rows` of a sequence, what came to their copies, which are those of keys or of entries. */
static __global__ void __launch_bounds__(BLOCK)
join_pooled_back(struct sizes s, struct view dkeys, int rows, bool of_keys, struct sum to, int64_t n)
{
    int first = of_keys ? s.first() - s.ahead() : 0, copies = of_keys ? s.rows : s.entries;
    for (int64_t i = first_item(); i < n; i += all_items()) {
        int64_t row = i / s.width, of = row / rows * (s.rows + s.entries) + (of_keys ? 0 : s.rows);
        int copy = (int)(row % rows) - first;
        add(to, i, copy >= 0 && copy < copies ? load(dkeys, (of + copy) * s.width + i % s.width) : 0);
    }
}

static void backward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    int64_t k = shape_count(a->in[K].shape), entries = shape_count(a->in[ENTRIES].shape);
    if (a->din[K].data)
        LAUNCH(a, join_pooled_back, grid_for(a, k, BLOCK), BLOCK, 0, s, view_of(a->dout[KEYS]), s.keys, true,
               sum_of(a, K), k);
    if (a->din[ENTRIES].data)
        LAUNCH(a, join_pooled_back, grid_for(a, entries, BLOCK), BLOCK, 0, s, view_of(a->dout[KEYS]), s.entries, false,
               sum_of(a, ENTRIES), entries);
}

TWIN(join_pooled, forward, backward);
