/* Normal noise of one spread on all logits, for choice and gates. Riquelme 2021 (V-MoE): std = 1 / E. */
#include "model/module.h"

struct conf { double std; };
static const struct param params[] = {
    REAL(struct conf, std, 0, 0, 10, "logit", "standard deviation; 0: 1 / experts"),
    { 0 }
};

static struct noisy build(struct build *b, struct pick self, struct node *u, struct node *logits)
{
    (void)u;
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    double std = c->std > 0 ? c->std : 1 / (double)shape_last(logits->shape);
    struct node *drawn = build_noise(b, "router.noise", logits, NOISE_NORMAL);                  /* [T,E] */
    if (!drawn) return (struct noisy){ .choice = logits, .gate = logits };
    struct node *noisy = add(g, logits, scale(g, drawn, std));
    return (struct noisy){ .choice = noisy, .gate = noisy, .std_all = std };
}

static void traits(struct pick self, struct traits *t) { (void)self; t->normal_noise = true; }

const struct module noise_normal = {
    .slot = SLOT_NOISE, .name = "normal", .about = "normal, of one width (V-MoE)",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .noise = build,
};
