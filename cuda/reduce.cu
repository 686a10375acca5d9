/* Ops that make few values of a whole tensor. Memory bounds them: forward reads each value once, and some
   lines of partial sums. The parts of a tensor depend on its size alone; partial results are combined in
   their order, in double. */
#include "columns.cuh"
#include "row.cuh"

enum { PARTS = 512, PART = BLOCK * LANES * 4 };   /* most blocks of a tensor; values of a block, until there are many */

/* What blocks hand on. */
struct pair { double first, second; };

/* Op is a struct of three functions, over values x and, if there is a second tensor, y:

       static __device__ void take(float x, float y, struct outside_attr in, float *first, float *second);
       static __device__ double join(double a, double b);
       static __device__ double finish(struct pair all, double n);

   What take adds to begins at `begin`. */
template <class Op> static __device__ inline struct pair block_join(struct pair p)
{
    __shared__ struct pair part[WARP];
    for (int step = WARP / 2; step > 0; step /= 2) {
        p.first = Op::join(p.first, __shfl_xor_sync(0xFFFFFFFFu, p.first, step));
        p.second = Op::join(p.second, __shfl_xor_sync(0xFFFFFFFFu, p.second, step));
    }
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = p;
    __syncthreads();
    p = part[0];
    for (int w = 1; w < BLOCK / WARP; w++) p = { Op::join(p.first, part[w].first), Op::join(p.second, part[w].second) };
    return p;
}

/* A block that is alone finishes. */
template <class Op>
static __global__ void __launch_bounds__(BLOCK)
reduce_parts(struct view x, struct view y, struct outside_attr in, struct pair *part, float *to, int64_t n)
{
    int64_t whole = n / LANES;
    float first = Op::begin, second = Op::begin;
    for (int64_t i = first_item(); i < whole; i += all_items()) {
        struct eight u = load8(x, i * LANES), v = {};
        if (y.data) v = load8(y, i * LANES);
        for (int l = 0; l < LANES; l++) Op::take(u.v[l], v.v[l], in, &first, &second);
    }
    for (int64_t i = whole * LANES + first_item(); i < n; i += all_items())
        Op::take(load(x, i), y.data ? load(y, i) : 0, in, &first, &second);
    struct pair all = block_join<Op>({ first, second });
    if (threadIdx.x > 0) return;
    if (gridDim.x == 1) *to = (float)Op::finish(all, (double)n);
    else part[blockIdx.x] = all;
}

/* One block: the parts in their order, by each thread every BLOCK-th. */
template <class Op>
static __global__ void __launch_bounds__(BLOCK) reduce_finish(const struct pair *part, int parts, float *to, int64_t n)
{
    struct pair p = { Op::begin, Op::begin };
    for (int i = threadIdx.x; i < parts; i += BLOCK)
        p = { Op::join(p.first, part[i].first), Op::join(p.second, part[i].second) };
    p = block_join<Op>(p);
    if (threadIdx.x == 0) *to = (float)Op::finish(p, (double)n);
}

struct summing {
    static constexpr float begin = 0;
    static __device__ double join(double a, double b) { return a + b; }
};

static int64_t parts_of(int64_t n)
{
    int64_t parts = (n + PART - 1) / PART;
    return parts < PARTS ? parts : (int64_t)PARTS;
}

static size_t scratch(const struct args *a)
{
    return (size_t)parts_of(shape_count(a->in[0].shape)) * sizeof(struct pair);
}

template <class Op>
static void reduce(const struct args *a, struct view x, struct view y, struct outside_attr in, float *to)
{
    int64_t n = shape_count(a->in[0].shape), parts = parts_of(n);
    struct pair *part = (struct pair *)a->scratch;
    LAUNCH(a, reduce_parts<Op>, (int)parts, BLOCK, 0, x, y, in, part, to, n);
    if (parts > 1) LAUNCH(a, reduce_finish<Op>, 1, BLOCK, 0, part, (int)parts, to, n);
}

static const struct view none = {};

/* dx = dy x; x not given: 1. */
static __global__ void __launch_bounds__(BLOCK) reduce_spread(struct view x, const float *dy, struct sum dx, int64_t n)
{
    float by = *dy;
    for (int64_t i = first_item(); i < n; i += all_items()) add(dx, i, x.data ? by * load(x, i) : by);
}

static void spread(const struct args *a, int input, struct view x)
{
    int64_t n = shape_count(a->in[0].shape);
    if (a->din[input].data)
        LAUNCH(a, reduce_spread, grid_for(a, n, BLOCK), BLOCK, 0, x, reals(&a->dout[0]), sum_of(a, input), n);
}

/* ---- mean_rows: the mean of each column, or of all values of a vector;  dx = dy / rows ---- */

struct mean_values : summing {
    static __device__ void take(float x, float, struct outside_attr, float *first, float *) { *first += x; }
    static __device__ double finish(struct pair all, double n) { return all.first / n; }
};

ROWS_KERNEL mean_rows_spread(struct rows r, struct view dy, float share, struct sum dx)
{
    for (struct walk w = first_row(r); w.first < r.n; next_row(&w, r))
        for (int c = w.lane * LANES; c < w.d; c += r.lanes * LANES) {
            struct eight g = row_load(dy, 0, c, w.d, 0);
            for (int l = 0; l < LANES; l++) g.v[l] *= share;
            row_add(dx, w.row * r.d, c, w.d, g);
        }
}

static void mean_rows_forward(const struct args *a)
{
    struct shape s = a->in[0].shape;
    struct sum y = { view_of(a->out[0]), 0 };
    if (s.rank == 1) reduce<mean_values>(a, view_of(a->in[0]), none, {}, reals(&a->out[0]));
    else columns_add(a, view_of(a->in[0]), shape_rows(s), shape_last(s), 1 / (float)shape_rows(s), y);
}

/* A vector is one column. */
static void mean_rows_backward(const struct args *a)
{
    struct shape s = a->in[0].shape;
    struct rows r = s.rank == 1 ? rows_shape(s.dim[0], 1) : rows_of(s);
    if (a->din[0].data)
        LAUNCH(a, mean_rows_spread, grid_for(a, r.n, r.at_once), r.lanes * r.at_once, 0, r, view_of(a->dout[0]),
               1 / (float)r.n, sum_of(a, 0));
}

static size_t mean_rows_scratch(const struct args *a)
{
    struct shape s = a->in[0].shape;
    return s.rank == 1 ? scratch(a) : columns_bytes(shape_rows(s), shape_last(s));
}

TWIN(mean_rows, mean_rows_forward, mean_rows_backward, NULL, mean_rows_scratch);

/* ---- weighted_sum: sum w x;  dx = dy w ---- */

struct weighted_values : summing {
    static __device__ void take(float x, float w, struct outside_attr, float *first, float *) { *first += w * x; }
    static __device__ double finish(struct pair all, double) { return all.first; }
};

struct sum_values : summing {
    static __device__ void take(float x, float, struct outside_attr, float *first, float *) { *first += x; }
    static __device__ double finish(struct pair all, double) { return all.first; }
};

static void weighted_sum_forward(const struct args *a)
{
    if (a->in[1].data) reduce<weighted_values>(a, view_of(a->in[0]), view_of(a->in[1]), {}, reals(&a->out[0]));
    else reduce<sum_values>(a, view_of(a->in[0]), none, {}, reals(&a->out[0]));
}

static void weighted_sum_backward(const struct args *a) { spread(a, 0, view_of(a->in[1])); }

TWIN(weighted_sum, weighted_sum_forward, weighted_sum_backward, NULL, scratch);

/* ---- dot: sum a b;  da = b dy, db = a dy ---- */

struct dot_values : summing {
    static __device__ void take(float x, float y, struct outside_attr, float *first, float *) { *first += x * y; }
    static __device__ double finish(struct pair all, double) { return all.first; }
};

static void dot_forward(const struct args *a)
{
    reduce<dot_values>(a, view_of(a->in[0]), view_of(a->in[1]), {}, reals(&a->out[0]));
}

static void dot_backward(const struct args *a)
{
    spread(a, 0, view_of(a->in[1]));
    spread(a, 1, view_of(a->in[0]));
}

TWIN(dot, dot_forward, dot_backward, NULL, scratch);

/* ---- max_all: the largest value, NaN when there is one ---- */

struct max_values {
    static constexpr float begin = -INFINITY;
    static __device__ double join(double a, double b) { return b > a || b != b ? b : a; }
    static __device__ void take(float x, float, struct outside_attr, float *first, float *)
    {
        *first = x > *first || x != x ? x : *first;
    }
    static __device__ double finish(struct pair all, double) { return all.first; }
};

static void max_all_forward(const struct args *a)
{
    reduce<max_values>(a, view_of(a->in[0]), none, {}, reals(&a->out[0]));
}

TWIN(max_all, max_all_forward, NULL, NULL, scratch);

/* ---- rms: sqrt(mean x^2) ---- */

struct rms_values : summing {
    static __device__ void take(float x, float, struct outside_attr, float *first, float *) { *first += x * x; }
    static __device__ double finish(struct pair all, double n) { return sqrt(all.first / n); }
};

static void rms_forward(const struct args *a) { reduce<rms_values>(a, view_of(a->in[0]), none, {}, reals(&a->out[0])); }
TWIN(rms, rms_forward, NULL, NULL, scratch);

/* ---- outside: the share of values that are not in [low, high]; NaN is not ---- */

struct outside_values : summing {
    static __device__ void take(float x, float, struct outside_attr in, float *first, float *)
    {
        *first += !(x >= (float)in.low && x <= (float)in.high);
    }
    static __device__ double finish(struct pair all, double n) { return all.first / n; }
};

static void outside_forward(const struct args *a)
{
    reduce<outside_values>(a, view_of(a->in[0]), none, *(const struct outside_attr *)a->attr, reals(&a->out[0]));
}
TWIN(outside, outside_forward, NULL, NULL, scratch);
