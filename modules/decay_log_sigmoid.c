/* Gated linear attention's decay, of each row of a memory: g = log(sigmoid(u W1 W2 + b)) / temperature.
   Yang 2023 (arXiv 2312.06635). */
#include "model/module.h"

struct conf { int rank; double temperature; };
static const struct param params[] = {
    INT(struct conf, rank, 16, 0, 4096, "", "of W1 W2; 0: one matrix"),
    REAL(struct conf, temperature, 16, 1, 1000, "", "the larger it is, the less is forgotten"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, struct node *u, int64_t heads, int64_t width)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *x = low_rank(b, "decay", ROLE_GATE, u, c->rank, heads * width);
    x = add_row(g, x, build_bias(b, "decay", SHAPE(heads * width)));
    x = scale(g, softplus(g, scale(g, x, -1)), -1 / c->temperature);    /* log sigmoid(x) = -softplus(-x) */
    return view(g, x, SHAPE(b->tokens, heads, width));
}

const struct module decay_log_sigmoid = {
    .slot = SLOT_DECAY, .name = "log_sigmoid", .about = "a gate for each row of a memory (GLA)",
    .conf_size = sizeof(struct conf), .params = params, .decay = build,
};
