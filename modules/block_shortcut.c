/* A mixture of experts on a path of its own: the layer's feed-forward, a mixture as a rule, is beside the dense one
   that stands in its place, and what it gives may arrive late, so that tokens have time to go to their devices:
       h = x + attention(norm(x)),  u = norm(h)
       y = h + dense(u) + ffn(u)                            reads = "dense", joins = "here"
       y = h + dense(u) + ffn(norm_ffn(x))                  reads = "block": Snowflake 2024 (Arctic)
       y = h + dense(u), the next layer's is y' + ffn(u)    joins = "next": Cai 2024 (ScMoE); LongCat 2025, whose block
                                                            of two attentions is two layers here, the second sequential
   Each joins what the other feed-forward writes, inside the residual around it. Dense and ffn share their norm where
   they read the same. */
#include "model/module.h"

enum reads { DENSE, BLOCK };
enum joins { NEXT, HERE };
struct conf { struct pick dense; int reads, joins; };
static const struct param params[] = {
    SLOT(struct conf, dense, SLOT_FFN, "dense", "the feed-forward in the usual place; it or ffn may have experts"),
    CHOICE(struct conf, reads, DENSE, "dense block",
           "what ffn reads: what `dense` does, or the layer's input, by a norm of its own"),
    CHOICE(struct conf, joins, NEXT, "next here",
           "where it is added: to the next layer's feed-forward, in the last layer and in multi-token prediction to "
           "`dense`; or there always"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    for (int i = 0; i < model->layers; i++) {
        struct pick residual = model->residual.pick[i], ffn = model->ffn.pick[i];
        int streams = c->reads == BLOCK ? module_traits(residual).streams : 0;
        bool two = module_part(c->dense, SLOT_ROUTER).module && module_part(ffn, SLOT_ROUTER).module;
        if (model->block.pick[i].conf != self.conf) continue;
        if (two)
            module_problem(problems, path, "dense", "%s: has a router, as ffn = %s has, and metrics are of one",
                           c->dense.module->name, ffn.module->name);
        if (streams)
            module_problem(problems, path, "reads",
                           "block: residual = %s keeps %d streams, and a norm reads one: \"dense\"",
                           residual.module->name, streams);
        if (two || streams) return;
    }
}

struct context { const struct conf *conf; struct node *x; };

/* The ffn's weights have the names that they have in sequence. */
static struct node *beside(struct build *b, const struct context *at, struct node *u)
{
    build_leave(b);
    build_enter(b, "ffn");
    struct node *y = build_ffn(b, NULL, at->conf->reads == BLOCK ? build_norm(b, "norm", at->x) : u);
    build_leave(b);
    build_enter(b, "dense");
    return y;
}

static struct node *both(struct build *b, const void *context, struct node *u)
{
    const struct context *at = context;
    struct pick dense = at->conf->dense;
    struct node *y = build_joined(b, dense.module->ffn(b, dense, u)), *routed = beside(b, at, u);     /* [T,D] */
    if (at->conf->joins == HERE || b->layer + 1 >= b->layers) return add(b->graph, y, routed);
    build_join_next(b, routed);
    return y;
}

static void build(struct build *b, struct pick self, struct stream *s)
{
    struct context at = { self.conf, s->x };
    build_around(b, s, (struct sublayer){ build_attention, NULL, "attention" });
    build_around(b, s, (struct sublayer){ both, &at, "dense" });
}

static void traits(struct pick self, struct traits *t)
{
    t->joins_next = ((const struct conf *)self.conf)->joins == NEXT;
}

const struct module block_shortcut = {
    .slot = SLOT_BLOCK, .name = "shortcut", .about = "a dense feed-forward in place, the ffn on a path around it",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .block = build,
};
