/* Dynamic tanh, in place of a norm: gain * tanh(alpha x) + bias, alpha one learned number of each place. No row is
   summed, large values are bent like a norm bends them. Zhu 2025 (arXiv 2503.10622). */
#include "model/module.h"

struct conf { double alpha; int bias; };
static const struct param params[] = {
    REAL(struct conf, alpha, 0.5, 1e-3, 100, "", "alpha at first"),
    BOOL(struct conf, bias, true, "a learned bias, 0 at first"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, const char *name, struct node *x, double first)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct shape width = SHAPE(shape_last(x->shape));
    build_enter(b, "%s", name);
    struct node *alpha = build_weight(b, "alpha", ROLE_SCALAR, SHAPE(1), init_constant(c->alpha)),
                *gain = build_weight(b, "gain", ROLE_GAIN, width, init_constant(first)),
                *y = mul_row(g, tanh_of(g, mul_scalar(g, x, alpha)), gain);
    build_leave(b);
    return c->bias ? add_row(g, y, build_bias(b, name, width)) : y;
}

const struct module norm_dynamic_tanh = {
    .slot = SLOT_NORM, .name = "dynamic_tanh", .about = "no norm: values are bent one by one",
    .conf_size = sizeof(struct conf), .params = params, .norm = build,
};
