/* Mixture of experts: shared(u) + sum over the K chosen experts of gate * f_i(u), f_i a feed-forward. The main loss
   trains the router through the gates alone; which experts are chosen is a constant to it. */
#include "model/module.h"

#include <math.h>
#include <stdio.h>

struct conf { int experts, d_ff; struct pick activation, router; struct picks balance; struct pick dispatch, shared; };
static const struct param params[] = {
    INT(struct conf, experts, 8, 1, 4096, "", "routed experts"),
    INT(struct conf, d_ff, 64, 1, 1 << 20, "", "hidden width of an expert"),
    SLOT(struct conf, activation, SLOT_ACTIVATION, "swiglu", "of experts, shared ones too"),
    SLOT(struct conf, router, SLOT_ROUTER, "staged", "who goes where"),
    SLOTS(struct conf, balance, SLOT_BALANCE, "what keeps the load even"),
    SLOT(struct conf, dispatch, SLOT_DISPATCH, "dropless", "how tokens reach their experts"),
    SLOT(struct conf, shared, SLOT_SHARED, "none", "experts that every token uses"),
    { 0 }
};

/* How likely a choice was is known of normal noise alone, and of a choice that goes by nothing but the noisy logits. */
static void check_noise(const struct conf *c, const char *path, struct problems *problems)
{
    struct traits router = module_traits(c->router);
    const char *asks = NULL, *moves = NULL;
    for (int i = 0; i < c->balance.n; i++) {
        struct pick p = c->balance.pick[i];
        if (module_traits(p).asks_noise) asks = p.module->name;
        if (p.module->balance_key) moves = p.module->name;
    }
    char key[64];
    snprintf(key, sizeof key, "balance.%s", asks ? asks : "");
    if (asks && !router.normal_noise)
        module_problem(problems, path, key,
                       "needs normal noise on the router's logits: router.noise = \"learned\" or \"normal\"");
    if (asks && !router.largest_keys)
        module_problem(problems, path, key, "needs a choice of the largest logits: router.select = \"top_k\"");
    if (asks && moves)
        module_problem(problems, path, key, "needs a choice by noisy logits alone, and '%s' moves it: take one of them",
                       moves);
    if (asks && router.top_k >= c->experts)
        module_problem(problems, path, key, "with router.top_k = %d every one of %d experts is chosen: at most %d",
                       router.top_k, c->experts, c->experts - 1);
}

static void check_balance(const struct conf *c, const char *path, struct problems *problems)
{
    struct traits router = module_traits(c->router);
    const char *moves = NULL;
    for (int i = 0; i < c->balance.n; i++) {
        struct pick p = c->balance.pick[i];
        struct traits t = module_traits(p);
        char key[64];
        snprintf(key, sizeof key, "balance.%s", p.module->name);
        if (t.expert_groups && c->experts % t.expert_groups != 0)
            module_problem(problems, path, key, "divides experts into %d equal groups, and %d experts cannot be",
                           t.expert_groups, c->experts);
        if (p.module->balance_key && moves)
            module_problem(problems, path, key, "moves the key, as '%s' does: take one of them", moves);
        if (p.module->balance_key) moves = p.module->name;
        if (t.alone && c->balance.n > 1)
            module_problem(problems, path, key, "makes the load even by itself: take no other rule");
        if (t.alone && !router.largest_keys)
            module_problem(problems, path, key, "needs a choice of the largest keys: router.select = \"top_k\"");
        if (t.alone && router.top_k >= c->experts)
            module_problem(problems, path, key, "with router.top_k = %d every one of %d experts is chosen: at most %d",
                           router.top_k, c->experts, c->experts - 1);
    }
}

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    struct traits router = module_traits(c->router);
    if (router.top_k > c->experts)
        module_problem(problems, path, "router.top_k", "%d: the model has only %d experts", router.top_k, c->experts);
    for (int i = 0; i < c->balance.n && router.keyless; i++)
        if (c->balance.pick[i].module->balance_key)
            module_problem(problems, path, "balance", "%s moves the key, but router.select does not choose by it",
                           c->balance.pick[i].module->name);
    if (router.top_k == 1 && c->experts > 1 && router.gates_sum_to_one)
        module_problem(problems, path, "router.normalize",
                       "after: with top_k = 1 every gate would be 1 and the router would get no gradient");
    check_noise(c, path, problems);
    check_balance(c, path, problems);
}

static void observe(struct build *b, const struct routing *r)
{
    struct graph *g = b->graph;
    build_metric_as(b, "expert_tokens", r->counts, "assignment", CARRY_SUM, BETTER_NONE,
                    "assignments to each expert in the step");
    build_row_metric(b, "router_prob_mean", mean_rows(g, build_present(b, r->share, 0)), "", BETTER_NONE,
                     "mean over tokens of the normalised score");    /* [E] */
    build_row_metric(b, "router_token_entropy", mean_rows(g, build_present(b, row_entropy(g, r->share), 0)), "nat",
                     BETTER_NONE, "mean over tokens of the entropy of the normalised score");
    build_metric_as(b, "router_logit_max", max_all(g, build_present(b, r->logits, -INFINITY)), "", CARRY_MAX,
                    BETTER_NONE, "largest router logit");
    build_row_metric(b, "router_lse2", mean_rows(g, square(g, build_present(b, logsumexp(g, r->logits), 0))), "",
                     BETTER_NONE, "mean squared logsumexp of the router logits");
}

static struct node *experts(struct build *b, const struct conf *c, const struct routing *r,
                            const struct dispatched *d)
{
    struct pick act = c->activation;
    double active = (double)r->k / r->experts;
    struct node *gate = NULL;                                                                   /* [R,F] */
    if (module_traits(act).gated)
        gate = expert_linear(b, "experts.gate", ROLE_FFN_GATE, d, d->rows, c->d_ff, c->experts, active);
    struct node *up = expert_linear(b, "experts.up", ROLE_FFN_UP, d, d->rows, c->d_ff, c->experts, active);
    struct node *hidden = act.module->activation(b, act, up, gate);
    return expert_linear(b, "experts.down", ROLE_FFN_DOWN, d, hidden, b->width, c->experts, active);
}

static struct node *build(struct build *b, struct pick self, struct node *u)
{
    const struct conf *c = self.conf;
    struct routing r = c->router.module->router(b, c->router, u, c->experts, c->balance);
    r.chosen = r.index = build_present(b, r.index, -1);
    struct dispatched d = c->dispatch.module->dispatch(b, c->dispatch, u, &r);
    for (int i = 0; i < c->balance.n; i++) c->balance.pick[i].module->balance(b, c->balance.pick[i], &r);
    observe(b, &r);
    struct node *routed = combine(b->graph, experts(b, c, &r, &d), d.order, d.inverse, r.gate);   /* [T,D] */
    return c->shared.module->shared(b, c->shared, u, (struct hidden){ c->d_ff, c->activation }, routed);
}

const struct module ffn_moe = {
    .slot = SLOT_FFN, .name = "moe", .about = "mixture of experts",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .ffn = build,
};
