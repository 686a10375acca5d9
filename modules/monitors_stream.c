/* What layers do to the residual stream, in evaluations:
       layer_stream_similarity      mean cosine of a token before and after the layer; 1: it changes nothing
       layer_stream_kurtosis        mean x^4 / (mean x^2)^2; 3 where values are normal, large where few outliers rule
       layer_stream_max             largest |x|
       layer_stream_rank            (sum of eigenvalues)^2 / sum of their squares, of the covariance of `tokens` tokens:
                                    how many directions they differ in, at most that many and the stream's width
   Streams of a token count as one vector. A micro-batch counts by its tokens that are there. */
#include "model/module.h"

#define TINY 1e-30    /* for what no row is there for: 0 / 0 is 0 */

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
    return divide(g, square(g, trace), offset(g, dot(g, gram, gram), TINY));
}

/* The first n rows. */
static struct node *first(struct build *b, struct node *x, int64_t n)
{
    int64_t width = shape_last(x->shape);
    return view(b->graph, slice(b->graph, view(b->graph, x, SHAPE(1, b->tokens, width)), n), SHAPE(n, width));
}

/* Of the first n rows those that are there, without their mean; the others are 0. there: rows of ones, or 0. */
static struct node *centred(struct build *b, struct node *x, struct node *there, int64_t n)
{
    struct graph *g = b->graph;
    struct node *some = mean_rows(g, first(b, there, n)), *sum = mean_rows(g, first(b, build_present(b, x, 0), n)),
                *mean = mul_scalar(g, sum, reciprocal(g, offset(g, some, TINY)));
    return first(b, build_present(b, add_row(g, x, scale(g, mean, -1)), 0), n);
}

/* Of rows of which `share` are there, the others 0: both moments are means over these. */
static struct node *kurtosis(struct build *b, struct node *x, struct node *share)
{
    struct graph *g = b->graph;
    struct node *second = offset(g, square(g, rms(g, x)), TINY), *fourth = rms(g, square(g, x));
    return mul(g, share, square(g, divide(g, fourth, second)));
}

static void layer(struct build *b, struct pick self, struct node *before, struct node *after)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *x = as_rows(b, after), *y = as_rows(b, before);
    int64_t n = b->tokens < c->tokens ? b->tokens : c->tokens;
    struct node *seen = build_present(b, x, 0), *there = build_present(b, build_ones(b, SHAPE(b->tokens, 1)), 0),
                *share = mean_rows(g, there);
    build_row_metric(b, "layer_stream_similarity", mean_rows(g, build_present(b, cosine(b, x, y), 0)), "", BETTER_NONE,
                     "mean cosine of a token's stream before and after the layer");
    build_row_metric(b, "layer_stream_kurtosis", mul(g, share, kurtosis(b, seen, share)), "", BETTER_NONE,
                     "fourth moment of the stream's values over the square of their second");
    build_metric_as(b, "layer_stream_max", root(g, max_all(g, square(g, seen))), "", CARRY_MAX, BETTER_NONE,
                    "largest value of the stream, without its sign");
    build_row_metric(b, "layer_stream_rank", mul(g, share, rank_of(b, centred(b, x, there, n))), "", BETTER_NONE,
                     "participation ratio of the eigenvalues of the tokens' covariance");
}

const struct module monitors_stream = {
    .slot = SLOT_MONITORS, .name = "stream", .about = "similarity, outliers and rank of the residual stream",
    .conf_size = sizeof(struct conf), .params = params, .watch_layer = layer,
};
