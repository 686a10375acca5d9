/* Manifold-constrained hyper-connections: n streams X, of which a sublayer reads a mixture, and to which it writes, by
   scores of all streams together.
       scores = scale * norm(vec X) W + offset, a part each for
       read = sigmoid + eps [1,n],  write = 2 sigmoid [n,1],  mix = sinkhorn [n,n]
       u = read X,  X' = mix X + write f(norm(u))
   Rows and columns of mix sum to 1, and so do those of a all of such: however deep, streams neither grow nor
   vanish by being mixed. What `embed` gives begins every stream; the head gets them read once more. At first all are
   read alike, written to with factor 1, and stay nearly as they are. Xie 2025; DeepSeek-V4. */
#include "model/module.h"
#include <math.h>

static const double eps = 1e-6;

struct conf { int streams, iterations; };
static const struct param params[] = {
    INT(struct conf, streams, 4, 1, 8, "", "residual streams"),
    INT(struct conf, iterations, 20, 0, 128, "", "Sinkhorn's, of rows and columns; 0: streams are not mixed"),
    { 0 }
};

/* W: all streams of a token to n scores, REAL [T,n]. */
static struct node *project(struct build *b, struct node *x, int64_t n)
{
    struct graph *g = b->graph;
    struct node *streams = view(g, x, SHAPE(b->tokens, shape_count(x->shape) / b->tokens));     /* [T,n*D] */
    return linear(b, "streams", ROLE_STREAM, rmsnorm(g, streams, NULL, eps, false), n);
}

/* The part of the scores that begins in column `from`. */
static struct node *scores(struct build *b, const char *part, struct node *all, int64_t from, struct shape shape,
                           struct init init)
{
    struct graph *g = b->graph;
    int64_t n = shape_count(shape);
    build_enter(b, "streams.%s", part);
    struct node *added = build_weight(b, "offset", ROLE_SCALAR, shape, init),
                *factor = build_weight(b, "scale", ROLE_SCALAR, SHAPE(1),
                                       init_constant(0.01));
    build_leave(b);
    return add_row(g, mul_scalar(g, columns(g, all, from, n), factor), view(g, added, SHAPE(n)));
}

/* Of x [T,n,D] a mixture, [T,D]: at first the mean. (One stream is read by half, which a norm takes away.) */
static struct node *read(struct build *b, struct node *x, struct node *all)
{
    struct graph *g = b->graph;
    int64_t n = x->shape.dim[1];
    struct init mean = init_constant(-log(n > 1 ? (double)n - 1 : 1));
    struct node *by = offset(g, sigmoid(g, scores(b, "read", all, 0, SHAPE(n), mean)), eps);        /* [T,n] */
    return view(g, mix_streams(g, x, view(g, by, SHAPE(b->tokens, 1, n))), SHAPE(b->tokens, b->width));
}

static struct node *mixed(struct build *b, struct node *x, struct node *all, int iterations)
{
    struct graph *g = b->graph;
    int64_t n = x->shape.dim[1];
    struct init near = { .kind = INIT_DIAGONAL, .value = 3 };
    struct node *by = view(g, scores(b, "mix", all, 2 * n, SHAPE(n, n), near), SHAPE(b->tokens, n, n));
    return mix_streams(g, x, sinkhorn(g, by, iterations, eps));
}

static void build(struct build *b, struct pick self, struct stream *s, struct sublayer f)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    int64_t n = c->streams;
    struct node *x = s->x, *all = project(b, x, c->iterations ? 2 * n + n * n : 2 * n),         /* x: [T,n,D] */
                *y = f.build(b, f.context, build_norm(b, "norm", read(b, x, all))),
                *by = scale(g, sigmoid(g, scores(b, "write", all, n, SHAPE(n), init_constant(0))), 2);
    y = mix_streams(g, view(g, y, SHAPE(b->tokens, 1, b->width)), view(g, by, SHAPE(b->tokens, n, 1)));
    s->x = add(g, c->iterations ? mixed(b, x, all, c->iterations) : x, y);
}

static void open(struct build *b, struct pick self, struct stream *s)
{
    s->x = repeat(b->graph, s->x, ((const struct conf *)self.conf)->streams);
}

static struct node *close(struct build *b, struct pick self, const struct stream *s)
{
    return read(b, s->x, project(b, s->x, ((const struct conf *)self.conf)->streams));
}

static void traits(struct pick self, struct traits *t) { t->streams = ((const struct conf *)self.conf)->streams; }

const struct module residual_mhc = {
    .slot = SLOT_RESIDUAL, .name = "mhc", .about = "hyper-connections whose mixing keeps the sum of the streams",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .residual = build, .open = open,
    .close = close,
};
