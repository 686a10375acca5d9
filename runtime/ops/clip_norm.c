/* What stands around the updates of weights: the norm of all gradients, clipping by it, and how large the changes are.
   Sums are in double over blocks that the shapes cut. */
#define VERBS "graph/ops/update.h"
#include "op.h"
#include "cpu/vec_math.h"

enum { SPAN = 65536 };                                      /* values of a block */

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
    node_work(n, DTYPE_U8, SHAPE(blocks_of(count, SPAN) * (int64_t)sizeof(double)));
    return 0;
}

static double squares(const real *x, int64_t n)
{
    double sum;
    ROW_SUM(sum, i, n, (double)x[i] * (double)x[i]);
    return sum;
}

/* The gradients as if they lay end to end; a block may begin in one and end in another. Those that lie on another rank
   of a pipeline count there. */
static void norm_block(const struct args *a, int64_t from, int64_t to)
{
    double sum = 0;
    for (int64_t i = 0, start = 0; i < a->n_in && start < to; i++) {
        int64_t count = shape_count(a->in[i].shape), at = from > start ? from - start : 0,
                end = to - start < count ? to - start : count;
        if (at < end && a->in[i].data) sum += squares(reals(&a->in[i]) + at, end - at);
        start += count;
    }
    ((double *)a->work[0].data)[from / SPAN] = sum;
}

static void global_norm_forward(const struct args *a)
{
    int64_t count = 0;
    double sum = 0;
    for (int i = 0; i < a->n_in; i++) count += shape_count(a->in[i].shape);
    each(a, count, SPAN, norm_block);
    for (int64_t b = 0; b < blocks_of(count, SPAN); b++) sum += ((const double *)a->work[0].data)[b];
    reals(&a->out[0])[0] = (real)sqrt(sum);
}

KERNELS(global_norm) = { global_norm_forward, NULL, NULL };
OP(global_norm, .inputs = "grads..:REAL",
   .outputs = "norm:REAL[1]",
   .about = "L2 norm of all gradients as one vector, accumulated in double",
   .infer = global_norm_infer);

/* ---- clip_norm: a factor on gradients, and whether to go at all ---- */

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
    double most = ((const struct clip_norm_attr *)a->attr)->most, norm = (double)reals(&a->in[0])[0];
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
