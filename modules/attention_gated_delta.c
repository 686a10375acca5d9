/* A memory of key_dim x value_dim for each value head, in place of a cache. q, k, v = u W, each through a short
   convolution and SiLU, q and k on the unit sphere; then
       S = e^g S + k x^T,  x = beta (v - (e^g S)^T k),  o = S^T q / sqrt(key_dim)
   with log decays g as `decay` has them and beta = sigmoid(u W_b). The output is RMSNorm(o), gated; norm and gate are
   by value heads, groups of which share a key head. Order comes from decays and convolutions: the position slot is not
   asked. As it stands Gated DeltaNet (Yang 2024, arXiv 2412.06464; Qwen3-Next). Without `delta` x = beta v. What is
   published by other names is this with other settings: `sl.mixer`. */
#include "model/module.h"
#include <math.h>

struct conf {
    int heads, value_heads, key_dim, value_dim, conv, delta, unit, beta, negative_eigenvalues;
    struct pick decay, gate;
};
static const struct param params[] = {
    INT(struct conf, heads, 2, 1, 1024, "", "query and key heads"),
    INT(struct conf, value_heads, 4, 1, 1024, "", "value heads, each a memory of its own"),
    INT(struct conf, key_dim, 32, 1, 512, "", "width of a query or key head"),
    INT(struct conf, value_dim, 32, 1, 1024, "", "width of a value head"),
    INT(struct conf, conv, 4, 0, 64, "token", "taps of the convolutions; 1: no token but its own; 0: none, nor SiLU"),
    BOOL(struct conf, delta, true, "what a memory knows of a key is not stored again; else values add up"),
    BOOL(struct conf, unit, true, "queries and keys on the unit sphere"),
    BOOL(struct conf, beta, true, "each token says how strongly it writes; else all write with 1"),
    BOOL(struct conf, negative_eigenvalues, false,
         "beta in (0, 2): a memory may flip its sign along a key (Grazzi 2024, arXiv 2411.12537)"),
    SLOT(struct conf, decay, SLOT_DECAY, "softplus", "what fades of a memory at each token"),
    SLOT(struct conf, gate, SLOT_GATE, "silu", "gate on what is read, after its norm"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    if (c->value_heads % c->heads)
        module_problem(problems, path, "heads", "%d: must divide value_heads = %d", c->heads, c->value_heads);
    if (c->negative_eigenvalues && !c->delta)
        module_problem(problems, path, "negative_eigenvalues", "without delta no write can flip a sign");
    if (c->negative_eigenvalues && !c->beta)
        module_problem(problems, path, "negative_eigenvalues", "without beta there is nothing to double");
}

static struct node *gated(struct build *b, const struct conf *c, enum gated at, struct node *u, struct node *x,
                          struct node *v)
{
    return c->gate.module->gate(b, c->gate, at, u, x, v);
}

/* [T,heads,width] */
static struct node *project(struct build *b, const struct conf *c, const char *name, enum role role, struct node *u,
                            struct node *start, int64_t heads, int64_t width)
{
    struct node *x = linear(b, name, role, u, heads * width);                                   /* [T,heads*width] */
    build_heads(b, name, heads);
    if (c->conv > 0) x = build_conv(b, name, x, start, c->conv, false);
    enum gated at = role == ROLE_Q ? GATED_QUERIES : role == ROLE_K ? GATED_KEYS : GATED_VALUES;
    return gated(b, c, at, u, view(b->graph, x, SHAPE(b->tokens, heads, width)), NULL);
}

static struct node *build(struct build *b, struct pick self, struct node *u)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    int64_t heads = c->value_heads;
    build_keep(b, b->layer, "attention.input", u);

    struct node *start = build_present(b, b->start, (double)b->seq);    /* what only fills up stores nothing */
    struct delta_rule rule = { .start = start, .scale = 1 / sqrt(c->key_dim), .delta = c->delta };
    rule.q = project(b, c, "q", ROLE_Q, u, start, c->heads, c->key_dim);                        /* [T,H,N] */
    if (c->unit) rule.q = l2norm(g, rule.q, 1e-6);
    rule.k = project(b, c, "k", ROLE_K, u, start, c->heads, c->key_dim);
    if (c->unit) rule.k = l2norm(g, rule.k, 1e-6);
    rule.v = project(b, c, "v", ROLE_V, u, start, heads, c->value_dim);                         /* [T,HV,M] */
    rule.g = c->decay.module->decay(b, c->decay, u, heads, c->key_dim);                         /* [T,HV] or [T,HV,N] */
    rule.beta = c->beta ? sigmoid(g, linear(b, "b", ROLE_GATE, u, heads))
                        : build_ones(b, SHAPE(b->tokens, heads));                               /* [T,HV] */
    if (c->negative_eigenvalues) rule.beta = scale(g, rule.beta, 2);
    struct node *o = build_head_norm(b, build_memory(b, rule));
    o = linear(b, "out", ROLE_OUT, gated(b, c, GATED_HEADS, u, o, rule.v), b->width);
    return gated(b, c, GATED_OUTPUT, u, o, NULL);
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
