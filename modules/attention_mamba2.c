/* Mamba-2 (Dao 2024, arXiv 2405.21060): a state space model as a memory of state x head_dim for each head. One product
   gives z, x, B and C; x, B and C go through a short convolution with a bias and SiLU, and heads of a group share B
   and C:
       S = e^(-e^A step) S + step B x^T,  o = S^T C + D x,  step = softplus(u W_dt + dt)
   The output is RMSNorm(o silu(z)) W: gate before norm, which is by groups. Order comes from decays and convolutions:
   the position slot is not asked. W_dt is a matrix of its own, whose product keeps its digits. */
#include "model/module.h"

struct conf { int heads, head_dim, state, groups, conv; };
static const struct param params[] = {
    INT(struct conf, heads, 4, 1, 1024, "", "heads of x, each a memory of its own"),
    INT(struct conf, head_dim, 32, 1, 1024, "", "width of a head"),
    INT(struct conf, state, 32, 1, 512, "", "rows of a memory: width of B and C"),
    INT(struct conf, groups, 1, 1, 1024, "", "of heads, each with its B and C"),
    INT(struct conf, conv, 4, 1, 64, "token", "taps of the convolution; 1: no token but its own"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    if (c->heads % c->groups)
        module_problem(problems, path, "groups", "%d: must divide heads = %d", c->groups, c->heads);
}

/* o and x [T,H,M], z [T,H M]. */
static struct node *finish(struct build *b, const struct conf *c, struct node *o, struct node *x, struct node *z)
{
    struct graph *g = b->graph;
    int64_t width = (int64_t)c->heads * c->head_dim;
    struct node *skip = build_weight(b, "D", ROLE_SCALAR, SHAPE(c->heads), init_constant(1));
    struct node *passed = mul_row(g, view(g, x, SHAPE(b->tokens, width)), build_for_channels(b, skip, c->head_dim));
    o = mul(g, add(g, view(g, o, SHAPE(b->tokens, width)), passed), silu(g, z));                /* [T,H*M] */
    build_enter(b, "gated_norm");
    struct node *gain = build_weight(b, "gain", ROLE_GAIN, SHAPE(width), init_constant(1));
    build_leave(b);
    o = rmsnorm(g, view(g, o, SHAPE(b->tokens, c->groups, width / c->groups)), NULL, 1e-5, false);
    return linear(b, "out", ROLE_OUT, mul_row(g, view(g, o, SHAPE(b->tokens, width)), gain), b->width);
}

static struct node *build(struct build *b, struct pick self, struct node *u)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    int64_t width = (int64_t)c->heads * c->head_dim, shared = (int64_t)c->groups * c->state;
    build_keep(b, b->layer, "attention.input", u);

    struct node *start = build_present(b, b->start, (double)b->seq);    /* what only fills up stores nothing */
    struct node *in = linear(b, "in", ROLE_V, u, 2 * width + 2 * shared);                       /* z, x, B, C */
    struct node *mixed = build_conv(b, "in", columns(g, in, width, width + 2 * shared), start, c->conv, true);
    struct delta_rule rule = { .start = start, .scale = 1, .delta = false };
    rule.v = view(g, columns(g, mixed, 0, width), SHAPE(b->tokens, c->heads, c->head_dim));
    rule.k = view(g, columns(g, mixed, width, shared), SHAPE(b->tokens, c->groups, c->state));
    rule.q = view(g, columns(g, mixed, width + shared, shared), SHAPE(b->tokens, c->groups, c->state));
    struct node *rate = build_weight(b, "A", ROLE_SCALAR, SHAPE(c->heads), init_log_uniform(1, 16));
    struct node *dt = build_weight(b, "dt", ROLE_SCALAR, SHAPE(c->heads), build_step_init());
    rule.beta = softplus(g, add_row(g, linear(b, "dt", ROLE_GATE, u, c->heads), dt));           /* [T,H] */
    rule.g = mul_row(g, rule.beta, scale(g, exp_of(g, rate), -1));
    return finish(b, c, build_memory(b, rule), rule.v, columns(g, in, 0, width));
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->heads = c->heads;
    t->kv_heads = c->groups;
    t->qk_dim = c->state;
    t->v_dim = c->head_dim;
}

const struct module attention_mamba2 = {
    .slot = SLOT_ATTENTION, .name = "mamba2", .about = "a state space model (Mamba-2)",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .attention = build,
};
