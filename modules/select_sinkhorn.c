/* S-BASE: in training a token goes to the top_k experts with the largest shares of it in the plan of transport that is
   closest to e^(logits / temperature) while each token has the same mass and each expert gets the same mass, so that
   the load is nearly even without a loss; in evaluation to those with its largest keys. Gates know of no plan. Clark
   2022 (arXiv 2202.01169): top_k 1, sigmoid gates; Megatron-LM: with more softmax gates. Numbers that are added to all
   logits of a token, or of an expert, change no plan: no rule of balance can move it. */
#include "model/module.h"

enum scope { BATCH, SEQUENCE };
struct conf { int scope, iterations; double temperature, tolerance; };
static const struct param params[] = {
    CHOICE(struct conf, scope, BATCH, "batch sequence", "whose tokens have a plan together: the micro-batch's, a "
                                                        "sequence's"),
    REAL(struct conf, temperature, 1, 0.001, 1000, "", "of the plan; the smaller, the more it is a choice"),
    INT(struct conf, iterations, 100, 1, 10000, "", "divisions by sums of tokens and of experts at most"),
    REAL(struct conf, tolerance, 1e-4, 0, 1, "", "they end when no expert's mass was off by this share"),
    { 0 }
};

static void build(struct build *b, struct pick self, struct routing *r)
{
    const struct conf *c = self.conf;
    struct node *key = r->key;
    if (b->mode == MODE_TRAIN) {
        build_needs_text(b, "sinkhorn");
        if (c->scope == SEQUENCE)
            build_undivided(b, "select = 'sinkhorn', whose scope = 'sequence' has a plan for each");
        int64_t groups = c->scope == BATCH ? 1 : b->batch;
        struct transport_attr a = { .groups = groups, .iterations = c->iterations, .row = 1,
                                    .column = (double)(key->shape.dim[0] / groups) / r->experts,
                                    .temperature = c->temperature, .tolerance = c->tolerance };
        key = transport(b->graph, r->key_logits, a);                                            /* [T,E] */
        build_metric(b, "router_plan_rounds", graph_result(b->graph, key, 1), "", BETTER_NONE,
                     "rounds that the plan of a micro-batch took");
    }
    r->index = topk(b->graph, key, r->k);                                                       /* [T,K] */
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    looks_ahead(t, AHEAD_TRAINING);
    t->balanced = true;
    t->of_batch = c->scope == BATCH;
}

const struct module select_sinkhorn = {
    .slot = SLOT_SELECT, .name = "sinkhorn",
    .about = "each token its best experts of a plan that loads all alike (S-BASE); not causal in training",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .select = build,
};
