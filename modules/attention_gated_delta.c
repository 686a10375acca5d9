/* Gated DeltaNet (Yang 2024, arXiv 2412.06464; Qwen3-Next): a memory of key_dim x value_dim for each value head, in
   place of a cache. q, k, v = u W, each through a short convolution and SiLU, q and k on the unit sphere; then
       S = e^g S + k u^T,  u = beta (v - (e^g S)^T k),  o = S^T q / sqrt(key_dim)
   with log decay g = -e^A softplus(u W_a + dt) and beta = sigmoid(u W_b). The output is RMSNorm(o) SiLU(u W_g), norm
   and gate by value heads, whose groups share a key head. Order comes from decay and convolutions: the position slot
   is not asked. */
#include "model/module.h"
#include <math.h>

enum { CHUNK = 64 };                                        /* tokens that are products of matrices together */

struct conf { int heads, value_heads, key_dim, value_dim, conv, negative_eigenvalues; };
static const struct param params[] = {
    INT(struct conf, heads, 2, 1, 1024, "", "query and key heads"),
    INT(struct conf, value_heads, 4, 1, 1024, "", "value heads, each a memory of its own"),
    INT(struct conf, key_dim, 32, 1, 512, "", "width of a query or key head"),
    INT(struct conf, value_dim, 32, 1, 1024, "", "width of a value head"),
    INT(struct conf, conv, 4, 1, 64, "token", "taps of the convolutions; 1: no token but its own"),
    BOOL(struct conf, negative_eigenvalues, false,
         "beta in (0, 2): a memory may flip its sign along a key (Grazzi 2024, arXiv 2411.12537)"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    if (c->value_heads % c->heads)
        module_problem(problems, path, "heads", "%d: must divide value_heads = %d", c->heads, c->value_heads);
}

/* [T,heads,width]. Taps begin as torch's: even within 1 / sqrt(taps). */
static struct node *project(struct build *b, const struct conf *c, const char *name, enum role role, struct node *u,
                            struct node *start, int64_t heads, int64_t width)
{
    struct node *x = linear(b, name, role, u, heads * width);                                   /* [T,heads*width] */
    build_enter(b, "%s", name);
    struct node *taps = build_weight(b, "conv", ROLE_TAPS, SHAPE(heads * width, c->conv),
                                     init_uniform(-1 / sqrt(c->conv), 1 / sqrt(c->conv)));
    struct node *state = build_state(b, "conv", SHAPE(heads * width), c->conv > 1 ? c->conv - 1 : 1);
    build_leave(b);
    return view(b->graph, conv1d(b->graph, x, taps, start, b->pos, state, true), SHAPE(b->tokens, heads, width));
}

/* g, REAL [T,HV]. At first e^A is even within 0 and 16, and softplus(dt), the step, within 0.001 and 0.1: dt is even
   between where softplus takes these values, which makes the step log-uniform but for 5 % of its density. */
static struct node *decay(struct build *b, const struct conf *c, struct node *u)
{
    struct graph *g = b->graph;
    struct node *a = build_weight(b, "A", ROLE_SCALAR, SHAPE(c->value_heads), init_log_uniform(0, 16));
    struct node *dt = build_weight(b, "dt", ROLE_SCALAR, SHAPE(c->value_heads),
                                   init_uniform(log(expm1(0.001)), log(expm1(0.1))));
    struct node *step = softplus(g, add_row(g, linear(b, "a", ROLE_GATE, u, c->value_heads), dt));
    return mul_row(g, step, scale(g, exp_of(g, a), -1));
}

static struct node *finish(struct build *b, struct node *heads, struct node *u)
{
    struct graph *g = b->graph;
    int64_t width = shape_count(heads->shape) / b->tokens;
    build_enter(b, "head_norm");
    struct node *gain = build_weight(b, "gain", ROLE_GAIN, SHAPE(shape_last(heads->shape)),
                                     init_constant(1));       /* [M] */
    build_leave(b);
    heads = view(g, rmsnorm(g, heads, gain, 1e-6, false), SHAPE(b->tokens, width));
    return linear(b, "out", ROLE_OUT, mul(g, heads, silu(g, linear(b, "gate", ROLE_GATE, u, width))), b->width);
}

static struct node *build(struct build *b, struct pick self, struct node *u)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    build_keep(b, b->layer, "attention.input", u);

    struct node *start = build_present(b, b->start, (double)b->seq);    /* what only fills up stores nothing */
    struct delta_rule rule = { .start = start, .pos = b->pos, .scale = 1 / sqrt(c->key_dim), .delta = true,
                               .chunk = CHUNK };
    rule.q = l2norm(g, project(b, c, "q", ROLE_Q, u, start, c->heads, c->key_dim), 1e-6);       /* [T,H,N] */
    rule.k = l2norm(g, project(b, c, "k", ROLE_K, u, start, c->heads, c->key_dim), 1e-6);
    rule.v = project(b, c, "v", ROLE_V, u, start, c->value_heads, c->value_dim);                /* [T,HV,M] */
    rule.g = decay(b, c, u);
    rule.beta = sigmoid(g, linear(b, "b", ROLE_GATE, u, c->value_heads));                       /* [T,HV] */
    if (c->negative_eigenvalues) rule.beta = scale(g, rule.beta, 2);
    rule.state = build_state(b, "delta", SHAPE(c->value_heads, (int64_t)c->key_dim * c->value_dim), 1);
    build_row_metric(b, "head_decay_mean", mean_rows(g, build_present(b, exp_of(g, rule.g), 0)), "", BETTER_NONE,
                     "mean share of each memory that a token keeps");    /* [HV] */
    build_row_metric(b, "head_beta_mean", mean_rows(g, build_present(b, rule.beta, 0)), "", BETTER_NONE,
                     "mean strength with which a token writes into each memory");
    return finish(b, delta_rule(g, rule), u);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->heads = c->value_heads;
    t->kv_heads = c->heads;
    t->qk_dim = c->key_dim;
    t->v_dim = c->value_dim;
}

const struct module attention_gated_delta = {
    .slot = SLOT_ATTENTION, .name = "gated_delta", .about = "a gated delta rule on a memory of fixed size (Qwen3-Next)",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .attention = build,
};
