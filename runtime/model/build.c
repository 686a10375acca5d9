/* What modules call while they build: paths, weights, parts of the model, metrics, losses, callbacks. */
#include "model.h"
#include "module.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- paths ---- */

static void publish_path(struct build *b) { b->graph->path = arena_text(b->graph->arena, "%s", b->path); }

void build_enter(struct build *b, const char *format, ...)
{
    size_t used = strlen(b->path);
    if (used) used += (size_t)snprintf(b->path + used, sizeof b->path - used, ".");
    va_list list;
    va_start(list, format);
    int n = vsnprintf(b->path + used, sizeof b->path - used, format, list);
    va_end(list);
    INVARIANT(n >= 0 && used + (size_t)n < sizeof b->path, "path of weights is too long: %s", b->path);
    b->depth[b->n_depth++] = (int)(used ? used - 1 : 0);
    INVARIANT(b->n_depth < COUNT(b->depth), "path of weights is too deep: %s", b->path);
    publish_path(b);
}

void build_leave(struct build *b)
{
    b->path[b->depth[--b->n_depth]] = 0;
    publish_path(b);
}

static const char *path_of(struct build *b, const char *name, const char *suffix)
{
    return arena_text(b->arena, "%s%s%s%s", b->path, *b->path ? "." : "", name, suffix);
}

/* ---- weights ---- */

static struct node *weight(struct build *b, const char *path, enum role role, struct shape shape, struct init init)
{
    struct node *w = graph_weight(b->graph, path, role, shape, init);
    w->leaf->layer = b->layer;
    return w;
}

static struct node *matrix(struct build *b, const char *name, enum role role, struct shape shape)
{
    return weight(b, path_of(b, name, ".weight"), role, shape, build_init(b, role, shape));
}

struct node *linear(struct build *b, const char *name, enum role role, struct node *x, int64_t out)
{
    struct graph *g = b->graph;
    if (x->shape.rank != 2) x = view(g, x, SHAPE(b->tokens, shape_count(x->shape) / b->tokens));
    struct node *w = matrix(b, name, role, SHAPE(out, shape_last(x->shape)));                /* [out,in] */
    return matmul(g, x, w, role == ROLE_ROUTER || role == ROLE_GATE ? DTYPE_REAL : DTYPE_ACT);    /* [T,out] */
}

struct node *expert_linear(struct build *b, const char *name, enum role role, const struct dispatched *d,
                           struct node *rows, int64_t out, int experts, double active)
{
    struct node *w = matrix(b, name, role, SHAPE(experts, out, shape_last(rows->shape)));    /* [E,out,in] */
    w->leaf->active = active;
    return grouped_matmul(b->graph, rows, w, d->offsets);                                     /* [R,out] */
}

struct node *build_weight(struct build *b, const char *name, enum role role, struct shape shape, struct init init)
{
    struct node *w = weight(b, path_of(b, name, ""), role, shape, init);
    if (role == ROLE_TABLE) w->leaf->active = 1.0 / (double)shape.dim[0];               /* a token looks up one row */
    return w;
}

struct node *build_buffer(struct build *b, const char *name, enum dtype dtype, struct shape shape, double value)
{
    return graph_buffer(b->graph, path_of(b, name, ""), dtype, shape, value);
}

/* ---- parts of the model ---- */

struct node *build_norm(struct build *b, const char *name, struct node *x)
{
    return b->norm.module->norm(b, b->norm.conf, name, x);
}

struct node *build_position(struct build *b, struct node *x)
{
    return b->position.module->position(b, b->position.conf, x);
}

static struct node *attention_sublayer(struct build *b, const void *context, struct node *u)
{
    const struct pick *p = context;
    return p->module->attention(b, p->conf, u);
}

static struct node *ffn_sublayer(struct build *b, const void *context, struct node *u)
{
    const struct pick *p = context;
    return p->module->ffn(b, p->conf, u);
}

struct node *build_block(struct build *b, int like, struct node *x)
{
    const struct model_conf *c = b->conf;
    struct pick residual = c->residual.pick[like], old = b->position;
    b->position = c->position.pick[like];
    b->branch_normed = residual.module->branch_normed;
    build_enter(b, "attention");
    x = residual.module->residual(b, residual.conf, x,
                                  (struct sublayer){ attention_sublayer, &c->attention.pick[like], "attention" });
    build_leave(b);
    build_enter(b, "ffn");
    x = residual.module->residual(b, residual.conf, x, (struct sublayer){ ffn_sublayer, &c->ffn.pick[like], "ffn" });
    build_leave(b);
    build_rms_metric(b, "layer_resid_rms", x, "", BETTER_NONE, "RMS of the residual stream after the layer");
    b->position = old;
    return x;
}

struct node *build_rows(struct build *b, struct node *x)
{
    if (x->shape.dim[0] == b->tokens) return x;
    struct shape whole = { .rank = 3,
                           .dim = { b->batch, x->shape.dim[0] / b->batch, shape_count(x->shape) / x->shape.dim[0] } },
                 rows = x->shape;
    rows.dim[0] = b->tokens;
    return view(b->graph, slice(b->graph, view(b->graph, x, whole), b->seq), rows);
}

struct node *build_cached(struct build *b, const char *name, struct node *x, int64_t window)
{
    if (b->mode != MODE_DECODE) return x;
    struct shape shape = { .rank = 2, .dim = { b->batch, b->context } };
    int first = x->dtype == DTYPE_I32 ? 2 : 1;               /* ids are [B,S], activations [T,..] */
    for (int i = first; i < x->shape.rank; i++) shape.dim[shape.rank++] = x->shape.dim[i];
    struct node *buffer = graph_buffer(b->graph, path_of(b, name, ".cache"),
                                       x->dtype == DTYPE_I32 ? DTYPE_I32 : DTYPE_REAL, shape, 0);
    buffer->leaf->transient = true;
    buffer->leaf->window = window;
    return cache(b->graph, buffer, x, b->start, b->pos);
}

/* ---- noise ---- */

struct node *build_noise(struct build *b, const char *name, struct node *like, enum noise_kind kind)
{
    struct graph *g = b->graph;
    const char *path = path_of(b, name, "");
    if (b->mode != MODE_TRAIN) return NULL;
    if (!b->noise_key) b->noise_key = inputs_node(g, INPUT_noise_key, b->batch, b->seq);
    for (int i = 0; i < g->n; i++)
        if (g->node[i]->op == &op_noise && ((const struct noise_attr *)g->node[i]->attr)->name == hash_name(path))
            return graph_fail(g, "%s: there is noise of this name already: both would be the same", path);
    return noise(g, like, b->noise_key, path, kind);
}

/* ---- rows that are there ---- */

static struct node *present(struct build *b) { return view(b->graph, b->present, SHAPE(b->tokens)); }

struct node *build_present(struct build *b, struct node *x, double value)
{
    return b->present ? mask_rows(b->graph, x, present(b), value) : x;
}

/* How many, over all pieces. */
static struct node *present_count(struct build *b)
{
    if (!b->present_count) b->present_count = carry(b->graph, weighted_sum(b->graph, present(b), NULL), CARRY_SUM);
    return b->present_count;
}

/* ---- metrics, losses, callbacks ---- */

static void probe(struct build *b, const char *name, const char *unit, enum better better, const char *about,
                  struct term term)
{
    b->graph->layer = b->layer;
    graph_probe(b->graph, name, unit, better, about, 1, &term);
}

void build_metric_as(struct build *b, const char *name, struct node *value, const char *unit, enum carry how,
                     enum better better, const char *about)
{
    if (b->mode != MODE_DECODE)
        probe(b, name, unit, better, about, (struct term){ 1, carry(b->graph, value, how), NULL, false });
}

void build_metric(struct build *b, const char *name, struct node *value, const char *unit, enum better better,
                  const char *about)
{
    build_metric_as(b, name, value, unit, CARRY_MEAN, better, about);
}

/* The micro-batches' mean; over those of an evaluation, in which rows may be missing, what all rows add
   up to by their number. */
static struct term row_mean(struct build *b, struct node *value)
{
    struct graph *g = b->graph;
    if (!b->present) return (struct term){ 1, carry(g, value, CARRY_MEAN), NULL, false };
    return (struct term){ (double)b->tokens, carry(g, value, CARRY_SUM), present_count(b), false };
}

void build_row_metric(struct build *b, const char *name, struct node *value, const char *unit, enum better better,
                      const char *about)
{
    if (b->mode != MODE_DECODE && value) probe(b, name, unit, better, about, row_mean(b, value));
}

void build_rms_metric(struct build *b, const char *name, struct node *x, const char *unit, enum better better,
                      const char *about)
{
    struct graph *g = b->graph;
    if (b->mode == MODE_DECODE || !x) return;
    struct node *rows = build_present(b, x, 0);
    struct term mean = { 1, NULL, NULL, false };
    if (!b->present) mean.carry = carry(g, rms(g, x), CARRY_MEAN);
    else
        mean = (struct term){ sqrt((double)b->tokens / (double)shape_count(x->shape)),
                              carry(g, dot(g, rows, rows), CARRY_SUM), present_count(b), true };
    probe(b, name, unit, better, about, mean);
}

/* Weights of tokens [T], in the region of the graph: those count whose next `ahead` + 1 tokens are
   there, in their document. */
static struct node *weights(struct build *b, int ahead)
{
    struct graph *g = b->graph;
    struct node *own = b->weight ? graph_leaf(g, b->weight->leaf) : NULL, *all = own;           /* [B,S] */
    for (int k = 1; k <= ahead; k++) all = mul(g, all, shift(g, own, k));
    return view(g, slice(g, all, b->seq), SHAPE(b->tokens));
}

/* sum w x over sum w, of all pieces of a step. */
static struct term token_mean(struct build *b, struct node *x, int ahead)
{
    struct graph *g = b->graph;
    struct node *w = weights(b, ahead);
    return (struct term){ 1, carry(g, weighted_sum(g, x, w), CARRY_SUM), carry(g, weighted_sum(g, w, NULL), CARRY_SUM),
                          false };
}

void build_token_metric(struct build *b, const char *name, struct node *x, int ahead, const char *unit,
                        enum better better, const char *about)
{
    if (b->mode != MODE_DECODE) probe(b, name, unit, better, about, token_mean(b, x, ahead));
}

static void add_loss(struct build *b, struct build_loss loss)
{
    if (b->n_losses == b->loss_room) {
        int room = b->loss_room ? 2 * b->loss_room : 16;
        struct build_loss *more = arena_alloc(b->arena, (size_t)room * sizeof *more);
        if (b->n_losses) memcpy(more, b->loss, (size_t)b->n_losses * sizeof *more);
        b->loss = more;
        b->loss_room = room;
    }
    b->loss[b->n_losses++] = loss;
}

void build_loss(struct build *b, const char *name, struct node *value, double weight)
{
    add_loss(b, (struct build_loss){ name, weight, row_mean(b, value) });
    if (b->mode == MODE_TRAIN) graph_loss(b->graph, name, value, weight, false);
}

/* Gradients need the weight of the whole step before its first token is seen. */
void build_token_loss(struct build *b, const char *name, struct node *x, int ahead, double weight)
{
    struct graph *g = b->graph;
    add_loss(b, (struct build_loss){ name, weight, token_mean(b, x, ahead) });
    if (b->mode != MODE_TRAIN) return;
    g->region = REGION_AHEAD;
    struct node *all = carry(g, weighted_sum(g, weights(b, ahead), NULL), CARRY_SUM);
    g->region = REGION_MICRO;
    if (ahead == 0) b->targets = all;
    graph_loss(g, name, divide(g, weighted_sum(g, x, weights(b, ahead)), all), weight, true);
}

static void append(struct build *b, struct callback **list, void (*run)(struct build *b, void *state), void *state)
{
    struct callback *c = arena_alloc(b->arena, sizeof *c);
    *c = (struct callback){ run, state, b->layer, NULL };
    while (*list) list = &(*list)->next;
    *list = c;
}

void build_finish(struct build *b, void (*run)(struct build *b, void *state), void *state)
{
    append(b, &b->finish, run, state);
}

void build_update(struct build *b, void (*run)(struct build *b, void *state), void *state)
{
    append(b, &b->update, run, state);
}

/* The schedule's factor; conf is the pick of the schedule slot. */
static double scheduled(const void *conf, double scale, int64_t step, int64_t steps)
{
    const struct pick *schedule = conf;
    return scale * schedule->module->schedule(schedule->conf, step, steps);
}

struct node *build_rate(struct build *b, double lr)
{
    return graph_control(b->graph, "lr",
                         (struct control){ scheduled, &b->train->schedule, sizeof b->train->schedule, lr });
}

struct node *build_moment(struct build *b, const char *which, const struct node *w)
{
    return graph_buffer(b->graph, arena_text(b->arena, "optim.%s.%s", which, w->leaf->path), DTYPE_REAL, w->shape, 0);
}
