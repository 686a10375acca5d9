/* Exclusive self-attention: of what a head reads, the part along its token's own value is taken out,
       z = o - alpha (o.v / v.v) v
   so that the head says what others say. alpha is 1, or tanh(u W) of each head (modded-nanogpt). arXiv 2603.09078. A
   token that sees itself alone has 0. What is left may be gated. */
#include "model/module.h"

struct conf { int learned; struct pick gate; };
static const struct param params[] = {
    BOOL(struct conf, learned, false, "alpha = tanh(u W), a number of each token and head"),
    SLOT(struct conf, gate, SLOT_GATE, "none", "gate on what is left"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, enum gated at, struct node *u, struct node *x,
                          struct node *v)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    if (at == GATED_HEADS)
        x = reject(g, x, v, c->learned ? tanh_of(g, linear(b, "exclude", ROLE_GATE, u, x->shape.dim[1])) : NULL);
    return c->gate.module->gate(b, c->gate, at, u, x, v);
}

const struct module gate_xsa = {
    .slot = SLOT_GATE, .name = "xsa", .about = "without the part along the token's own value",
    .conf_size = sizeof(struct conf), .params = params, .gate = build,
};
