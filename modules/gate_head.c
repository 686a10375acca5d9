/* Head gating: heads * mult * sigmoid(u W). The gate reads the sublayer's normalised input u, not its output; with
   mirrored keys and values it is still this layer's own u. Qiu 2025 (arXiv 2505.06708: G1, head-wise; of values G2);
   WeLM. zero and mult = 2 begin as no gate. */
#include "model/module.h"

struct conf { double mult; int on, zero; };
static const struct param params[] = {
    REAL(struct conf, mult, 1, 0.5, 2, "", "factor on the sigmoid"),
    CHOICE(struct conf, on, GATED_HEADS, "heads values", "what is gated: heads' outputs, or values that they read"),
    BOOL(struct conf, zero, false, "W is 0 at first, and each gate mult / 2"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, enum gated at, struct node *u, struct node *x,
                          struct node *v)
{
    (void)v;
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    if (at != (enum gated)c->on) return x;
    struct node *open = sigmoid(g, linear_of_heads(b, "gate", ROLE_GATE, u, x->shape.dim[1], c->zero)),
                *gate = scale(g, open, c->mult);            /* [T,H] */
    build_row_metric(b, "head_gate_mean", build_all_parts(b, mean_rows(g, build_present(b, gate, 0))), "", BETTER_NONE,
                     "mean gate of each head");             /* [H] */
    build_row_metric(b, "head_gate_sat", build_mean_parts(b, outside(g, build_present(b, open, 0.5), 0.05, 0.95)), "",
                     BETTER_NONE, "share of sigmoids below 0.05 or above 0.95");
    return mul_heads(g, x, gate);
}

static void traits(struct pick self, struct traits *t) { t->gated_at = ((const struct conf *)self.conf)->on; }

const struct module gate_head = {
    .slot = SLOT_GATE, .name = "head", .about = "one sigmoid gate per head",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .gate = build,
};
