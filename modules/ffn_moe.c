/* Mixture of experts: shared(u) + sum over the K chosen experts of gate * f_i(u), f_i a feed-forward. The main loss
   trains the router through the gates alone; which experts are chosen is a constant to it. Fine-grained experts (Dai
   2024) are m times as many of a width m times smaller, of which m times as many are chosen, so that parameters and
   work stay: experts, d_ff and router.top_k say it.
   Idle experts are chosen like the others and compute nothing, so that a token may do with less: a zero expert is 0
   (AdaMoE, Zeng 2024), a copy is u (LongCat 2025), a constant is (1 - a) u + a c with a learned vector c and
   a = sigmoid(u . w) (MoE++, Jin 2024, whose softmax over two logits this is). They are behind the others, in the order
   copies, constants, zeros. */
#include "model/module.h"

#include <math.h>
#include <stdio.h>

struct conf {
    int experts, d_ff, copy, constant, zero, bias;
    struct pick activation, router;
    struct picks balance;
    struct pick dispatch, latent, shared;
};
static const struct param params[] = {
    INT(struct conf, experts, 8, 1, 4096, "", "routed experts"),
    INT(struct conf, d_ff, 64, 1, 1 << 20, "", "hidden width of an expert"),
    INT(struct conf, copy, 0, 0, 4096, "", "idle experts that give back what they get"),
    INT(struct conf, constant, 0, 0, 4096, "", "idle experts that mix it with a learned vector"),
    INT(struct conf, zero, 0, 0, 4096, "", "idle experts that give nothing"),
    SLOT(struct conf, activation, SLOT_ACTIVATION, "swiglu", "of experts, shared ones too"),
    BOOL(struct conf, bias, false, "biases on each product of an expert, shared ones too"),
    SLOT(struct conf, router, SLOT_ROUTER, "staged", "who goes where"),
    SLOTS(struct conf, balance, SLOT_BALANCE, "what keeps the load even"),
    SLOT(struct conf, dispatch, SLOT_DISPATCH, "dropless", "how tokens reach their experts"),
    SLOT(struct conf, latent, SLOT_LATENT, "none", "what routed experts read and write"),
    SLOT(struct conf, shared, SLOT_SHARED, "none", "experts that every token uses"),
    { 0 }
};

static int idle_of(const struct conf *c) { return c->copy + c->constant + c->zero; }
static int choices_of(const struct conf *c) { return c->experts + idle_of(c); }

static void check_groups(const struct conf *c, const struct traits *router, const char *path, struct problems *problems)
{
    if (router->groups == 0) return;
    int choices = choices_of(c), room = choices / router->groups * router->group_limit;
    if (choices % router->groups != 0)
        module_problem(problems, path, "router.select.groups", "%d: %d experts cannot be divided so", router->groups,
                       choices);
    else if (router->top_k <= choices && room < router->top_k)
        module_problem(problems, path, "router.select.limit", "%d of %d groups have %d experts, top_k = %d are chosen",
                       router->group_limit, router->groups, room, router->top_k);
}

/* How likely a choice was is known of normal noise alone, and of a choice that goes by nothing but the noisy logits. */
static void check_balance(const struct conf *c, const struct traits *router, const char *path,
                          struct problems *problems)
{
    const char *moves = NULL, *before = NULL;
    for (int i = 0; i < c->balance.n; i++)
        if (c->balance.pick[i].module->balance_key) moves = c->balance.pick[i].module->name;
    for (int i = 0; i < c->balance.n; i++) {
        struct pick p = c->balance.pick[i];
        struct traits t = module_traits(p);
        char key[64];
        snprintf(key, sizeof key, "balance.%s", p.module->name);
        if (t.expert_groups && choices_of(c) % t.expert_groups != 0)
            module_problem(problems, path, key, "divides experts into %d equal groups, and %d experts cannot be",
                           t.expert_groups, choices_of(c));
        if (p.module->balance_key && router->keyless)
            module_problem(problems, path, "balance", "%s moves the key, but router.select does not choose by it",
                           p.module->name);
        if (p.module->balance_key && before)
            module_problem(problems, path, key, "moves the key, as '%s' does: take one of them", before);
        if (p.module->balance_key) before = p.module->name;
        if (t.alone && c->balance.n > 1)
            module_problem(problems, path, key, "makes the load even by itself: take no other rule");
        if (t.alone && !router->largest_keys)
            module_problem(problems, path, key, "needs a choice of the largest keys: router.select = \"top_k\"");
        if (t.asks_noise && !router->normal_noise)
            module_problem(problems, path, key,
                           "needs normal noise on the router's logits: router.noise = \"learned\" or \"normal\"");
        if (t.asks_noise && !router->largest_keys)
            module_problem(problems, path, key, "needs a choice of the largest logits: router.select = \"top_k\"");
        if (t.asks_noise && moves)
            module_problem(problems, path, key,
                           "needs a choice by noisy logits alone, and '%s' moves it: take one of them", moves);
        if ((t.alone || t.asks_noise) && router->top_k >= choices_of(c))
            module_problem(problems, path, key, "with router.top_k = %d every one of %d experts is chosen: at most %d",
                           router->top_k, choices_of(c), choices_of(c) - 1);
    }
}

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    struct traits router = module_traits(c->router);
    if (router.top_k > choices_of(c))
        module_problem(problems, path, "router.top_k", "%d: the model has only %d experts", router.top_k,
                       choices_of(c));
    if (router.keyless && idle_of(c) > 0)
        module_problem(problems, path, "router.select",
                       "chooses without scores: %d idle experts would be chosen whatever they give", idle_of(c));
    if (router.top_k == 1 && choices_of(c) > 1 && router.gates_sum_to_one)
        module_problem(problems, path, "router.normalize",
                       "after: with top_k = 1 every gate would be 1 and the router would get no gradient");
    if (idle_of(c) > 0 && module_traits(c->shared).by_groups)
        module_problem(problems, path, "shared",
                       "%s: goes by groups of experts that compute, and %d idle ones have none",
                       c->shared.module->name, idle_of(c));
    check_groups(c, &router, path, problems);
    check_balance(c, &router, path, problems);
}

/* REAL [T,E]: 1 where a token goes to an expert, else 0. */
static struct node *visits(struct build *b, const struct routing *r)
{
    return scatter(b->graph, build_ones(b, r->index->shape), r->index, r->experts);
}

/* Ones in x by its rows. */
static struct node *ones_of(struct graph *g, struct node *x, int64_t rows)
{
    return scale(g, dot(g, x, x), 1 / (double)rows);
}

static void observe_visits(struct build *b, const struct routing *r, const struct traits *router)
{
    struct graph *g = b->graph;
    int64_t tokens = r->index->shape.dim[0];
    if (r->uneven || r->idle) {
        struct node *all = visits(b, r), *computed = r->idle ? columns(g, all, 0, r->experts - r->idle) : all;
        build_row_metric(b, "router_token_experts", ones_of(g, computed, tokens), "", BETTER_NONE,
                         "mean over tokens of the experts that it goes to, without idle ones");
    }
    if (router->groups > 1) {
        struct node *group = view(g, visits(b, r), SHAPE(tokens * router->groups, r->experts / router->groups)),
                    *visited = pick(g, group, topk(g, group, 1));                               /* [TG,1] */
        build_row_metric(b, "router_token_groups", ones_of(g, visited, tokens), "", BETTER_NONE,
                         "mean over tokens of the groups of experts that it goes to");
    }
}

static void observe(struct build *b, const struct routing *r, const struct traits *router)
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
    observe_visits(b, r, router);
}

/* What idle experts give a token. [T,D]; NULL: nothing */
static struct node *idle(struct build *b, const struct conf *c, struct node *u, const struct routing *r)
{
    struct graph *g = b->graph;
    if (c->copy + c->constant == 0) return NULL;
    struct node *gates = scatter(g, r->gate, r->index, r->experts),                             /* [T,E] */
                *copied = c->copy ? columns(g, gates, c->experts, c->copy) : NULL;
    if (c->constant == 0) return build_gated(b, u, build_row_sum(b, copied));
    struct node *of = columns(g, gates, c->experts + c->copy, c->constant),                     /* [T,C] */
                *mixed = mul(g, of, sigmoid(g, linear(b, "constants.share", ROLE_ROUTER, u, c->constant))),
                *left = subtract(g, of, mixed),
                *vectors = build_weight(b, "constants.weight", ROLE_SCALAR, SHAPE(b->width, c->constant),
                                        (struct init){ .kind = INIT_NORMAL, .std = 1 });        /* [D,C] */
    vectors->leaf->active = (double)r->k / r->experts;
    if (copied) left = concat(g, 2, (struct node *[]){ copied, left });
    return add(g, build_gated(b, u, build_row_sum(b, left)), matmul(g, mixed, vectors, DTYPE_ACT));
}

static struct node *build(struct build *b, struct pick self, struct node *u)
{
    const struct conf *c = self.conf;
    struct routing r = c->router.module->router(b, c->router, u, choices_of(c), c->balance);
    r.idle = idle_of(c);
    struct graph *g = b->graph;
    bool thinned = r.index != r.chosen;
    r.chosen = build_present(b, r.chosen, -1);
    r.index = thinned ? build_present(b, r.index, -1) : r.chosen;
    const struct module *latent = c->latent.module;
    struct node *in = latent->latent_in ? latent->latent_in(b, c->latent, u) : u;               /* [T,W] */
    if (r.gates_input) in = build_gated(b, in, r.gate);
    struct dispatched d = c->dispatch.module->dispatch(b, c->dispatch, in, &r);
    for (int i = 0; i < c->balance.n; i++) c->balance.pick[i].module->balance(b, c->balance.pick[i], &r);
    struct traits router = module_traits(c->router);
    observe(b, &r, &router);
    build_observed(b, "ffn", &r);
    struct hidden expert = { c->d_ff, c->activation, c->bias };
    build_enter(b, "experts");
    struct node *rows = expert_feed_forward(b, expert, &r, &d);                                 /* [R,W] */
    build_leave(b);
    struct node *factor = r.gates_input ? build_ones(b, r.gate->shape) : r.gate;
    struct node *routed = combine(g, rows, d.order, d.inverse, factor);                         /* [T,W] */
    if (latent->latent_out) routed = latent->latent_out(b, c->latent, routed);                  /* [T,D] */
    struct node *without = idle(b, c, u, &r);
    if (without) routed = add(g, routed, without);
    return c->shared.module->shared(b, c->shared, u, &r, expert, routed);
}

const struct module ffn_moe = {
    .slot = SLOT_FFN, .name = "moe", .about = "mixture of experts",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .ffn = build,
};
