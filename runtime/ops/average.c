/* An average that follows a weight: average += rate (w - average), after the step that changed w; a rate of 1
   copies it. With 1 - d each step it is an exponential average (Polyak 1992); with 1/t in step t the mean of all
   steps. A step that is skipped leaves it as it is. */
#define VERBS "graph/ops/update.h"
#include "op.h"

enum { AVERAGE, W, CLIP, RATE };
enum { BLOCK = 8192 };

VERB struct node *average(struct graph *g, struct node *average, struct node *w, struct node *clip, struct node *rate)
{
    return graph_emit(g, &op_average, NULL, average, w, clip, rate);
}

static void follow(const struct args *a, int64_t from, int64_t to)
{
    real rate = reals(&a->in[RATE])[0], *restrict average = reals(&a->in[AVERAGE]);
    const real *restrict w = reals(&a->in[W]);
    if (rate == 1) memcpy(average + from, w + from, (size_t)(to - from) * sizeof *w);
    else for (int64_t i = from; i < to; i++) average[i] += rate * (w[i] - average[i]);
}

static void forward(const struct args *a)
{
    bool go = reals(&a->in[CLIP])[1] != 0;
    reals(&a->out[0])[0] = go ? reals(&a->in[RATE])[0] : 0;
    if (go) each(a, shape_count(a->in[W].shape), BLOCK, follow);
}

KERNELS(average) = { forward, NULL, NULL };
OP(average, .inputs = "average*:REAL[..] w:REAL[..] clip:REAL[2] rate:REAL[1]",
   .outputs = "rate:REAL[1]",
   .about = "average += rate (w - average); the rate, 0 when skipped",
   .infer = infer_number);
