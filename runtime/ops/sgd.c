/* Gradient descent with momentum (Polyak 1964), which may look a step ahead (Nesterov; Sutskever 2013):
       m = mu m + g;  w -= lr (m, or g + mu m, + decay w)
   coupled: decay is a part of g, and of the momentum, in place of the step. Without m there is no momentum. m is what
   its tensor says, enum moment_as. */
#define VERBS "graph/ops/update.h"
#include "moment.h"
#include "step.h"

enum { W, GRAD, LR, CLIP, M };

VERB struct node *sgd(struct graph *g, struct node *w, struct node *grad, struct node *lr, struct node *clip,
                      struct node *m, struct sgd_attr a)
{
    return graph_emit(g, &op_sgd, &a, w, grad, lr, clip, m);
}

static int infer(struct node *n, struct err *e)
{
    if (step_check_pace(n, LR, e) || moment_check(n, M, "m", 1, e)) return -1;
    step_infer(n);
    return 0;
}

/* u = now m + ahead g */
struct rates { real mu, now, ahead, coupled, decay, clip, rate; };

static struct rates rates_of(const struct args *a)
{
    const struct sgd_attr *at = a->attr;
    const struct step_pace pace = step_pace(a, LR);
    real mu = (real)(at->momentum * (double)pace.momentum), decay = (real)(at->decay * (double)pace.decay);
    return (struct rates){
        .mu = mu,
        .now = at->nesterov ? mu : 1,
        .ahead = at->nesterov ? 1 : 0,
        .coupled = at->coupled ? decay : 0,
        .decay = at->coupled ? 0 : decay,
        .clip = reals(&a->in[CLIP])[0],
        .rate = (real)(at->rate * (double)pace.rate),
    };
}

/* n <= STEP_LANES values, a lane each. */
static inline void some(const struct rates *k, int64_t n, real *restrict w, const real *restrict grad,
                        real *restrict m, struct step_lanes *restrict sums)
{
    for (int64_t i = 0; i < n; i++) {
        real old = w[i], g = k->clip * grad[i] + k->coupled * old, u = g;
        if (m) {
            m[i] = k->mu * m[i] + g;
            u = k->now * m[i] + k->ahead * g;
        }
        w[i] = old - k->rate * (u + k->decay * old);
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
        real *w = reals(&a->in[W]) + at,
             *m = a->in[M].data ? moment_read(&a->in[M], at, at / MOMENT_BLOCK, n, false, room) : NULL;
        const real *grad = reals(&a->in[GRAD]) + at;
        for (; i + STEP_LANES <= n; i += STEP_LANES) some(&k, STEP_LANES, w + i, grad + i, m ? m + i : NULL, &sums);
        some(&k, n - i, w + i, grad + i, m ? m + i : NULL, &sums);
        if (m) moment_write(&a->in[M], at, at / MOMENT_BLOCK, n, false, m);
    }
    step_fold(&sums, step_part(a, from / STEP_BLOCK));
}

static void forward(const struct args *a)
{
    step_values(a, reals(&a->in[CLIP])[1] != 0, block);
}

KERNELS(sgd) = { forward, NULL, NULL };

ATTRIBUTES(sgd, struct sgd_attr,
    REAL(struct sgd_attr, momentum, NEEDED, 0, 1, "", "decay of m"),
    REAL(struct sgd_attr, decay, NEEDED, 0, HUGE_VAL, "", "of w, times lr"),
    REAL(struct sgd_attr, rate, NEEDED, 0, HUGE_VAL, "", "factor on lr"),
    BOOL(struct sgd_attr, nesterov, NEEDED, "looks a step ahead"),
    BOOL(struct sgd_attr, coupled, NEEDED, "decay is a part of the gradient"));
OP(sgd, .inputs = "w*:REAL[..] grad:REAL[..] lr:REAL[P] clip:REAL[2] m?*:REAL|U8",
   .outputs = "change:REAL[3]",
   .about = "gradient descent, with momentum where it has room for it. lr, sums and what m is as of adamw",
   ATTR(sgd), .infer = infer);
