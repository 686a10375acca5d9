/* Adjugate experts: each group of `size` routed experts shares a small one, which a token computes once however many of
   the group it chose:
       scale * sum over the groups of a token's experts of (sum of their gates) * A_g(u)
   so work goes by how many groups a token needs. Wu 2025 (Grove MoE): groups of 2, width 128 beside 768, scale 0.05. */
#include "model/module.h"

struct conf { int size, d_ff; double scale; };
static const struct param params[] = {
    INT(struct conf, size, 2, 1, 4096, "", "routed experts of a group"),
    INT(struct conf, d_ff, 16, 1, 1 << 20, "", "hidden width of a group's expert"),
    REAL(struct conf, scale, 0.05, 0, 100, "", "factor on what they give"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, struct node *u, const struct routing *r,
                          struct hidden expert, struct node *routed)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *gate = merge_groups(g, r->gate, r->index, c->size);                            /* [T,K] */
    struct routing groups = { .experts = (r->experts + c->size - 1) / c->size, .k = r->k, .rows = r->rows,
                              .index = graph_result(g, gate, 1), .gate = scale(g, gate, c->scale) };
    struct dispatched d = build_dispatched(b, u, &groups);
    expert.width = c->d_ff;
    return add(g, routed, expert_feed_forward(b, "shared", expert, &groups, &d));
}

static void traits(struct pick self, struct traits *t) { (void)self; t->by_groups = true; }

const struct module shared_adjugate = {
    .slot = SLOT_SHARED, .name = "adjugate", .about = "small experts that groups of routed ones share (Grove)",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .shared = build,
};
