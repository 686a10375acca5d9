/* GatePro: experts that are alike compete. The partner of an expert is the one whose router row has the largest cosine
   with its own; where the partner's logit is larger, the expert's selection key loses `penalty`. Partners are not
   mutual. The first choice stays as it is, gates too. Zheng 2025. */
#include "model/module.h"

struct conf { double penalty; };
static const struct param params[] = {
    REAL(struct conf, penalty, 0.1, 0, 1e6, "score", "what the key of the weaker loses"),
    { 0 }
};

/* z of each expert's partner less its own: a row of `both` has 1 at the expert, which is its own nearest, and at its
   partner. */
static struct node *lead_of_partner(struct build *b, struct node *router, struct node *z)
{
    struct graph *g = b->graph;
    int64_t experts = shape_last(z->shape);
    struct node *rows = l2norm(g, detach(g, router), 1e-20),
                *cosine = matmul(g, rows, rows, DTYPE_REAL),                                    /* [E,E] */
                *ones = view(g, repeat(g, build_constant(b, 1), 2 * experts), SHAPE(experts, 2)),
                *both = scatter(g, ones, topk(g, cosine, 2), (int)experts);                     /* [E,E] */
    return subtract(g, matmul(g, z, both, DTYPE_REAL), scale(g, z, 2));                         /* [T,E] */
}

static struct node *penalized(struct build *b, struct pick self, const struct routing *r)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *router = build_made(b, "router");
    if (!router || r->experts == 1) return r->key;
    struct node *lead = lead_of_partner(b, router, detach(g, r->noisy.choice)),
                *weaker = build_above(b, lead);                                                  /* 1 or 0 */
    return subtract(g, r->key, scale(g, weaker, c->penalty));
}

static void build(struct build *b, struct pick self, const struct routing *r) { (void)b; (void)self; (void)r; }

const struct module balance_gate_pro = {
    .slot = SLOT_BALANCE, .name = "gate_pro", .about = "of two experts that are alike the weaker is less likely",
    .conf_size = sizeof(struct conf), .params = params, .balance_key = penalized, .balance = build,
};
