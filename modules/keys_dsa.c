/* DeepSeek sparse attention: an indexer of its own scores all keys cheaply, and attention looks at the top_k best,
   which its heads share. With one index key for all index heads,
       I[t,s] = sum over j of w[t,j] relu(q[t,j].k[s]),  k = LayerNorm(u W_k),  w = u W_w / sqrt(heads dim)
   where q and k have the model's positions. What the indexer reads is cut off from the model, and it learns from
       L = mean over t of KL(p[t] | softmax of I[t]),
   p attention's own weights summed over its heads, over the keys that were looked at: all of them in the first `dense`
   of a run, then those chosen. So nothing but the choice says anything to the model. An indexer's keys are cached
   beside attention's. DeepSeek-AI 2025 (V3.2, arXiv 2512.02556). Evaluations are of the chosen keys, whatever the
   phase. */
#include "model/module.h"
#include <math.h>

struct conf { int top_k, heads, dim, share, relu; double weight, dense; };
static const struct param params[] = {
    INT(struct conf, top_k, 64, 1, INDEX_MOST, "token", "keys that a token looks at"),
    INT(struct conf, heads, 4, 1, 64, "", "index heads"),
    INT(struct conf, dim, 32, 2, 512, "", "width of an index head"),
    INT(struct conf, share, 1, 1, 1024, "layer", "layers that look where the first of them chose"),
    BOOL(struct conf, relu, true, "of each product; false: GLM-5"),
    REAL(struct conf, weight, 1, 0, 1000, "", "weight of the loss, from which nobody but the indexer learns"),
    REAL(struct conf, dense, 0.1, 0, 1, "",
         "share of the run, its first, that looks at all keys; above 0 training has room for them throughout, and plan "
         "counts FLOPs of all"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    if (c->dim % 2) module_problem(problems, path, "dim", "%d: must be even", c->dim);
    if (c->dim * c->heads > 8192)
        module_problem(problems, path, "dim", "%d of %d heads are more than 8192 values", c->dim, c->heads);
    if (c->dense > 0 && model->seq > INDEX_MOST)
        module_problem(problems, path, "dense", "%g: an index names at most %d keys, of %d positions; 0: no such phase",
                       c->dense, INDEX_MOST, (int)model->seq);
    for (int i = 0; i < model_passes(model); i++) {
        struct pick reader = module_part(model->attention.pick[model_layer(model, i)], SLOT_KEYS),
                    source = module_part(model->attention.pick[model_layer(model, i - i % c->share)], SLOT_KEYS);
        if (reader.conf == self.conf && i % c->share && source.module != self.module)
            module_problem(problems, path, "share", "layer %d looks where layer %d chose, which has no indexer", i,
                           i - i % c->share);
    }
}

/* gain (x - mean) / sqrt(variance + eps) + bias over rows, REAL [T,N]. */
static struct node *layer_norm(struct build *b, const char *name, struct node *x)
{
    struct graph *g = b->graph;
    int64_t width = shape_last(x->shape);
    struct node *mean = scale(g, build_row_sum(b, x), 1 / (double)width);                       /* [T,1] */
    x = subtract(g, x, view(g, repeat(g, mean, width), x->shape));
    build_enter(b, "%s", name);
    struct node *gain = build_weight(b, "gain", ROLE_GAIN, SHAPE(width), init_constant(1)),
                *bias = build_weight(b, "bias", ROLE_SCALAR, SHAPE(width), init_constant(0));
    build_leave(b);
    return add_row(g, rmsnorm(g, x, gain, 1e-6, false), bias);
}

static struct node *placed(struct build *b, struct node *x, int64_t heads, int64_t width)
{
    return build_position(b, view(b->graph, x, SHAPE(b->tokens, heads, width)));
}

/* What op index_topk goes by. */
static struct index_topk indexer(struct build *b, const struct conf *c, const struct attending *a)
{
    struct graph *g = b->graph;
    const struct attention *at = &a->attention;
    struct node *u = detach(g, a->u), *from = detach(g, a->from);
    struct index_topk i = { .start = at->start, .pos = at->pos, .window = at->window, .chunk = at->chunk,
                            .relu = c->relu };
    struct shape keys = SHAPE(c->dim, shape_last(u->shape));
    build_enter(b, "index");
    i.q = placed(b, linear(b, "q", ROLE_Q, from, (int64_t)c->heads * c->dim), c->heads, c->dim);        /* [T,J,N] */
    build_heads(b, "q", c->heads);
    i.w = scale(g, linear(b, "w", ROLE_GATE, u, c->heads), 1 / sqrt((double)c->heads * c->dim));        /* [T,J] */
    struct node *k = matmul(g, u, build_weight(b, "k.weight", ROLE_K, keys, build_init(b, ROLE_K, keys)), DTYPE_REAL);
    k = view(g, placed(b, layer_norm(b, "k_norm", k), 1, c->dim), SHAPE(b->tokens, c->dim));
    i.k = build_cached(b, "k", k, 0);                       /* [T,N], [B,C,N] */
    build_leave(b);
    return i;
}

/* How many keys a step looks at, of `all`. */
static double looked_at(const void *conf, double all, int64_t step, int64_t steps)
{
    const struct conf *c = conf;
    return build_progress(c->dense, step, steps) < 1 ? all : fmin(all, c->top_k);
}

/* Scores of what is chosen, [T,X], of op index_topk; where it is to be known in an evaluation, *all too: which keys are
   the best, the second best and so on, all of them. */
static struct node *choose(struct build *b, const struct conf *c, struct index_topk i, struct node **all)
{
    struct graph *g = b->graph;
    int64_t keys = b->mode == MODE_DECODE ? b->context : b->seq;
    bool dense = b->mode == MODE_TRAIN && c->dense > 0;
    if (dense)
        i.count = graph_control(g, arena_text(b->arena, "%s.index.count", b->path),
                                (struct control){ looked_at, c, sizeof *c, (double)keys });
    i.chosen = dense || keys < c->top_k ? keys : c->top_k;
    struct node *score = index_topk(g, i);
    i.chosen = keys;
    *all = b->mode == MODE_EVAL && keys <= INDEX_MOST ? graph_result(g, index_topk(g, i), 1) : NULL;
    return score;
}

static struct node *build(struct build *b, struct pick self, const struct attending *a)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct attention at = a->attention, whole = at;
    struct node *score = NULL;
    build_undivided(b, "keys = 'dsa', whose index is of all keys that a token sees");
    int source = b->layer - b->layer % c->share;
    bool shared = b->layer < b->layers && b->layer != source;
    if (shared) {
        at.index = build_kept(b, source, "keys.index");
        whole.index = build_kept(b, source, "keys.all");
    } else {
        score = choose(b, c, indexer(b, c, a), &whole.index);
        at.index = graph_result(g, score, 1);
        build_keep(b, b->layer, "keys.index", at.index);
        if (whole.index) build_keep(b, b->layer, "keys.all", whole.index);
    }
    struct node *heads = attention(g, at);
    if (whole.index) build_keys_mass(b, whole, c->top_k);
    if (shared || b->mode == MODE_DECODE) return heads;
    build_index_loss(b, score, graph_result(g, heads, 3), c->weight);
    return heads;
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->index_rotated = c->dim;
    t->names = true;
    t->of_others = c->share > 1;
}

const struct module keys_dsa = {
    .slot = SLOT_KEYS, .name = "dsa", .about = "those that a small indexer scores highest (DeepSeek-V3.2)",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .keys = build,
};
