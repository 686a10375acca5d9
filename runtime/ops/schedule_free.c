/* Schedule-free AdamW (Defazio 2024, arXiv 2405.15682). Beside the weights y, where gradients are taken, run z, which
   moves, and its mean x, which is to be used:
       v = b2 v + (1-b2) g^2;  z -= r_t (g / (sqrt(v) + eps) + decay y),  r_t = lr sqrt(1 - b2^t)
       x += c (z - x),  c = w_t / (w_1 + .. + w_t),  w_t = t^power (largest r so far)^2
       y = x + (1-b1) (z - x)
   Kept are x, lead = z - x, v, and of c three numbers: 1 / c, w_t, that r. */
#define VERBS "graph/ops/update.h"
#include "step.h"

enum { W, GRAD, X, LEAD, V, MEAN, LR, STEP, CLIP };
enum { SHARES, SHARE, MOST };                               /* of MEAN */

VERB struct node *schedule_free(struct graph *g, struct node *w, struct node *grad, struct node *x, struct node *lead,
                                struct node *v, struct node *mean, struct node *lr, struct node *step,
                                struct node *clip, struct schedule_free_attr a)
{
    return graph_emit(g, &op_schedule_free, &a, w, grad, x, lead, v, mean, lr, step, clip);
}

static int infer(struct node *n, struct err *e)
{
    (void)e;
    step_infer(n);
    return 0;
}

static double rate_of(const struct args *a)
{
    const struct schedule_free_attr *at = a->attr;
    double step = (double)reals(&a->in[STEP])[0];
    return at->rate * (double)reals(&a->in[LR])[0] * sqrt(1 - pow(at->beta2, step));
}

/* What MEAN becomes in this step; without a rate so far nothing is taken in. */
struct mean { double shares, share, most; };

static struct mean mean_of(const struct args *a)
{
    const struct schedule_free_attr *at = a->attr;
    const real *old = reals(&a->in[MEAN]);
    double most = fmax((double)old[MOST], rate_of(a)),
           share = pow((double)reals(&a->in[STEP])[0], at->power) * most * most;
    if (share == 0) return (struct mean){ 0, 0, 0 };
    return (struct mean){ 1 + (double)old[SHARES] * (double)old[SHARE] / share, share, most };
}

struct rates { real b2, keep1, keep2, eps, decay, clip, rate, c; };

static struct rates rates_of(const struct args *a)
{
    const struct schedule_free_attr *at = a->attr;
    double shares = mean_of(a).shares;
    return (struct rates){
        .b2 = (real)at->beta2,
        .keep1 = (real)(1 - at->beta1),
        .keep2 = (real)(1 - at->beta2),
        .eps = (real)at->eps,
        .decay = (real)at->decay,
        .clip = reals(&a->in[CLIP])[0],
        .rate = (real)rate_of(a),
        .c = shares > 0 ? (real)(1 / shares) : 0,
    };
}

/* n <= STEP_LANES values, a lane each. */
static inline void some(const struct rates *k, int64_t n, real *restrict w, const real *restrict grad,
                        real *restrict x, real *restrict lead, real *restrict v, struct step_lanes *restrict sums)
{
    for (int64_t i = 0; i < n; i++) {
        real g = k->clip * grad[i], old = w[i];
        v[i] = k->b2 * v[i] + k->keep2 * g * g;
        /* z - x, of the old x */
        real ahead = lead[i] - k->rate * (g / ((real)sqrt(v[i]) + k->eps) + k->decay * old);
        x[i] += k->c * ahead;
        lead[i] = ahead - k->c * ahead;
        w[i] = x[i] + k->keep1 * lead[i];
        step_count(sums, i, true, old, w[i]);
    }
}

static void block(const struct args *a, int64_t from, int64_t to)
{
    const struct rates k = rates_of(a);
    real *w = reals(&a->in[W]), *x = reals(&a->in[X]), *lead = reals(&a->in[LEAD]), *v = reals(&a->in[V]);
    const real *grad = reals(&a->in[GRAD]);
    struct step_lanes sums = { 0 };
    int64_t i = from;
    for (; i + STEP_LANES <= to; i += STEP_LANES) some(&k, STEP_LANES, w + i, grad + i, x + i, lead + i, v + i, &sums);
    some(&k, to - i, w + i, grad + i, x + i, lead + i, v + i, &sums);
    step_fold(&sums, step_part(a, from / STEP_BLOCK));
}

static void forward(const struct args *a)
{
    bool go = reals(&a->in[CLIP])[1] != 0;
    struct mean now = mean_of(a);
    step_values(a, go, block);
    if (!go) return;
    real *mean = reals(&a->in[MEAN]);
    mean[SHARES] = (real)now.shares;
    mean[SHARE] = (real)now.share;
    mean[MOST] = (real)now.most;
}

KERNELS(schedule_free) = { forward, NULL, NULL };

ATTRIBUTES(schedule_free, struct schedule_free_attr,
    REAL(struct schedule_free_attr, beta1, NEEDED, 0, 1, "", "share of x in y"),
    REAL(struct schedule_free_attr, beta2, NEEDED, 0, 1, "", "decay of v"),
    REAL(struct schedule_free_attr, eps, NEEDED, 0, HUGE_VAL, "", "beside the root of v"),
    REAL(struct schedule_free_attr, decay, NEEDED, 0, HUGE_VAL, "", "of w, times lr"),
    REAL(struct schedule_free_attr, rate, NEEDED, 0, HUGE_VAL, "", "factor on lr"),
    REAL(struct schedule_free_attr, power, NEEDED, 0, HUGE_VAL, "", "of a step's number in its share of the mean"));
OP(schedule_free, .inputs = "w*:REAL[..] grad:REAL[..] x*:REAL[..] lead*:REAL[..] v*:REAL[..] mean*:REAL[3] lr:REAL[1] "
                            "step:REAL[1] clip:REAL[2]",
   .outputs = "change:REAL[3]",
   .about = "schedule-free AdamW: w is where gradients are taken, x what is to be used, lead what runs ahead of it; "
            "mean, zeros at first, is how many steps x is the mean of, as if all were as the last. Sums as of adamw",
   ATTR(schedule_free), .infer = infer);
