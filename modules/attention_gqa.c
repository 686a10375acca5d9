/* Attention with shared key and value heads: groups of heads / kv_heads queries read one. Ainslie 2023; kv_heads =
   heads is MHA, 1 is MQA. The heads' width is free of the model's (WeLM: three times as wide). With K experts for a
   token there are K times as many query heads, each expert's own; keys and values are those of the layer. */
#include "model/module.h"
#include <math.h>

enum bias { NO_BIAS, QKV, ALL };
struct conf {
    int heads, kv_heads, head_dim;
    struct pick mask, keys, kv, value, qk_norm, temperature, gate, experts;
    int sink, bias;
    double scale, softcap, qk_clip;
};
static const struct param params[] = {
    INT(struct conf, heads, 4, 1, 1024, "", "query heads"),
    INT(struct conf, kv_heads, 2, 1, 1024, "", "key and value heads"),
    INT(struct conf, head_dim, 32, 2, 1024, "", "width of a head"),
    SLOT(struct conf, mask, SLOT_MASK, "causal", "what a position may look at"),
    SLOT(struct conf, keys, SLOT_KEYS, "all", "which of those a query looks at"),
    SLOT(struct conf, kv, SLOT_KV, "own", "where keys and values come from"),
    SLOT(struct conf, value, SLOT_VALUE, "none", "what is mixed into values"),
    SLOT(struct conf, qk_norm, SLOT_QK_NORM, "none", "norm on queries and keys"),
    SLOT(struct conf, temperature, SLOT_TEMPERATURE, "none", "how sharp attention is at a position"),
    SLOT(struct conf, gate, SLOT_GATE, "none", "gate on the heads' outputs, or on what they are made of"),
    SLOT(struct conf, experts, SLOT_EXPERTS, "none", "who makes queries and reads heads"),
    CHOICE(struct conf, sink, SINK_NONE, "none head token",
           "attention to nothing: a learned logit of each head, or one that each token makes"),
    CHOICE(struct conf, bias, NO_BIAS, "none qkv all",
           "biases on queries, keys and values (Qwen2), on the output too (gpt-oss)"),
    OPTIONAL(struct conf, scale, 0, 100, "",
             "factor on q.k; 0: 1 / sqrt(head_dim). Gemma 2-27B: sqrt(heads / d_model); Gemma 3n: 1"),
    OPTIONAL(struct conf, softcap, 0, 1000, "", "logits are kept within it by tanh; Gemma 2: 50"),
    OPTIONAL(struct conf, qk_clip, 0, 1e6, "",
             "after a step in which a head's largest logit was above it, its queries and keys shrink (QK-clip)"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    if (c->heads % c->kv_heads)
        module_problem(problems, path, "kv_heads", "%d: must divide heads = %d", c->kv_heads, c->heads);
    if (c->qk_clip > 0 && module_traits(c->qk_norm).normed_q)
        module_problem(problems, path, "qk_clip", "%g: qk_norm undoes what it scales", c->qk_clip);
    if (c->qk_clip > 0 && module_traits(c->kv).others_keys)
        module_problem(problems, path, "qk_clip", "%g: who reads another layer's keys has none to scale", c->qk_clip);
    if (c->qk_clip > 0 && c->bias != NO_BIAS)
        module_problem(problems, path, "qk_clip", "%g: it shrinks matrices, logits are of biases too", c->qk_clip);
    if (c->qk_clip > 0 && module_traits(c->experts).top_k > 0)
        module_problem(problems, path, "qk_clip", "%g: with experts = %s a head's queries are of several matrices",
                       c->qk_clip, c->experts.module->name);
    if (c->head_dim % 2) module_problem(problems, path, "head_dim", "%d: must be even", c->head_dim);
}

static struct node *gated(struct build *b, const struct conf *c, enum gated at, struct node *u, struct node *x,
                          struct node *v)
{
    return c->gate.module->gate(b, c->gate, at, u, x, v);
}

static struct node *normed(struct build *b, const struct conf *c, const char *which, struct node *x)
{
    return c->qk_norm.module->qk_norm(b, c->qk_norm, which, x);
}

/* Norm and position come before the cache: a key is rotated once. x [T,H,W]. */
static struct node *finish(struct build *b, const struct conf *c, const char *which, struct node *x)
{
    if (module_traits(c->qk_norm).norms_rotated) return normed(b, c, which, build_position(b, x));
    return build_position(b, normed(b, c, which, x));
}

/* [T,N W], as it was projected -> [T,N,W] */
static struct node *heads_of(struct build *b, const struct conf *c, enum conv_at at, const char *which, struct node *x)
{
    x = build_convolved(b, at, which, x);
    return view(b->graph, x, SHAPE(b->tokens, shape_count(x->shape) / b->tokens / c->head_dim, c->head_dim));
}

/* [T,G W], as they were projected -> [T,G,W], finished */
static struct node *values(struct build *b, const struct conf *c, struct node *from, struct node *v)
{
    v = gated(b, c, GATED_VALUES, from, normed(b, c, "v", heads_of(b, c, CONV_VALUES, "v", v)), NULL);
    build_keep(b, b->layer, "attention.projected", v);
    return c->value.module->value(b, c->value, from, v);
}

static struct kv project(struct build *b, const void *context, struct node *from)
{
    const struct conf *c = context;
    struct mask mask = c->mask.module->mask(b, c->mask);
    int64_t width = (int64_t)c->kv_heads * c->head_dim;
    bool reads = module_traits(c->value).first_values && b->layer < b->layers;
    struct mask kept = module_traits(c->keys).names ? (struct mask){ 0, 0 } : mask;
    struct node *first = reads ? build_kept_first(b, "attention.v") : NULL,
                *k = affine_part(b, SIDE_OUTPUTS, c->bias != NO_BIAS, "k", ROLE_K, from, width, false),
                *v = first ? first : affine_part(b, SIDE_OUTPUTS, c->bias != NO_BIAS, "v", ROLE_V, from, width, false);
    build_heads(b, "k", build_part(b, c->kv_heads));
    if (!first) build_heads(b, "v", build_part(b, c->kv_heads));
    k = gated(b, c, GATED_KEYS, from, heads_of(b, c, CONV_KEYS, "k", k), NULL);
    struct cached keys = build_cached_in(b, "k", finish(b, c, "k", k), kept);       /* [T,G,W], cached [B,C,G,W] */
    if (first) return (struct kv){ keys.x, first, build_kept_first(b, "attention.value"), keys.pos, keys.start };
    struct node *value = values(b, c, from, v);
    v = build_cached_in(b, "v", value, kept).x;
    build_keep(b, b->layer, "attention.v", v);
    build_keep(b, b->layer, "attention.value", value);
    return (struct kv){ keys.x, v, value, keys.pos, keys.start };
}

/* By the temperature of its position. */
static struct node *tempered(struct build *b, struct node *x, struct node *temperature)
{
    struct graph *g = b->graph;
    if (!x || !temperature) return x;
    struct node *flat = view(g, x, SHAPE(b->tokens, 1, shape_count(x->shape) / b->tokens));
    return view(g, mul_heads(g, flat, temperature), x->shape);
}

struct clipped { const struct conf *conf; struct node *most; const char *path; };

/* A key head that is normalised has no length: then queries take the whole of it. Kimi 2025 (K2). */
static void clip(struct build *b, void *state, struct update u)
{
    const struct clipped *s = state;
    const struct conf *c = s->conf;
    struct graph *g = b->graph;
    bool normed = module_traits(c->qk_norm).normed_k;
    struct clip_heads_attr a = { c->qk_clip, normed ? 1 : 0.5, normed ? c->heads : c->kv_heads };
    struct node *q = graph_leaf(g, leaves_find(g->leaves, arena_text(b->arena, "%s.q.weight", s->path)));
    struct node *k = graph_leaf(g, leaves_find(g->leaves, arena_text(b->arena, "%s.k.weight", s->path)));
    struct node *share = clip_heads(g, q, s->most, u.clip, a);
    if (!normed) clip_heads(g, k, s->most, u.clip, a);
    build_metric(b, "layer_clipped_heads", share, "", BETTER_NONE, "share of groups of heads that QK-clip shrank");
}

static void observe(struct build *b, const struct conf *c, struct node *heads)
{
    struct graph *g = b->graph;
    build_attended(b, heads, c->sink);
    if (c->qk_clip == 0 || b->mode != MODE_TRAIN) return;
    struct clipped *s = arena_alloc(b->arena, sizeof *s);
    *s = (struct clipped){ c, carry(g, graph_result(g, heads, 1), CARRY_MAX), arena_text(b->arena, "%s", b->path) };
    build_update(b, clip, s);
}

static struct node *build(struct build *b, struct pick self, struct node *u)
{
    const struct conf *c = self.conf;
    const struct module *experts = c->experts.module;
    struct heads h = { c->heads, c->kv_heads, c->head_dim, c->bias != NO_BIAS, c->bias == ALL };
    struct mask mask = c->mask.module->mask(b, c->mask);
    build_keep(b, b->layer, "attention.input", u);

    struct queries of = experts->queries(b, c->experts, u, h);
    int64_t all = of.k * build_part(b, c->heads);           /* query heads of a token that this rank has */
    struct node *temperature = c->temperature.module->temperature(b, c->temperature);           /* [T,1] */
    struct node *q = gated(b, c, GATED_QUERIES, u, heads_of(b, c, CONV_QUERIES, "q", of.q), NULL);
    q = tempered(b, finish(b, c, "q", q), temperature);     /* [T,H,W] */
    struct node *bias = tempered(b, build_position_bias(b, u, all), temperature);               /* [T,H,R] */
    struct kv kv = c->kv.module->kv(b, c->kv, u, (struct projector){ project, c });
    struct node *start = kv.start ? kv.start : build_seen(b);
    struct attending a = { .u = u, .from = u, .attention = {
        .q = q, .k = kv.k, .v = kv.v, .start = start, .pos = kv.pos ? kv.pos : b->pos,
        .sink = build_sink(b, c->sink, u, all), .rel = bias,
        .scale = build_sharpness(b) * (c->scale > 0 ? c->scale : 1 / sqrt(c->head_dim)),
        .window = mask.window, .chunk = mask.chunk, .softcap = c->softcap } };
    struct node *heads = c->keys.module->keys(b, c->keys, &a);          /* [T,H,W] */
    observe(b, c, heads);
    heads = gated(b, c, GATED_HEADS, u, heads, kv.value);   /* [T,H,W] */
    return gated(b, c, GATED_OUTPUT, u, experts->output(b, c->experts, &of, heads), NULL);
}

static bool is(struct pick p, const char *name) { return strcmp(p.module->name, name) == 0; }

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->heads = c->heads * (t->top_k ? t->top_k : 1);
    t->kv_heads = c->kv_heads;
    t->convolved = true;
    t->qk_dim = t->v_dim = t->rotated = c->head_dim;
    t->clips = c->qk_clip > 0;
    t->divides = is(c->keys, "all") && is(c->value, "none") && is(c->temperature, "none") && is(c->experts, "none") &&
                 (is(c->gate, "none") || is(c->gate, "head")) && !t->norms_all && c->sink == SINK_NONE &&
                 c->qk_clip == 0;
}

const struct module attention_gqa = {
    .slot = SLOT_ATTENTION, .name = "gqa", .about = "multi-head attention with shared key and value heads",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .attention = build,
};
