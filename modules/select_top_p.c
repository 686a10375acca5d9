/* Top-p: each token goes to as few of its best experts as hold p of its probability together, to one at least and to
   top_k at most. Huang 2024 (arXiv 2403.07652): p = 0.4. At first all probabilities are about 1 / E, so that p E
   experts would be needed and top_k cuts; later fewer are. How many a token uses is router_token_experts; `active` of
   `plan` counts top_k. */
#include "model/module.h"

struct conf { double p; };
static const struct param params[] = {
    REAL(struct conf, p, 0.4, 0.001, 1, "", "probability that a token's experts hold together; 1: top_k experts"),
    { 0 }
};

static void build(struct build *b, struct pick self, struct routing *r)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    r->index = topk(g, r->key, r->k);                                                           /* [T,K] */
    if (c->p == 1 || r->k == 1) return;
    struct node *before = columns(g, cumsum(g, pick(g, r->share, r->index)), 0, r->k - 1);      /* [T,K-1] */
    r->index = build_drop_later(b, r->index, relu(g, offset(g, scale(g, before, -1), c->p)));
}

static void traits(struct pick self, struct traits *t) { (void)self; t->uneven = true; }

const struct module select_top_p = {
    .slot = SLOT_SELECT, .name = "top_p", .about = "each token as many of its best experts as hold p together",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .select = build,
};
