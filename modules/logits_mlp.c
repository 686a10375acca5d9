/* Logits by two layers: gelu(u W1^T + b) W2^T. Shen 2023 (ModuleFormer; its dropout is left out). */
#include "model/module.h"

struct conf { int hidden; };
static const struct param params[] = {
    INT(struct conf, hidden, 256, 1, 65536, "", "hidden width"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, struct node *u, int experts)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *hidden = linear(b, "router.hidden", ROLE_ROUTER, u, c->hidden),                /* [T,H] */
                *shift = build_weight(b, "router.hidden.offset", ROLE_SCALAR, SHAPE(c->hidden), init_constant(0));
    return linear_same(b, "router", ROLE_ROUTER, gelu(g, add_row(g, hidden, shift)), experts, false);       /* [T,E] */
}

const struct module logits_mlp = {
    .slot = SLOT_LOGITS, .name = "mlp", .about = "two layers",
    .conf_size = sizeof(struct conf), .params = params, .logits = build,
};
