/* KNorm: RMSNorm over each key head, before RoPE (WeLM). Outliers among keys go; the query's length stays a learned
   temperature. */
#include "model/module.h"

struct conf { double eps; };
static const struct param params[] = {
    REAL(struct conf, eps, 1e-6, 1e-12, 1e-2, "", "added to the mean square"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, const char *which, struct node *x)
{
    if (*which != 'k') return x;
    const struct conf *c = self.conf;
    struct node *gain = build_weight(b, "k_norm.gain", ROLE_GAIN, SHAPE(shape_last(x->shape)), init_constant(1));
    return rmsnorm(b->graph, x, build_shared(b, gain), c->eps, false);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->normed_k = true; }

const struct module qk_norm_k = {
    .slot = SLOT_QK_NORM, .name = "k", .about = "norm on each key head",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .qk_norm = build,
};
