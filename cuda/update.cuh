/* What the optimizers share. An update's output is REAL [SUMS], made of partial sums of spans: span s leaves its
   doubles from part[SUMS s] on. */
#ifndef SLUICE_CUDA_UPDATE_CUH
#define SLUICE_CUDA_UPDATE_CUH

#include "kernel.cuh"

/* Whether input `lr` has factors on decay and momentum behind the rate. */
static inline bool paces(const struct args *a, int lr) { return shape_count(a->in[lr].shape) > 1; }

enum { SPAN = 8192 };    /* values of a block of an update: bits depend on shapes alone */
enum { ALONG = 2, SUMS };    /* of squares of the change and of the weight before, and ALONG, of the products of both */

static __host__ __device__ inline int spans_of(int64_t n) { return (int)((n + SPAN - 1) / SPAN); }

/* How many matrices of a stack are at work at one time, each a blockIdx.y, where one has `room` floats of scratch: as
   many as 256 MiB hold, or one that needs more. */
static inline int matrices_at_once(int64_t stack, int64_t room)
{
    enum { ROOM = 64 << 20 };
    int64_t fit = ROOM / room, most = fit < 1 ? 1 : fit < UINT16_MAX ? fit : UINT16_MAX;
    return (int)(stack < most ? stack : most);
}

/* Of a thread, or of those before it. */
struct change_sums { double changed, before, along; };

static __device__ inline void change_take(struct change_sums *sum, float w, float old)
{
    double change = (double)w - old;
    sum->changed += change * change;
    sum->before += (double)old * old;
    sum->along += change * old;
}

/* By a block: the sums of its threads, in the first of them. */
static __device__ inline struct change_sums change_fold(struct change_sums sum)
{
    return { block_sum(sum.changed), block_sum(sum.before), block_sum(sum.along) };
}

static __device__ inline void change_leave(struct change_sums sum, double *part)
{
    part[0] = sum.changed;
    part[1] = sum.before;
    part[2] = sum.along;
}

/* By a block: out := the sum of the spans' parts, or zeros where clip, what clip_norm gave, says that the step is
   skipped; without `along` 0 as the last. */
static __device__ inline void
fold_span_parts(const double *part, int spans, const float *clip, bool along, float *out)
{
    for (int k = 0; k < SUMS; k++) {
        double sum = 0;
        if (clip[1] != 0 && (along || k != ALONG))
            for (int s = threadIdx.x; s < spans; s += BLOCK) sum += part[SUMS * s + k];
        sum = block_sum(sum);
        if (threadIdx.x == 0) out[k] = (float)sum;
    }
}

/* The same as a launch. */
void fold_changes(const struct args *a, const double *part, int spans, const float *clip, float *out,
                  bool along = true);

/* Matrices of n values, each in so many spans: w -= lr (scale u + decay w), cautious as of the op on the CPU. With
   radii they turn along u on their spheres; u is lost. part: of the first matrix's first span, SUMS doubles a span, and
   with radii one more behind those of all `count` matrices. */
struct matrices { float *w, *u; void *packed; float *radius; int64_t n; int count, spans; };
struct motion { const float *clip, *lr; float scale, decay; bool cautious; double *part; bool paces; };
static inline size_t motion_doubles(int64_t spans, bool radii) { return (SUMS + radii) * (size_t)spans; }
void move_matrices(const struct args *a, const struct matrices &m, const struct motion &k);

#endif
