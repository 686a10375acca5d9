/* gpt-oss's SwiGLU: c s(alpha c) (u + 1), s the sigmoid, c = min(g, limit), u kept within -limit and limit. No gradient
   passes where a clamp holds. OpenAI 2025 (gpt-oss). */
#include "model/module.h"

struct conf { double limit, alpha; };
static const struct param params[] = {
    REAL(struct conf, limit, 7, 1e-3, 1e6, "", "largest of either projection"),
    REAL(struct conf, alpha, 1.702, 1e-3, 100, "", "steepness of the sigmoid"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, struct node *up, struct node *gate)
{
    const struct conf *c = self.conf;
    return swiglu_oss(b->graph, gate, up, c->limit, c->alpha);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->gated = true; }

const struct module activation_swiglu_oss = {
    .slot = SLOT_ACTIVATION, .name = "swiglu_oss", .about = "clamped swiglu of gpt-oss, whose second factor is u + 1",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .activation = build,
};
