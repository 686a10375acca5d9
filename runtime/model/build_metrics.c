/* Metrics and losses: what a mean is over, where rows of an evaluation only fill up or tokens do not count. */
#include "building.h"

#include <math.h>
#include <string.h>

/* ---- rows that are there ---- */

static struct node *present(struct build *b) { return view(b->graph, b->present, SHAPE(b->tokens)); }

struct node *build_present(struct build *b, struct node *x, double value)
{
    return b->present ? mask_rows(b->graph, x, present(b), value) : x;
}

struct node *build_seen(struct build *b)
{
    return build_present(b, b->start, (double)(build_divides(b) ? b->context : b->seq));
}

/* How many, over all pieces. */
static struct node *present_count(struct build *b)
{
    struct building *o = b->own;
    if (o->counted != b->present)
        o->present_count = carry(b->graph, weighted_sum(b->graph, present(b), NULL), CARRY_SUM);
    o->counted = b->present;
    return o->present_count;
}

/* Of a micro-batch of training, REAL [1]: the share of its rows that are there, or of one of them; of whole sequences,
   also where ranks divide them. */
static struct node *present_share(struct build *b)
{
    int ranks = build_divides(b) ? place_group(&b->graph->leaves->here, OVER_CP) : 1;
    struct node *mean = build_sequences_sum(b, mean_rows(b->graph, present(b)));
    if (ranks > 1) mean = scale(b->graph, mean, 1.0 / ranks);
    return clamp(b->graph, mean, 1 / ((double)b->tokens * ranks), 1);
}

static bool fills(const struct build *b) { return b->present && b->mode == MODE_TRAIN; }

struct node *build_present_mean(struct build *b, struct node *x)
{
    struct node *mean = mean_rows(b->graph, build_present(b, x, 0));
    return fills(b) ? mul_scalar(b->graph, mean, reciprocal(b->graph, present_share(b))) : mean;
}

struct node *build_without_fill(struct build *b, struct node *mean, double each)
{
    if (!b->present) return mean;
    struct graph *g = b->graph;
    struct node *absent = offset(g, mean_rows(g, present(b)), -1);                              /* -share [1] */
    return view(g, add_row(g, view(g, mean, SHAPE(shape_count(mean->shape), 1)), scale(g, absent, each)), mean->shape);
}

void build_needs_text(struct build *b, const char *module)
{
    if (fills(b) && !b->train->answers) build_undivided(b, "an MTP block whose router shares experts out evenly");
    else if (fills(b))
        graph_fail(b->graph, "%s: the data has answers, and windows that are filled up: '%s' shares experts out evenly "
                             "among all rows of a window, also those that only fill it up", b->path, module);
}

/* ---- metrics and losses ---- */

/* Of the router that is being built. */
static const char *full_name(struct build *b, const char *name)
{
    return *b->metric_prefix ? arena_text(b->arena, "%s%s", b->metric_prefix, name) : name;
}

static void probe(struct build *b, const char *name, const char *unit, enum better better, const char *about,
                  struct term term)
{
    b->graph->layer = b->layer;
    graph_probe(b->graph, full_name(b, name), unit, better, about, 1, &term);
}

void build_metric_as(struct build *b, const char *name, struct node *value, const char *unit, enum carry how,
                     enum better better, const char *about)
{
    if (b->mode != MODE_DECODE)
        probe(b, name, unit, better, about, (struct term){ 1, carry(b->graph, value, how), NULL, false });
}

void build_metric(struct build *b, const char *name, struct node *value, const char *unit, enum better better,
                  const char *about)
{
    build_metric_as(b, name, value, unit, CARRY_MEAN, better, about);
}

/* The micro-batches' mean; over those of an evaluation, in which rows may be missing, what all rows add
   up to by their number. */
static struct term row_mean(struct build *b, struct node *value)
{
    struct graph *g = b->graph;
    if (!b->present) return (struct term){ 1, carry(g, value, CARRY_MEAN), NULL, false };
    return (struct term){ (double)b->tokens, carry(g, value, CARRY_SUM), present_count(b), false };
}

void build_row_metric(struct build *b, const char *name, struct node *value, const char *unit, enum better better,
                      const char *about)
{
    if (b->mode != MODE_DECODE && value) probe(b, name, unit, better, about, row_mean(b, value));
}

void build_rms_metric(struct build *b, const char *name, struct node *x, const char *unit, enum better better,
                      const char *about)
{
    struct graph *g = b->graph;
    if (b->mode == MODE_DECODE || !x) return;
    struct node *rows = build_present(b, x, 0);
    struct term mean = { 1, NULL, NULL, false };
    if (!b->present) mean.carry = carry(g, rms(g, x), CARRY_MEAN);
    else
        mean = (struct term){ sqrt((double)b->tokens / (double)shape_count(x->shape)),
                              carry(g, dot(g, rows, rows), CARRY_SUM), present_count(b), true };
    probe(b, name, unit, better, about, mean);
}

/* In the region of the graph. */
struct node *build_token_weights(struct build *b, int ahead)
{
    struct graph *g = b->graph;
    struct node *own = b->weight ? graph_leaf(g, b->weight->leaf) : NULL, *all = own;           /* [B,S] */
    for (int k = 1; k <= ahead; k++)
        all = mul(g, all, build_divides(b) ? inputs_ahead(g, b->own->of, INPUT_weight, k, b->batch, b->seq)
                                           : shift(g, own, k));
    return view(g, slice(g, all, b->seq), SHAPE(b->tokens));
}

/* sum w x over sum w, of all pieces of a step. */
static struct term token_mean(struct build *b, struct node *x, int ahead)
{
    struct graph *g = b->graph;
    struct node *w = build_token_weights(b, ahead);
    return (struct term){ 1, carry(g, weighted_sum(g, x, w), CARRY_SUM), carry(g, weighted_sum(g, w, NULL), CARRY_SUM),
                          false };
}

void build_token_metric(struct build *b, const char *name, struct node *x, int ahead, const char *unit,
                        enum better better, const char *about)
{
    if (b->mode != MODE_DECODE) probe(b, name, unit, better, about, token_mean(b, x, ahead));
}

enum { PIECES = 16 };                                       /* at most, of a training sequence */

/* Of the n sums from `from` on together; n 0: of each on its own. */
static struct term position_mean(struct build *b, struct node *sum, struct node *count, int64_t from, int64_t n)
{
    struct graph *g = b->graph;
    if (n) {
        sum = weighted_sum(g, columns(g, sum, from, n), NULL);
        count = weighted_sum(g, columns(g, count, from, n), NULL);
    }
    return (struct term){ 1, carry(g, sum, CARRY_SUM), carry(g, count, CARRY_SUM), false };
}

void build_position_losses(struct build *b, struct node *x)
{
    struct graph *g = b->graph;
    if (b->mode != MODE_EVAL) return;
    int64_t trained = b->conf->seq, pieces = trained < PIECES ? trained : PIECES;
    while (trained % pieces) pieces--;
    int64_t length = trained / pieces, n = (b->context + length - 1) / length;
    struct node *w = build_token_weights(b, 0), *start = build_sequences(b, b->start),
                *part = build_sequences(b, mul(g, x, w)), *weights = build_sequences(b, w);
    struct shape all = SHAPE(shape_count(start->shape));
    struct node *sum = sum_by_position(g, view(g, part, all), start, n, length),                /* [n] */
                *count = sum_by_position(g, view(g, weights, all), start, n, length);
    probe(b, "position_loss", "nat/token", BETTER_LOWER,
          arena_text(b->arena, "loss of tokens by their position in the document, %lld a value", (long long)length),
          position_mean(b, sum, count, 0, 0));
    if (n <= pieces) return;
    probe(b, "loss_within", "nat/token", BETTER_LOWER, "loss of tokens at positions that training had",
          position_mean(b, sum, count, 0, pieces));
    probe(b, "loss_beyond", "nat/token", BETTER_LOWER, "loss of tokens at positions beyond those of training",
          position_mean(b, sum, count, pieces, n - pieces));
}

void build_keys_mass(struct build *b, struct attention a, int64_t kept)
{
    struct graph *g = b->graph;
    int64_t all = shape_last(a.index->shape), rows = shape_count(a.index->shape) / all;
    struct node *mass = view(g, graph_result(g, attention(g, a), 3), SHAPE(rows, all)),         /* [T,X] or [T H,X] */
                *held = columns(g, cumsum(g, normalize(g, mass, 1e-30)), (kept < all ? kept : all) - 1, 1);
    held = view(g, held, SHAPE(rows));
    build_row_metric(b, "layer_keys_mass", mean_rows(g, held), "", BETTER_HIGHER,
                     "share of the softmax over all keys that the chosen ones hold");
}

static void add_loss(struct build *b, struct build_loss loss)
{
    struct building *o = b->own;
    if (o->n_losses == o->loss_room) o->loss = arena_more(b->arena, o->loss, &o->loss_room, sizeof loss);
    o->loss[o->n_losses++] = loss;
}

void build_loss(struct build *b, const char *name, struct node *value, double weight)
{
    if (fills(b)) {
        build_whole_loss(b, name, mul_scalar(b->graph, value, reciprocal(b->graph, present_share(b))), weight);
        return;
    }
    name = full_name(b, name);
    add_loss(b, (struct build_loss){ name, weight, row_mean(b, value) });
    if (b->mode == MODE_TRAIN) graph_loss(b->graph, name, value, weight, false);
}

void build_whole_loss(struct build *b, const char *name, struct node *value, double weight)
{
    name = full_name(b, name);
    add_loss(b, (struct build_loss){ name, weight, { 1, carry(b->graph, value, CARRY_MEAN), NULL, false } });
    graph_loss(b->graph, name, value, weight, false);
}

/* Gradients need the weight of the whole step before its first token is seen. */
void build_token_loss(struct build *b, const char *name, struct node *x, int ahead, double weight)
{
    struct graph *g = b->graph;
    name = full_name(b, name);
    add_loss(b, (struct build_loss){ name, weight, token_mean(b, x, ahead) });
    if (b->mode != MODE_TRAIN) return;
    struct node *all = ahead == 0 ? b->own->targets : NULL;
    g->region = REGION_AHEAD;
    if (!all) all = carry(g, weighted_sum(g, build_token_weights(b, ahead), NULL), CARRY_SUM);
    g->region = REGION_MICRO;
    if (ahead == 0) b->own->targets = all;
    if (b->present) all = clamp(g, all, 1, HUGE_VAL);       /* answers of few tokens: none may have so many ahead */
    struct node *part = divide(g, weighted_sum(g, x, build_token_weights(b, ahead)), all);
    if (b->train->guard.module->guard && strcmp(name, "lm") == 0) b->own->loss_of_step = carry(g, part, CARRY_SUM);
    graph_loss(g, name, part, weight, true);
}

/* loss_NAME: each loss summed over layers, unweighted; loss: that of the next token; targets: how many of these there
   are; objective: the weighted sum. */
void build_report_losses(struct build *b)
{
    const struct building *o = b->own;
    struct term *term = arena_alloc(b->arena, (size_t)(o->n_losses + 1) * sizeof *term);
    b->graph->layer = -1;
    for (int i = 0; i < o->n_losses; i++) {
        const char *name = o->loss[i].name;
        bool said = false, next_token = strcmp(name, "lm") == 0, mtp = strcmp(name, "mtp") == 0;
        int n = 0;
        for (int k = 0; k < o->n_losses; k++) {
            if (strcmp(o->loss[k].name, name) != 0) continue;
            said |= k < i;
            term[n++] = o->loss[k].value;
        }
        if (said) continue;
        graph_probe(b->graph, next_token ? "loss" : arena_text(b->arena, "loss_%s", name),
                    next_token || mtp ? "nat/token" : "", o->loss[i].weight < 0 ? BETTER_HIGHER : BETTER_LOWER,
                    next_token ? "cross-entropy of the next token"
                               : arena_text(b->arena, "loss '%s' summed over layers, without its weight", name),
                    n, term);
    }
    for (int i = 0; i < o->n_losses; i++) {
        term[i] = o->loss[i].value;
        term[i].weight = o->loss[i].weight;
    }
    if (o->targets)
        graph_probe(b->graph, "targets", "token", BETTER_NONE, "targets that count in the step", 1,
                    &(struct term){ 1, o->targets, NULL, false });
    if (o->n_losses && b->mode == MODE_TRAIN)
        graph_probe(b->graph, "objective", "nat/token", BETTER_LOWER, "weighted sum of all losses", o->n_losses, term);
}

void build_index_loss(struct build *b, struct node *score, struct node *mass, double weight)
{
    struct node *kl = mean_rows(b->graph, kl_rows(b->graph, score, mass));                      /* [1] */
    build_loss(b, "index", kl, weight);
    build_row_metric(b, "layer_index_kl", kl, "nat", BETTER_LOWER,
                     "KL divergence of attention over the keys looked at from what the indexer says of them");
}
