/* What mixers in linear time are made of: short convolutions, a memory of fixed size in place of a cache, each with
   the ring that decoding keeps of it, and the norm of what is read from it. */
#include "module.h"

#include <math.h>

enum { CHUNK = 64 };                                        /* tokens that are products of matrices together */

/* Taps begin as torch's: even within 1 / sqrt(taps). */
struct node *build_conv(struct build *b, const char *name, struct node *x, struct node *start, int taps, bool bias)
{
    struct graph *g = b->graph;
    int64_t width = shape_last(x->shape);
    double edge = 1 / sqrt(taps);
    build_enter(b, "%s", name);
    struct node *w = build_weight(b, "conv", ROLE_TAPS, SHAPE(width, taps), init_uniform(-edge, edge));
    struct node *state = build_state(b, "conv", SHAPE(width), taps > 1 ? taps - 1 : 1);
    struct node *y = conv1d(g, x, w, start, b->pos, state, 1, !bias);
    if (bias) y = silu(g, add_row(g, y, build_bias(b, "conv", SHAPE(width))));
    build_leave(b);
    return y;
}

/* REAL [T,HV]: of decays by channels [T,HV,N] the mean of a head's. */
static struct node *of_heads(struct build *b, struct node *decay)
{
    struct shape s = decay->shape;
    if (s.rank == 2) return decay;
    struct node *sum = build_row_sum(b, view(b->graph, decay, SHAPE(s.dim[0] * s.dim[1], s.dim[2])));
    return scale(b->graph, view(b->graph, sum, SHAPE(s.dim[0], s.dim[1])), 1 / (double)s.dim[2]);
}

struct node *build_memory(struct build *b, struct delta_rule rule)
{
    struct graph *g = b->graph;
    int64_t heads = rule.v->shape.dim[1], size = shape_last(rule.k->shape) * shape_last(rule.v->shape);
    rule.pos = b->pos;
    rule.chunk = CHUNK;
    rule.state = build_state(b, "delta", SHAPE(heads, size), 1);
    struct node *decay = of_heads(b, exp_of(g, rule.g));
    build_row_metric(b, "head_decay_mean", mean_rows(g, build_present(b, decay, 0)), "", BETTER_NONE,
                     "mean share of each memory that a token keeps");    /* [HV] */
    build_row_metric(b, "head_beta_mean", mean_rows(g, build_present(b, rule.beta, 0)), "", BETTER_NONE,
                     "mean strength with which a token writes into each memory");
    return delta_rule(g, rule);
}

struct node *build_head_norm(struct build *b, struct node *heads)
{
    build_enter(b, "head_norm");
    struct node *gain = build_weight(b, "gain", ROLE_GAIN, SHAPE(shape_last(heads->shape)), init_constant(1));
    build_leave(b);
    return rmsnorm(b->graph, heads, gain, 1e-6, false);
}

struct node *build_for_channels(struct build *b, struct node *x, int64_t width)
{
    return view(b->graph, repeat(b->graph, x, width), SHAPE(shape_count(x->shape) * width));
}

/* Even between where softplus takes these values, which makes the step log-uniform but for 5 % of its density. */
struct init build_step_init(void) { return init_uniform(log(expm1(0.001)), log(expm1(0.1))); }
