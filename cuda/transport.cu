/* Plans of transport; see runtime/ops/transport.c. A block makes the plan of a group: a warp takes a row, lane l
   columns l, l + 32, .., and sums what it adds to each column in shared memory; sums of warps are added in order. Every
   cycle reads the group's values from cache: few groups leave most of the GPU idle, and a cycle takes as long as one
   multiprocessor needs for them. */
#include "warp.cuh"

enum { THREADS = 1024, SHARED = 40 << 10 };                 /* bytes of sums */
enum { ROW_SHIFT, COLUMN_SHIFT, BLOCK_SUMS, STATE };        /* of work */

struct plan {
    const float *value;
    float *y, *row, *column;                                /* column: shifts, of all groups */
    float *state;                                           /* cycles of each group */
    int rows, columns, cycles;
    bool capped;
    float by, cut, log_row, target, tolerance;
};

/* value / temperature and the shifts; what is not finite is masked. */
static __device__ inline float read_value(const struct plan &p, int64_t t, int e)
{
    float x = p.value[t * p.columns + e];
    return x > -INFINITY && x < INFINITY ? x * p.by : -INFINITY;
}
static __device__ inline float shifted(const struct plan &p, int64_t t, int e, float row)
{
    return read_value(p, t, e) + (row + p.column[e]);
}

/* Of each column: from `sums`, a line of each warp. All threads. */
static __device__ inline float over_warps_max(const float *sums, int columns, int e)
{
    float top = -INFINITY;
    for (unsigned w = 0; w < blockDim.x / WARP; w++) top = fmaxf(top, sums[w * columns + e]);
    return top;
}

static __device__ inline void begin(const struct plan &p, float *sums)
{
    float *own = sums + threadIdx.x / WARP * p.columns;
    for (int e = lane_of(); e < p.columns; e += WARP) own[e] = -INFINITY;
    for (int64_t t = threadIdx.x / WARP; t < p.rows; t += blockDim.x / WARP) {
        if (lane_of() == 0) p.row[t] = 0;
        for (int e = lane_of(); e < p.columns; e += WARP) own[e] = fmaxf(own[e], read_value(p, t, e));
    }
    __syncthreads();
    for (int e = threadIdx.x; e < p.columns; e += blockDim.x) {
        float top = over_warps_max(sums, p.columns, e);
        p.column[e] = top > -INFINITY ? -top : 0;
    }
    __syncthreads();
}

static __device__ inline void move_rows(const struct plan &p, float *own)
{
    for (int e = lane_of(); e < p.columns; e += WARP) own[e] = 0;
    for (int64_t t = threadIdx.x / WARP; t < p.rows; t += blockDim.x / WARP) {
        float before = p.row[t], top = -INFINITY, sum = 0;
        for (int e = lane_of(); e < p.columns; e += WARP) top = fmaxf(top, fminf(shifted(p, t, e, before), p.cut));
        top = warp_max(top);
        if (top == -INFINITY) continue;                     /* a row that is masked as a whole; all lanes alike */
        for (int e = lane_of(); e < p.columns; e += WARP)
            sum += __expf(fminf(shifted(p, t, e, before), p.cut) - top);
        float over = top + __logf(warp_sum(sum)) - p.log_row,
              after = p.capped ? (over > before ? before - over : 0) : before - over, by = __expf(top + after - before);
        for (int e = lane_of(); e < p.columns; e += WARP)
            own[e] += __expf(fminf(shifted(p, t, e, before), p.cut) - top) * by;
        __syncwarp();                                       /* all have read the row's shift */
        if (lane_of() == 0) p.row[t] = after;
    }
}

/* By how much the worst column was off. */
static __device__ inline float move_columns(const struct plan &p, const float *sums)
{
    float off = 0;
    for (int e = threadIdx.x; e < p.columns; e += blockDim.x) {
        float sum = 0;
        for (unsigned w = 0; w < blockDim.x / WARP; w++) sum += sums[w * p.columns + e];
        if (!(sum > 0)) continue;
        float by = logf(divide(p.target, sum));
        p.column[e] += by;
        off = fmaxf(off, fabsf(by));
    }
    return block_max(off);                                  /* and all shifts are written */
}

static __global__ void __launch_bounds__(THREADS, 1) transport_forward(struct plan p)
{
    extern __shared__ float sums[];
    int64_t first = (int64_t)blockIdx.x * p.rows;
    p.value += first * p.columns;
    p.y += first * p.columns;
    p.row += first;
    p.column += (int64_t)blockIdx.x * p.columns;
    begin(p, sums);
    int cycle = 0;
    for (float off = INFINITY; cycle < p.cycles && !(off < p.tolerance); cycle++) {
        move_rows(p, sums + threadIdx.x / WARP * p.columns);
        __syncthreads();
        off = move_columns(p, sums);
    }
    for (int64_t t = threadIdx.x / WARP; t < p.rows; t += blockDim.x / WARP)
        for (int e = lane_of(); e < p.columns; e += WARP) p.y[t * p.columns + e] = shifted(p, t, e, p.row[t]);
    if (threadIdx.x == 0) p.state[blockIdx.x] = (float)cycle;
}

static __global__ void __launch_bounds__(WARP) transport_cycles(const float *state, float *mean, int64_t groups)
{
    float sum = 0;                                          /* of integers */
    for (int64_t i = threadIdx.x; i < groups; i += WARP) sum += state[i];
    sum = warp_sum(sum);
    if (threadIdx.x == 0) *mean = divide(sum, (float)groups);
}

static void forward(const struct args *a)
{
    const struct transport_attr *at = (const struct transport_attr *)a->attr;
    int columns = (int)a->in[0].shape.dim[1], room = SHARED / (int)(columns * sizeof(float)),
        warps = room < THREADS / WARP ? room : THREADS / WARP;
    INVARIANT(warps > 0, "transport to %d columns", columns);
    struct plan p = { reals(&a->in[0]), reals(&a->out[0]), reals(&a->work[ROW_SHIFT]), reals(&a->work[COLUMN_SHIFT]),
                      reals(&a->work[STATE]), (int)(a->in[0].shape.dim[0] / at->groups), columns,
                      (int)at->iterations, at->capped != 0, (float)(1 / at->temperature),
                      at->most > 0 ? (float)log(at->most) : INFINITY, (float)log(at->row), (float)at->column,
                      (float)at->tolerance };
    LAUNCH(a, transport_forward, (unsigned)at->groups, warps * WARP, warps * columns * (int)sizeof(float), p);
    LAUNCH(a, transport_cycles, 1, WARP, 0, reals(&a->work[STATE]), reals(&a->out[1]), at->groups);
}

TWIN(transport, forward);
