/* RMSNorm: gain * x / sqrt(mean(x^2) + eps). Zhang 2019. Zero-centred, (1 + gain), is the same function until gains
   decay (train.optim.decay_gains): to 1 then, rather than to 0. */
#include "model/module.h"

struct conf { double eps; int zero_centred; double gain; };
static const struct param params[] = {
    REAL(struct conf, eps, 1e-6, 1e-12, 1e-2, "", "added to the mean square"),
    BOOL(struct conf, zero_centred, false,
         "keep the gain as its distance from 1, to which it then decays where train.optim.decay_gains is set"),
    REAL(struct conf, gain, 1, 1e-3, 100, "", "initial gain, times what a place asks for"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, const char *name, struct node *x, double first)
{
    const struct conf *c = self.conf;
    struct init init = init_constant(c->gain * first - (c->zero_centred ? 1 : 0));
    build_enter(b, "%s", name);
    struct node *gain = build_weight(b, "gain", ROLE_GAIN, SHAPE(shape_last(x->shape)), init);
    build_leave(b);
    return rmsnorm(b->graph, x, gain, c->eps, c->zero_centred);
}

const struct module norm_rms = {
    .slot = SLOT_NORM, .name = "rms", .about = "root mean square",
    .conf_size = sizeof(struct conf), .params = params, .norm = build,
};
