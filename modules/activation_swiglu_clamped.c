/* Clamped SwiGLU: silu(min(g, limit)) u, u kept within -limit and limit: an expert cannot write outliers. No gradient
   passes where a clamp holds. DeepSeek-V4. */
#include "model/module.h"

struct conf { double limit; };
static const struct param params[] = {
    REAL(struct conf, limit, 10, 1e-3, 1e6, "", "largest of either projection"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, struct node *up, struct node *gate)
{
    const struct conf *c = self.conf;
    return swiglu_clamped(b->graph, gate, up, c->limit, c->limit);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->gated = true; }

const struct module activation_swiglu_clamped = {
    .slot = SLOT_ACTIVATION, .name = "swiglu_clamped", .about = "swiglu of clamped projections",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .activation = build,
};
