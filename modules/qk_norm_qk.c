/* QK-norm: RMSNorm over each query and key head, before RoPE; the heads share a gain (Qwen3). Logits are bounded by
   sqrt(head_dim) and the gains. Henry 2020; Dehghani 2023. */
#include "model/module.h"

struct conf { double eps; };
static const struct param params[] = {
    REAL(struct conf, eps, 1e-6, 1e-12, 1e-2, "", "added to the mean square"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, const char *which, struct node *x)
{
    const struct conf *c = self.conf;
    build_enter(b, "%s_norm", which);
    struct node *gain = build_weight(b, "gain", ROLE_GAIN, SHAPE(shape_last(x->shape)),
                                     init_constant(1));
    build_leave(b);
    return rmsnorm(b->graph, x, gain, c->eps, false);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->normed_q = t->normed_k = true; }

const struct module qk_norm_qk = {
    .slot = SLOT_QK_NORM, .name = "qk", .about = "norm on each query and key head",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .qk_norm = build,
};
