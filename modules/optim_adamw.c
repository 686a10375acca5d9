/* AdamW with decoupled decay: w -= lr (m^ / (sqrt v^ + eps) + decay w). Loshchilov 2017. Which weights decay goes by
   their role. */
#include "model/module.h"

struct conf { double lr, beta1, beta2, eps, decay; int decay_gains, decay_tables; };
static const struct param params[] = {
    REAL(struct conf, lr, 1e-3, 0, 10, "", "peak learning rate"),
    REAL(struct conf, beta1, 0.9, 0, 0.9999, "", "decay of the first moment"),
    REAL(struct conf, beta2, 0.95, 0, 0.99999, "", "decay of the second moment"),
    REAL(struct conf, eps, 1e-8, 1e-16, 1, "", "added to the root"),
    REAL(struct conf, decay, 0.1, 0, 10, "", "weight decay"),
    BOOL(struct conf, decay_gains, false, "the gains of norms decay too: to 0, zero-centred ones to 1"),
    BOOL(struct conf, decay_tables, false, "the vectors of tokens and the rows of tables decay too"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, struct node *w, struct node *grad, struct update u)
{
    const struct conf *c = self.conf;
    double decay = build_decay(w, c->decay, c->decay_gains, c->decay_tables);
    struct adamw_attr attr = { c->beta1, c->beta2, c->eps, decay, u.rate };
    struct node *m = build_moment(b, "m", w), *v = build_moment(b, "v", w);
    return adamw(b->graph, w, grad, m, v, u.lr, u.step, u.clip, attr);
}

static void traits(struct pick self, struct traits *t) { t->lr = ((const struct conf *)self.conf)->lr; }

const struct module optim_adamw = {
    .slot = SLOT_OPTIM, .name = "adamw", .about = "Adam with decoupled weight decay",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .optim = build,
};
