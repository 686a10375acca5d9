/* Capacity: an expert computes at most C = ceil(factor top_k S / E) pairs of each sequence; what finds no room is
   dropped and goes on by the residual alone. Lepikhin 2020 (GShard), Fedus 2021 (Switch). In evaluation nothing is
   dropped (DeepSeek-V2), so losses do not depend on who shares a sequence, unless it has a factor of its own (ST-MoE:
   2); in sampling nothing ever is. Room may be wide at first: the factor is `start` up to the share `hold` of the run
   and goes evenly to its own up to `until`. Where others than earlier tokens come first, whether a token finds room
   depends on later ones. */
#include "model/module.h"
#include <math.h>

enum { PRIORITY_RANDOM = PRIORITY_GATE + 1 };
struct conf { double factor, start, hold, until, eval_factor; int first; };
static const struct param params[] = {
    REAL(struct conf, factor, 1.25, 0.01, 1024, "", "room of an expert, in shares of an even load"),
    OPTIONAL(struct conf, start, 0, 1024, "", "the factor at first; 0: as it stays"),
    REAL(struct conf, hold, 0, 0, 1, "", "share of the run's steps in which the factor stays at start"),
    REAL(struct conf, until, 0.1, 0, 1, "",
         "share of the run's steps at whose end it has come to its own; where that is before hold ends: at once then"),
    OPTIONAL(struct conf, eval_factor, 0, 1024, "", "the factor in evaluation; 0: nothing is dropped"),
    CHOICE(struct conf, first, PRIORITY_TOKEN, "token choice gate random",
           "who finds room first: earlier tokens, all first choices, the largest gates, who is drawn, outside training "
           "earlier tokens"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    if (c->hold > 0 && c->start == 0)
        module_problem(problems, path, "hold", "%g: there is no start to stay at", c->hold);
}

struct ramp { double factor, start, hold, until, k, seq, experts; };

static double room_of(const struct ramp *r, double factor) { return share_up(factor * r->k * r->seq / r->experts); }

static double room_at(const void *conf, double scale, int64_t step, int64_t steps)
{
    const struct ramp *r = conf;
    double held = r->hold * (double)steps, end = r->until * (double)steps,
           gone = (double)step < held ? 0 : (double)step < end ? ((double)step - held) / (end - held) : 1;
    return scale * room_of(r, r->start + (r->factor - r->start) * gone);
}

/* REAL [T,K]: 1 where there is an expert. */
static struct node *has_expert(struct build *b, const struct routing *r, struct node *index)
{
    return pick(b->graph, build_ones(b, SHAPE(index->shape.dim[0], r->experts)), index);
}

/* before: the index, before anything was dropped. */
static void observe(struct build *b, const struct routing *r, struct node *before)
{
    struct graph *g = b->graph;
    if (b->mode == MODE_DECODE) return;
    build_metric(b, "drop_rate", graph_result(g, r->index, 1), "", BETTER_LOWER,
                 "share of assignments that found no room at their expert");
    struct node *kept = has_expert(b, r, r->index), *none = relu(g, offset(g, scale(g, build_row_sum(b, kept), -1), 1));
    build_row_metric(b, "drop_token_rate", mean_rows(g, build_present(b, none, 0)), "", BETTER_LOWER,
                     "share of tokens for which no expert had room");
    if (shape_last(before->shape) == r->k && r->k < r->experts)     /* else columns are experts */
        build_row_metric(b, "choice_drop_rate", mean_rows(g, subtract(g, has_expert(b, r, before), kept)), "",
                         BETTER_LOWER, "share of tokens whose first, second .. choice found no room");    /* [K] */
}

static void drop(struct build *b, const struct conf *c, struct routing *r, double factor)
{
    struct graph *g = b->graph;
    int computed = r->experts - r->idle;
    build_undivided(b, "dispatch = 'capacity', whose factor is of the tokens of each");
    bool ramps = c->start > 0 && b->mode == MODE_TRAIN;
    struct ramp ramp = { factor, c->start, c->hold, c->until, r->k, (double)b->seq, r->experts };
    int64_t most = (int64_t)room_of(&ramp, ramps && c->start > factor ? c->start : factor);
    struct node *room = NULL, *key = c->first == PRIORITY_GATE ? r->gate : NULL;
    if (ramps)
        room = graph_control(g, arena_text(b->arena, "%s.room", b->path),
                             (struct control){ room_at, &ramp, sizeof ramp, 1 });
    if (c->first == PRIORITY_RANDOM) key = build_noise(b, "dispatch.noise", r->gate, NOISE_UNIFORM);
    enum priority first = key ? PRIORITY_GATE : c->first == PRIORITY_CHOICE ? PRIORITY_CHOICE : PRIORITY_TOKEN;
    struct node *before = r->index;
    r->index = drop_over_capacity(g, before, key, room, computed, b->batch, most, first);
    observe(b, r, before);
    int64_t rows = b->batch * computed * most;
    if (r->rows == 0 || rows < r->rows) r->rows = rows;
}

static struct dispatched build(struct build *b, struct pick self, struct node *u, struct routing *r)
{
    const struct conf *c = self.conf;
    double factor = b->mode == MODE_TRAIN ? c->factor : b->mode == MODE_EVAL ? c->eval_factor : 0;
    if (factor > 0) drop(b, c, r, factor);
    return build_dispatched(b, u, r);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->uneven = true;
    if (c->first == PRIORITY_TOKEN) return;                 /* earlier tokens do not depend on later ones */
    looks_ahead(t, c->eval_factor > 0 && c->first != PRIORITY_RANDOM ? AHEAD_ALWAYS : AHEAD_TRAINING);
}

const struct module dispatch_capacity = {
    .slot = SLOT_DISPATCH, .name = "capacity", .about = "an expert computes what it has room for",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits,
    .dispatch = build,
};
