/* What layers do to the residual stream, in evaluations:
       layer_stream_similarity      mean cosine of a token before and after the layer; 1: it changes nothing
       layer_stream_kurtosis        mean x^4 / (mean x^2)^2; 3 where values are normal, large where few outliers rule
       layer_stream_max             largest |x|
       layer_stream_rank            (sum of eigenvalues)^2 / sum of their squares, of the covariance of `tokens` tokens:
                                    how many directions they differ in, at most that many and the stream's width
   Streams of a token count as one vector. */
#include "model/module.h"

struct conf { int tokens; };
static const struct param params[] = {
    INT(struct conf, tokens, 256, 2, 4096, "token", "of a micro-batch, the first, whose rank is taken"),
    { 0 }
};

static struct node *as_rows(struct build *b, struct node *x)
{
    return view(b->graph, x, SHAPE(b->tokens, shape_count(x->shape) / b->tokens));
}

/* REAL [T] */
static struct node *cosine(struct build *b, struct node *x, struct node *y)
{
    struct graph *g = b->graph;
    struct node *both = mul(g, l2norm(g, x, 1e-12), l2norm(g, y, 1e-12));                       /* [T,W] */
    return view(g, matmul(g, both, build_ones(b, SHAPE(1, shape_last(x->shape))), DTYPE_REAL), SHAPE(b->tokens));
}

/* The eigenvalues of X^T X are those of X X^T: their sum is that of its diagonal, that of their squares that of all its
   squares. REAL [1]; x: rows without their mean. */
static struct node *rank_of(struct build *b, struct node *x)
{
    struct graph *g = b->graph;
    struct node *gram = matmul(g, x, x, DTYPE_REAL), *trace = dot(g, x, x);                     /* [N,N], [1] */
    return divide(g, square(g, trace), offset(g, dot(g, gram, gram), 1e-30));
}

static void layer(struct build *b, struct pick self, struct node *before, struct node *after)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *x = as_rows(b, after), *y = as_rows(b, before);
    int64_t n = b->tokens < c->tokens ? b->tokens : c->tokens, width = shape_last(x->shape);
    struct node *some = view(g, slice(g, view(g, x, SHAPE(1, b->tokens, width)), n), SHAPE(n, width)),
                *centred = add_row(g, some, scale(g, mean_rows(g, some), -1));
    build_row_metric(b, "layer_stream_similarity", mean_rows(g, build_present(b, cosine(b, x, y), 0)), "", BETTER_NONE,
                     "mean cosine of a token's stream before and after the layer");
    build_metric(b, "layer_stream_kurtosis", square(g, divide(g, rms(g, square(g, x)), square(g, rms(g, x)))), "",
                 BETTER_NONE, "fourth moment of the stream's values over the square of their second");
    build_metric_as(b, "layer_stream_max", root(g, max_all(g, square(g, x))), "", CARRY_MAX, BETTER_NONE,
                    "largest value of the stream, without its sign");
    build_metric(b, "layer_stream_rank", rank_of(b, centred), "", BETTER_NONE,
                 "participation ratio of the eigenvalues of the tokens' covariance");
}

const struct module monitors_stream = {
    .slot = SLOT_MONITORS, .name = "stream", .about = "similarity, outliers and rank of the residual stream",
    .conf_size = sizeof(struct conf), .params = params, .watch_layer = layer,
};
