/* Head gating: heads * mult * sigmoid(u W). The gate reads the sublayer's normalised input u, not its output; with
   mirrored keys and values it is still this layer's own u. Qiu 2025 (G1, head-wise); WeLM. */
#include "model/module.h"

struct conf { double mult; };
static const struct param params[] = {
    REAL(struct conf, mult, 1, 0.5, 2, "", "factor on the sigmoid"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, struct node *u, struct node *heads, struct node *v)
{
    (void)v;
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *open = sigmoid(g, linear(b, "gate", ROLE_GATE, u, heads->shape.dim[1])),
                *gate = scale(g, open, c->mult);            /* [T,H] */
    build_row_metric(b, "head_gate_mean", mean_rows(g, build_present(b, gate, 0)), "", BETTER_NONE,
                     "mean gate of each head");             /* [H] */
    build_row_metric(b, "head_gate_sat", outside(g, build_present(b, open, 0.5), 0.05, 0.95), "", BETTER_NONE,
                     "share of sigmoids below 0.05 or above 0.95");
    return mul_heads(g, heads, gate);
}

const struct module gate_head = {
    .slot = SLOT_GATE, .name = "head", .about = "one sigmoid gate per head",
    .conf_size = sizeof(struct conf), .params = params, .gate = build,
};
