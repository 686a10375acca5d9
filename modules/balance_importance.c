/* Importance loss: weight * CV^2 of what gates of each expert add up to, CV the coefficient of variation; 0 when all
   are equal, E - 1 when one has all. Shazeer 2017. It is of each micro-batch by itself, as switch_aux: CV^2 is no mean
   over tokens, so a loss that is cut otherwise is another one. Evaluations have none. */
#include "model/module.h"

struct conf { double weight; };
static const struct param params[] = {
    REAL(struct conf, weight, 0.1, 0, 10, "", "weight of the loss"),
    { 0 }
};

static void build(struct build *b, struct pick self, const struct routing *r)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *gates = scatter(g, r->gate, r->chosen, r->experts),                             /* [T,E] */
                *importance = scale(g, mean_rows(g, gates), (double)b->tokens);                 /* [E] */
    build_metric_as(b, "expert_importance", importance, "", CARRY_SUM, BETTER_NONE, "sum of the gates of each expert");
    if (b->mode == MODE_TRAIN) build_whole_loss(b, "importance", cv2(g, importance), c->weight);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->of_scores = t->of_gates = true; }

const struct module balance_importance = {
    .slot = SLOT_BALANCE, .name = "importance", .about = "loss on uneven sums of gates",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .balance = build,
};
