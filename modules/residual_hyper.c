/* Hyper-connections: n streams X, of which a sublayer reads a mixture, and to which it writes.
       u = read X,  X' = mix X + write f(norm(u));   read [1,n], mix [n,n], write [n,1]
   What `embed` gives begins every stream; the head gets their sum. At first a layer reads one stream and writes to all,
   which is PreNorm. Dynamic: each stream of a token adds scale * tanh(norm(X_j) W) to what it is multiplied by, and to
   how it is written to. W begins at 0. Zhu 2024 (arXiv 2409.19606). */
#include "model/module.h"

enum { MOST = 8 };
struct conf { int streams, dynamic; };
static const struct param params[] = {
    INT(struct conf, streams, 4, 1, MOST, "", "residual streams"),
    BOOL(struct conf, dynamic, true, "tokens have a say in how streams are read, mixed and written to"),
    { 0 }
};

static struct node *constant(struct build *b, const char *name, enum role role, struct shape shape, double value)
{
    return build_weight(b, name, role, shape, init_constant(value));
}

static struct node *diagonal(struct build *b, const char *name, struct shape shape, int first)
{
    struct init ones = { .kind = INIT_DIAGONAL, .value = 1, .first = first };
    return build_weight(b, name, ROLE_SCALAR, shape, ones);
}

/* What tokens say of streams: tanh(norm(X) W), as rows read, mix and write of n columns. */
static struct node *said(struct build *b, struct node *x, int64_t n)
{
    struct graph *g = b->graph;
    struct node *w = constant(b, "weight", ROLE_STREAM, SHAPE(n + 2, b->width), 0), *row[MOST + 2],
                *normed = view(g, rmsnorm(g, x, NULL, 1e-6, false), SHAPE(b->tokens * n, b->width)),
                *by_stream = tanh_of(g, matmul(g, normed, w, DTYPE_REAL));                      /* [T*n,n+2] */
    for (int64_t i = 0; i < n + 2; i++) row[i] = view(g, columns(g, by_stream, i, 1), SHAPE(b->tokens, n));
    return concat(g, (int)n + 2, row);                                                          /* [T,(n+2)*n] */
}

/* all + scale * said[from ..], for each token. */
static struct node *of_token(struct build *b, struct node *all, struct node *said, int64_t from, struct node *scale)
{
    struct graph *g = b->graph;
    int64_t n = shape_count(all->shape);
    struct node *more = mul_scalar(g, columns(g, said, from, n), scale);
    return view(g, add_row(g, more, view(g, all, SHAPE(n))), SHAPE(b->tokens, all->shape.dim[0], all->shape.dim[1]));
}

static void build(struct build *b, struct pick self, struct stream *s, struct sublayer f)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    int64_t n = c->streams, tokens = b->tokens;
    build_enter(b, "streams");
    struct node *x = s->x, *read = diagonal(b, "read", SHAPE(1, n), b->layer % c->streams),     /* x: [T,n,D] */
                *mix = diagonal(b, "mix", SHAPE(n, n), 0), *write = constant(b, "write", ROLE_SCALAR, SHAPE(n, 1), 1);
    if (c->dynamic) {
        struct node *more = said(b, x, n), *alpha = constant(b, "alpha", ROLE_SCALAR, SHAPE(1), 0.01),
                    *beta = constant(b, "beta", ROLE_SCALAR, SHAPE(1), 0.01);
        read = of_token(b, read, more, 0, alpha);                                               /* [T,1,n] */
        mix = of_token(b, mix, more, n, alpha);                                                 /* [T,n,n] */
        write = of_token(b, write, more, n + n * n, beta);                                      /* [T,n,1] */
    }
    build_leave(b);
    struct node *u = view(g, mix_streams(g, x, read), SHAPE(tokens, b->width)),
                *y = f.build(b, f.context, build_norm(b, "norm", u));
    s->x = add(g, mix_streams(g, x, mix), mix_streams(g, view(g, y, SHAPE(tokens, 1, b->width)), write));
}

static void open(struct build *b, struct pick self, struct stream *s)
{
    s->x = repeat(b->graph, s->x, ((const struct conf *)self.conf)->streams);
}

static struct node *close(struct build *b, struct pick self, const struct stream *s)
{
    struct graph *g = b->graph;
    int64_t n = ((const struct conf *)self.conf)->streams, d = b->width;
    struct node *all = view(g, s->x, SHAPE(b->tokens, n * d)), *sum = columns(g, all, 0, d);
    for (int64_t i = 1; i < n; i++) sum = add(g, sum, columns(g, all, i * d, d));
    return sum;
}

static void traits(struct pick self, struct traits *t) { t->streams = ((const struct conf *)self.conf)->streams; }

const struct module residual_hyper = {
    .slot = SLOT_RESIDUAL, .name = "hyper", .about = "hyper-connections: several streams, learnt mixtures",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .residual = build, .open = open,
    .close = close,
};
