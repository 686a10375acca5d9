/* SiTU: gate_cap tanh(g / gate_cap) s(g) * up_cap tanh(u / up_cap), s the sigmoid: a SwiGLU that saturates smoothly.
   Kimi K3, as inference engines have it. */
#include "model/module.h"

struct conf { double gate_cap, up_cap; };
static const struct param params[] = {
    REAL(struct conf, gate_cap, 4, 1e-3, 1e6, "", "what the gate's factor saturates at"),
    REAL(struct conf, up_cap, 25, 1e-3, 1e6, "", "what the second factor saturates at"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, struct node *up, struct node *gate)
{
    const struct conf *c = self.conf;
    return situglu(b->graph, gate, up, c->gate_cap, c->up_cap);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->gated = true; }

const struct module activation_situ = {
    .slot = SLOT_ACTIVATION, .name = "situ", .about = "swiglu of factors that saturate smoothly",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .activation = build,
};
