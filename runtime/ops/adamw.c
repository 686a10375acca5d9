/* AdamW (Loshchilov and Hutter 2017) and what goes by its name: m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;
       w -= lr (u + decay w),  u = m^ / (sqrt(v^) + eps),  m^ = m / (1 - b1^t),  v^ = v / (1 - b2^t)
   nesterov (Dozat 2016): m^ = b1 m / (1 - b1^(t+1)) + (1-b1) g / (1 - b1^t). inside: eps stands under the root.
   cautious: see step.h. lazy: where g is 0, nothing moves. With a radius, of each matrix of a stack, w turns along u on
   the sphere on which it began (hyperball, Wen 2025) and does not decay. */
#define VERBS "graph/ops/update.h"
#include "step.h"

enum { W, GRAD, M, V, LR, STEP, CLIP, RADIUS };

VERB struct node *adamw(struct graph *g, struct node *w, struct node *grad, struct node *m, struct node *v,
                        struct node *lr, struct node *step, struct node *clip, struct node *radius,
                        struct adamw_attr a)
{
    return graph_emit(g, &op_adamw, &a, w, grad, m, v, lr, step, clip, radius);
}

static int infer(struct node *n, struct err *e)
{
    const struct node *radius = n->in[RADIUS];
    struct shape w = n->in[W]->shape;
    if (step_check_pace(n, LR, e)) return -1;
    if (!radius) { step_infer(n); return 0; }
    int64_t stack = shape_count(radius->shape);
    if (w.rank < 2 || stack != shape_count(w) / (w.dim[w.rank - 2] * w.dim[w.rank - 1]))
        return err_set(e, "a radius for each matrix is needed: there are %lld", (long long)stack);
    node_value(n, DTYPE_REAL, SHAPE(SUMS));
    step_work(n, stack);
    node_work(n, DTYPE_REAL, w);
    return 0;
}

/* u = (now m + ahead g) / (sqrt(unbias v + inside) + eps) */
struct rates { real b1, b2, keep1, keep2, now, ahead, unbias, inside, eps, decay, clip, rate; bool cautious, lazy; };

static struct rates rates_of(const struct args *a)
{
    const struct adamw_attr *at = a->attr;
    const struct step_pace pace = step_pace(a, LR);
    double step = (double)reals(&a->in[STEP])[0], beta1 = at->beta1 * (double)pace.momentum,
           first = 1 / (1 - pow(beta1, step));
    return (struct rates){
        .b1 = (real)beta1,
        .b2 = (real)at->beta2,
        .keep1 = (real)(1 - beta1),
        .keep2 = (real)(1 - at->beta2),
        .now = (real)(at->nesterov ? beta1 / (1 - pow(beta1, step + 1)) : first),
        .ahead = (real)(at->nesterov ? (1 - beta1) * first : 0),
        .unbias = (real)(1 / (1 - pow(at->beta2, step))),
        .inside = at->inside ? (real)at->eps : 0,
        .eps = at->inside ? 0 : (real)at->eps,
        .decay = (real)(at->decay * (double)pace.decay),
        .clip = reals(&a->in[CLIP])[0],
        .rate = (real)(at->rate * (double)pace.rate),
        .cautious = at->cautious,
        .lazy = at->lazy,
    };
}

/* Takes g in, and gives u. */
static inline real direction(const struct rates *k, real g, real *m, real *v)
{
    *m = k->b1 * *m + k->keep1 * g;
    *v = k->b2 * *v + k->keep2 * g * g;
    return (k->now * *m + k->ahead * g) / ((real)sqrt(*v * k->unbias + k->inside) + k->eps);
}

/* n <= SUM_LANES values, a lane each. */
static inline void some(const struct rates *k, int64_t n, real *restrict w, const real *restrict grad,
                        real *restrict m, real *restrict v, struct step_lanes *restrict sums)
{
    for (int64_t i = 0; i < n; i++) {
        real g = k->clip * grad[i], old = w[i], m1 = m[i], v1 = v[i], u = direction(k, g, &m1, &v1),
             decay = k->cautious && u * old < 0 ? 0 : k->decay;
        bool rests = k->lazy && g == 0;
        m[i] = rests ? m[i] : m1;
        v[i] = rests ? v[i] : v1;
        w[i] = rests ? old : old - k->rate * (u + decay * old);
        step_count(sums, i, old, w[i]);
    }
}

static void block(const struct args *a, int64_t from, int64_t to)
{
    const struct rates k = rates_of(a);
    real *w = reals(&a->in[W]), *m = reals(&a->in[M]), *v = reals(&a->in[V]);
    const real *grad = reals(&a->in[GRAD]);
    struct step_lanes sums = { 0 };
    int64_t i = from;
    for (; i + SUM_LANES <= to; i += SUM_LANES) some(&k, SUM_LANES, w + i, grad + i, m + i, v + i, &sums);
    some(&k, to - i, w + i, grad + i, m + i, v + i, &sums);
    step_fold(&sums, step_part(a, from / STEP_BLOCK));
}

static void matrices(const struct args *a, int64_t from, int64_t to)
{
    const struct rates k = rates_of(a);
    const struct step_move move = { k.rate, 1, 0, false };
    struct shape shape = a->in[W].shape;
    int64_t n = shape.dim[shape.rank - 2] * shape.dim[shape.rank - 1];
    for (int64_t e = from; e < to; e++) {
        real *m = reals(&a->in[M]) + e * n, *v = reals(&a->in[V]) + e * n, *u = reals(&a->work[1]) + e * n;
        const real *grad = reals(&a->in[GRAD]) + e * n;
        for (int64_t i = 0; i < n; i++) u[i] = direction(&k, k.clip * grad[i], m + i, v + i);
        step_turn(&move, n, reals(&a->in[W]) + e * n, u, reals(&a->in[RADIUS]) + e, step_part(a, e));
    }
}

static void forward(const struct args *a)
{
    bool go = reals(&a->in[CLIP])[1] != 0;
    int64_t stack = a->in[RADIUS].data ? shape_count(a->in[RADIUS].shape) : 0;
    if (stack) step_run(a, go, stack, 1, stack, matrices);
    else step_values(a, go, block);
}

KERNELS(adamw) = { forward, NULL, NULL };

ATTRIBUTES(adamw, struct adamw_attr,
    REAL(struct adamw_attr, beta1, NEEDED, 0, 1, "", "decay of m"),
    REAL(struct adamw_attr, beta2, NEEDED, 0, 1, "", "decay of v"),
    REAL(struct adamw_attr, eps, NEEDED, 0, HUGE_VAL, "", "beside the root of v"),
    REAL(struct adamw_attr, decay, NEEDED, 0, HUGE_VAL, "", "of w, times lr"),
    REAL(struct adamw_attr, rate, NEEDED, 0, HUGE_VAL, "", "factor on lr"),
    BOOL(struct adamw_attr, nesterov, false, "looks a step ahead"),
    BOOL(struct adamw_attr, inside, false, "eps stands under the root"),
    BOOL(struct adamw_attr, cautious, false, "w decays only where it goes the way of the step"),
    BOOL(struct adamw_attr, lazy, false, "where the gradient is 0, nothing moves"));
OP(adamw, .inputs = "w*:REAL[..] grad:REAL[..] m*:REAL[..] v*:REAL[..] lr:REAL[P] step:REAL[1] clip:REAL[2] "
                    "radius?*:REAL[E]",
   .outputs = "change:REAL[3]",
   .about = "AdamW; lr: the rate, or also factors on decay and momentum; step: its number, from 1; clip: of clip_norm; "
            "radius: of the sphere on which each matrix turns, 0: not known yet. Sums of squares of the change and of "
            "w before, and of the products of both",
   ATTR(adamw), .infer = infer);
