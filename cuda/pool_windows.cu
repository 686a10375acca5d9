/* CUDA side of runtime/ops/pool_windows.c. A block takes an entry and a thread a channel: the maximum, then the sums.
   In backward a thread takes one value of c and z, which is in one entry at most; sums of the bias go over tokens in
   their order. Bound by memory: rows are read twice, the second time from cache. */
#include "kernel.cuh"

enum { C, Z, BIAS, START, POS, STATE, ENTRIES };
enum { Y, SHIFTED, ZERO };                                  /* outputs */
enum { LSE };                                               /* saved */

struct sizes {
    int seq, m, parts, width, row, entries, ring;
    const int32_t *start, *pos;
    const float *bias;
    float *state;
    struct view c, z;
    __device__ int before() const { return pos ? *pos : 0; }
    __device__ int start_of(int b, int position) const { return start[(int64_t)b * seq + position - before()]; }
    /* A value of c or z, which: 0 or 1; column: of the row. */
    __device__ float value(int which, int b, int position, int column) const
    {
        int here = position - before();
        if (here >= 0) return load(which ? z : c, ((int64_t)b * seq + here) * row + column);
        return state[((int64_t)b * ring + position % ring) * 2 * row + which * row + column];
    }
    __device__ float logit(int b, int position, int place, int column) const
    {
        return value(1, b, position, column) + (bias ? bias[place * row + column] : 0);
    }
};

static struct sizes sizes_of(const struct args *a)
{
    const struct pool_windows_attr *at = (const struct pool_windows_attr *)a->attr;
    struct shape y = a->out[Y].shape;
    int parts = at->overlap ? 2 : 1;
    return { (int)a->in[START].shape.dim[1], (int)at->m, parts, (int)y.dim[2], parts * (int)y.dim[2], (int)y.dim[1],
             a->in[STATE].data ? (int)a->in[STATE].shape.dim[1] : 0, ints(&a->in[START]),
             a->in[POS].data ? ints(&a->in[POS]) : NULL, a->in[BIAS].data ? reals(&a->in[BIAS]) : NULL,
             a->in[STATE].data ? reals(&a->in[STATE]) : NULL, view_of(a->in[C]), view_of(a->in[Z]) };
}

/* Where the window begins that this call completes and that lies at `slot`: -1 if there is none. Called by all threads
   of a block. */
static __device__ inline int begin_of(const struct sizes &s, int b, int slot)
{
    __shared__ int found;
    int before = s.before();
    if (threadIdx.x == 0) found = -1;
    __syncthreads();
    for (int begin = slot * s.m + threadIdx.x; begin < (slot + 1) * s.m; begin += BLOCK) {
        int last = begin + s.m - 1;
        if (last < before || last >= before + s.seq) continue;
        int start = s.start_of(b, last);
        if (start >= 0 && start <= begin && (begin - start) % s.m == 0) found = begin;
    }
    __syncthreads();
    return found;
}

static __global__ void __launch_bounds__(BLOCK)
pool_windows_forward(struct sizes s, float *kept, struct view y, float *lse, int32_t *shifted)
{
    int slot = blockIdx.x, b = blockIdx.y, begin = begin_of(s, b, slot), end = begin + s.m;
    int64_t at = (int64_t)b * s.entries + slot;
    int start = s.start_of(b, begin < 0 ? s.before() : end - 1);
    int number = s.ring || begin >= 0 ? slot - start / s.m : 0,
        first = s.parts == 1 || begin == start ? begin : begin - s.m;
    if (threadIdx.x == 0) shifted[at] = slot - max(number, 0) * s.m;
    for (int w = threadIdx.x; w < s.width; w += BLOCK) {
        float top = -INFINITY, sum = 0, mean = 0;
        for (int p = first; begin >= 0 && p < end; p++)
            top = fmaxf(top, s.logit(b, p, (p - start) % s.m, (s.parts == 2 && p >= begin) * s.width + w));
        for (int p = first; begin >= 0 && p < end; p++) {
            int column = (s.parts == 2 && p >= begin) * s.width + w;
            float weight = __expf(s.logit(b, p, (p - start) % s.m, column) - top);
            sum += weight;
            mean += weight * s.value(0, b, p, column);
        }
        float entry = begin >= 0 ? divide(mean, sum) : kept ? kept[at * s.width + w] : 0;
        if (kept) kept[at * s.width + w] = entry;
        store(y, at * s.width + w, entry);
        lse[at * s.width + w] = begin >= 0 ? top + logf(sum) : 0;
    }
}

/* The ring takes the last rows: a block each. */
static __global__ void __launch_bounds__(BLOCK) pool_windows_keep(struct sizes s, int from)
{
    int t = from + blockIdx.x, b = blockIdx.y;
    float *to = s.state + ((int64_t)b * s.ring + (s.before() + t) % s.ring) * 2 * s.row;
    for (int i = threadIdx.x; i < 2 * s.row; i += BLOCK)
        to[i] = load(i < s.row ? s.c : s.z, ((int64_t)b * s.seq + t) * s.row + i % s.row);
}

static __global__ void pool_windows_zero(int32_t *zero) { *zero = 0; }

static void forward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    unsigned batch = (unsigned)a->in[START].shape.dim[0];
    int from = s.seq > s.ring ? s.seq - s.ring : 0;
    LAUNCH(a, pool_windows_zero, 1, 1, 0, ints(&a->out[ZERO]));
    LAUNCH(a, pool_windows_forward, dim3(s.entries, batch), BLOCK, 0, s,
           a->in[ENTRIES].data ? reals(&a->in[ENTRIES]) : NULL, view_of(a->out[Y]), reals(&a->save[LSE]),
           ints(&a->out[SHIFTED]));
    if (s.ring) LAUNCH(a, pool_windows_keep, dim3(s.seq - from, batch), BLOCK, 0, s, from);
}

/* What backward knows of y. */
struct told { struct view y, dy; const float *lse; };

/* dc and dz of a column of a token: 0 where it is in no entry of this call. */
struct slope { float c, z; };
static __device__ inline struct slope slope_of(const struct sizes &s, const struct told &told, int b, int t, int column)
{
    int part = column / s.width, w = column % s.width, p = s.before() + t, start = s.start_of(b, p);
    if (p < start) return { 0, 0 };
    int number = (p - start) / s.m + (s.parts == 2 && part == 0), last = start + (number + 1) * s.m - 1;
    if (last >= s.before() + s.seq || s.start_of(b, last) != start) return { 0, 0 };
    int64_t at = ((int64_t)b * s.entries + start / s.m + number) * s.width + w;
    float dc = __expf(s.logit(b, p, (p - start) % s.m, column) - told.lse[at]) * load(told.dy, at);
    return { dc, (s.value(0, b, p, column) - load(told.y, at)) * dc };
}

/* Four blocks of a multiprocessor: with registers for more it would spill. */
static __global__ void __launch_bounds__(BLOCK, 4)
pool_windows_backward(struct sizes s, struct told told, int64_t n, struct sum dc, struct sum dz)
{
    for (int64_t i = first_item(); i < n; i += all_items()) {
        int64_t token = i / s.row;
        struct slope slope = slope_of(s, told, (int)(token / s.seq), (int)(token % s.seq), (int)(i % s.row));
        add(dc, i, slope.c);
        add(dz, i, slope.z);
    }
}

/* A block for BLOCK columns of a place in the window. */
static __global__ void __launch_bounds__(BLOCK)
pool_windows_bias(struct sizes s, struct told told, int batch, struct sum dbias)
{
    int column = blockIdx.x * BLOCK + threadIdx.x, place = blockIdx.y;
    if (column >= s.row) return;
    float sum = 0;
    for (int b = 0; b < batch; b++)
        for (int t = 0; t < s.seq; t++) {
            int back = s.before() + t - s.start_of(b, s.before() + t);
            if (back >= 0 && back % s.m == place) sum += slope_of(s, told, b, t, column).z;
        }
    add(dbias, (int64_t)place * s.row + column, sum);
}

static void backward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    struct told told = { view_of(a->out[Y]), view_of(a->dout[Y]), reals(&a->save[LSE]) };
    int64_t n = shape_count(a->in[C].shape);
    if (a->din[C].data || a->din[Z].data)
        LAUNCH(a, pool_windows_backward, grid_for(a, n, BLOCK), BLOCK, 0, s, told, n, sum_of(a, C), sum_of(a, Z));
    if (a->din[BIAS].data)
        LAUNCH(a, pool_windows_bias, dim3((s.row + BLOCK - 1) / BLOCK, s.m), BLOCK, 0, s, told,
               (int)a->in[START].shape.dim[0], sum_of(a, BIAS));
}

TWIN(pool_windows, forward, backward);
