/* Entropies of the normalised score p of each token, and of their mean P over the micro-batch:
       token * mean H(p) + marginal * H(P)
   A weight above 0 makes an entropy small: of tokens, sure choices; of P, few experts. The defaults are minus the
   mutual information of token and expert, -(H(P) - mean H(p)): sure choices, evenly spread. Shen 2023 (ModuleFormer).
   H(P) is of each micro-batch by itself and no mean over tokens; evaluations have none. */
#include "model/module.h"

struct conf { double token, marginal; };
static const struct param params[] = {
    REAL(struct conf, token, 0.001, -10, 10, "", "weight of the mean entropy of a token; below 0 rewards it"),
    REAL(struct conf, marginal, -0.001, -10, 10, "", "weight of the entropy of the mean; below 0 rewards it"),
    { 0 }
};

static void build(struct build *b, struct pick self, const struct routing *r)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    if (c->token != 0)
        build_loss(b, "token_entropy", mean_rows(g, build_present(b, row_entropy(g, r->share), 0)), c->token);
    if (c->marginal != 0 && b->mode == MODE_TRAIN)
        build_whole_loss(b, "marginal_entropy",
                         row_entropy(g, view(g, build_present_mean(b, r->share), SHAPE(1, r->experts))), c->marginal);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->of_scores = true;
    t->trains = c->token != 0 || c->marginal != 0;
}

const struct module balance_entropy = {
    .slot = SLOT_BALANCE, .name = "entropy", .about = "loss on how sure and how even choices are",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .balance = build,
};
