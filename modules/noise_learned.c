/* Noisy top-k: logits + std normal, for choice and gates, with a spread that the router learns for each token and
   expert: std = softplus(u W) + floor. W starts at zero, so std at log 2 + floor. Shazeer 2017, where gates are
   `normalize = "after"`, and without a floor; tensor2tensor has it. */
#include "model/module.h"

struct conf { double floor; };
static const struct param params[] = {
    REAL(struct conf, floor, 0.01, 0, 10, "logit", "least standard deviation"),
    { 0 }
};

static struct noisy build(struct build *b, struct pick self, struct node *u, struct node *logits)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *drawn = build_noise(b, "router.noise", logits, NOISE_NORMAL);                  /* [T,E] */
    if (!drawn) return (struct noisy){ .choice = logits, .gate = logits };
    struct node *w = build_weight(b, "router.noise.weight", ROLE_ROUTER, SHAPE(shape_last(logits->shape), b->width),
                                  init_constant(0)),                      /* [E,D] */
                *std = offset(g, softplus(g, matmul(g, u, w, DTYPE_REAL)), c->floor),           /* [T,E] */
                *noisy = add(g, logits, mul(g, drawn, std));
    build_row_metric(b, "router_noise_std", mean_rows(g, build_present(b, std, 0)), "", BETTER_NONE,
                     "mean standard deviation of the noise on each expert's logits");           /* [E] */
    return (struct noisy){ .choice = noisy, .gate = noisy, .std = std };
}

static void traits(struct pick self, struct traits *t) { (void)self; t->normal_noise = t->learned = true; }

const struct module noise_learned = {
    .slot = SLOT_NOISE, .name = "learned", .about = "normal, as wide as the router learns (noisy top-k)",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .noise = build,
};
