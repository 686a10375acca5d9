/* g = -e^A softplus(f), f = u W + dt, with A for each head: a rate times a step (Gu 2023, Mamba; Gated DeltaNet). By
   channels f is of each row of a memory, and a W of two factors is its usual form (Kimi Delta Attention, arXiv
   2510.26692). Bounded, g = -bound sigmoid(e^A f): no token forgets more than e^-bound of a row (Kimi K3).
   At first e^A is even within `least` and 16 and the step within 0.001 and 0.1; bounded e^A is 1. */
#include "model/module.h"

enum per { HEAD, CHANNEL };
struct conf { int per, rank; double least, bound; };
static const struct param params[] = {
    CHOICE(struct conf, per, HEAD, "head channel", "what has a decay of its own: a memory, or each row of it"),
    INT(struct conf, rank, 0, 0, 4096, "", "of W as a product of two; 0: one matrix"),
    REAL(struct conf, least, 0, 0, 15, "", "least e^A at first; Kimi Linear: 1"),
    OPTIONAL(struct conf, bound, 0, 100, "", "g stays above its negative; Kimi K3: 5"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    if (c->bound > 0 && c->least > 0)
        module_problem(problems, path, "least", "%g: with bound = %g rates begin at 1", c->least, c->bound);
}

static struct node *build(struct build *b, struct pick self, struct node *u, int64_t heads, int64_t width)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    int64_t of_head = c->per == CHANNEL ? width : 1;
    struct init rate = c->bound > 0 ? init_constant(0) : init_log_uniform(c->least, 16);
    struct node *a = build_weight(b, "A", ROLE_SCALAR, SHAPE(heads), rate);
    struct node *dt = build_weight(b, "dt", ROLE_SCALAR, SHAPE(heads * of_head), build_step_init());
    struct node *f = add_row(g, low_rank(b, "a", ROLE_GATE, u, c->rank, heads * of_head), dt);
    if (c->bound == 0) f = softplus(g, f);
    struct node *by = exp_of(g, a);
    if (c->bound == 0) by = scale(g, by, -1);
    if (c->per == CHANNEL) by = build_for_channels(b, by, width);
    struct node *decay = mul_row(g, f, by);                 /* [T,H], [T,H*N] */
    if (c->bound > 0) decay = scale(g, sigmoid(g, decay), -c->bound);
    return c->per == CHANNEL ? view(g, decay, SHAPE(b->tokens, heads, width)) : decay;
}

const struct module decay_softplus = {
    .slot = SLOT_DECAY, .name = "softplus", .about = "a learned rate times a step (Gated DeltaNet, Kimi Linear)",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .decay = build,
};
