/* Input jitter: the router reads u times a number from 1 - eps to 1 + eps, another for each value; the experts read u
   itself. Fedus 2021 (Switch). */
#include "model/module.h"

struct conf { double eps; };
static const struct param params[] = {
    REAL(struct conf, eps, 0.01, 0, 1, "", "how far from 1 factors go"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, struct node *u)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *drawn = build_noise(b, "router.noise", u, NOISE_UNIFORM);                      /* [T,D], 0..1 */
    return drawn ? mul(g, offset(g, scale(g, drawn, 2 * c->eps), 1 - c->eps), u) : u;           /* REAL */
}

const struct module noise_jitter = {
    .slot = SLOT_NOISE, .name = "jitter", .about = "factors on what the router reads",
    .conf_size = sizeof(struct conf), .params = params, .noise_input = build,
};
