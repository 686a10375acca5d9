/* REINFORCE: the experts of a token are an action, and how well its next token is predicted is the reward. Of experts
   that were drawn in proportion to e^z (noise gumbel) a choice a becomes likelier where it was better than expected:
       -A log p(a),   A = R - V a constant,   R = -loss of the next token, at the same position
   K experts are drawn one after the other without replacement, and p is the product over them. V is w . u + c, learned
   for each layer by (V - R)^2 / 2, of which no gradient reaches u; or the mean R of the steps before. Neither changes
   the mean of the gradient, for V knows nothing of a. A block of multi-token prediction has its own loss as reward.
   Clark 2022 (RL-R), where top_k = 1 and gates are 1, normalize = "even": nothing else then trains the router. It needs
   something against choices that are sure too early, a reward for entropy and a balance loss beside it:
       balance = { "reinforce", { "entropy", token = -0.001, marginal = 0 }, "switch_aux" }
   Evaluations draw nothing and have no such loss. */
#include "model/module.h"

enum baseline { VALUE, MEAN };
struct conf { double weight; int baseline; double value; int standardize; double ema; };
static const struct param params[] = {
    REAL(struct conf, weight, 0.01, 0, 10, "", "weight of the loss: the mean over tokens, summed over layers"),
    CHOICE(struct conf, baseline, VALUE, "value mean", "V: learned of the token; the mean reward of the steps before"),
    REAL(struct conf, value, 0.01, 0, 10, "", "weight of the loss of a learned V"),
    BOOL(struct conf, standardize, false, "A is divided by its root mean square in the steps before"),
    REAL(struct conf, ema, 0.9, 0, 0.9999, "", "what a step keeps of the means of those before"),
    { 0 }
};

struct state { const struct conf *conf; struct node *input, *log_p; };

/* z of the experts that are left when the first n of the K were drawn; of the others very low. [T,E] */
static struct node *left_after(struct build *b, const struct routing *r, int n)
{
    struct graph *g = b->graph;
    struct node *first = build_ones(b, SHAPE(b->tokens, n)), *rest = build_ones(b, SHAPE(b->tokens, r->k - n)),
                *row = concat(g, 2, (struct node *[]){ first, scale(g, rest, 0) }),             /* [T,K] */
                *gone = scatter(g, row, r->chosen, r->experts);                                 /* [T,E] */
    return add(g, r->noisy.drawn, scale(g, gone, -1e30));
}

/* [T] */
static struct node *log_probability(struct build *b, const struct routing *r)
{
    struct graph *g = b->graph;
    struct node *z = r->noisy.drawn, *sum = view(g, build_row_sum(b, pick(g, z, r->chosen)), SHAPE(b->tokens));
    for (int n = 0; n < r->k; n++) sum = subtract(g, sum, logsumexp(g, n ? left_after(b, r, n) : z));
    return sum;
}

/* ---- means of the steps before ---- */

struct mean { const char *path; struct node *sum, *tokens; double first, ema; };

static struct node *held(struct build *b, const struct mean *m)
{
    return graph_buffer(b->graph, m->path, DTYPE_REAL, SHAPE(1), m->first);
}

/* Where no token counts, a block's mean stays: 1e-6 of a token has the old one. */
static void update(struct build *b, void *state, struct update u)
{
    const struct mean *m = state;
    struct graph *g = b->graph;
    struct node *old = held(b, m), *sum = add(g, m->sum, scale(g, old, 1e-6)), *all = offset(g, m->tokens, 1e-6);
    average(g, old, divide(g, sum, all), u.clip, build_constant(b, 1 - m->ema));
}

/* Of x [T] over the tokens that count, REAL [1]; `first` in the first step. */
static struct node *mean_before(struct build *b, const char *name, struct node *x, int ahead, double first, double ema)
{
    struct graph *g = b->graph;
    struct node *counts = build_token_weights(b, ahead);
    struct mean m = { arena_text(b->arena, "%s.router.%s", b->path, name),
                      carry(g, weighted_sum(g, x, counts), CARRY_SUM),
                      carry(g, weighted_sum(g, counts, NULL), CARRY_SUM), first, ema };
    build_update(b, update, arena_copy(b->arena, &m, sizeof m));
    return held(b, &m);
}

/* ---- */

/* V [T]: at first the reward of who knows nothing. */
static struct node *expected(struct build *b, const struct state *s, struct node *reward, int ahead)
{
    const struct conf *c = s->conf;
    struct graph *g = b->graph;
    double nothing = -log((double)b->vocab);
    struct shape each = SHAPE(b->tokens);
    if (c->baseline == MEAN)
        return view(g, repeat(g, mean_before(b, "reward", reward, ahead, nothing, c->ema), b->tokens), each);
    struct node *w = build_reads(build_weight(b, "router.value.weight", ROLE_SCALAR, SHAPE(1, b->width),
                                             init_constant(0)), READS_STREAM),
                *mean = build_weight(b, "router.value.offset", ROLE_SCALAR, SHAPE(1), init_constant(nothing)),
                *v = add_row(g, matmul(g, detach(g, s->input), w, DTYPE_REAL), mean);           /* [T,1] */
    return view(g, v, each);
}

static void finish(struct build *b, void *state)
{
    const struct state *s = state;
    const struct conf *c = s->conf;
    struct graph *g = b->graph;
    int ahead = b->layer < b->layers ? 0 : b->layer - b->layers + 1;
    struct node *loss = build_kept(b, ahead ? b->layer : -1, "head.loss"),
                *reward = scale(g, detach(g, loss), -1), *v = expected(b, s, reward, ahead),
                *over = subtract(g, reward, detach(g, v)), *squared = square(g, over);          /* [T] */
    build_token_metric(b, "router_advantage2", squared, ahead, "", BETTER_LOWER,
                       "mean squared difference of the reward of a choice to what was expected");
    if (c->standardize) {
        struct node *before = mean_before(b, "advantage2", squared, ahead, 1, c->ema);
        over = mul_scalar(g, over, reciprocal(g, root(g, offset(g, before, 1e-12))));
    }
    if (c->baseline == VALUE)
        build_token_loss(b, "value", scale(g, square(g, subtract(g, v, reward)), 0.5), ahead, c->value);
    build_token_loss(b, "reinforce", scale(g, mul(g, over, s->log_p), -1), ahead, c->weight);
}

static void build(struct build *b, struct pick self, const struct routing *r)
{
    if (b->mode != MODE_TRAIN) return;
    struct state s = { self.conf, r->input, log_probability(b, r) };
    build_finish(b, finish, arena_copy(b->arena, &s, sizeof s));
}

static void traits(struct pick self, struct traits *t)
{
    (void)self;
    t->asks_draws = t->trains = t->rewards = t->of_scores = true;
}

const struct module balance_reinforce = {
    .slot = SLOT_BALANCE, .name = "reinforce", .about = "what was drawn and predicts well becomes likelier (RL-R)",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .balance = build,
};
