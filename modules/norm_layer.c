/* LayerNorm: gain * (x - mean) / sqrt(variance + eps) + bias, which is RMSNorm of what is left without the mean. Ba
   2016. */
#include "model/module.h"

struct conf { double eps; int bias; };
static const struct param params[] = {
    REAL(struct conf, eps, 1e-5, 1e-12, 1e-2, "", "added to the variance"),
    BOOL(struct conf, bias, true, "a learned bias, 0 at first"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, const char *name, struct node *x, double first)
{
    const struct conf *c = self.conf;
    struct shape width = SHAPE(shape_last(x->shape));
    build_enter(b, "%s", name);
    struct node *gain = build_weight(b, "gain", ROLE_GAIN, width, init_constant(first)),
                *y = rmsnorm(b->graph, center(b->graph, x), gain, c->eps, false);
    build_leave(b);
    return c->bias ? add_row(b->graph, y, build_bias(b, name, width)) : y;
}

const struct module norm_layer = {
    .slot = SLOT_NORM, .name = "layer", .about = "mean taken out, then root mean square",
    .conf_size = sizeof(struct conf), .params = params, .norm = build,
};
