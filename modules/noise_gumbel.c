/* Experts are drawn, not taken: with Gumbel noise on the logits of a softmax the K largest are K draws without
   replacement, each in proportion to exp(logit / temperature); Kool 2019. Gates are of the logits as they were. With
   one expert a token, Switch's exploration by sampling (Fedus 2021). */
#include "model/module.h"

struct conf { double temperature; };
static const struct param params[] = {
    REAL(struct conf, temperature, 1, 0, 100, "", "factor on the noise: below 1 likelier experts are drawn more often"),
    { 0 }
};

static struct noisy build(struct build *b, struct pick self, struct node *u, struct node *logits)
{
    (void)u;
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *drawn = build_noise(b, "router.noise", logits, NOISE_GUMBEL);                  /* [T,E] */
    if (!drawn) return (struct noisy){ .choice = logits, .gate = logits };
    return (struct noisy){ .choice = add(g, logits, scale(g, drawn, c->temperature)), .gate = logits,
                           .drawn = c->temperature == 1 ? logits : scale(g, logits, 1 / c->temperature) };
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->of_choice = true;
    t->drawn = c->temperature > 0;
}

const struct module noise_gumbel = {
    .slot = SLOT_NOISE, .name = "gumbel", .about = "experts are sampled by their probabilities",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .noise = build,
};
