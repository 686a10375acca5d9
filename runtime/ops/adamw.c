/* AdamW (Loshchilov and Hutter 2017) and what goes by its name: m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;
       w -= lr (u + decay w),  u = m^ / (sqrt(v^) + eps),  m^ = m / (1 - b1^t),  v^ = v / (1 - b2^t)
   nesterov (Dozat 2016): m^ = b1 m / (1 - b1^(t+1)) + (1-b1) g / (1 - b1^t). inside: eps stands under the root.
   cautious: see step.h. lazy: where g is 0, nothing moves. With a radius, of each matrix of a stack, w turns along u on
   the sphere on which it began (hyperball, Wen 2025) and does not decay. largest: AMSGrad (Reddi 2018), the largest v
   so far in place of v. masked: C-AdamW (Liang 2024, arXiv 2411.16085), of each matrix u is 0 where it has not the sign
   of g, and larger by the share of the others. m, v and largest are what their tensors say, see enum moment_as. */
#define VERBS "graph/ops/update.h"
#include "moment.h"
#include "step.h"

enum { W, GRAD, M, V, LR, STEP, CLIP, RADIUS, LARGEST };
#define LEAST_SHARE 1e-3    /* of values that are not masked */

VERB struct node *adamw(struct graph *g, struct node *w, struct node *grad, struct node *m, struct node *v,
                        struct node *lr, struct node *step, struct node *clip, struct node *radius,
                        struct node *largest, struct adamw_attr a)
{
    return graph_emit(g, &op_adamw, &a, w, grad, m, v, lr, step, clip, radius, largest);
}

/* Matrices, and values of each. */
struct sizes { int64_t stack, n; };
static struct sizes sizes_of(struct shape w)
{
    struct stack k = shape_stack(w);
    return (struct sizes){ k.matrices, k.rows * k.columns };
}

static bool alike(const struct node *m, const struct node *other)
{
    return !other || (m->dtype == other->dtype && (m->dtype == DTYPE_REAL || shape_equal(m->shape, other->shape)));
}

static int infer(struct node *n, struct err *e)
{
    const struct adamw_attr *at = n->attr;
    const struct node *radius = n->in[RADIUS];
    struct shape w = n->in[W]->shape;
    struct sizes s = sizes_of(w);
    if (step_check_pace(n, LR, e)) return -1;
    if (moment_check(n, M, "m", 1, e) != 0 || moment_check(n, V, "v", 1, e) != 0) return -1;
    if (moment_check(n, LARGEST, "largest", 1, e) != 0) return -1;
    if (!alike(n->in[M], n->in[V]) || !alike(n->in[M], n->in[LARGEST]))
        return err_set(e, "adamw: m, v and largest must be kept alike");
    if (radius && (w.rank < 2 || shape_count(radius->shape) != s.stack))
        return err_set(e, "a radius for each matrix is needed: there are %lld", (long long)shape_count(radius->shape));
    if (at->lazy && (at->masked || radius)) return err_set(e, "adamw: what is lazy is neither masked nor on a sphere");
    if (!radius && !at->masked) { step_infer(n); return 0; }
    node_value(n, DTYPE_REAL, SHAPE(SUMS));
    step_work(n, s.stack);
    node_work(n, DTYPE_REAL, w);
    return 0;
}

/* u = (now m + ahead g) / (sqrt(unbias v + inside) + eps) */
struct rates {
    real b1, b2, keep1, keep2, now, ahead, unbias, inside, eps, decay, clip, rate;
    bool cautious, lazy, along, tops;                       /* tops: the largest v counts */
};
static bool is_plain(const struct rates *k)
{
    return !k->cautious && !k->lazy && !k->tops && k->ahead == 0 && k->inside == 0;
}

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
        .along = at->along,
        .tops = a->in[LARGEST].data,
    };
}

/* Takes g in, and gives u. plain: known not to ask for more, of which the compiler makes faster code. */
static inline __attribute__((always_inline)) real
direction(const struct rates *k, bool plain, real g, real *m, real *v, real *top)
{
    *m = k->b1 * *m + k->keep1 * g;
    *v = k->b2 * *v + k->keep2 * g * g;
    *top = !plain && k->tops && *top > *v ? *top : *v;
    if (plain) return k->now * *m / ((real)sqrt(*v * k->unbias) + k->eps);
    return (k->now * *m + k->ahead * g) / ((real)sqrt(*top * k->unbias + k->inside) + k->eps);
}

/* n <= STEP_LANES values, a lane each. top is not looked at where all is plain. */
static inline __attribute__((always_inline)) void
some(const struct rates *k, bool plain, bool along, int64_t n, real *w, const real *grad, real *m, real *v, real *top,
     struct step_lanes *sums)
{
    for (int64_t i = 0; i < n; i++) {
        real g = k->clip * grad[i], old = w[i], m1 = m[i], v1 = v[i], top1 = plain ? 0 : top[i],
             u = direction(k, plain, g, &m1, &v1, &top1), decay = !plain && k->cautious && u * old < 0 ? 0 : k->decay;
        bool rests = !plain && k->lazy && g == 0;
        m[i] = rests ? m[i] : m1;
        v[i] = rests ? v[i] : v1;
        if (!plain) top[i] = rests ? top[i] : top1;
        w[i] = rests ? old : old - k->rate * (u + decay * old);
        step_count(sums, i, along, old, w[i]);
    }
}

static inline __attribute__((always_inline)) void
all(const struct rates *k, bool plain, bool along, int64_t n, real *w, const real *grad, real *m, real *v, real *top,
    struct step_lanes *sums)
{
    int64_t i = 0;
    for (; i + STEP_LANES <= n; i += STEP_LANES)
        some(k, plain, along, STEP_LANES, w + i, grad + i, m + i, v + i, plain ? NULL : top + i, sums);
    some(k, plain, along, n - i, w + i, grad + i, m + i, v + i, plain ? NULL : top + i, sums);
}

/* Two functions, for the compiler to know what restrict says before it puts the loop in their place. */
static void values_plainly(const struct rates *k, int64_t n, real *restrict w, const real *restrict grad,
                           real *restrict m, real *restrict v, struct step_lanes *restrict sums)
{
    if (k->along) all(k, true, true, n, w, grad, m, v, NULL, sums);
    else all(k, true, false, n, w, grad, m, v, NULL, sums);
}

static void values(const struct rates *k, int64_t n, real *restrict w, const real *restrict grad, real *restrict m,
                   real *restrict v, real *restrict top, struct step_lanes *restrict sums)
{
    all(k, false, true, n, w, grad, m, v, top, sums);
}

/* What is remembered of the n values from `at` on, a block of codes, and the room for it. */
struct moments { real *m, *v, *top, room[3][MOMENT_BLOCK]; };

static inline void read_moments(const struct args *a, int64_t at, int64_t n, struct moments *k)
{
    k->m = moment_read(&a->in[M], at, at / MOMENT_BLOCK, n, false, k->room[0]);
    k->v = moment_read(&a->in[V], at, at / MOMENT_BLOCK, n, true, k->room[1]);
    k->top = k->room[2];
    if (a->in[LARGEST].data) k->top = moment_read(&a->in[LARGEST], at, at / MOMENT_BLOCK, n, true, k->top);
}

static inline void write_moments(const struct args *a, int64_t at, int64_t n, const struct moments *k)
{
    moment_write(&a->in[M], at, at / MOMENT_BLOCK, n, false, k->m);
    moment_write(&a->in[V], at, at / MOMENT_BLOCK, n, true, k->v);
    if (a->in[LARGEST].data) moment_write(&a->in[LARGEST], at, at / MOMENT_BLOCK, n, true, k->top);
}

static void block(const struct args *a, int64_t from, int64_t to)
{
    const struct rates k = rates_of(a);
    struct moments x = { .room = { { 0 } } };
    struct step_lanes sums = { 0 };
    for (int64_t at = from; at < to; at += MOMENT_BLOCK) {
        int64_t n = to - at < MOMENT_BLOCK ? to - at : MOMENT_BLOCK;
        real *w = reals(&a->in[W]) + at;
        const real *grad = reals(&a->in[GRAD]) + at;
        read_moments(a, at, n, &x);
        if (is_plain(&k)) values_plainly(&k, n, w, grad, x.m, x.v, &sums);
        else values(&k, n, w, grad, x.m, x.v, x.top, &sums);
        write_moments(a, at, n, &x);
    }
    step_fold(&sums, step_part(a, from / STEP_BLOCK));
}

/* ---- where a matrix moves as a whole: directions first ---- */

static inline __attribute__((always_inline)) void
aim(const struct rates *k, bool plain, int64_t n, const real *restrict grad, const struct moments *x, real *restrict u)
{
    real *restrict m = x->m, *restrict v = x->v, *restrict top = x->top;
    for (int64_t i = 0; i < n; i++) u[i] = direction(k, plain, k->clip * grad[i], m + i, v + i, top + i);
}

static void directions(const struct args *a, int64_t from, int64_t to)
{
    const struct rates k = rates_of(a);
    struct moments x = { .room = { { 0 } } };
    for (int64_t at = from; at < to; at += MOMENT_BLOCK) {
        int64_t n = to - at < MOMENT_BLOCK ? to - at : MOMENT_BLOCK;
        const real *grad = reals(&a->in[GRAD]) + at;
        real *u = reals(&a->work[1]) + at;
        read_moments(a, at, n, &x);
        if (is_plain(&k)) aim(&k, true, n, grad, &x, u);
        else aim(&k, false, n, grad, &x, u);
        write_moments(a, at, n, &x);
    }
}

static bool agrees(real u, real g) { return (u > 0 && g > 0) || (u < 0 && g < 0); }

static void mask(int64_t n, const real *grad, real *u)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) count += agrees(u[i], grad[i]);
    real by = (real)(1 / fmax((double)count / (double)n, LEAST_SHARE));
    for (int64_t i = 0; i < n; i++) u[i] = agrees(u[i], grad[i]) ? by * u[i] : 0;
}

static void matrices(const struct args *a, int64_t from, int64_t to)
{
    const struct adamw_attr *at = a->attr;
    const struct rates k = rates_of(a);
    const struct step_move move = { k.rate, 1, k.decay, k.cautious };
    int64_t n = sizes_of(a->in[W].shape).n;
    for (int64_t e = from; e < to; e++) {
        real *w = reals(&a->in[W]) + e * n, *u = reals(&a->work[1]) + e * n;
        if (at->masked) mask(n, reals(&a->in[GRAD]) + e * n, u);
        if (a->in[RADIUS].data) step_turn(&move, n, w, u, reals(&a->in[RADIUS]) + e, step_part(a, e));
        else step_move(&move, n, w, u, step_part(a, e));
    }
}

static void forward(const struct args *a)
{
    const struct adamw_attr *at = a->attr;
    bool go = reals(&a->in[CLIP])[1] != 0;
    int64_t stack = sizes_of(a->in[W].shape).stack;
    bool whole = at->masked || a->in[RADIUS].data;
    if (whole && go) each(a, shape_count(a->in[W].shape), STEP_BLOCK, directions);
    if (whole) step_run(a, go, stack, 1, stack, matrices);
    else step_values(a, go, block);
    if (!at->along) reals(&a->out[0])[ALONG] = 0;
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
    BOOL(struct adamw_attr, lazy, false, "where the gradient is 0, nothing moves"),
    BOOL(struct adamw_attr, masked, false, "what does not go the way of the gradient rests"),
    BOOL(struct adamw_attr, along, false, "the last sum is asked for"));
OP(adamw, .inputs = "w*:REAL[..] grad:REAL[..] m*:REAL|U8 v*:REAL|U8 lr:REAL[P] step:REAL[1] clip:REAL[2] "
                    "radius?*:REAL[E] largest?*:REAL|U8",
   .outputs = "change:REAL[3]",
   .about = "AdamW; lr: the rate, or also factors on decay and momentum; step: its number, from 1; clip: of clip_norm; "
            "radius: of the sphere on which each matrix turns, 0: not known yet; largest: of v so far. m, v and "
            "largest are REAL [..], bf16 in U8 [n,2], or codes in U8 [n/256,260]. Sums of squares of the change and of "
            "w before, and of the products of both, or 0",
   ATTR(adamw), .infer = infer);
