/* AdamW (Loshchilov and Hutter) with what stands around an update: the norm of all gradients, clipping by it, and
   how large the changes are. Sums are in double over blocks that the shapes cut. */
#define VERBS "graph/ops/update.h"
#include "op.h"
#include "cpu/vec_math.h"

enum { BLOCK = 8192, SPAN = 65536 };                        /* values of a block of an update, and of the norm */
enum { SUMS = 3 };    /* of squares of the change and of w before, and of the products of both */

/* Room for the blocks' parts of sums. */
static double *parts(const struct tensor *t) { return t->data; }

static void work_parts(struct node *n, int64_t count)
{
    node_work(n, DTYPE_U8, SHAPE(count * (int64_t)sizeof(double)));
}

/* ---- adamw: m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  w -= lr (m^ / (sqrt(v^) + eps) + decay w) ---- */

enum { W, GRAD, M, V, LR, STEP, CLIP };

VERB struct node *adamw(struct graph *g, struct node *w, struct node *grad, struct node *m, struct node *v,
                        struct node *lr, struct node *step, struct node *clip, struct adamw_attr a)
{
    return graph_emit(g, &op_adamw, &a, w, grad, m, v, lr, step, clip);
}

static int adamw_infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_REAL, SHAPE(SUMS));
    work_parts(n, SUMS * blocks_of(shape_count(n->in[W]->shape), BLOCK));
    return 0;
}

struct rates { real b1, b2, keep1, keep2, eps, decay, clip, rate, unbias1, unbias2; };

static struct rates rates_of(const struct args *a)
{
    const struct adamw_attr *at = a->attr;
    double step = (double)reals(&a->in[STEP])[0];
    return (struct rates){
        .b1 = (real)at->beta1,
        .b2 = (real)at->beta2,
        .keep1 = (real)(1 - at->beta1),
        .keep2 = (real)(1 - at->beta2),
        .eps = (real)at->eps,
        .decay = (real)at->decay,
        .clip = reals(&a->in[CLIP])[0],
        .rate = (real)(at->rate * (double)reals(&a->in[LR])[0]),
        .unbias1 = (real)(1 / (1 - pow(at->beta1, step))),
        .unbias2 = (real)(1 / (1 - pow(at->beta2, step))),
    };
}

/* The sums of each lane. */
struct lanes { double changed[SUM_LANES], before[SUM_LANES], along[SUM_LANES]; };

/* n <= SUM_LANES values, a lane each. */
static inline void adamw_some(const struct rates *k, int64_t n, real *restrict w, const real *restrict grad,
                              real *restrict m, real *restrict v, struct lanes *restrict sum)
{
    for (int64_t i = 0; i < n; i++) {
        real g = k->clip * grad[i], old = w[i];
        m[i] = k->b1 * m[i] + k->keep1 * g;
        v[i] = k->b2 * v[i] + k->keep2 * g * g;
        w[i] = old - k->rate * (m[i] * k->unbias1 / ((real)sqrt(v[i] * k->unbias2) + k->eps) + k->decay * old);
        sum->changed[i] += ((double)w[i] - (double)old) * ((double)w[i] - (double)old);
        sum->before[i] += (double)old * (double)old;
        sum->along[i] += ((double)w[i] - (double)old) * (double)old;
    }
}

static void adamw_block(const struct args *a, int64_t from, int64_t to)
{
    const struct rates k = rates_of(a);
    real *w = reals(&a->in[W]), *m = reals(&a->in[M]), *v = reals(&a->in[V]);
    const real *grad = reals(&a->in[GRAD]);
    struct lanes sum = { { 0 }, { 0 }, { 0 } };
    double *part = parts(&a->work[0]) + SUMS * (from / BLOCK);
    int64_t i = from;
    for (; i + SUM_LANES <= to; i += SUM_LANES)
        adamw_some(&k, SUM_LANES, w + i, grad + i, m + i, v + i, &sum);
    adamw_some(&k, to - i, w + i, grad + i, m + i, v + i, &sum);
    part[0] = fold_lanes(sum.changed);
    part[1] = fold_lanes(sum.before);
    part[2] = fold_lanes(sum.along);
}

static void adamw_forward(const struct args *a)
{
    bool go = reals(&a->in[CLIP])[1] != 0;
    int64_t count = shape_count(a->in[W].shape), n = go ? SUMS * blocks_of(count, BLOCK) : 0;
    double sum[SUMS] = { 0 };
    if (go) each(a, count, BLOCK, adamw_block);
    for (int64_t i = 0; i < n; i++) sum[i % SUMS] += parts(&a->work[0])[i];
    for (int i = 0; i < SUMS; i++) reals(&a->out[0])[i] = (real)sum[i];
}

KERNELS(adamw) = { adamw_forward, NULL, NULL };

ATTRIBUTES(adamw, struct adamw_attr,
    REAL(struct adamw_attr, beta1, NEEDED, 0, 1, "", "decay of m"),
    REAL(struct adamw_attr, beta2, NEEDED, 0, 1, "", "decay of v"),
    REAL(struct adamw_attr, eps, NEEDED, 0, HUGE_VAL, "", "beside the root of v"),
    REAL(struct adamw_attr, decay, NEEDED, 0, HUGE_VAL, "", "of w, times lr"),
    REAL(struct adamw_attr, rate, NEEDED, 0, HUGE_VAL, "", "factor on lr"));
OP(adamw, .inputs = "w*:REAL[..] grad:REAL[..] m*:REAL[..] v*:REAL[..] lr:REAL[1] step:REAL[1] clip:REAL[2]",
   .outputs = "change:REAL[3]",
   .about = "AdamW; step: its number, from 1; clip: of clip_norm. Sums of squares of the change and of w before, and "
          "of the products of both",
   ATTR(adamw), .infer = adamw_infer);

/* ---- global_norm: the L2 norm of all gradients as one vector ---- */

VERB struct node *global_norm(struct graph *g, int n, struct node *const *grads)
{
    return graph_emit_n(g, &op_global_norm, NULL, n, grads);
}

static int global_norm_infer(struct node *n, struct err *e)
{
    (void)e;
    int64_t count = 0;
    for (int i = 0; i < n->n_in; i++) count += shape_count(n->in[i]->shape);
    node_value(n, DTYPE_REAL, SHAPE(1));
    work_parts(n, blocks_of(count, SPAN));
    return 0;
}

static double squares(const real *x, int64_t n)
{
    double sum;
    ROW_SUM(sum, i, n, (double)x[i] * (double)x[i]);
    return sum;
}

/* The gradients as if they lay end to end; a block may begin in one and end in another. */
static void norm_block(const struct args *a, int64_t from, int64_t to)
{
    double sum = 0;
    for (int64_t i = 0, start = 0; i < a->n_in && start < to; i++) {
        int64_t count = shape_count(a->in[i].shape), at = from > start ? from - start : 0,
                end = to - start < count ? to - start : count;
        if (at < end) sum += squares(reals(&a->in[i]) + at, end - at);
        start += count;
    }
    parts(&a->work[0])[from / SPAN] = sum;
}

static void global_norm_forward(const struct args *a)
{
    int64_t count = 0;
    double sum = 0;
    for (int i = 0; i < a->n_in; i++) count += shape_count(a->in[i].shape);
    each(a, count, SPAN, norm_block);
    for (int64_t b = 0; b < blocks_of(count, SPAN); b++) sum += parts(&a->work[0])[b];
    reals(&a->out[0])[0] = (real)sqrt(sum);
}

KERNELS(global_norm) = { global_norm_forward, NULL, NULL };
OP(global_norm, .inputs = "grads..:REAL",
   .outputs = "norm:REAL[1]",
   .about = "L2 norm of all gradients as one vector, accumulated in double",
   .infer = global_norm_infer);

/* ---- clip_norm: a factor on gradients, and whether to go at all ---- */

struct clip_norm_attr { double most; };

VERB struct node *clip_norm(struct graph *g, struct node *norm, struct node *targets, double most)
{
    return graph_emit(g, &op_clip_norm, &most, norm, targets);
}

static int clip_norm_infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_REAL, SHAPE(2));
    return 0;
}

static void clip_norm_forward(const struct args *a)
{
    double most = *(const double *)a->attr, norm = (double)reals(&a->in[0])[0];
    bool go = isfinite(norm) && (!a->in[1].data || reals(&a->in[1])[0] > 0);
    reals(&a->out[0])[0] = go && most > 0 ? (real)fmin(1, most / (norm + 1e-6)) : 1;
    reals(&a->out[0])[1] = go;
}

KERNELS(clip_norm) = { clip_norm_forward, NULL, NULL };

ATTRIBUTES(clip_norm, struct clip_norm_attr,
    REAL(struct clip_norm_attr, most, 0, 0, HUGE_VAL, "", "the largest norm; 0: no clipping"));
OP(clip_norm, .inputs = "norm:REAL[1] targets?:REAL[1]",
   .outputs = "clip:REAL[2]",
   .about = "the factor on gradients, min(1, most / (norm + 1e-6)); and 1 if norm is finite and there are targets, "
          "else 0: the step is skipped, nothing changes",
   ATTR(clip_norm), .infer = clip_norm_infer);

/* ---- update_ratio: length of all changes over length of all weights, and their cosine; 0 for a skipped step ---- */

VERB struct node *update_ratio(struct graph *g, int n, struct node *const *changes)
{
    return graph_emit_n(g, &op_update_ratio, NULL, n, changes);
}

static int update_ratio_infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_REAL, SHAPE(1));
    node_output(n, DTYPE_REAL, SHAPE(1));
    return 0;
}

static void update_ratio_forward(const struct args *a)
{
    double changed = 0, before = 0, along = 0;
    for (int i = 0; i < a->n_in; i++) {
        const real *sum = reals(&a->in[i]);
        changed += (double)sum[0];
        before += (double)sum[1];
        along += (double)sum[2];
    }
    reals(&a->out[0])[0] = before > 0 ? (real)sqrt(changed / before) : 0;
    reals(&a->out[1])[0] = changed > 0 && before > 0 ? (real)(along / sqrt(changed * before)) : 0;
}

KERNELS(update_ratio) = { update_ratio_forward, NULL, NULL };
OP(update_ratio, .inputs = "changes..:REAL[3]",
   .outputs = "ratio:REAL[1] cosine:REAL[1]",
   .about = "of all changes as one vector: its norm over that of the weights before, and its cosine with them; 0 for a "
          "skipped step",
   .infer = update_ratio_infer);
