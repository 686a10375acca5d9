/* Ops that move each value of a weight by itself, by a rule, up to MANY weights in one launch: small ones alone would
   cost more to launch than to compute. An op has inputs w, grad, .., and a file with

       struct lion {                                        // its rule: what its weights have in common
           enum { MEMORIES = 1 };                           // that it keeps of each value
           struct rates { .. };                             // of one weight, for a thread
           __device__ struct rates rates_of(const struct weight &x, float clip, float lr, float step) const;
           static __device__ void value(const struct rates &k, float g, float &w, float (&memory)[1]);
       };
       static __global__ void __launch_bounds__(BLOCK) lion_span(const __grid_constant__ struct steps<lion> a)
       {
           step_span(a);
       }

   and the same with step_coded, for memories that are no floats, with bounds of (BLOCK, 1): else ptxas keeps it at 64
   registers, and spills. value makes memories by moment_mean. */
#ifndef SLUICE_CUDA_STEP_CUH
#define SLUICE_CUDA_STEP_CUH

#include "moment.cuh"
#include "update.cuh"

enum { MANY = 32, MEMORIES_MOST = 3 };
struct weight {
    float *w, *memory[MEMORIES_MOST];                       /* NULL: this weight has no such */
    const float *grad;
    float *own;                                             /* what is kept of the weight as a whole */
    void *packed;
    float *out;
    int64_t n;
    float decay, momentum;                                  /* momentum: a factor on it */
    double rate;
    int first;                                              /* of its spans */
    bool bf16;                                              /* are its memories, where they are no floats */
};
/* along: as of fold_span_parts */
struct weights { const float *clip; double *part; bool along; int n, spans; struct weight of[MANY]; };
/* paces: behind the rate lr has factors on decay and momentum */
template <class Rule> struct steps { const float *lr, *step; bool paces; Rule rule; struct weights all; };

/* Where the inputs of an op are; 0: it has no such. */
struct places { int memory[MEMORIES_MOST], own, lr, step, clip; };

template <class Rule> static __device__ inline struct weight step_paced(const struct steps<Rule> &a, struct weight x)
{
    x.momentum = a.paces ? a.lr[2] : 1;
    if (a.paces) x.decay *= a.lr[1];
    return x;
}

/* Whose span a block has. */
template <class Rule>
static __device__ inline void step_find(const struct steps<Rule> &a, struct weight &x, typename Rule::rates &rates)
{
    if (threadIdx.x == 0) {
        int t = 0;
        while (t + 1 < a.all.n && (int)blockIdx.x >= a.all.of[t + 1].first) t++;
        x = step_paced(a, a.all.of[t]);
        rates = a.rule.rates_of(x, a.all.clip[0], *a.lr, a.step ? *a.step : 0);
    }
    __syncthreads();
}

template <class Rule> static __device__ inline void step_span(const struct steps<Rule> &a)
{
    __shared__ typename Rule::rates rates;
    __shared__ struct weight x;
    if (a.all.clip[1] == 0) return;
    step_find(a, x, rates);
    int64_t from = (int64_t)(blockIdx.x - x.first) * SPAN, to = x.n - from < SPAN ? x.n : from + SPAN,
            whole = to / LANES * LANES;
    struct view w = { x.w, false }, grad = { (void *)x.grad, false }, packed = { x.packed, true };
    struct change_sums sum = {};
    for (int64_t i = from + threadIdx.x * LANES; i < whole; i += BLOCK * LANES) {
        struct eight g = load8(grad, i), now = load8(w, i), memory[Rule::MEMORIES] = {};
        for (int k = 0; k < Rule::MEMORIES; k++) if (x.memory[k]) memory[k] = load8({ x.memory[k], false }, i);
        for (int l = 0; l < LANES; l++) {
            float old = now.v[l], one[Rule::MEMORIES];
            for (int k = 0; k < Rule::MEMORIES; k++) one[k] = memory[k].v[l];
            Rule::value(rates, g.v[l], now.v[l], one);
            for (int k = 0; k < Rule::MEMORIES; k++) memory[k].v[l] = one[k];
            change_take(&sum, now.v[l], old);
        }
        store8(w, i, now);
        for (int k = 0; k < Rule::MEMORIES; k++) if (x.memory[k]) store8({ x.memory[k], false }, i, memory[k]);
        if (packed.data) store8(packed, i, now);
    }
    for (int64_t i = whole + threadIdx.x; i < to; i += BLOCK) {
        float old = x.w[i], now = old, one[Rule::MEMORIES];
        for (int k = 0; k < Rule::MEMORIES; k++) one[k] = x.memory[k] ? x.memory[k][i] : 0;
        Rule::value(rates, x.grad[i], now, one);
        change_take(&sum, now, old);
        x.w[i] = now;
        for (int k = 0; k < Rule::MEMORIES; k++) if (x.memory[k]) x.memory[k][i] = one[k];
        if (packed.data) store(packed, i, now);
    }
    sum = change_fold(sum);
    if (threadIdx.x == 0) change_leave(sum, a.all.part + SUMS * blockIdx.x);
}

/* one(i, memory) of the span's values, whose memories are codes or bf16; those behind the first have no sign. */
template <class Rule, class One>
static __device__ inline void step_walk(const struct weight &x, int64_t span, One one)
{
    for (int b = threadIdx.x / WARP; b < SPAN / MOMENT_BLOCK; b += BLOCK / WARP) {
        int64_t from = span * SPAN + b * MOMENT_BLOCK, block = from / MOMENT_BLOCK;
        float memory[Rule::MEMORIES][MOMENT_EACH];
        if (from >= x.n) break;
        int n = x.n - from < MOMENT_BLOCK ? (int)(x.n - from) : MOMENT_BLOCK;
#pragma unroll
        for (int k = 0; k < Rule::MEMORIES; k++)
            moment_load({ x.memory[k], x.bf16, k > 0 }, from, block, n, memory[k]);
        for (int l = 0; l < MOMENT_EACH; l++) {
            int i = threadIdx.x % WARP + l * WARP;
            float own[Rule::MEMORIES];
            if (i >= n) continue;
            for (int k = 0; k < Rule::MEMORIES; k++) own[k] = memory[k][l];
            one(from + i, own);
            for (int k = 0; k < Rule::MEMORIES; k++) memory[k][l] = own[k];
        }
#pragma unroll
        for (int k = 0; k < Rule::MEMORIES; k++)
            moment_store({ x.memory[k], x.bf16, k > 0 }, from, block, n, memory[k]);
    }
}

template <class Rule> static __device__ inline void step_coded(const struct steps<Rule> &a)
{
    __shared__ typename Rule::rates rates;
    __shared__ struct weight x;
    if (a.all.clip[1] == 0) return;
    step_find(a, x, rates);
    struct view packed = { x.packed, true };
    struct change_sums sum = {};
    step_walk<Rule>(x, blockIdx.x - x.first, [&](int64_t i, float (&memory)[Rule::MEMORIES]) {
        float old = x.w[i], now = old;
        Rule::value(rates, x.grad[i], now, memory);
        x.w[i] = now;
        if (packed.data) store(packed, i, now);
        change_take(&sum, now, old);
    });
    sum = change_fold(sum);
    if (threadIdx.x == 0) change_leave(sum, a.all.part + SUMS * blockIdx.x);
}

/* In update.cu: adds the parts of each weight. */
void fold_weights(const struct args *a, const struct weights &all);

static inline size_t step_scratch(const struct args *a)
{
    size_t bytes = 0;
    for (; a; a = a->next) bytes += SUMS * spans_of(shape_count(a->in[0].shape)) * sizeof(double);
    return bytes;
}

static inline struct weight weight_of(const struct args *a, struct places at, double decay, double rate, int first)
{
    struct weight x = { .w = reals(&a->in[0]), .memory = {}, .grad = reals(&a->in[1]),
                        .own = at.own ? reals(&a->in[at.own]) : NULL, .packed = a->in[0].packed,
                        .out = reals(&a->out[0]), .n = shape_count(a->in[0].shape), .decay = (float)decay,
                        .momentum = 1, .rate = rate, .first = first, .bf16 = moment_is_bf16(a->in[at.memory[0]]) };
    for (int k = 0; k < MEMORIES_MOST; k++) x.memory[k] = at.memory[k] ? reals(&a->in[at.memory[k]]) : NULL;
    return x;
}

/* Attr: of the op, with a decay and a rate, which are each weight's own. along: the last sum is asked for; after: a
   block for each weight, for what is kept of it as a whole. */
template <class Attr, class Rule>
static void step_launch(const struct args *a, struct places at, Rule rule, void (*kernel)(const struct steps<Rule>),
                        bool along = true, void (*after)(const struct steps<Rule>) = NULL)
{
    struct steps<Rule> s = { reals(&a->in[at.lr]), at.step ? reals(&a->in[at.step]) : NULL, paces(a, at.lr), rule,
                             { reals(&a->in[at.clip]), (double *)a->scratch, along } };
    struct weights &all = s.all;
    for (const struct args *next = a; next; next = next->next) {
        const Attr *attr = (const Attr *)next->attr;
        all.of[all.n++] = weight_of(next, at, attr->decay, attr->rate, all.spans);
        all.spans += spans_of(shape_count(next->in[0].shape));
        if (next->next && all.n < MANY) continue;
        LAUNCH(a, kernel, all.spans, BLOCK, 0, s);
        fold_weights(a, all);
        if (after) LAUNCH(a, after, all.n, WARP, 0, s);
        all.part += SUMS * all.spans;
        all.n = all.spans = 0;
    }
}

static inline bool step_is_coded(const struct args *a, struct places at)
{
    return moment_is_coded(a->in[at.memory[0]]);
}

static inline bool step_together(const struct args *a, const struct args *b, struct places at)
{
    bool same = a->in[at.lr].data == b->in[at.lr].data && a->in[at.clip].data == b->in[at.clip].data;
    same = same && step_is_coded(a, at) == step_is_coded(b, at);
    return same && (!at.step || a->in[at.step].data == b->in[at.step].data);
}

#endif
