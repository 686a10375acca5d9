/* Element gating: heads * mult * sigmoid(u W + b), one gate for each dimension of each head, before the output
   projection. Qiu 2025 (G1, element-wise); Qwen3-Next. With a W of two factors and b: Kimi Delta Attention. */
#include "model/module.h"

struct conf { double mult; int rank, bias; };
static const struct param params[] = {
    REAL(struct conf, mult, 1, 0.5, 2, "", "factor on the sigmoid"),
    INT(struct conf, rank, 0, 0, 4096, "", "of W as a product of two; 0: one matrix"),
    BOOL(struct conf, bias, false, "b; else 0"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, struct node *u, struct node *heads, struct node *v)
{
    (void)v;
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    int64_t width = shape_count(heads->shape) / b->tokens;
    struct node *x = low_rank(b, "gate", ROLE_GATE, u, c->rank, width);                         /* [T,H*W] */
    if (c->bias) x = add_row(g, x, build_bias(b, "gate", SHAPE(width)));
    struct node *open = sigmoid(g, x);
    build_row_metric(b, "head_gate_sat", outside(g, build_present(b, open, 0.5), 0.05, 0.95), "", BETTER_NONE,
                     "share of sigmoids below 0.05 or above 0.95");
    return mul(g, heads, view(g, scale(g, open, c->mult), heads->shape));
}

const struct module gate_element = {
    .slot = SLOT_GATE, .name = "element", .about = "one sigmoid gate per dimension",
    .conf_size = sizeof(struct conf), .params = params, .gate = build,
};
