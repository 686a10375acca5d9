/* Adaptive L1: scores that may be 0 (relu) become 0, for as many experts as it takes:
       lambda * mean over layers and tokens of sum over e of f_e R_e,   f_e = E n_e / (K T)
   n_e tokens have a score R_e above 0; f is that of the step before, so that gradients do not depend on how the batch
   is cut, or 1. After a step lambda goes by a factor alpha: up where a token has more than K scores above 0, in the
   mean of all layers, down where it has fewer; it stays within 1e-10 and 1e2, for where it can do nothing it would go
   on for ever. Layers with the same settings have one lambda. Evaluations have no such loss. Wang 2024 (ReMoE), with
   `most` of select top_k above top_k. At first half of the experts have a score, or with the router's `bias` fewer. */
#include "model/module.h"

#include <stdio.h>

struct conf { double start, alpha; int balance; };
static const struct param params[] = {
    REAL(struct conf, start, 1e-8, 1e-10, 100, "", "lambda at first"),
    REAL(struct conf, alpha, 1.2, 1, 10, "", "factor by which a step moves it; 1: it stays"),
    BOOL(struct conf, balance, true, "what has many tokens costs more: f of loads, not 1"),
    { 0 }
};

/* What layers with the same settings make. used: experts above 0, of all tokens; wanted: how many are aimed at. */
struct together { const struct conf *conf; int layers; const char *path; struct node *loss, *used, *wanted, *lambda; };

static struct node *log_lambda(struct build *b, const struct together *t)
{
    return graph_buffer(b->graph, t->path, DTYPE_REAL, SHAPE(1), log(t->conf->start));
}

/* The op goes up where counts are below the target, and lambda where they are above it: both have the other sign. */
static void move(struct build *b, void *state, struct update u)
{
    const struct together *t = state;
    struct graph *g = b->graph;
    bias_step(g, log_lambda(b, t), scale(g, t->used, -1), u.clip, scale(g, t->wanted, -1),
              (struct bias_step_attr){ log(t->conf->alpha), log(1e-10), log(1e2), BIAS_SIGN, false });
}

static void finish(struct build *b, void *state)
{
    struct together *t = state;
    struct graph *g = b->graph;
    build_whole_loss(b, "l1", mul_scalar(g, scale(g, t->loss, 1.0 / t->layers), t->lambda), 1);
    t->used = carry(g, t->used, CARRY_SUM);
    t->wanted = carry(g, t->wanted, CARRY_SUM);
    build_update(b, move, t);
}

static struct together *together(struct build *b, const struct conf *c)
{
    char name[96];
    snprintf(name, sizeof name, "l1.%.17g.%.17g.%d", c->start, c->alpha, c->balance);
    struct together *t = build_common(b, name, sizeof *t);
    if (t->conf) return t;
    *t = (struct together){ .conf = c, .path = arena_text(b->arena, "%s.router.lambda", b->path) };
    t->lambda = exp_of(b->graph, log_lambda(b, t));
    build_finish(b, finish, t);
    return t;
}

/* ---- f ---- */

struct state { struct node *sum, *pieces; const char *path; int64_t experts; double factor; };

static struct node *active(struct build *b, const struct state *s)
{
    return graph_buffer(b->graph, s->path, DTYPE_REAL, SHAPE(s->experts), 1);
}

static void update(struct build *b, void *state, struct update u)
{
    const struct state *s = state;
    struct graph *g = b->graph;
    struct node *mean = mul_scalar(g, s->sum, reciprocal(g, s->pieces));
    average(g, active(b, s), scale(g, mean, s->factor), u.clip, build_constant(b, 1));
}

/* [E] of the step before; share: of this micro-batch's tokens, those that have a score above 0. */
static struct node *load_before(struct build *b, const struct routing *r, struct node *share)
{
    struct state s = { carry(b->graph, share, CARRY_SUM), carry(b->graph, build_constant(b, 1), CARRY_SUM),
                       arena_text(b->arena, "%s.router.active", b->path), r->experts, (double)r->experts / r->k };
    build_update(b, update, arena_copy(b->arena, &s, sizeof s));
    return active(b, &s);
}

static struct node *plus(struct graph *g, struct node *sum, struct node *x) { return sum ? add(g, sum, x) : x; }

static void build(struct build *b, struct pick self, const struct routing *r)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    if (b->mode != MODE_TRAIN) return;
    struct together *t = together(b, c);
    struct node *above = build_above(b, detach(g, r->score)),                              /* [T,E]: 1 or 0 */
                *mean = build_present_mean(b, r->score),                                                 /* [E] */
                *loss = c->balance ? dot(g, load_before(b, r, build_present_mean(b, above)), mean)
                                   : weighted_sum(g, mean, NULL);
    t->loss = plus(g, t->loss, loss);
    t->used = plus(g, t->used, weighted_sum(g, build_present(b, above, 0), NULL));
    t->wanted = plus(g, t->wanted, b->present
                     ? scale(g, weighted_sum(g, build_present(b, build_ones(b, SHAPE(b->tokens)), 0), NULL), r->k)
                     : build_constant(b, (double)r->k * (double)b->tokens));
    t->layers++;
    build_metric(b, "router_lambda", t->lambda, "", BETTER_NONE, "weight of the L1 loss of the step");
}

static void traits(struct pick self, struct traits *t)
{
    (void)self;
    t->asks_zeros = t->trains = t->of_scores = true;
}

const struct module balance_l1 = {
    .slot = SLOT_BALANCE, .name = "l1", .about = "loss on scores that adapts to how many are 0 (ReMoE)",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .balance = build,
};
