/* Attention with shared key and value heads: groups of heads / kv_heads queries read one. Ainslie 2023; kv_heads =
   heads is MHA, 1 is MQA. The heads' width is free of the model's (WeLM: three times as wide). */
#include "model/module.h"
#include <math.h>

struct conf { int heads, kv_heads, head_dim; struct pick mask, kv, value, qk_norm, gate; };
static const struct param params[] = {
    INT(struct conf, heads, 4, 1, 1024, "", "query heads"),
    INT(struct conf, kv_heads, 2, 1, 1024, "", "key and value heads"),
    INT(struct conf, head_dim, 32, 2, 1024, "", "width of a head"),
    SLOT(struct conf, mask, SLOT_MASK, "causal", "what a position may look at"),
    SLOT(struct conf, kv, SLOT_KV, "own", "where keys and values come from"),
    SLOT(struct conf, value, SLOT_VALUE, "none", "what is mixed into values"),
    SLOT(struct conf, qk_norm, SLOT_QK_NORM, "none", "norm on queries and keys"),
    SLOT(struct conf, gate, SLOT_GATE, "none", "gate on the heads' outputs"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    if (c->heads % c->kv_heads)
        module_problem(problems, path, "kv_heads", "%d: must divide heads = %d", c->kv_heads, c->heads);
    if (c->head_dim % 2) module_problem(problems, path, "head_dim", "%d: must be even", c->head_dim);
}

/* Norm and position come before the cache: a key is rotated once. */
static struct node *finish(struct build *b, const struct conf *c, const char *which, struct node *x, int64_t heads)
{
    x = view(b->graph, x, SHAPE(b->tokens, heads, c->head_dim));
    return build_position(b, c->qk_norm.module->qk_norm(b, c->qk_norm, which, x));
}

static struct kv project(struct build *b, const void *context, struct node *from)
{
    const struct conf *c = context;
    int64_t width = (int64_t)c->kv_heads * c->head_dim, window = c->mask.module->mask(b, c->mask).window;
    struct node *k = linear(b, "k", ROLE_K, from, width), *v = linear(b, "v", ROLE_V, from, width);
    k = build_cached(b, "k", finish(b, c, "k", k, c->kv_heads), window);    /* [T,G,W], cached [B,C,G,W] */
    v = c->value.module->value(b, c->value, from, view(b->graph, v, SHAPE(b->tokens, c->kv_heads, c->head_dim)));
    return (struct kv){ k, build_cached(b, "v", v, window), v };
}

static struct node *build(struct build *b, struct pick self, struct node *u)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    int64_t width = (int64_t)c->heads * c->head_dim, window = c->mask.module->mask(b, c->mask).window;
    build_keep(b, b->layer, "attention.input", u);

    struct node *q = finish(b, c, "q", linear(b, "q", ROLE_Q, u, width), c->heads);    /* [T,H,W] */
    struct kv kv = c->kv.module->kv(b, c->kv, u, (struct projector){ project, c });
    struct node *start = build_present(b, b->start, (double)b->seq);    /* what only fills up sees nothing */
    struct node *heads = attention(g, q, kv.k, kv.v, start, b->pos, 1 / sqrt(c->head_dim), window);
    build_metric_as(b, "layer_attn_logit_max", max_all(g, graph_result(g, heads, 1)), "", CARRY_MAX, BETTER_NONE,
                    "largest scaled score before softmax");
    heads = c->gate.module->gate(b, c->gate, u, heads, kv.value);       /* [T,H,W] */
    return linear(b, "out", ROLE_OUT, view(g, heads, SHAPE(b->tokens, width)), b->width);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->heads = c->heads;
    t->kv_heads = c->kv_heads;
    t->qk_dim = t->v_dim = t->rotated = c->head_dim;
}

const struct module attention_gqa = {
    .slot = SLOT_ATTENTION, .name = "gqa", .about = "multi-head attention with shared key and value heads",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .attention = build,
};
