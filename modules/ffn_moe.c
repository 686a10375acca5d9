/* Mixture of experts: shared(u) + sum over the K chosen experts of gate * f_i(u), f_i a feed-forward. The main loss
   trains the router through the gates alone; which experts are chosen is a constant to it. Fine-grained experts (Dai
   2024) are m times as many of a width m times smaller, of which m times as many are chosen, so that parameters and
   work stay: experts, d_ff and router.top_k say it.
   Idle experts are chosen like the others and compute nothing, so that a token may do with less: a zero expert is 0
   (AdaMoE, Zeng 2024), a copy is u (LongCat 2025), a constant is (1 - a) u + a c with a learned vector c and
   a = sigmoid(u . w) (MoE++, Jin 2024, whose softmax over two logits this is). They are behind the others, in the order
   copies, constants, zeros. */
#include "model/module.h"

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

static struct experts experts_of(const struct conf *c)
{
    return (struct experts){ choices_of(c), idle_of(c), c->router, c->balance, c->dispatch };
}

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    struct experts e = experts_of(c);
    experts_check(&e, path, problems);
    if (c->bias && module_traits(c->router).hidden_gates)
        module_problem(problems, path, "router.gate_on",
                       "hidden: the last product of an expert has a bias, which the gate would miss: bias = false");
    if (e.idle > 0 && module_traits(c->shared).by_groups)
        module_problem(problems, path, "shared",
                       "%s: goes by groups of experts that compute, and %d idle ones have none",
                       c->shared.module->name, e.idle);
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
                *mixed = mul(g, of, sigmoid(g, readout(b, "constants.share", ROLE_ROUTER, u, c->constant))),
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
    struct experts e = experts_of(c);
    struct routing r = build_routing(b, &e, u);
    const struct module *latent = c->latent.module;
    struct node *in = latent->latent_in ? latent->latent_in(b, c->latent, u) : u;               /* [T,W] */
    struct dispatched d = build_dispatch(b, &e, in, &r);
    struct hidden expert = { c->d_ff, c->activation, c->bias };
    struct node *routed = expert_feed_forward(b, "experts", expert, &r, &d);                    /* [T,W] */
    if (latent->latent_out) routed = latent->latent_out(b, c->latent, routed);                  /* [T,D] */
    struct node *without = idle(b, c, u, &r);
    if (without) routed = add(b->graph, routed, without);
    return c->shared.module->shared(b, c->shared, u, &r, expert, routed);
}

static void traits(struct pick self, struct traits *t) { t->idle = idle_of(self.conf); }

const struct module ffn_moe = {
    .slot = SLOT_FFN, .name = "moe", .about = "mixture of experts",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .ffn = build,
};
