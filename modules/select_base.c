/* BASE: in training tokens are assigned to experts such that each has as many, or one more than others where that
   cannot be, and the sum of logits is the largest that can be had, within tokens * eps * (largest range of a token's
   logits), by an auction; in evaluation a token goes to its best expert. Lewis 2021 (arXiv 2103.16716), with gates
   sigmoid(logit). A number that is added to all logits of an expert changes no best assignment: no rule of balance can
   move it. */
#include "model/module.h"

enum scope { BATCH, SEQUENCE };
struct conf { int scope, rounds; double eps; };
static const struct param params[] = {
    CHOICE(struct conf, scope, BATCH, "batch sequence", "whose tokens are assigned together: the micro-batch's, a "
                                                        "sequence's"),
    REAL(struct conf, eps, 0.02, 0.0001, 1, "",
         "least raise of a bid, in shares of the largest range of a token's logits"),
    INT(struct conf, rounds, 1000, 0, 1000000, "",
        "of bids at most; who is left over takes the best expert that has room, token after token"),
    { 0 }
};

static void build(struct build *b, struct pick self, struct routing *r)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    if (b->mode != MODE_TRAIN) {
        r->index = topk(g, r->key, r->k);                                                       /* [T,1] */
        return;
    }
    build_needs_text(b, "base");
    if (c->scope == SEQUENCE)
        build_undivided(b, "select = 'base', whose scope = 'sequence' assigns the tokens of each");
    r->index = assign(g, r->key_logits, (struct assign_attr){ c->scope == BATCH ? 1 : b->batch, c->rounds, c->eps });
    build_metric(b, "router_plan_rounds", graph_result(g, r->index, 1), "", BETTER_NONE,
                 "rounds that the assignment of a micro-batch took");
    build_metric(b, "router_plan_left", graph_result(g, r->index, 2), "", BETTER_LOWER,
                 "share of tokens that no round assigned");
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    looks_ahead(t, AHEAD_TRAINING);
    t->balanced = true;
    t->of_batch = c->scope == BATCH;
    t->most_k = 1;
}

const struct module select_base = {
    .slot = SLOT_SELECT, .name = "base",
    .about = "tokens are assigned to experts, as many to each (BASE); not causal in training",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .select = build,
};
