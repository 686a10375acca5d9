/* Lion (Chen 2023, arXiv 2302.06675): every value moves by lr, whichever way a mean of the gradient and its past goes;
   sign(0) = 0.
       w -= lr (sign(b1 m + (1-b1) g) + decay w);  m = b2 m + (1-b2) g
   m is what its tensor says, enum moment_as. */
#define VERBS "graph/ops/update.h"
#include "moment.h"
#include "step.h"

enum { W, GRAD, M, LR, CLIP };

VERB struct node *lion(struct graph *g, struct node *w, struct node *grad, struct node *m, struct node *lr,
                       struct node *clip, struct lion_attr a)
{
    return graph_emit(g, &op_lion, &a, w, grad, m, lr, clip);
}

static int infer(struct node *n, struct err *e)
{
    if (step_check_pace(n, LR, e) || moment_check(n, M, "m", 1, e)) return -1;
    step_infer(n);
    return 0;
}

struct rates { real b1, b2, keep1, keep2, decay, clip, rate; };

static struct rates rates_of(const struct args *a)
{
    const struct lion_attr *at = a->attr;
    const struct step_pace pace = step_pace(a, LR);
    double beta1 = at->beta1 * (double)pace.momentum;
    return (struct rates){
        .b1 = (real)beta1,
        .b2 = (real)at->beta2,
        .keep1 = (real)(1 - beta1),
        .keep2 = (real)(1 - at->beta2),
        .decay = (real)(at->decay * (double)pace.decay),
        .clip = reals(&a->in[CLIP])[0],
        .rate = (real)(at->rate * (double)pace.rate),
    };
}

/* n <= STEP_LANES values, a lane each. */
static inline void some(const struct rates *k, int64_t n, real *restrict w, const real *restrict grad,
                        real *restrict m, struct step_lanes *restrict sums)
{
    for (int64_t i = 0; i < n; i++) {
        real g = k->clip * grad[i], old = w[i], mean = k->b1 * m[i] + k->keep1 * g,
             sign = (real)(mean > 0) - (real)(mean < 0);
        m[i] = k->b2 * m[i] + k->keep2 * g;
        w[i] = old - k->rate * (sign + k->decay * old);
        step_count(sums, i, true, old, w[i]);
    }
}

static void block(const struct args *a, int64_t from, int64_t to)
{
    const struct rates k = rates_of(a);
    struct step_lanes sums = { 0 };
    real room[MOMENT_BLOCK];
    for (int64_t at = from; at < to; at += MOMENT_BLOCK) {
        int64_t n = to - at < MOMENT_BLOCK ? to - at : MOMENT_BLOCK, i = 0;
        real *w = reals(&a->in[W]) + at, *m = moment_read(&a->in[M], at, at / MOMENT_BLOCK, n, false, room);
        const real *grad = reals(&a->in[GRAD]) + at;
        for (; i + STEP_LANES <= n; i += STEP_LANES) some(&k, STEP_LANES, w + i, grad + i, m + i, &sums);
        some(&k, n - i, w + i, grad + i, m + i, &sums);
        moment_write(&a->in[M], at, at / MOMENT_BLOCK, n, false, m);
    }
    step_fold(&sums, step_part(a, from / STEP_BLOCK));
}

static void forward(const struct args *a)
{
    step_values(a, reals(&a->in[CLIP])[1] != 0, block);
}

KERNELS(lion) = { forward, NULL, NULL };

ATTRIBUTES(lion, struct lion_attr,
    REAL(struct lion_attr, beta1, NEEDED, 0, 1, "", "share of m in the direction"),
    REAL(struct lion_attr, beta2, NEEDED, 0, 1, "", "decay of m"),
    REAL(struct lion_attr, decay, NEEDED, 0, HUGE_VAL, "", "of w, times lr"),
    REAL(struct lion_attr, rate, NEEDED, 0, HUGE_VAL, "", "factor on lr"));
OP(lion, .inputs = "w*:REAL[..] grad:REAL[..] m*:REAL|U8 lr:REAL[P] clip:REAL[2]",
   .outputs = "change:REAL[3]",
   .about = "Lion. lr, sums and what m is as of adamw",
   ATTR(lion), .infer = infer);
