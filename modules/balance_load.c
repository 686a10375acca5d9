/* Load loss: weight * CV^2 of the load that each expert is expected to get. The share of a token is the probability
   that with another draw of its own noise the expert is among the K: F((h - theta) / std), F the standard normal
   distribution, h the logit, theta the K-th largest noisy logit of the other experts. What counts of tokens cannot
   have, it has: a gradient. Shazeer 2017, appendix A. Of each micro-batch, as `importance`. */
#include "model/module.h"

struct conf { double weight; int detach; };
static const struct param params[] = {
    REAL(struct conf, weight, 0.1, 0, 10, "", "weight of the loss"),
    BOOL(struct conf, detach, false, "no gradient goes through theta, to the logits of others"),
    { 0 }
};

static void build(struct build *b, struct pick self, const struct routing *r)
{
    const struct conf *c = self.conf;
    const struct noisy *n = &r->noisy;
    struct graph *g = b->graph;
    if (b->mode != MODE_TRAIN) return;
    struct node *theta = threshold(g, n->choice, build_present(b, r->chosen, 0)),                /* [T,E] */
                *above = subtract(g, r->logits, c->detach ? detach(g, theta) : theta),
                *share = normal(g, n->std ? mul(g, above, reciprocal(g, n->std)) : scale(g, above, 1 / n->std_all)),
                *expected = scale(g, mean_rows(g, build_present(b, share, 0)), (double)b->tokens);  /* [E] */
    build_metric_as(b, "expert_expected", expected, "", CARRY_SUM, BETTER_NONE,
                    "load that each expert is expected to get, whatever the noise");
    build_whole_loss(b, "load", cv2(g, expected), c->weight);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->asks_noise = t->trains = true; }

const struct module balance_load = {
    .slot = SLOT_BALANCE, .name = "load", .about = "loss on uneven expected load, under noise",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .balance = build,
};
