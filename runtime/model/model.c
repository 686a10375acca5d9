/* The skeleton: it knows slots, never modules. */
#include "building.h"
#include "graph/stages.h"
#include "model.h"

#include <fnmatch.h>
#include <string.h>

static double step_number(const void *conf, double scale, int64_t step, int64_t steps)
{
    (void)conf; (void)scale; (void)steps;
    return (double)step + 1;
}

static unsigned parts_over(const struct leaf *l) { return l->over | l->shard | (l->home ? OVER_PP : 0); }

static bool is_of(const struct leaf *l, int layer, unsigned over)
{
    return leaf_trains(l) && parts_over(l) == over && (layer < 0 || l->layer == layer);
}

/* Of gradients of a layer's weights, or of all (layer -1), of which ranks over these axes have parts. */
static struct node *norm_over(struct build *b, int layer, unsigned over)
{
    struct graph *g = b->graph;
    int n = 0, leaves = g->leaves->n;
    for (int i = 0; i < leaves; i++) n += is_of(g->leaves->leaf[i], layer, over);
    struct node **grads = n ? arena_alloc(b->arena, (size_t)n * sizeof *grads) : NULL;
    for (int i = n = 0; i < leaves; i++)
        if (is_of(g->leaves->leaf[i], layer, over)) grads[n++] = graph_grad_of(g, g->leaves->leaf[i]);
    return n ? global_norm(g, n, grads) : NULL;
}

/* Of all gradients of weights of a layer, or of all. Squares of what ranks have parts of add up. */
static struct node *norm_of(struct build *b, int layer)
{
    struct graph *g = b->graph;
    struct node *norm = norm_over(b, layer, 0), *squares = NULL;
    bool there[OVER_ALL + 1] = { false };
    for (int i = 0; i < g->leaves->n; i++) there[parts_over(g->leaves->leaf[i])] = true;
    for (unsigned over = 1; over <= OVER_ALL; over++) {
        struct node *part = there[over] ? norm_over(b, layer, over) : NULL;
        if (!part) continue;
        part = all_reduce(g, square(g, part), over);
        squares = squares ? add(g, squares, part) : part;
    }
    if (!squares) return norm;
    return root(g, norm ? add(g, square(g, norm), squares) : squares);
}

/* Of a weight "layers.3.attention.q.weight": attention.q. */
static const char *name_within(struct build *b, const struct leaf *w)
{
    const char *name = w->path, *ending = ".weight", *dot = strchr(name, '.');
    if (dot && (strncmp(name, "layers.", 7) == 0 || strncmp(name, "mtp.", 4) == 0)) name = strchr(dot + 1, '.') + 1;
    size_t length = strlen(name), tail = strlen(ending);
    if (length > tail && strcmp(name + length - tail, ending) == 0) length -= tail;
    return arena_text(b->arena, "%.*s", (int)length, name);
}

/* Of a weight, or its gradient, the parts of all ranks. */
static struct node *whole(struct graph *g, const struct leaf *w, struct node *part)
{
    if (w->over && w->cut > 0) return all_columns(g, part, w->over);                /* of columns nobody shards */
    return all_gather(g, all_gather(g, part, w->shard), w->over);
}

/* Shows a weight to those who watch it: as it is, or its change. */
static void show_weight(struct build *b, struct leaf *w, struct node *grad, struct node *change, int *shown)
{
    const char *name = name_within(b, w);
    int layer = b->layer;
    b->layer = w->layer;
    for (int i = 0; i < b->own->monitors.n; i++) {
        struct pick p = b->own->monitors.pick[i];
        const char *pattern = module_traits(p).watched;
        if (!pattern || fnmatch(pattern, name, 0) != 0) continue;
        shown[i]++;
        struct graph *g = b->graph;
        if (change && p.module->watch_update)
            p.module->watch_update(b, p, name, whole(g, w, graph_leaf(g, w)), whole(g, w, grad), change);
        if (!change && p.module->watch_weight) p.module->watch_weight(b, p, name, whole(g, w, graph_leaf(g, w)));
    }
    b->layer = layer;
}

static int *nobody_shown(struct build *b)
{
    return arena_alloc(b->arena, (size_t)(b->own->monitors.n + 1) * sizeof(int));
}

/* A pattern that no weight has is a mistake. */
static void check_shown(struct build *b, const int *shown)
{
    const struct leaves *l = b->graph->leaves;
    for (int i = 0; i < b->own->monitors.n && !b->graph->failed; i++) {
        struct pick p = b->own->monitors.pick[i];
        const char *pattern = module_traits(p).watched, *one = "";
        if (!pattern || shown[i]) continue;
        for (int k = 0; k < l->n && !*one; k++) if (leaf_trains(l->leaf[k]) && l->leaf[k]->layer >= 0)
            one = name_within(b, l->leaf[k]);
        graph_fail(b->graph, "train.monitors.%s: match names no weight: '%s'; names are as '%s', and 'sluice plan "
                             "SCRIPT --weights VARIANT' lists all, of which a layer's are named within it",
                   p.module->name, pattern, one);
    }
}

/* As evaluations find them. */
static void show_weights(struct build *b)
{
    struct graph *g = b->graph;
    int *shown = nobody_shown(b), leaves = g->leaves->n;
    for (int i = 0; i < leaves && !g->failed; i++)
        if (leaf_trains(g->leaves->leaf[i])) show_weight(b, g->leaves->leaf[i], NULL, NULL, shown);
    check_shown(b, shown);
}

static double rate_of(struct build *b, const struct leaf *w)
{
    double rate = 1;
    for (int i = 0; i < b->train->rates.n; i++) {
        struct pick p = b->train->rates.pick[i];
        rate *= p.module->rate(b, p, w);
    }
    return rate;
}

/* What moves a weight, and by how much. An optimizer whose steps go by their spectral norm leaves to AdamW what is no
   hidden matrix, and routers. */
static void pace(struct build *b, const struct leaf *w, struct update *u)
{
    enum stepping stepping = module_traits(b->train->optim).stepping;
    bool even = role_rule[w->role].outside || w->role == ROLE_ROUTER;
    if (stepping == STEPPING_SPECTRAL && even) stepping = STEPPING_EVEN;
    struct scaling s = model_scaling(b->conf, w->reads, shape_last(w->values), stepping);
    u->rate = rate_of(b, w) * s.rate;
    u->eps = s.eps;
    u->decay = 1 / s.rate;
}

/* The sum that a cosine needs costs AdamW about 5 % of its time: it is made for who shows one. */
static bool asks_along(const struct build *b)
{
    for (int i = 0; i < b->own->monitors.n; i++) if (b->own->monitors.pick[i].module->watch_update) return true;
    return false;
}

/* One update for each weight. */
static void optimize(struct build *b, struct update u)
{
    struct graph *g = b->graph;
    struct pick optim = b->train->optim, constraint = b->train->constraint;
    int n = 0, leaves = g->leaves->n, *shown = nobody_shown(b);     /* the optimizer's memory are leaves too */
    struct node **changes = arena_alloc(b->arena, (size_t)(leaves + 1) * sizeof *changes);
    for (int i = 0; i < leaves && !g->failed; i++) {
        struct leaf *w = g->leaves->leaf[i];
        if (!leaf_trains(w)) continue;
        struct node *grad = graph_grad_of(g, w), *change;
        pace(b, w, &u);
        changes[n++] = change = optim.module->optim(b, optim, graph_leaf(g, w), grad, u);
        if (constraint.module->constrain) constraint.module->constrain(b, constraint, graph_leaf(g, w), u);
        show_weight(b, w, grad, change, shown);
    }
    check_shown(b, shown);
    build_metric(b, "update_ratio", update_ratio(g, n, changes), "", BETTER_NONE,
                 "norm of the step's change over norm of the weights");
}

/* Values of bf16, after all that changes them. */
static void round_weights(struct build *b, int leaves, struct update u)
{
    struct graph *g = b->graph;
    for (int i = 0; i < leaves && b->train->rounding != WEIGHTS_FP32 && !g->failed; i++) {
        struct leaf *w = g->leaves->leaf[i];
        struct node *key = NULL;
        if (!leaf_trains(w)) continue;
        if (b->train->rounding == WEIGHTS_STOCHASTIC) {
            if (w->over | w->shard)
                graph_fail(g, "train.rounding: stochastic: %s is divided among ranks, which would draw alike for its "
                              "parts", w->path);
            key = graph_buffer(g, arena_text(b->arena, "rounding.%s", w->path), DTYPE_REAL, SHAPE(2), 0);
            key->leaf->init = init_uniform(0, 1);
        }
        round_weight(g, graph_leaf(g, w), key, u.step, u.clip);
    }
}

/* Averages of what evaluation reads of the first `leaves` leaves, the model's own; after all that changes them. */
static void follow(struct build *b, int leaves, struct update u)
{
    struct graph *g = b->graph;
    struct pick p = b->train->average;
    struct followed *of = arena_alloc(b->arena, (size_t)(leaves + 1) * sizeof *of);
    int n = 0;
    for (int i = 0; p.module->average && i < leaves && !g->failed; i++) {
        struct leaf *l = g->leaves->leaf[i];
        if (leaf_is_own(l) && !l->frozen)
            of[n++] = (struct followed){ graph_average_of(g, l), graph_leaf(g, l) };
    }
    if (n > 0 && !g->failed) p.module->average(b, p, of, n, u);
}

static void build_update_region(struct build *b)
{
    struct graph *g = b->graph;
    int leaves = g->leaves->n;
    g->region = REGION_UPDATE;
    b->layer = -1;
    struct node *norm = norm_of(b, -1);
    build_metric(b, "grad_norm", norm, "", BETTER_NONE, "L2 norm of all gradients before clipping");
    struct update u = { .clip = clip_norm(g, norm, b->own->targets, b->train->clip), .rate = 1, .eps = 1, .decay = 1,
                        .along = asks_along(b) };
    struct pick guard = b->train->guard;
    if (guard.module->guard)
        u.clip = guard.module->guard(b, guard, u.clip, b->own->loss_of_step, norm);
    u.step = graph_control(g, "step", (struct control){ step_number, NULL, 0, 1 });
    u.lr = build_rate(b, ((const struct pace *)b->train->optim.conf)->lr);
    optimize(b, u);
    for (struct callback *c = b->own->update; c; c = c->next) {
        b->layer = c->layer;
        b->metric_prefix = c->metric_prefix;
        c->run(b, c->state, u);
    }
    b->metric_prefix = "";
    round_weights(b, leaves, u);
    follow(b, leaves, u);
    for (b->layer = 0; b->layer < b->blocks; b->layer++) {
        norm = norm_of(b, b->layer);
        if (norm) build_metric(b, "layer_grad_norm", norm, "", BETTER_NONE,
                               "L2 norm of the layer's gradients before clipping");
    }
    b->layer = -1;
    g->region = REGION_MICRO;
}

/* Whose choices are kept: those of a step, or of as many targets as an evaluation may have. */
static int64_t recorded(const struct train_conf *train, enum mode mode, int64_t seq)
{
    if (!train || !train->record || mode == MODE_DECODE) return 0;
    return mode == MODE_TRAIN ? train->batch : (train->eval_tokens + seq - 1) / seq;
}

static void build_inputs(struct build *b)
{
#define READ(name, dtype, shape, graphs) \
    if ((graphs) & 1 << b->mode) b->name = inputs_node(b->graph, b->own->of, INPUT_##name, b->batch, b->seq);
    INPUTS(READ)
    if (build_divides(b)) b->pos = inputs_node(b->graph, b->own->of, INPUT_pos, b->batch, b->seq);
    if (b->train && b->train->answers) b->present = inputs_node(b->graph, b->own->of, INPUT_present, b->batch, b->seq);
    b->own->pos = b->pos;
    build_at(b, -1);
}

/* Layers of one kind of residual share a stream: where the kind changes, one ends and another begins. */
static bool begins(const struct model_conf *conf, int i)
{
    if (i == 0) return true;
    struct pick last = conf->residual.pick[model_layer(conf, i - 1)], next = conf->residual.pick[model_layer(conf, i)];
    return last.module != next.module || module_traits(last).streams != module_traits(next).streams;
}

static struct node *run_layers(struct build *b, struct node *x, struct node **ends)
{
    const struct model_conf *conf = b->conf;
    int *passes = arena_alloc(b->arena, (size_t)conf->layers * sizeof *passes);
    struct stream s = { 0 };
    struct node *first = x;
    struct pick residual = { 0 };
    for (b->layer = 0; b->layer < b->layers; b->layer++) {
        int like = model_layer(conf, b->layer);
        residual = conf->residual.pick[like];
        b->own->pass = passes[like]++;
        build_enter(b, "layers.%d", like);
        if (begins(conf, b->layer)) s = build_open(b, residual, x, first);
        if (b->layer + 1 == b->layers) {
            b->own->fork = s;
            b->own->fork_joins = b->own->joins_next;
        }
        build_layer(b, like, &s);
        if (ends) ends[b->layer] = s.x;
        if (b->layer + 1 == b->layers || begins(conf, b->layer + 1)) x = build_close(b, residual, &s);
        build_leave(b);
    }
    b->layer = b->graph->layer = -1;
    b->own->pass = 0;
    return build_ended(b, x);
}

struct model_size model_eval_size(const struct model_conf *conf, const struct train_conf *train, int64_t batch)
{
    int64_t seq = train->eval_seq ? train->eval_seq : conf->seq, fit = batch * conf->seq / seq;
    return (struct model_size){ .batch = fit > 0 ? fit : 1, .seq = seq, .of = seq == conf->seq ? "" : "eval." };
}

struct node *model_build(struct graph *g, struct arena *arena, const struct model_conf *conf,
                         const struct train_conf *train, enum mode mode, struct model_size size)
{
    struct building own = { .observer = size.observer, .part = size.part, .part_depth = size.depth,
                            .most = size.most ? size.most : size.seq, .of = size.of ? size.of : "" };
    if (train) own.division = train->ranks.module->division(train->ranks);
    if (train) own.optim = train->optim;
    own.needs_whole = train && (!module_traits(train->optim).elementwise || train->constraint.module->constrain);
    if (train && mode != MODE_DECODE) own.monitors = train->monitors;
    int parts = mode == MODE_DECODE ? 1 : place_group(&g->leaves->here, OVER_CP);
    if (size.seq % parts != 0)
        return graph_fail(g, "train.ranks.cp: sequences of %lld tokens cannot be divided among %d ranks: take a "
                             "multiple of %d", (long long)size.seq, parts, parts);
    struct build build = {
        .graph = g, .arena = arena, .mode = mode, .conf = conf, .train = mode == MODE_TRAIN ? train : NULL,
        .batch = size.batch, .seq = size.seq / parts, .tokens = size.batch * size.seq / parts, .width = conf->d_model,
        .vocab = conf->vocab, .context = mode == MODE_DECODE ? size.context : size.seq, .rewind = size.rewind,
        .drafts = mode != MODE_DECODE || size.drafts,
        .recorded = recorded(train, mode, size.seq),
        .layers = model_passes(conf), .layer = -1, .blocks = model_blocks(conf), .branch_std = 1, .share = 1,
        .metric_prefix = "", .own = &own,
    }, *b = &build;
    if (mode == MODE_DECODE && model_looks_ahead(conf) == AHEAD_ALWAYS)
        return graph_fail(g, "the model looks ahead: what it makes of a token depends on later ones, so it has nothing "
                             "to sample by");
    build_inputs(b);
    struct node *x = conf->embed.module->embed(b, conf->embed, 0);           /* [T,D] */
    build_keep(b, -1, "embed.token", x);
    conf->head.module->head(b, conf->head, run_layers(b, x, size.ends));
    if (size.loss) *size.loss = build_kept(b, -1, "head.loss");
    build_run_finish(b);
    if (mode != MODE_DECODE) build_report_losses(b);
    if (mode == MODE_EVAL) show_weights(b);
    graph_stages(g);
    if (b->train) build_check_fp8(b);
    if (b->train) build_check_adapter(b);
    if (b->train) build_update_region(b);
    graph_homes(g);
    if (mode != MODE_DECODE || size.part == DECODE_PROMPT) return NULL;
    struct node *logits = build_kept(b, size.part == DECODE_DRAFT ? b->layers + size.depth - 1 : -1, "logits");
    if (logits) logits->output_of_graph = true;
    return logits;
}

/* ---- counting ---- */

struct counts model_count(const struct leaves *l)
{
    struct counts c = { 0 };
    double active = 0, embedded = 0;
    bool untied = false;
    for (int i = 0; i < l->n; i++) untied |= l->leaf[i]->kind == LEAF_WEIGHT && l->leaf[i]->role == ROLE_HEAD;
    for (int i = 0; i < l->n; i++) {
        const struct leaf *w = l->leaf[i];
        if (w->kind != LEAF_WEIGHT) continue;
        int64_t n = shape_count(w->values);
        c.total += n;
        if (!w->frozen) c.trained += n;
        bool row = w->role == ROLE_EMBED && untied;
        double used = row ? (double)shape_last(w->values) : (double)n * w->active;
        active += used;
        embedded += row ? (double)n : used;
        if (w->role != ROLE_EMBED && w->role != ROLE_TABLE && w->role != ROLE_HEAD) c.non_embedding += n;
    }
    c.active = (int64_t)(active + 0.5);
    c.active_embedded = (int64_t)(embedded + 0.5);
    return c;
}

struct cache_bytes model_cache_bytes(const struct leaves *decode_leaves, int64_t batch, int64_t context, size_t bytes)
{
    int64_t values = 0, fixed = 0;
    for (int i = 0; i < decode_leaves->n; i++) {
        const struct leaf *b = decode_leaves->leaf[i];
        if (b->kind != LEAF_BUFFER || !b->transient || b->decl.dtype == DTYPE_I32) continue;
        int64_t rows = b->decl.shape.dim[1], held = b->window && b->window < rows ? b->window : rows;
        if (b->fixed) fixed += shape_count(b->decl.shape) / b->decl.shape.dim[1] * b->fixed;
        else values += shape_count(b->decl.shape) / rows * held;
    }
    size_t full = (size_t)(values / batch) * bytes;
    return (struct cache_bytes){ full / (size_t)context, (size_t)(fixed / batch) * 4, full };
}
