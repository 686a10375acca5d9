/* Multi-head latent attention: the keys and values of all heads are made of one latent of kv_rank values a token, and
   one rotary key serves all heads, so that caches hold kv_rank + rope_dim values a token, however many heads there are.
       c = RMSNorm(W_dkv u),  k = [W_uk c | RoPE(W_kr u)],  v = W_uv c
       q = [W_q x | RoPE(W_qr x)],  x = RMSNorm(W_dq u) with q_rank, else u
   W_q, W_qr, W_uk and W_uv are of each head its own; logits are scaled by 1 / sqrt(nope_dim + rope_dim). Training and
   evaluation make keys and values of heads. Decoding makes none: q_n . W_uk c = W_uk^T q_n . c, so it reads latents as
   one key head whose values are the latents too, and W_uv comes after. Rotating keys of heads would forbid that, and so
   would a norm on them or values that others are mixed into: there are no such slots. What kv shares between layers are
   latents and rotary keys; W_uk and W_uv are of each layer. DeepSeek-V2 (arXiv 2405.04434), V3. */
#include "model/module.h"
#include <math.h>

struct conf {
    int heads, nope_dim, rope_dim, value_dim, kv_rank, q_rank;
    struct pick mask, keys, kv, gate;
    int sink;
    double eps, softcap, qk_clip;
};
static const struct param params[] = {
    INT(struct conf, heads, 4, 1, 1024, "", "heads, each with keys and values of its own"),
    INT(struct conf, nope_dim, 32, 1, HEAD_WIDEST, "", "width of a head's queries and keys without positions"),
    INT(struct conf, rope_dim, 16, 0, HEAD_WIDEST, "", "width of a head's queries with positions, and of their key"),
    INT(struct conf, value_dim, 32, 1, HEAD_WIDEST, "", "width of a head's values"),
    INT(struct conf, kv_rank, 64, 1, HEAD_WIDEST, "", "width of the latent that keys and values are made of"),
    INT(struct conf, q_rank, 0, 0, 65536, "", "width of the latent that queries are made of; 0: of the input itself"),
    SLOT(struct conf, mask, SLOT_MASK, "causal", "what a position may look at"),
    SLOT(struct conf, keys, SLOT_KEYS, "all", "which of them it looks at"),
    SLOT(struct conf, kv, SLOT_KV, "own", "where latents and rotary keys come from"),
    SLOT(struct conf, gate, SLOT_GATE, "none", "gate on the heads' outputs"),
    CHOICE(struct conf, sink, SINK_NONE, "none head token",
           "attention to nothing: a learned logit of each head, or one that each token makes"),
    REAL(struct conf, eps, 1e-6, 1e-12, 1e-2, "", "added to the mean square of a latent"),
    OPTIONAL(struct conf, softcap, 0, 1000, "", "logits are kept within it by tanh"),
    OPTIONAL(struct conf, qk_clip, 0, 1e6, "",
             "after a step in which a head's largest logit was above it, W_q, W_qr and W_uk shrink (QK-clip; K2: 100)"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    if (c->nope_dim + c->rope_dim > HEAD_WIDEST)
        module_problem(problems, path, "nope_dim", "%d, and rope_dim = %d: keys are at most %d wide", c->nope_dim,
                       c->rope_dim, HEAD_WIDEST);
    if (c->kv_rank + c->rope_dim > HEAD_WIDEST)
        module_problem(problems, path, "kv_rank", "%d, and rope_dim = %d: what is cached is at most %d wide",
                       c->kv_rank, c->rope_dim, HEAD_WIDEST);
    int at = module_traits(c->gate).gated_at;
    if (at == GATED_QUERIES || at == GATED_KEYS || at == GATED_VALUES)
        module_problem(problems, path, "gate", "%s: queries, keys and values are made of latents, which are not gated: "
                       "on = \"heads\" or \"output\"", c->gate.module->name);
}

/* [T,width] */
static struct node *latent(struct build *b, const struct conf *c, const char *which, struct node *x, int64_t width)
{
    x = linear(b, arena_text(b->arena, "%s_down", which), ROLE_LATENT_DOWN, x, width);
    build_enter(b, "%s_norm", which);
    struct node *gain = build_weight(b, "gain", ROLE_GAIN, SHAPE(width), init_constant(1));
    build_leave(b);
    return rmsnorm(b->graph, x, gain, c->eps, false);
}

/* [T,heads,rope_dim]; NULL without positions. */
static struct node *rotated(struct build *b, const struct conf *c, const char *name, enum role role, struct node *x,
                            int64_t heads)
{
    if (c->rope_dim == 0) return NULL;
    x = linear(b, name, role, x, heads * c->rope_dim);
    build_heads(b, name, heads);
    return build_position(b, view(b->graph, x, SHAPE(b->tokens, heads, c->rope_dim)));
}

static struct node *beside(struct build *b, struct node *x, struct node *y)
{
    return y ? concat(b->graph, 2, (struct node *[]){ x, y }) : x;
}

/* Latents and rotary keys; in decoding side by side in one cache, as the keys of one head. */
static struct kv project(struct build *b, const void *context, struct node *from)
{
    const struct conf *c = context;
    struct mask mask = c->mask.module->mask(b, c->mask);
    struct node *own = latent(b, c, "kv", from, c->kv_rank), *key = rotated(b, c, "k_rope", ROLE_K, from, 1);
    if (b->mode != MODE_DECODE) return (struct kv){ .k = own, .v = key, .value = own };
    struct node *both = beside(b, view(b->graph, own, SHAPE(b->tokens, 1, c->kv_rank)), key);   /* [T,1,R+P] */
    if (module_traits(c->keys).names) mask = (struct mask){ 0, 0 };
    struct cached kept = build_cached_in(b, "latent", both, mask);
    return (struct kv){ kept.x, NULL, own, kept.pos, kept.start };
}

/* What makes keys, or values, of latents: [H width,R]. */
static struct node *up(struct build *b, const struct conf *c, const char *name, enum role role, int64_t width)
{
    struct shape shape = SHAPE(c->heads * width, c->kv_rank);
    struct node *w = build_weight(b, arena_text(b->arena, "%s.weight", name), role, shape, build_init(b, role, shape));
    build_heads(b, name, c->heads);
    return w;
}

/* What it makes of them, [T,H,width]. */
static struct node *raised(struct build *b, const struct conf *c, struct node *latents, struct node *up)
{
    return view(b->graph, build_product(b, latents, up, NULL),
                SHAPE(b->tokens, c->heads, up->shape.dim[0] / c->heads));
}

/* The same matrices by heads, [H,width,R], for what meets them instead of latents. */
static struct node *by_heads(struct build *b, const struct conf *c, struct node *up)
{
    return view(b->graph, up, SHAPE(c->heads, up->shape.dim[0] / c->heads, c->kv_rank));
}

/* Keys of heads, [T,H,N+P]. */
static struct node *keys(struct build *b, const struct conf *c, const struct kv *kv, struct node *k_up)
{
    struct graph *g = b->graph;
    struct node *key = kv->v ? repeat(g, view(g, kv->v, SHAPE(b->tokens, c->rope_dim)), c->heads) : NULL;
    return beside(b, raised(b, c, kv->k, k_up), key);
}

struct clipped { const struct conf *conf; struct node *most; const char *path; };

/* The rotary key is of all heads, so queries take the whole of it. Kimi 2025 (K2). */
static void clip(struct build *b, void *state, struct update u)
{
    static const struct { const char *name; double power; } part[] = { { "q_rope", 1 }, { "q", 0.5 }, { "k_up", 0.5 } };
    const struct clipped *s = state;
    struct node *share = NULL;
    for (int i = s->conf->rope_dim ? 0 : 1; i < COUNT(part); i++) {
        struct leaf *w = leaves_find(b->graph->leaves, arena_text(b->arena, "%s.%s.weight", s->path, part[i].name));
        share = clip_heads(b->graph, graph_leaf(b->graph, w), s->most, u.clip,
                           (struct clip_heads_attr){ s->conf->qk_clip, part[i].power, s->conf->heads });
    }
    build_metric(b, "layer_clipped_heads", share, "", BETTER_NONE, "share of groups of heads that QK-clip shrank");
}

static void observe(struct build *b, const struct conf *c, struct node *heads)
{
    build_attended(b, heads, c->sink);
    if (c->qk_clip == 0 || b->mode != MODE_TRAIN) return;
    struct clipped *s = arena_alloc(b->arena, sizeof *s);
    *s = (struct clipped){ c, carry(b->graph, graph_result(b->graph, heads, 1), CARRY_MAX),
                           arena_text(b->arena, "%s", b->path) };
    build_update(b, clip, s);
}

static struct node *build(struct build *b, struct pick self, struct node *u)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct mask mask = c->mask.module->mask(b, c->mask);
    build_keep(b, b->layer, "attention.input", u);

    struct node *from = c->q_rank ? latent(b, c, "q", u, c->q_rank) : u;
    struct node *q = linear(b, "q", ROLE_Q, from, (int64_t)c->heads * c->nope_dim),
                *q_rope = rotated(b, c, "q_rope", ROLE_Q, from, c->heads);                      /* [T,H,P] */
    build_heads(b, "q", c->heads);
    q = view(g, q, SHAPE(b->tokens, c->heads, c->nope_dim));
    struct node *k_up = up(b, c, "k_up", ROLE_K, c->nope_dim), *v_up = up(b, c, "v_up", ROLE_V, c->value_dim);
    struct kv kv = c->kv.module->kv(b, c->kv, u, (struct projector){ project, c });
    struct node *v = raised(b, c, kv.value, v_up);          /* [T,H,M], of these tokens */
    struct attention a = {
        .start = kv.start ? kv.start : build_seen(b),
        .pos = kv.pos ? kv.pos : b->pos, .sink = build_sink(b, c->sink, u, c->heads),
        .rel = build_position_bias(b, u, c->heads),
        .scale = build_sharpness(b) / sqrt(c->nope_dim + c->rope_dim),
        .window = mask.window, .chunk = mask.chunk, .softcap = c->softcap };
    if (b->mode == MODE_DECODE) {
        a.q = beside(b, head_matmul(g, q, by_heads(b, c, k_up), true), q_rope);                 /* [T,H,R+P] */
        a.k = kv.k;
        a.values = c->kv_rank;
    } else {
        a.q = beside(b, q, q_rope);                         /* [T,H,N+P] */
        a.k = build_sequences(b, keys(b, c, &kv, k_up));    /* [T,H,N+P], of parts [B,C,H,N+P] */
        a.v = build_sequences(b, v);
    }
    struct node *heads = c->keys.module->keys(b, c->keys, &(struct attending){ a, u, from });    /* or of latents, R */
    observe(b, c, heads);
    if (b->mode == MODE_DECODE) heads = head_matmul(g, heads, by_heads(b, c, v_up), false);
    heads = c->gate.module->gate(b, c->gate, GATED_HEADS, u, heads, v);
    return c->gate.module->gate(b, c->gate, GATED_OUTPUT, u, linear(b, "out", ROLE_OUT, heads, b->width), NULL);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->heads = t->kv_heads = c->heads;
    t->qk_dim = c->nope_dim + c->rope_dim;
    t->v_dim = c->value_dim;
    t->rotated = c->rope_dim;
    t->latent = c->kv_rank;
    t->clips = c->qk_clip > 0;
}

const struct module attention_mla = {
    .slot = SLOT_ATTENTION, .name = "mla", .about = "keys and values of a latent, which alone is cached (DeepSeek-V2)",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .attention = build,
};
