/* How evenly ranks compute experts, in training: rank_load, the rows of the busiest rank over the mean of all, those of
   a step together; rank_load_home, what it would be if each expert were computed at home alone (train.ranks.spare = 0).
   How much goes between nodes: node_rows, rows that leave a node for experts of others, there and then back; with
   node_rows_each, as many as would if each choice went by itself (train.ranks.nodes = 1). */
#include "model/module.h"

struct state { struct node *rows, *home; };

static void update(struct build *b, void *state, struct update u)
{
    const struct state *s = state;
    struct graph *g = b->graph;
    (void)u;
    build_metric(b, "rank_load", max_all(g, load(g, s->rows)), "", BETTER_LOWER,
                 "rows of experts that the busiest rank computes, over the mean of ranks");
    build_metric(b, "rank_load_home", max_all(g, load(g, s->home)), "", BETTER_LOWER,
                 "the same if each expert were computed at home alone");
}

/* Of a step, rows of each rank. */
static struct node *rows_of(struct build *b, struct node *index, int64_t n, int ranks)
{
    struct graph *g = b->graph;
    return carry(g, view(g, count_chosen(g, index, (int)n, ranks, 1, false), SHAPE(ranks)), CARRY_SUM);
}

static void watch(struct build *b, struct pick self, const struct ranked *r)
{
    (void)self;
    struct state *s = arena_alloc(b->arena, sizeof *s);
    *s = (struct state){ rows_of(b, r->place, r->places, r->ranks), rows_of(b, r->index, r->experts, r->ranks) };
    build_update(b, update, s);
    build_metric_as(b, "node_rows", r->away, "row", CARRY_SUM, BETTER_LOWER,
                    "rows that go to experts of other nodes in the step");
    build_metric_as(b, "node_rows_each", r->away_each, "row", CARRY_SUM, BETTER_LOWER,
                    "as many as would if each choice went by itself");
}

const struct module monitors_ranks = {
    .slot = SLOT_MONITORS, .name = "ranks", .about = "how evenly ranks compute experts, what goes between nodes",
    .watch_ranks = watch,
};
