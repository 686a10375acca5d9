/* In training a token goes to a choice after its first at random, with probability min(1, factor * gate), the gate as
   it is before `scale`; gates stay what they are. Lepikhin 2020 (GShard): of two experts whose gates sum to 1 the
   second with twice its gate. */
#include "model/module.h"

struct conf { double factor; };
static const struct param params[] = {
    REAL(struct conf, factor, 2, 0.001, 1000, "", "on a choice's gate, which gives its probability"),
    { 0 }
};

static void build(struct build *b, struct pick self, struct routing *r)
{
    struct graph *g = b->graph;
    if (shape_last(r->gate->shape) == 1) return;
    struct node *later = columns(g, r->gate, 1, shape_last(r->gate->shape) - 1),                /* [T,K-1] */
                *drawn = build_noise(b, "router.chance", later, NOISE_UNIFORM);
    if (!drawn) return;
    double factor = ((const struct conf *)self.conf)->factor;
    r->index = build_drop_later(b, r->index, relu(g, subtract(g, scale(g, later, factor), drawn)));
}

static void traits(struct pick self, struct traits *t) { (void)self; t->uneven = true; }

const struct module revise_chance = {
    .slot = SLOT_REVISE, .name = "chance", .about = "later choices are taken by chance (GShard)",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .revise = build,
};
