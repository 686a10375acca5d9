/* Loss-free balancing: a bias moves the selection key and nothing else; after each step
       bias_i += gamma * sign(mean n - n_i)         rule = "proportional": gamma * (mean n - n_i) / mean n
   with counts of the whole optimizer batch, before any are dropped, or their average over steps. Wang 2024
   (arXiv 2408.15664); DeepSeek-V3; WeLM. gamma is in units of the score: the default is for sigmoid. Centred
   (Moonlight), steps sum to 0; this moves no choice, for top-k ignores what all share, but biases do not drift. Late in
   a run biases may stay as they are (DeepSeek-V3: for the last 3 %). Beside idle experts, those that compute may have
   their share of a token's choices as target in place of the mean; idle ones have the rest together, and their biases
   move as one (LongCat 2025). */
#include "model/module.h"
#include <math.h>

enum form { ADD, MULTIPLY };
struct conf { double gamma; int rule, form, centred; double ema, clip, length, computed; };
static const struct param params[] = {
    REAL(struct conf, gamma, 0.001, 0, 1, "score", "step of the bias"),
    CHOICE(struct conf, rule, BIAS_SIGN, "sign proportional", "every step is gamma; or as large as what is lacking"),
    CHOICE(struct conf, form, ADD, "add multiply", "what a bias is to a key: a summand, or a factor, at first 1"),
    BOOL(struct conf, centred, false, "steps of all experts sum to 0"),
    REAL(struct conf, ema, 0, 0, 0.9999, "", "what a step keeps of the average of counts; 0: its own counts alone"),
    REAL(struct conf, clip, 0, 0, 100, "score", "how far a bias goes from where it began; 0: any"),
    REAL(struct conf, length, 1, 0, 1, "", "share of the run in which biases move"),
    OPTIONAL(struct conf, computed, 0, 256, "",
             "experts that compute that a token is to have in the mean, beside idle ones; 0: all experts are alike"),
    { 0 }
};

struct state { const struct conf *conf; struct node *counts; const char *path; int64_t experts, idle; int k; };

static double first_of(const struct conf *c) { return c->form == MULTIPLY ? 1 : 0; }

static struct node *biased(struct build *b, struct pick self, const struct routing *r)
{
    const struct conf *c = self.conf;
    struct node *bias = build_buffer(b, "router.bias", DTYPE_REAL, SHAPE(r->experts), first_of(c));       /* [E] */
    build_metric(b, "router_bias", bias, "", BETTER_NONE,
                 "balancing bias that the step's choice was made with, of each expert");
    return c->form == MULTIPLY ? mul_row(b->graph, r->key, bias) : add_row(b->graph, r->key, bias);
}

static struct node *buffer(struct build *b, const struct state *s, const char *name, double value)
{
    const char *path = arena_text(b->arena, "%s.router.%s", s->path, name);
    return graph_buffer(b->graph, path, DTYPE_REAL, SHAPE(s->experts), value);
}

/* One value for each expert that computes, one for all idle ones. [E] */
static struct node *two_kinds(struct build *b, const struct state *s, struct node *computed, struct node *idle)
{
    struct graph *g = b->graph;
    return view(g, concat(g, 2, (struct node *[]){ computed, repeat(g, idle, s->idle) }), SHAPE(s->experts));
}

/* Counts with the mean of idle experts for each of them, so that all are moved alike. */
static struct node *pooled(struct build *b, const struct state *s, struct node *counts)
{
    struct graph *g = b->graph;
    int64_t computing = s->experts - s->idle;
    struct node *row = view(g, counts, SHAPE(1, s->experts)),
                *idle = view(g, columns(g, row, computing, s->idle), SHAPE(s->idle));
    return two_kinds(b, s, columns(g, row, 0, computing), mean_rows(g, idle));
}

/* What each is to have of all there are. */
static struct node *target_of(struct build *b, const struct state *s, struct node *counts)
{
    struct graph *g = b->graph;
    double computing = (double)(s->experts - s->idle), share = s->conf->computed / s->k;
    struct node *each = repeat(g, build_constant(b, share / computing), s->experts - s->idle),
                *idle = build_constant(b, (1 - share) / (double)s->idle);
    return mul_scalar(g, two_kinds(b, s, each, idle), weighted_sum(g, counts, NULL));
}

/* 1 as long as biases move. */
static double moves(const void *length, double scale, int64_t step, int64_t steps)
{
    return (double)step < *(const double *)length * (double)steps ? scale : 0;
}

static void update(struct build *b, void *state, struct update u)
{
    const struct state *s = state;
    const struct conf *c = s->conf;
    struct graph *g = b->graph;
    struct node *bias = buffer(b, s, "bias", first_of(c)), *counts = s->counts, *target = NULL, *go = u.clip;
    if (c->ema > 0) {
        counts = buffer(b, s, "counts", 0);
        average(g, counts, s->counts, u.clip, build_constant(b, 1 - c->ema));
    }
    if (c->computed > 0) {
        target = target_of(b, s, counts);
        counts = pooled(b, s, counts);
    }
    if (c->length < 1)
        go = mul_scalar(g, go, graph_control(g, arena_text(b->arena, "bias.length.%.17g", c->length),
                                             (struct control){ moves, &c->length, sizeof c->length, 1 }));
    double most = c->clip > 0 ? c->clip : HUGE_VAL, first = first_of(c);
    struct bias_step_attr step = { c->gamma, first - most, first + most, c->rule, c->centred };
    struct node *range = bias_step(g, bias, counts, go, target, step);
    build_metric(b, "router_bias_range", range, "", BETTER_NONE, "largest less smallest of them");
}

static void build(struct build *b, struct pick self, const struct routing *r)
{
    if (b->mode != MODE_TRAIN) return;
    struct state *s = arena_alloc(b->arena, sizeof *s);
    *s = (struct state){ self.conf, carry(b->graph, build_counts(b, r), CARRY_SUM), arena_text(b->arena, "%s", b->path),
                         r->experts, r->idle, r->k };
    build_update(b, update, s);
}

static void traits(struct pick self, struct traits *t) { t->computed = ((const struct conf *)self.conf)->computed; }

const struct module balance_bias = {
    .slot = SLOT_BALANCE, .name = "bias", .about = "bias on the selection, moved by counts (loss-free)",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .balance_key = biased, .balance = build,
};
