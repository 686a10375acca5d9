/* Capacity: an expert computes at most C = ceil(factor top_k S / E) pairs of each sequence; what finds no room is
   dropped and goes on by the residual alone. Lepikhin 2020 (GShard), Fedus 2021 (Switch). In evaluation nothing is
   dropped (DeepSeek-V2), so losses do not depend on who shares a sequence, unless it has a factor of its own (ST-MoE:
   2); in sampling nothing ever is. Room may be wide at first: the factor goes evenly from `start` to its own. Where
   others than earlier tokens come first, whether a token finds room depends on later ones. */
#include "model/module.h"
#include <math.h>

enum { PRIORITY_RANDOM = PRIORITY_GATE + 1 };
struct conf { double factor, start, until, eval_factor; int first; };
static const struct param params[] = {
    REAL(struct conf, factor, 1.25, 0.01, 1024, "", "room of an expert, in shares of an even load"),
    OPTIONAL(struct conf, start, 0, 1024, "", "the factor at first; 0: as it stays"),
    REAL(struct conf, until, 0.1, 0, 1, "", "share of the run's steps in which it goes from start to factor"),
    OPTIONAL(struct conf, eval_factor, 0, 1024, "", "the factor in evaluation; 0: nothing is dropped"),
    CHOICE(struct conf, first, PRIORITY_TOKEN, "token choice gate random",
           "who finds room first: earlier tokens, all first choices, the largest gates, who is drawn, outside training "
           "earlier tokens"),
    { 0 }
};

struct ramp { double factor, start, until, k, seq, experts; };

static double room_of(const struct ramp *r, double factor) { return ceil(factor * r->k * r->seq / r->experts); }

static double room_at(const void *conf, double scale, int64_t step, int64_t steps)
{
    const struct ramp *r = conf;
    return scale * room_of(r, r->start + (r->factor - r->start) * build_progress(r->until, step, steps));
}

static void drop(struct build *b, const struct conf *c, struct routing *r, double factor)
{
    struct graph *g = b->graph;
    int computed = r->experts - r->idle;
    bool ramps = c->start > 0 && b->mode == MODE_TRAIN;
    struct ramp ramp = { factor, c->start, c->until, r->k, (double)b->seq, r->experts };
    int64_t most = (int64_t)room_of(&ramp, ramps && c->start > factor ? c->start : factor);
    struct node *room = NULL, *key = c->first == PRIORITY_GATE ? r->gate : NULL;
    if (ramps)
        room = graph_control(g, arena_text(b->arena, "%s.room", b->path),
                             (struct control){ room_at, &ramp, sizeof ramp, 1 });
    if (c->first == PRIORITY_RANDOM) key = build_noise(b, "dispatch.noise", r->gate, NOISE_UNIFORM);
    enum priority first = key ? PRIORITY_GATE : c->first == PRIORITY_CHOICE ? PRIORITY_CHOICE : PRIORITY_TOKEN;
    r->index = drop_over_capacity(g, r->index, key, room, computed, b->batch, most, first);
    build_metric(b, "drop_rate", graph_result(g, r->index, 1), "", BETTER_LOWER,
                 "share of assignments that found no room at their expert");
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
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .dispatch = build,
};
