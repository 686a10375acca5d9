/* Tokens taken out of their sequences. A thread takes a token; the values are few. */
#include "kernel.cuh"

static __global__ void __launch_bounds__(BLOCK)
take_values(const int32_t *x, const int32_t *index, unsigned n, int32_t *y)
{
    for (unsigned i = (unsigned)first_item(); i < n; i += (unsigned)all_items())
        y[i] = index[i] < 0 ? 0 : x[index[i]];
}

static void take_forward(const struct args *a)
{
    int64_t n = shape_count(a->out[0].shape);
    LAUNCH(a, take_values, grid_for(a, n, BLOCK), BLOCK, 0, ints(&a->in[0]), ints(&a->in[1]), (unsigned)n,
           ints(&a->out[0]));
}

TWIN(take, take_forward);

enum { START, ORDER };
enum { BEGINS, ORIGIN, ZERO };

/* How many of a sequence's n tokens stand before `position`. */
static __device__ inline unsigned before(const int32_t *order, unsigned n, int seq, int position)
{
    unsigned low = 0;
    while (low < n) {
        unsigned middle = (low + n) / 2;
        if (order[middle] % seq < position) low = middle + 1; else n = middle;
    }
    return low;
}

static __global__ void __launch_bounds__(BLOCK)
taken_tokens(const int32_t *start, const int32_t *order, unsigned all, unsigned n, int seq, int32_t *begins,
               int32_t *origin, int32_t *zero)
{
    if (first_item() == 0) *zero = 0;
    for (unsigned i = (unsigned)first_item(); i < all; i += (unsigned)all_items()) {
        unsigned at = i % n;
        int token = order[i], position = token % seq, first = token < 0 ? position : start[token];
        begins[i] = (int)before(order + i - at, at, seq, first);
        origin[i] = (int)at - (position - first);
    }
}

static void taken_forward(const struct args *a)
{
    struct shape order = a->in[ORDER].shape;
    int64_t n = shape_count(order);
    LAUNCH(a, taken_tokens, grid_for(a, n, BLOCK), BLOCK, 0, ints(&a->in[START]), ints(&a->in[ORDER]), (unsigned)n,
           (unsigned)order.dim[1], (int)a->in[START].shape.dim[1], ints(&a->out[BEGINS]), ints(&a->out[ORIGIN]),
           ints(&a->out[ZERO]));
}

TWIN(taken_starts, taken_forward);
