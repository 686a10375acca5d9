/* Quantile balancing: choice goes by z - beta, z the logits and beta a price of each expert, set so that it is chosen
   K T / E times. With alpha the (K+1)-th largest z - beta of a token,
       beta_i <- ema beta_i + (1 - ema) * the (K T / E + 1)-th largest z_i - alpha over tokens
   less the mean of all prices, once a step: quantiles are of micro-batches, and their mean is taken. A dual step of the
   assignment; Megatron-LM. Gates are unbiased scores; in evaluation prices stand still. */
#include "model/module.h"

#include <math.h>

struct conf { double ema; };
static const struct param params[] = {
    REAL(struct conf, ema, 0, 0, 0.9999, "", "what a step keeps of the prices"),
    { 0 }
};

struct state { const struct conf *conf; struct node *sum, *pieces; const char *path; int64_t experts; };

static struct node *priced(struct build *b, struct pick self, const struct routing *r)
{
    (void)self;
    struct graph *g = b->graph;
    struct node *price = build_buffer(b, "router.price", DTYPE_REAL, SHAPE(r->experts), 0);     /* [E] */
    build_metric(b, "router_price", price, "", BETTER_NONE, "price that the logits of each expert were lowered by");
    return add_row(g, r->noisy.choice, scale(g, price, -1));
}

static void update(struct build *b, void *state, struct update u)
{
    const struct state *s = state;
    struct graph *g = b->graph;
    struct node *price = graph_buffer(g, s->path, DTYPE_REAL, SHAPE(s->experts), 0),
                *mean = view(g, mul_scalar(g, s->sum, reciprocal(g, s->pieces)), SHAPE(s->experts, 1)),
                *centred = add_row(g, mean, scale(g, mean_rows(g, mean), -1));
    average(g, price, view(g, centred, SHAPE(s->experts)), u.clip, build_constant(b, 1 - s->conf->ema));
}

/* The same quantile, of the tokens that are there: the least of the K T / E + 1 largest values of each column. */
static struct node *price_of_present(struct build *b, const struct routing *r, struct node *over)
{
    struct graph *g = b->graph;
    int64_t tokens = b->tokens, experts = r->experts;
    struct node *there = weighted_sum(g, build_present(b, build_ones(b, SHAPE(tokens)), 0), NULL),
                *chosen = round_counts(g, scale(g, there, r->k), experts, ROUND_DOWN),              /* E times, [1] */
                *room = offset(g, scale(g, chosen, 1 / (double)experts), 1.5),                  /* is cut */
                *all = topk_columns(g, build_present(b, over, -INFINITY), 1, tokens),
                *kept = drop_over_capacity(g, all, over, room, r->experts, 1, tokens, PRIORITY_GATE),
                *rest = offset(g, scatter(g, build_ones(b, over->shape), kept, r->experts), -1),    /* kept: 0 */
                *below = add(g, scale(g, rest, 1e30), scale(g, over, -1));
    return scale(g, graph_result(g, topk_columns(g, below, 1, 1), 1), -1);
}

static void build(struct build *b, struct pick self, const struct routing *r)
{
    struct graph *g = b->graph;
    if (b->mode != MODE_TRAIN) return;
    struct node *key = detach(g, r->key), *best = pick(g, key, topk(g, key, r->k + 1)),         /* [T,K+1] */
                *alpha = view(g, columns(g, best, r->k, 1), SHAPE(b->tokens)),
                *over = subtract(g, detach(g, r->noisy.choice), repeat(g, alpha, r->experts)),  /* [T,E] */
                *price = b->present                                                             /* [E] */
                       ? price_of_present(b, r, over)
                       : graph_result(g, topk_columns(g, over, 1, b->tokens * r->k / r->experts + 1), 1);
    struct state *s = arena_alloc(b->arena, sizeof *s);
    *s = (struct state){ self.conf, carry(g, price, CARRY_SUM), carry(g, build_constant(b, 1), CARRY_SUM),
                         arena_text(b->arena, "%s.router.price", b->path), r->experts };
    build_update(b, update, s);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->alone = true; }

const struct module balance_quantile = {
    .slot = SLOT_BALANCE, .name = "quantile", .about = "a price on each expert, from quantiles of a step",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .balance_key = priced, .balance = build,
};
