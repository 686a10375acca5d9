/* Attention to a window of tokens and to compressed entries of all that is before, in one softmax (DeepSeek-AI 2026,
   V4). One vector of a token is key and value of all heads: kv = position(RMSNorm(u W_kv)). Each window of `pool`
   tokens becomes one entry more,
       e = RMSNorm(sum over its tokens of softmax(u W_z + b) u W_c),   per channel, b of the place in the window,
   at the position where the window begins; with overlap an entry is also of the previous window, by channels of its
   own. A token sees the entries of windows that end with it or before: all of them (HCA), or the top_k (CSA) that an
   indexer scores highest, as keys = dsa does, on entries of its own made likewise; it learns as there, cut off from
   the model. Queries are of low rank, q = position(RMS(RMSNorm(u W_a) W_b)) by heads. Values carry a rotation, which
   is taken back from what heads read. Heads go in groups to `out_rank` values, and all of these to the model. A
   learned sink of each head. What decoding keeps of a token is a share of an entry, beside the window. */
#include "model/module.h"
#include <math.h>

struct conf {
    int heads, head_dim, q_rank, groups, out_rank, window, pool, overlap, top_k, index_heads, index_dim;
    double index_weight;
};
static const struct param params[] = {
    INT(struct conf, pool, 4, 1, INDEX_MOST, "token", "of a window that becomes an entry; V4: 4 (CSA), 128 (HCA)"),
    INT(struct conf, window, 32, 1, INDEX_MOST, "token", "tokens that are seen themselves, the own one too; V4: 128"),
    INT(struct conf, heads, 4, 1, 1024, "", "query heads"),
    INT(struct conf, head_dim, 32, 2, 1024, "", "width of a head, and of what is kept of a token or a window"),
    INT(struct conf, q_rank, 64, 1, 1 << 16, "", "rank of the queries"),
    INT(struct conf, groups, 2, 1, 1024, "", "groups of heads on the way out"),
    INT(struct conf, out_rank, 64, 1, 1 << 16, "", "values that a group comes to"),
    BOOL(struct conf, overlap, false, "entries are of two windows, half of the channels each (CSA)"),
    INT(struct conf, top_k, 0, 0, INDEX_MOST, "", "entries that a token looks at (CSA); 0: all (HCA)"),
    INT(struct conf, index_heads, 4, 1, 64, "", "index heads, where entries are chosen"),
    INT(struct conf, index_dim, 16, 2, 512, "", "width of an index head"),
    REAL(struct conf, index_weight, 1, 0, 1000, "", "weight of the indexer's loss"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    int64_t entries = c->top_k ? c->top_k : model->seq / c->pool;
    if (c->head_dim % 2) module_problem(problems, path, "head_dim", "%d: must be even", c->head_dim);
    if (c->index_dim % 2) module_problem(problems, path, "index_dim", "%d: must be even", c->index_dim);
    if (c->index_dim * c->index_heads > 8192)
        module_problem(problems, path, "index_dim", "%d of %d heads are more than 8192 values", c->index_dim,
                       c->index_heads);
    if (c->heads % c->groups)
        module_problem(problems, path, "groups", "%d: must divide heads = %d", c->groups, c->heads);
    if (c->pool > model->seq)
        module_problem(problems, path, "pool", "%d: %d positions hold no such window", c->pool, (int)model->seq);
    if (c->window + entries > INDEX_MOST)
        module_problem(problems, path, "window", "%d and %d entries: an index names at most %d", c->window,
                       (int)entries, INDEX_MOST);
    for (int i = 0; i < model->layers; i++) {
        const struct module *position = model->position.pick[i].module;
        if (model->attention.pick[i].conf != self.conf || !position->bias) continue;
        module_problem(problems, path, "module", "compressed: position = %s of layer %d gives logits of distance, of "
                                                 "which entries have none", position->name, i);
        return;
    }
}

/* Positions counted from where the document begins, in training too: what an entry is rotated by is known so. */
static struct node *placed(const struct build *b, struct node *x, struct node *start, struct node *zero, int64_t heads,
                           bool back)
{
    struct build at = *b;
    at.taken = NULL;
    at.start = start ? start : b->start;
    at.pos = start || !b->pos ? zero : b->pos;
    int64_t rows = shape_count(at.start->shape);
    x = view(b->graph, x, SHAPE(rows, heads, shape_count(x->shape) / rows / heads));
    return back ? build_position_back(&at, x) : build_position(&at, x);
}

/* [B,E,W] of u's windows, normalised and with positions; *zero: pos with which positions count from there. */
static struct node *pooled(struct build *b, const struct conf *c, struct node *u, struct node *start, int64_t width,
                           struct node **zero)
{
    struct graph *g = b->graph;
    int64_t row = (c->overlap ? 2 : 1) * width, back = (c->overlap ? 2 : 1) * (int64_t)c->pool - 1;
    struct node *values = linear(b, "value", ROLE_V, u, row), *z = linear(b, "weight", ROLE_GATE, u, row),
                *bias = build_weight(b, "bias", ROLE_SCALAR, SHAPE(c->pool, row), init_constant(0)),
                *state = build_state(b, "pool", SHAPE(2 * row), back > 0 ? back : 1),
                *pool = pool_windows(g, values, z, bias, start, b->pos, state,
                                     build_entries(b, "pool", SHAPE(width), c->pool), c->pool, c->overlap);
    *zero = graph_result(g, pool, 2);
    struct node *entries = placed(b, build_norm(b, "norm", pool), graph_result(g, pool, 1), *zero, 1, false);
    return view(g, entries, pool->shape);
}

/* What op index_topk goes by: entries of the indexer's own. */
static struct index_topk indexer(struct build *b, const struct conf *c, struct node *u, struct node *latent,
                                 struct node *start)
{
    struct graph *g = b->graph;
    struct node *zero;
    struct index_topk i = { .start = start, .pos = b->pos, .pool = c->pool, .relu = true };
    u = detach(g, u);
    build_enter(b, "index");
    i.k = pooled(b, c, u, start, c->index_dim, &zero);                                          /* [B,E,N] */
    i.q = placed(b, linear(b, "q", ROLE_Q, detach(g, latent), (int64_t)c->index_heads * c->index_dim), NULL, zero,
                 c->index_heads, false);                                                        /* [T,J,N] */
    build_heads(b, "q", c->index_heads);
    i.w = scale(g, linear(b, "w", ROLE_GATE, u, c->index_heads), 1 / sqrt((double)c->index_heads * c->index_dim));
    build_leave(b);
    i.chosen = i.k->shape.dim[1] < c->top_k ? i.k->shape.dim[1] : c->top_k;
    return i;
}

/* a, of which index names entries or is NULL, over tokens and entries. */
static struct attention joined(struct build *b, const struct conf *c, struct attention a, struct cached raw,
                               struct node *entries)
{
    struct graph *g = b->graph;
    struct node *keys = join_pooled(g, raw.x, entries, a.index, a.start, b->pos, raw.pos, c->window, c->pool);
    a.index = graph_result(g, keys, 1);
    a.k = a.v = view(g, keys, SHAPE(keys->shape.dim[0], keys->shape.dim[1], 1, keys->shape.dim[2]));
    return a;
}

/* The indexer's loss, and what its choice holds of what all entries would get. */
static void teach(struct build *b, const struct conf *c, struct attention a, struct index_topk i, struct cached raw,
                  struct node *entries, struct node *score, struct node *heads)
{
    struct graph *g = b->graph;
    build_index_loss(b, score, columns(g, graph_result(g, heads, 3), c->window, i.chosen), c->index_weight);
    int64_t kept = c->window + i.chosen;
    i.chosen = entries->shape.dim[1];
    if (b->mode != MODE_EVAL || c->window + i.chosen > INDEX_MOST) return;
    a.index = graph_result(g, index_topk(g, i), 1);
    build_keys_mass(b, joined(b, c, a, raw, entries), kept);
}

static void observe(struct build *b, const struct conf *c, struct node *heads)
{
    struct graph *g = b->graph;
    struct node *mass = graph_result(g, heads, 3);                                              /* [T,X] */
    int64_t entries = shape_last(mass->shape) - c->window;
    if (b->mode == MODE_DECODE) return;
    build_attended(b, heads, SINK_HEAD);
    mass = view(g, build_row_sum(b, columns(g, mass, c->window, entries)), SHAPE(b->tokens));
    build_row_metric(b, "layer_entry_mass", scale(g, mean_rows(g, mass), 1 / (double)c->heads), "", BETTER_NONE,
                     "mean share of attention that goes to compressed entries");
}

/* Heads by groups to out_rank, all of them to the model. */
static struct node *written(struct build *b, const struct conf *c, struct node *heads)
{
    struct graph *g = b->graph;
    int64_t width = (int64_t)c->heads / c->groups * c->head_dim;
    struct node **group = arena_alloc(b->arena, (size_t)c->groups * sizeof(struct node *));
    heads = view(g, heads, SHAPE(b->tokens, (int64_t)c->heads * c->head_dim));
    for (int i = 0; i < c->groups; i++)
        group[i] = linear(b, arena_text(b->arena, "out_group.%d", i), ROLE_LATENT_DOWN,
                          columns(g, heads, i * width, width), c->out_rank);
    return linear(b, "out", ROLE_OUT, concat(g, c->groups, group), b->width);
}

static struct node *build(struct build *b, struct pick self, struct node *u)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *start = build_present(b, b->start, (double)b->seq), *zero;    /* what only fills up sees nothing */
    build_keep(b, b->layer, "attention.input", u);

    build_enter(b, "entry");
    struct node *entries = pooled(b, c, u, start, c->head_dim, &zero);                          /* [B,E,W] */
    build_leave(b);
    struct node *latent = build_norm(b, "q_norm", linear(b, "q_down", ROLE_LATENT_DOWN, u, c->q_rank)),
                *q = linear(b, "q", ROLE_Q, latent, (int64_t)c->heads * c->head_dim),
                *kv = build_norm(b, "kv_norm", linear(b, "kv", ROLE_K, u, c->head_dim));
    build_heads(b, "q", c->heads);
    q = rmsnorm(g, view(g, q, SHAPE(b->tokens, c->heads, c->head_dim)), NULL, 1e-6, false);
    kv = view(g, placed(b, kv, NULL, zero, 1, false), SHAPE(b->tokens, c->head_dim));
    struct cached raw = build_cached_in(b, "kv", kv, (struct mask){ .window = c->window });      /* [T,W], [B,C,W] */
    struct attention a = { .q = placed(b, q, NULL, zero, c->heads, false), .start = start,
                           .sink = build_sink(b, SINK_HEAD, u, c->heads),
                           .scale = build_sharpness(b) / sqrt(c->head_dim) };
    struct index_topk i = { 0 };
    if (c->top_k) i = indexer(b, c, u, latent, start);
    struct node *score = c->top_k ? index_topk(g, i) : NULL;
    if (score) a.index = graph_result(g, score, 1);
    struct node *heads = attention(g, joined(b, c, a, raw, entries));                            /* [T,H,W] */
    observe(b, c, heads);
    if (score && b->mode != MODE_DECODE) teach(b, c, a, i, raw, entries, score, heads);
    return written(b, c, placed(b, heads, NULL, zero, c->heads, true));
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->heads = c->heads;
    t->kv_heads = 1;
    t->qk_dim = t->v_dim = t->rotated = c->head_dim;
    t->index_rotated = c->top_k ? c->index_dim : 0;
}

const struct module attention_compressed = {
    .slot = SLOT_ATTENTION, .name = "compressed",
    .about = "a window of tokens, and older ones as one entry each (DeepSeek-V4)",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .attention = build,
};
