/* Balance loss: alpha * sum_i load_i * P_i, where load_i = E n_i / (K T) is a constant and P_i the mean probability.
   1 when both are uniform. Counts are of the micro-batch. Fedus 2021 (Switch). */
#include "model/module.h"

struct conf { double alpha; };
static const struct param params[] = {
    REAL(struct conf, alpha, 0.01, 0, 10, "", "weight of the loss"),
    { 0 }
};

static void build(struct build *b, struct pick self, const struct routing *r)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    build_loss(b, "aux", dot(g, load(g, r->counts), mean_rows(g, build_present(b, r->share, 0))), c->alpha);
}

const struct module balance_switch_aux = {
    .slot = SLOT_BALANCE, .name = "switch_aux", .about = "loss on load times probability",
    .conf_size = sizeof(struct conf), .params = params, .balance = build,
};
