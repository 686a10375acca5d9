/* average += rate (w - average), and at a rate of 1 a copy. Memory bounds it: 12 bytes a value are the least. */
#include "update.cuh"

enum { AVERAGE, W, CLIP, RATE };                            /* inputs */

/* Up to MANY weights in one launch: small ones alone would cost more to launch than to compute. */
enum { MANY = 32 };
struct followed {
    float *average, *out;
    const float *w;
    int64_t n;
    int first;                                              /* of its spans */
};
struct averages {
    const float *clip, *rate;
    int n, spans;
    struct followed of[MANY];
};

static __global__ void __launch_bounds__(BLOCK) average_span(const __grid_constant__ struct averages a)
{
    __shared__ struct followed x;
    bool go = a.clip[1] != 0;
    float rate = *a.rate;
    if (threadIdx.x == 0) {
        int t = 0;
        while (t + 1 < a.n && (int)blockIdx.x >= a.of[t + 1].first) t++;
        x = a.of[t];
        if ((int)blockIdx.x == x.first) *x.out = go ? rate : 0;
    }
    __syncthreads();
    if (!go) return;
    int64_t from = (int64_t)(blockIdx.x - x.first) * SPAN, to = x.n - from < SPAN ? x.n : from + SPAN,
            whole = to / LANES * LANES;
    struct view average = { x.average, false }, w = { (void *)x.w, false };
    for (int64_t i = from + threadIdx.x * LANES; i < whole; i += BLOCK * LANES) {
        struct eight now = load8(w, i);
        if (rate != 1) {
            struct eight old = load8(average, i);
            for (int l = 0; l < LANES; l++) now.v[l] = old.v[l] + rate * (now.v[l] - old.v[l]);
        }
        store8(average, i, now);
    }
    for (int64_t i = whole + threadIdx.x; i < to; i += BLOCK) {
        float now = x.w[i], old = rate != 1 ? x.average[i] : 0;
        x.average[i] = rate != 1 ? old + rate * (now - old) : now;
    }
}

static void update(const struct args *a)
{
    struct averages all = { reals(&a->in[CLIP]), reals(&a->in[RATE]) };
    for (const struct args *next = a; next; next = next->next) {
        int64_t n = shape_count(next->in[W].shape);
        all.of[all.n++] = { reals(&next->in[AVERAGE]), reals(&next->out[0]), reals(&next->in[W]), n, all.spans };
        all.spans += spans_of(n);
        if (next->next && all.n < MANY) continue;
        LAUNCH(a, average_span, all.spans, BLOCK, 0, all);
        all.n = all.spans = 0;
    }
}

extern "C" kernel *fuse_average(const struct args *a, const struct args *b)
{
    return a->in[CLIP].data == b->in[CLIP].data && a->in[RATE].data == b->in[RATE].data ? update : NULL;
}

TWIN(average, update);
