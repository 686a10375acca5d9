/* A step whose loss or gradient norm is far above those of the steps before it is left out. Rings hold the last of
   both; what is left out enters them too, so that a lasting change of level is followed after all. OLMo 2 2025. */
#define VERBS "graph/ops/update.h"
#include "op.h"

#include <math.h>

enum { CLIP, LOSS, NORM, RINGS, SEEN };                     /* inputs */
enum { GO, OUTLIER };                                       /* outputs */

VERB struct node *skip_outliers(struct graph *g, struct node *clip, struct node *loss, struct node *norm,
                                struct node *rings, struct node *seen, double sigma)
{
    return graph_emit(g, &op_skip_outliers, &sigma, clip, loss, norm, rings, seen);
}

static int infer(struct node *n, struct err *e)
{
    if (n->in[RINGS]->shape.dim[0] != 2) return err_set(e, "rings are two, of losses and of norms");
    node_value(n, DTYPE_REAL, SHAPE(2));
    node_output(n, DTYPE_REAL, SHAPE(1));
    return 0;
}

/* More than sigma standard deviations above the mean of the first n of a ring. */
static bool is_outlier(const real *ring, int64_t n, real x, real sigma)
{
    real mean = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) mean += ring[i];
    mean /= (real)n;
    for (int64_t i = 0; i < n; i++) squares += (ring[i] - mean) * (ring[i] - mean);
    return x > mean + sigma * (real)sqrt(squares / (real)(n - 1));
}

/* `seen` counts to twice the ring's length and falls back to once, so that it stays exact. */
static void forward(const struct args *a)
{
    const struct skip_outliers_attr *at = a->attr;
    int64_t length = a->in[RINGS].shape.dim[1], seen = (int64_t)reals(&a->in[SEEN])[0],
            n = seen < length ? seen : length;
    const real *clip = reals(&a->in[CLIP]);
    bool outlier = false;
    for (int i = LOSS; i <= NORM && clip[1] != 0; i++) {
        real x = reals(&a->in[i])[0], *ring = reals(&a->in[RINGS]) + (i - LOSS) * length;
        outlier |= n >= 2 && 2 * n >= length && is_outlier(ring, n, x, (real)at->sigma);
        ring[seen % length] = x;
    }
    if (clip[1] != 0) reals(&a->in[SEEN])[0] = (real)(seen + 1 < 2 * length ? seen + 1 : length);
    reals(&a->out[GO])[0] = clip[0];
    reals(&a->out[GO])[1] = clip[1] != 0 && !outlier;
    reals(&a->out[OUTLIER])[0] = outlier;
}

KERNELS(skip_outliers) = { forward, NULL, NULL };

ATTRIBUTES(skip_outliers, struct skip_outliers_attr,
    REAL(struct skip_outliers_attr, sigma, NEEDED, ABOVE_0, HUGE_VAL, "", "standard deviations above the mean"));
OP(skip_outliers, .inputs = "clip:REAL[2] loss:REAL[1] norm:REAL[1] rings*:REAL[N,W] seen*:REAL[1]",
   .outputs = "clip:REAL[2] outlier:REAL[1]",
   .about = "clip, which stops the step where loss or norm is above the mean of its ring, [0] and [1], by more than "
            "sigma standard deviations, once half a ring is seen; 1 where it does. Then both enter; of a step that "
            "stops anyhow nothing does",
   ATTR(skip_outliers), .infer = infer);
