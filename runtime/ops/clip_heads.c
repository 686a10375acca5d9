/* QK-clip: after a step the rows of queries and of keys whose largest score was above the limit are made smaller, so
   that on the same batch it would be the limit. Heads that share a key head are one group of rows, and their
   largest score is the group's:
       rows of group g *= min(1, limit / max most[g])^power
   Queries get one power, keys what it lacks to 1. Kimi K2 (MuonClip, arXiv 2507.20534). */
#define VERBS "graph/ops/update.h"
#include "op.h"
#include <math.h>

enum { W, MOST, CLIP };

VERB struct node *clip_heads(struct graph *g, struct node *w, struct node *most, struct node *clip,
                             struct clip_heads_attr a)
{
    return graph_emit(g, &op_clip_heads, &a, w, most, clip);
}

static int infer(struct node *n, struct err *e)
{
    const struct clip_heads_attr *at = n->attr;
    int64_t rows = n->in[W]->shape.dim[0], heads = n->in[MOST]->shape.dim[0];
    if (rows % at->groups || heads % at->groups)
        return err_set(e, "%lld groups do not divide %lld rows and %lld heads", (long long)at->groups, (long long)rows,
                       (long long)heads);
    node_value(n, DTYPE_REAL, SHAPE(1));
    return 0;
}

static real largest(const struct args *a, int64_t group)
{
    const struct clip_heads_attr *at = a->attr;
    int64_t heads = a->in[MOST].shape.dim[0] / at->groups;
    const real *most = reals(&a->in[MOST]) + group * heads;
    real all = most[0];
    for (int64_t h = 1; h < heads; h++) all = most[h] > all ? most[h] : all;
    return all;
}

static void scale_groups(const struct args *a, int64_t from, int64_t to)
{
    const struct clip_heads_attr *at = a->attr;
    int64_t count = shape_count(a->in[W].shape) / at->groups;
    for (int64_t group = from; group < to; group++) {
        real most = largest(a, group);
        if (!(most > (real)at->limit)) continue;
        real by = (real)pow(at->limit / (double)most, at->power), *w = reals(&a->in[W]) + group * count;
        for (int64_t i = 0; i < count; i++) w[i] *= by;
    }
}

static void forward(const struct args *a)
{
    const struct clip_heads_attr *at = a->attr;
    int64_t clipped = 0;
    reals(&a->out[0])[0] = 0;
    if (reals(&a->in[CLIP])[1] == 0) return;
    for (int64_t group = 0; group < at->groups; group++) clipped += largest(a, group) > (real)at->limit;
    if (clipped) each(a, at->groups, 1, scale_groups);
    reals(&a->out[0])[0] = (real)((double)clipped / (double)at->groups);
}

KERNELS(clip_heads) = { forward, NULL, NULL };

ATTRIBUTES(clip_heads, struct clip_heads_attr,
    REAL(struct clip_heads_attr, limit, NEEDED, ABOVE_0, HUGE_VAL, "", "of logits"),
    REAL(struct clip_heads_attr, power, NEEDED, 0, 1, "", "this weight's share of the factor"),
    INT(struct clip_heads_attr, groups, NEEDED, 1, INT32_MAX, "", "of rows, in the order of heads"));
OP(clip_heads, .inputs = "w*:REAL[N,D] most:REAL[H] clip:REAL[2]",
   .outputs = "clipped:REAL[1]",
   .about = "rows of groups of heads times min(1, limit / the largest logit of their heads)^power; the share of "
          "groups that were made smaller. most: logit_max of attention",
   ATTR(clip_heads), .infer = infer);
