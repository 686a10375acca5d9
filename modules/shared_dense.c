/* n shared experts that every token uses, as one feed-forward of n times the width of one. Dai 2024 (DeepSeekMoE).
   Gated: times sigmoid(u w), one number a token; Qwen1.5-MoE, Qwen3-Next. One that is much wider than the experts is
   the dense feed-forward beside them of a hybrid: Snowflake 2024 (Arctic). */
#include "model/module.h"

struct conf { int n, d_ff, gated; };
static const struct param params[] = {
    INT(struct conf, n, 1, 1, 64, "", "shared experts"),
    INT(struct conf, d_ff, 0, 0, 1 << 20, "", "hidden width of each; 0: that of a routed one"),
    BOOL(struct conf, gated, false, "times a sigmoid that each token makes"),
    { 0 }
};

static struct node *gate(struct build *b, struct node *u, struct node *y)
{
    struct graph *g = b->graph;
    struct node *open = sigmoid(g, linear(b, "shared_gate", ROLE_GATE, u, 1));                  /* [T,1] */
    build_row_metric(b, "layer_shared_gate", mean_rows(g, build_present(b, open, 0)), "", BETTER_NONE,
                     "mean gate of the shared experts");
    return build_gated(b, y, open);
}

static struct node *build(struct build *b, struct pick self, struct node *u, const struct routing *r,
                          struct hidden expert, struct node *routed)
{
    (void)r;
    const struct conf *c = self.conf;
    expert.width = c->n * (c->d_ff ? c->d_ff : expert.width);
    build_enter(b, "shared");
    struct node *y = feed_forward(b, expert, u);
    build_leave(b);
    return add(b->graph, routed, c->gated ? gate(b, u, y) : y);
}

const struct module shared_dense = {
    .slot = SLOT_SHARED, .name = "dense", .about = "experts that every token uses",
    .conf_size = sizeof(struct conf), .params = params, .shared = build,
};
