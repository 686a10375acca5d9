/* Ranks as a grid: every axis divides something else, and their sizes multiply to the number of ranks. */
#include "model/module.h"
#include "plan/pipeline.h"

struct conf {
    int dp, ep, nodes, tp, cp, pp, schedule, chunks, zero;
    double room;
    int spare, spare_every;
    int pieces;
    bool overlap;
};
static const struct param params[] = {
    INT(struct conf, dp, 0, 0, 65536, "rank",
        "among which sequences are divided, whose weights are alike; 0: what other axes leave of those that are here"),
    INT(struct conf, ep, 1, 1, 65536, "rank",
        "among which the experts of feed-forwards are divided, and sequences once more: tokens go to the ranks of "
        "their experts and come back"),
    INT(struct conf, nodes, 1, 1, 65536, "",
        "that the ranks of ep are on, as many on each: a token goes once to each node that has some of its experts, "
        "and from there to them"),
    INT(struct conf, tp, 1, 1, 65536, "rank",
        "among which heads of attention and hidden values of dense and shared feed-forwards are divided, of the same "
        "tokens"),
    INT(struct conf, cp, 1, 1, 65536, "rank",
        "among which the tokens of each sequence are divided, in parts that follow each other: keys and values of all "
        "of it go to all of them"),
    INT(struct conf, pp, 1, 1, 1024, "rank",
        "among which layers are divided, by what they cost: micro-batches pass through them (pipeline)"),
    CHOICE(struct conf, schedule, PIPELINE_1F1B, PIPELINES, "the order in which a pipeline's ranks do them"),
    INT(struct conf, chunks, 2, 2, 64, "", "of layers that a rank has where the schedule is interleaved"),
    INT(struct conf, zero, 1, 1, 3, "",
        "what ranks with other sequences divide among them: 1: what an optimizer remembers (ZeRO-1); 2: gradients of "
        "matrices too, the matrices being gathered once a step; 3: these matrices too, gathered where they are used. "
        "Stacks of experts' are divided by expert, "
        "others by rows where the optimizer takes values one by one, and stay whole where it does not come out even"),
    REAL(struct conf, room, 0, 0, 65536, "",
         "rows that may come to a rank's experts, times those that it sends; more are an error. 0: for any choice of "
         "experts"),
    INT(struct conf, spare, 0, 0, 4096, "expert",
        "of each layer that a rank computes beside its own, in training: copies of those of its node that were the "
        "busiest, which take turns with these"),
    INT(struct conf, spare_every, 10, 1, 1 << 30, "step",
        "after which copies are of the experts that were the busiest in the last of these"),
    INT(struct conf, pieces, 1, 1, 64, "",
        "of a micro-batch's tokens in the trunk, which go to experts one after the other: rows of one travel while "
        "experts compute those of another"),
    BOOL(struct conf, overlap, true, "what ranks tell each other within a layer goes beside what can be computed "
         "meanwhile"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    (void)model;
    if (c->room > 0 && c->room < 1)
        module_problem(problems, path, "room",
                       "%g: there must be room for as many rows as a rank sends, 1, or for all, 0", c->room);
    if (c->ep % c->nodes != 0)
        module_problem(problems, path, "nodes", "%d: %d ranks of ep cannot be divided among them", c->nodes, c->ep);
}

static struct division division(struct pick self)
{
    const struct conf *c = self.conf;
    struct mesh mesh = { .size = { [AXIS_DP] = c->dp, [AXIS_EP] = c->ep / c->nodes, [AXIS_NODES] = c->nodes,
                                   [AXIS_TP] = c->tp, [AXIS_CP] = c->cp, [AXIS_PP] = c->pp } };
    return (struct division){ mesh, c->room, c->zero, c->schedule, c->chunks, c->spare, c->spare_every,
                              c->pieces, c->overlap };
}

const struct module ranks_grid = {
    .slot = SLOT_RANKS, .name = "grid", .about = "ranks by axes: data, experts, heads, tokens, layers",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .division = division,
};
