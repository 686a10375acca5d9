/* Router z-loss: coef * mean of log-sum-exp(logits)^2: small logits round well. Zoph 2022 (ST-MoE). */
#include "model/module.h"

struct conf { double coef; };
static const struct param params[] = {
    REAL(struct conf, coef, 0.001, 0, 10, "", "weight of the loss"),
    { 0 }
};

static void build(struct build *b, struct pick self, const struct routing *r)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    build_loss(b, "z", mean_rows(g, square(g, build_present(b, logsumexp(g, r->logits), 0))), c->coef);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->of_scores = t->trains = true; }

const struct module balance_z_loss = {
    .slot = SLOT_BALANCE, .name = "z_loss", .about = "keeps router logits small",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .balance = build,
};
