/* Forward of op delta_rule: the recurrence itself. A block takes some columns of one value head's state, which no token
   mixes, and walks along the sequence with them in registers: LN threads share a column, each with PER of its values.
   Bound by the latency of a token, two sums over LN threads one after the other; blocks of other heads, sequences
   and columns fill the multiprocessor meanwhile. */
#include "delta_rule.cuh"

enum { THREADS = 128, STAGED = 2048 };                      /* STAGED: values of keys that are loaded at a time */

template <int LN, int PER>
static __global__ void __launch_bounds__(THREADS, PER == 8 ? 4 : PER == 16 ? 3 : 2)
delta_rule_forward(struct delta s, struct view q, struct view k, struct view v, const float *g, const float *beta,
                   float *ring, float *entering, struct view o, struct fault *fault)
{
    constexpr int WIDE = LN * PER, STEPS = STAGED / WIDE, COLUMNS = THREADS / LN;
    __shared__ float keys[STEPS][WIDE], queries[STEPS][WIDE], decay[STEPS][WIDE], values[STEPS][COLUMNS], open[STEPS];
    int head = blockIdx.x % s.value_heads(), b = blockIdx.x / s.value_heads(), lane = threadIdx.x % LN,
        own = threadIdx.x / LN, column = blockIdx.y * COLUMNS + own, before = s.before();
    if (!legal(fault, FAULT_POSITION, before, INT32_MAX)) return;
    int64_t size = (int64_t)s.n * s.m, at = (int64_t)lane * s.m + column;
    float *save = entering + blockIdx.x * s.chunks * size;
    bool there = column < s.m, goes_on = before > 0 && s.start[(int64_t)b * s.seq] < before;
    auto entry = [&](int position) {
        return ring + (((int64_t)b * s.ring + position % s.ring) * s.value_heads() + head) * size;
    };
    float state[PER];
    #pragma unroll
    for (int i = 0; i < PER; i++)
        state[i] = goes_on && there && i * LN + lane < s.n ? entry(before - 1)[at + (int64_t)i * LN * s.m] : 0;
    int next = 0, number = 0;
    for (int t = 0; t < s.seq; t++) {
        int step = t % STEPS;
        if (step == 0) {
            __syncthreads();
            #pragma unroll 1
            for (int i = threadIdx.x; i < STEPS * WIDE; i += THREADS) {
                int which = i / WIDE, n = i % WIDE, token = t + which;
                bool in = token < s.seq && n < s.n;
                int64_t row = (int64_t)b * s.seq + token, key = (row * s.heads + head / s.share) * s.n + n;
                keys[which][n] = in ? load(k, key) : 0;
                queries[which][n] = in ? s.scale * load(q, key) : 0;
                int64_t gate = (row * s.value_heads() + head) * s.gates + (s.gates == 1 ? 0 : n);
                decay[which][n] = in && s.relative_start(b, token) < 0 ? __expf(g[gate]) : 0;
            }
            #pragma unroll 1
            for (int i = threadIdx.x; i < STEPS * COLUMNS; i += THREADS) {
                int which = i / COLUMNS, token = t + which, m = blockIdx.y * COLUMNS + i % COLUMNS;
                int64_t row = ((int64_t)b * s.seq + token) * s.value_heads() + head;
                values[which][i % COLUMNS] = token < s.seq && m < s.m ? load(v, row * s.m + m) : 0;
                if (i % COLUMNS == 0) open[which] = token < s.seq && s.relative_start(b, token) <= 0 ? beta[row] : 0;
            }
            __syncthreads();
        }
        if (t == next) {
            #pragma unroll
            for (int i = 0; i < PER; i++)
                if (there && i * LN + lane < s.n) save[number * size + at + (int64_t)i * LN * s.m] = state[i];
            next += s.tokens(number++);
        }
        float seen = 0, out = 0;
        #pragma unroll
        for (int i = 0; i < PER; i++) {
            state[i] *= decay[step][i * LN + lane];
            seen += state[i] * keys[step][i * LN + lane];
        }
        if (s.delta) seen = row_sum(seen, LN);
        float u = open[step] * (values[step][own] - (s.delta ? seen : 0));
        #pragma unroll
        for (int i = 0; i < PER; i++) {
            state[i] += keys[step][i * LN + lane] * u;
            out += state[i] * queries[step][i * LN + lane];
        }
        out = row_sum(out, LN);
        if (lane == 0 && there) store(o, (((int64_t)b * s.seq + t) * s.value_heads() + head) * s.m + column, out);
        if (s.ring && t >= s.whole) {
            #pragma unroll
            for (int i = 0; i < PER; i++)
                if (there && i * LN + lane < s.n) entry(before + t)[at + (int64_t)i * LN * s.m] = state[i];
        }
    }
}

struct delta delta_of(const struct args *a)
{
    const struct delta_rule_attr *at = (const struct delta_rule_attr *)a->attr;
    struct shape q = a->in[Q].shape, v = a->in[V].shape, start = a->in[START].shape;
    struct delta s = {};
    s.batch = (int)start.dim[0];
    s.seq = (int)start.dim[1];
    s.heads = (int)q.dim[1];
    s.share = (int)(v.dim[1] / q.dim[1]);
    s.n = (int)q.dim[2];
    s.m = (int)v.dim[2];
    s.gates = a->in[G].shape.rank == 3 ? s.n : 1;
    s.delta = (int)at->delta;
    s.ring = a->in[STATE].data ? (int)a->in[STATE].shape.dim[1] : 0;
    s.chunk = (int)(at->chunk < s.seq ? at->chunk : (int64_t)s.seq);
    s.whole = s.ring < s.seq ? s.seq - s.ring : 0;
    s.chunks = (s.whole + s.chunk - 1) / s.chunk + s.seq - s.whole;
    s.scale = (float)at->scale;
    INVARIANT(2ll * s.chunk * max(s.n, max(s.m, s.chunk)) < 1ll << 31 && (int64_t)s.n * s.m < 1ll << 31,
              "delta_rule: a chunk of %d is beyond 32-bit offsets", s.chunk);
    s.start = (const int32_t *)a->in[START].data;
    s.pos = (const int32_t *)a->in[POS].data;
    return s;
}

static void forward(const struct args *a)
{
    struct delta s = delta_of(a);
#define FORWARD(LN, PER) LAUNCH(a, (delta_rule_forward<LN, PER>), \
    dim3(s.batch * s.heads * s.share, (s.m + THREADS / LN - 1) / (THREADS / LN)), THREADS, 0, s, view_of(a->in[Q]), \
    view_of(a->in[K]), view_of(a->in[V]), reals(&a->in[G]), reals(&a->in[BETA]), reals(&a->in[STATE]), \
    reals(&a->save[0]), view_of(a->out[0]), device_of(a)->fault)
    if (s.n <= 64) FORWARD(8, 8);
    else if (s.n <= 128) FORWARD(8, 16);
    else if (s.n <= 256) FORWARD(8, 32);
    else FORWARD(16, 32);
}

static void backward(const struct args *a) { delta_backward(a, delta_of(a)); }
static size_t scratch(const struct args *a) { return delta_backward_scratch(delta_of(a)); }

TWIN(delta_rule, forward, backward, NULL, scratch);
