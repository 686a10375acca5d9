/* What decoding keeps of earlier positions, keys and values that layers share, and blocks of multi-token prediction,
   whose graphs in decoding are others than the trunk's: what these hand over. */
#include "building.h"

/* Of which graph of decoding the current layer is: 0 the trunk's, or that of an MTP block. */
static int part_of(const struct build *b) { return b->layer < b->layers ? 0 : b->layer - b->layers + 1; }

/* Whether the graph that is built is the one in which the current layer runs. Elsewhere what it builds is dead, has no
   memory and no position. */
static bool in_part(const struct build *b)
{
    return b->mode != MODE_DECODE || b->own->part == DECODE_PROMPT || b->own->part_depth == part_of(b);
}

void build_at(struct build *b, int layer)
{
    b->layer = b->graph->layer = layer;
    if (b->mode == MODE_DECODE) b->pos = in_part(b) ? b->own->pos : NULL;
}

struct node *build_kept(struct build *b, int layer, const char *name)
{
    struct node *x = build_found(b, layer, name);
    if (!x || b->mode != MODE_DECODE || part_of(b) == 0 || layer >= b->layers) return x;
    return build_handed(b, 0, arena_text(b->arena, "%d.%s", layer, name), x);
}

struct node *build_kept_first(struct build *b, const char *name)
{
    struct node *x = NULL;
    for (int i = 0; i <= b->layer && !x; i++) x = build_kept(b, i, name);
    return x;
}

/* ---- what decoding keeps ---- */

/* A buffer of the current pass: weights may be shared by several, what was seen is not. */
static struct node *memory(struct build *b, const char *name, enum dtype dtype, struct shape shape)
{
    const char *path = build_path(b, name, "");
    if (b->own->pass) path = arena_text(b->arena, "pass%d.%s", b->own->pass, path);
    struct node *buffer = graph_buffer(b->graph, path, dtype, shape, 0);
    buffer->leaf->transient = true;
    return buffer;
}

/* A buffer [B,entries,..] for x [T,..], or ids [B,S]. */
static struct node *room_for(struct build *b, const char *name, struct node *x, int64_t entries)
{
    struct shape shape = { .rank = 2, .dim = { b->batch, entries } };
    for (int i = x->dtype == DTYPE_I32 ? 2 : 1; i < x->shape.rank; i++) shape.dim[shape.rank++] = x->shape.dim[i];
    return memory(b, name, x->dtype == DTYPE_I32 ? DTYPE_I32 : DTYPE_REAL, shape);
}

struct node *build_cached(struct build *b, const char *name, struct node *x, int64_t window)
{
    if (build_divides(b) && x->dtype == DTYPE_I32)
        return inputs_whole(b->graph, b->own->of, INPUT_ids, b->batch, b->context + b->blocks - b->layers);
    if (b->mode != MODE_DECODE) return build_sequences(b, x);
    if (!in_part(b)) return x;
    struct node *buffer = room_for(b, arena_text(b->arena, "%s.cache", name), x, b->context);
    buffer->leaf->window = window;
    return cache(b->graph, buffer, x, b->start, b->pos);
}

/* Of a ring [B,R,..] the entries `rows`, in this order: [B,n,..]. */
static struct node *entries_of(struct build *b, struct node *kept, struct node *rows)
{
    struct shape shape = kept->shape;
    int64_t all = shape.dim[0] * shape.dim[1];
    struct node *table = view(b->graph, kept, SHAPE(all, shape_count(shape) / all)), *x = embed(b->graph, table, rows);
    shape.dim[1] = rows->shape.dim[1];
    return view(b->graph, x, shape);
}

struct cached build_cached_in(struct build *b, const char *name, struct node *x, struct mask mask)
{
    int64_t back = (mask.window ? mask.window : mask.chunk) - 1,
            most = b->own->most > b->rewind ? b->own->most : b->rewind, entries = back + (most ? most : 1);
    if (b->mode != MODE_DECODE || !in_part(b) || back < 0 || entries >= b->context)
        return (struct cached){ build_cached(b, name, x, back + 1), NULL, NULL };
    struct node *buffer = room_for(b, arena_text(b->arena, "%s.cache", name), x, entries);
    buffer->leaf->window = back + 1;
    struct ring_view all = { entries, back, mask.window ? 0 : mask.chunk };
    struct ring_nodes at = inputs_ring(b->graph, b->own->of, all, b->batch, b->seq);
    return (struct cached){ entries_of(b, ring(b->graph, buffer, x, b->start, b->pos), at.rows), at.pos, at.start };
}

struct node *build_state(struct build *b, const char *name, struct shape one, int64_t back)
{
    build_undivided(b, "what passes from token to token, as in convolutions, memories and running means");
    if (b->mode != MODE_DECODE || !in_part(b)) return NULL;
    struct shape shape = { .rank = 2 + one.rank, .dim = { b->batch, b->rewind + back } };
    for (int i = 0; i < one.rank; i++) shape.dim[2 + i] = one.dim[i];
    struct node *buffer = memory(b, arena_text(b->arena, "%s.state", name), DTYPE_REAL, shape);
    buffer->leaf->fixed = back;
    return buffer;
}

struct node *build_entries(struct build *b, const char *name, struct shape one, int64_t m)
{
    build_undivided(b, "windows of tokens that are pooled");
    if (b->mode != MODE_DECODE || !in_part(b)) return NULL;
    struct shape shape = { .rank = 2 + one.rank, .dim = { b->batch, b->context < m ? 1 : b->context / m } };
    for (int i = 0; i < one.rank; i++) shape.dim[2 + i] = one.dim[i];
    return memory(b, arena_text(b->arena, "%s.entries", name), DTYPE_REAL, shape);
}

/* The ring has what a chunk leaves behind, what may be rolled back, and the rows before that the deepest block drafts
   anew when the tokens are known that it looked ahead to. */
struct node *build_handed(struct build *b, int maker, const char *name, struct node *x)
{
    int reader = part_of(b);
    const struct leaf *leaf = node_root(x).node->leaf;
    if (b->mode != MODE_DECODE || b->own->part == DECODE_PROMPT || maker == reader || leaf) return x;
    int64_t width = shape_count(x->shape) / b->tokens, entries = b->own->most + b->rewind + b->blocks - b->layers - 1;
    struct node *buffer = graph_buffer(b->graph, arena_text(b->arena, "handed.%d.%s", maker, name), DTYPE_REAL,
                                       SHAPE(b->batch, entries, width), 0);
    buffer->leaf->transient = true;
    buffer->leaf->fixed = b->blocks - b->layers;
    if (b->own->part_depth == maker) {
        for (int i = 0; i < b->graph->n; i++)
            if (b->graph->node[i]->op == &op_ring && b->graph->node[i]->in[0] == buffer) return x;
        ring(b->graph, buffer, x, b->start, b->own->pos);
    }
    if (b->own->part_depth != reader) return x;
    struct ring_nodes at = inputs_ring(b->graph, b->own->of, (struct ring_view){ entries, 0, 0 }, b->batch, b->seq);
    return view(b->graph, entries_of(b, buffer, at.rows), x->shape);
}

/* ---- keys and values ---- */

struct kv build_kv_of(struct build *b, int source, struct node *from, struct projector project)
{
    if (source != b->layer)
        return (struct kv){ build_kept(b, source, "kv.k"), build_kept(b, source, "kv.v"),
                            build_kept(b, source, "kv.value"), build_kept(b, source, "kv.pos"),
                            build_kept(b, source, "kv.start") };
    struct kv kv = project.build(b, project.context, from);
    build_keep(b, b->layer, "kv.k", kv.k);
    build_keep(b, b->layer, "kv.v", kv.v);
    build_keep(b, b->layer, "kv.value", kv.value);
    build_keep(b, b->layer, "kv.pos", kv.pos);
    build_keep(b, b->layer, "kv.start", kv.start);
    return kv;
}

/* ---- blocks of multi-token prediction ---- */

/* The input of the token so many positions on, [B,S]. */
static struct node *ahead_of(struct build *b, enum input input, int ahead)
{
    return inputs_ahead(b->graph, b->own->of, input, ahead, b->batch, b->seq);
}

/* In decode, and where ranks divide sequences, what a block looks ahead to is given to it: it has all rows, of which
   there the last only fill up. */
void build_block_enter(struct build *b)
{
    int ahead = part_of(b);
    b->own->whole = (struct whole){ b->seq, b->start, b->present };
    build_enter(b, "mtp.%d", ahead - 1);
    if (b->mode == MODE_DECODE) return;
    if (build_divides(b)) {
        b->present = ahead_of(b, INPUT_present, ahead);
        return;
    }
    int64_t seq = b->seq - ahead;
    if (b->present) b->present = slice(b->graph, shift(b->graph, b->present, ahead), seq);
    b->start = slice(b->graph, b->start, seq);
    b->seq = seq;
    b->tokens = b->batch * seq;
}

void build_block_leave(struct build *b)
{
    struct whole whole = b->own->whole;
    b->seq = whole.seq;
    b->start = whole.start;
    b->present = whole.present;
    b->tokens = b->batch * b->seq;
    build_leave(b);
}

struct node *build_branch(struct build *b)
{
    struct building *o = b->own;
    int like = model_layer(b->conf, b->layers - 1);
    struct pick residual = b->conf->residual.pick[like];
    struct stream s = o->fork, kept = s;
    s.x = build_rows(b, build_handed(b, 0, "stream", s.x));
    s.n_kept = 0;
    for (int i = 0; i < kept.n_kept; i++)
        stream_keep(b, &s, build_rows(b, build_handed(b, 0, arena_text(b->arena, "kept.%d", i), kept.kept[i])));
    o->joins_next = o->fork_joins ? build_rows(b, build_handed(b, 0, "joins", o->fork_joins)) : NULL;
    build_layer(b, like, &s);
    return build_close(b, residual, &s);
}

void build_further(struct build *b, struct node *h, struct node *head_weight, double weight)
{
    int ahead = part_of(b);
    struct graph *g = b->graph;
    if (b->mode == MODE_DECODE) {
        build_keep(b, b->layer, "logits", build_logits(b, h, head_weight));
        return;
    }
    struct node *target = build_divides(b) ? ahead_of(b, INPUT_target, ahead)
                                           : slice(g, shift(g, b->target, ahead), b->seq),
                *loss = build_cross_entropy(b, h, head_weight, target);                         /* [T] */
    build_keep(b, b->layer, "head.loss", loss);
    build_token_loss(b, "mtp", loss, ahead, weight);
    build_token_metric(b, "mtp_top1_match", graph_result(g, loss, 2), ahead, "", BETTER_HIGHER,
                       "share of rows whose likeliest token is the one to predict");
}

struct node *build_embedded(struct build *b, int ahead)
{
    struct pick tokens = b->conf->embed;
    if (b->mode != MODE_DECODE && !build_divides(b)) return tokens.module->embed(b, tokens, ahead);
    struct node *ids = b->ids, *pos = b->pos, *start = b->start;
    if (!in_part(b)) return tokens.module->embed(b, tokens, 0);
    b->ids = ahead_of(b, INPUT_ids, ahead);
    b->pos = ahead_of(b, INPUT_pos, ahead);
    if (build_divides(b)) b->start = ahead_of(b, INPUT_start, ahead);
    struct node *x = tokens.module->embed(b, tokens, 0);
    b->ids = ids;
    b->pos = pos;
    b->start = start;
    return x;
}
