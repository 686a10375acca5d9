/* Attention residuals: a sublayer reads a mixture of what was written before it, and not the sum,
       x = sum over j of p_j v_j,   p = softmax over j of w . (gain * v_j / rms(v_j))
   with w and gain of its own; so does the head. v_0 is what `embed` gave, v_i what sublayer i wrote. block: v are sums
   of so many sublayers, and of those since the last such. At first the mean: w begins at 0. All v stay in memory while
   training, and each sublayer reads them: of deep models blocks. Kimi 2026 (arXiv 2603.15031). */
#include "model/module.h"

struct conf { int block; double eps; };
static const struct param params[] = {
    INT(struct conf, block, 1, 1, 2048, "sublayer", "sublayers whose sum is one source; 1: each is"),
    REAL(struct conf, eps, 1e-6, 1e-12, 1e-2, "", "added to the mean square"),
    { 0 }
};

/* What is read of sources, [T,D]. */
static struct node *mixed(struct build *b, const struct conf *c, int64_t n, struct node *const *source)
{
    struct graph *g = b->graph;
    int64_t d = b->width;
    if (n == 1) return source[0];
    build_enter(b, "depth");
    struct node *gain = build_weight(b, "gain", ROLE_GAIN, SHAPE(d), init_constant(1)),
                *w = build_weight(b, "weight", ROLE_STREAM, SHAPE(1, d), init_constant(0));
    build_leave(b);
    struct node *all = concat(g, (int)n, source),                                               /* [T,n*D] */
                *rows = rmsnorm(g, view(g, all, SHAPE(b->tokens * n, d)), gain, c->eps, false),
                *p = softmax(g, view(g, matmul(g, rows, w, DTYPE_REAL), SHAPE(b->tokens, n)));
    return view(g, mix_streams(g, view(g, all, SHAPE(b->tokens, n, d)), view(g, p, SHAPE(b->tokens, 1, n))),
                SHAPE(b->tokens, d));
}

/* Finished sums are kept; the stream is the sum since the last. */
static void build(struct build *b, struct pick self, struct stream *s, struct sublayer f)
{
    const struct conf *c = self.conf;
    struct stream all = *s;
    stream_keep(b, &all, s->x);
    struct node *u = mixed(b, c, all.n_kept, all.kept), *y = f.build(b, f.context, build_norm(b, "norm", u));
    bool ends = s->sublayers % c->block == 0;
    if (ends) *s = all;
    s->x = ends ? y : add(b->graph, s->x, y);
}

static struct node *close(struct build *b, struct pick self, const struct stream *s)
{
    struct stream all = *s;
    stream_keep(b, &all, s->x);
    return mixed(b, self.conf, all.n_kept, all.kept);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->branch_bounded = t->reads_past = true; }

const struct module residual_attn_res = {
    .slot = SLOT_RESIDUAL, .name = "attn_res", .about = "attention residuals: a mixture of what sublayers wrote",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .residual = build, .close = close,
};
