/* What modules call while they build: paths, what is kept, weights, parts of the model, caches, updates. */
#include "building.h"
#include "model.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- paths ---- */

/* Where nodes are emitted from here on. */
static void publish_path(struct build *b)
{
    b->graph->path = arena_text(b->graph->arena, "%s", b->path);
    b->graph->layer = b->layer;
}

void build_enter(struct build *b, const char *format, ...)
{
    size_t used = strlen(b->path);
    if (used) used += (size_t)snprintf(b->path + used, sizeof b->path - used, ".");
    va_list list;
    va_start(list, format);
    int n = vsnprintf(b->path + used, sizeof b->path - used, format, list);
    va_end(list);
    INVARIANT(n >= 0 && used + (size_t)n < sizeof b->path, "path of weights is too long: %s", b->path);
    b->own->depth[b->own->n_depth++] = (int)(used ? used - 1 : 0);
    INVARIANT(b->own->n_depth < COUNT(b->own->depth), "path of weights is too deep: %s", b->path);
    publish_path(b);
}

void build_leave(struct build *b)
{
    b->path[b->own->depth[--b->own->n_depth]] = 0;
    publish_path(b);
}

const char *build_path(struct build *b, const char *name, const char *suffix)
{
    return arena_text(b->arena, "%s%s%s%s", b->path, *b->path ? "." : "", name, suffix);
}

/* ---- what crosses layers ---- */

void build_keep(struct build *b, int layer, const char *name, struct node *x)
{
    struct building *o = b->own;
    if (o->n_kept == o->kept_room) o->kept = arena_more(b->arena, o->kept, &o->kept_room, sizeof *o->kept);
    o->kept[o->n_kept++] = (struct kept){ layer, name, b->taken, x };
}

struct node *build_found(const struct build *b, int layer, const char *name)
{
    const struct building *o = b->own;
    for (int i = o->n_kept - 1; i >= 0; i--) {
        const struct kept *k = &o->kept[i];
        if (k->layer != layer || strcmp(k->name, name) != 0) continue;
        bool weight = k->x && k->x->leaf && k->x->leaf->kind == LEAF_WEIGHT;
        if (k->of == b->taken || weight) return k->x;
        return graph_fail(b->graph, "%s: reads '%s' of layer %d, and a block takes tokens out of their sequences "
                                    "between them", b->path, name, layer);
    }
    return NULL;
}

void *build_common(struct build *b, const char *name, size_t bytes)
{
    struct building *o = b->own;
    name = arena_text(b->arena, "%s%s", b->metric_prefix, name);  /* routers of attention share with their like alone */
    for (struct common *s = o->common; s; s = s->next) if (strcmp(s->name, name) == 0) return s->memory;
    struct common *s = arena_alloc(b->arena, sizeof *s);
    *s = (struct common){ name, arena_alloc(b->arena, bytes), o->common };
    o->common = s;
    return memset(s->memory, 0, bytes);
}

/* ---- what waits for the end ---- */

void build_finish(struct build *b, void (*run)(struct build *b, void *state), void *state)
{
    struct building *o = b->own;
    struct finish *f = arena_alloc(b->arena, sizeof *f), **last = &o->finish;
    *f = (struct finish){ run, state, *b, o->like, o->pass, NULL };
    while (*last) last = &(*last)->next;
    *last = f;
}

void build_run_finish(struct build *b)
{
    struct building *o = b->own;
    int like = o->like, pass = o->pass;
    for (struct finish *f = o->finish; f; f = f->next) {
        o->like = f->like;
        o->pass = f->pass;
        publish_path(&f->at);
        f->run(&f->at, f->state);
    }
    o->like = like;
    o->pass = pass;
    publish_path(b);
}

/* ---- who looks at routers ---- */

bool build_is_observed(const struct build *b) { return b->own->observer != NULL; }

void build_observed(struct build *b, const struct routed *r)
{
    const struct observer *o = b->own->observer;
    const char *dot = strrchr(b->path, '.');
    if (o && b->taken)
        graph_fail(b->graph, "%s: a block takes tokens out of their sequences, and routers are looked at with all of "
                             "them", b->path);
    else if (o) o->router(o->to, dot ? dot + 1 : b->path, b->layer, r);
}

struct node *build_without_best(struct build *b, struct node *key)
{
    struct graph *g = b->graph;
    int closed = b->own->observer ? b->own->observer->without_best : 0;
    if (!closed) return key;
    struct node *best = topk(g, key, closed);                                                   /* [T,R] */
    return subtract(g, key, scale(g, scatter(g, build_ones(b, best->shape), best, (int)key->shape.dim[1]), 1e30));
}

/* ---- weights ---- */

/* Weights that several passes use are the first one's. */
static struct node *weight_as(struct build *b, const char *path, enum role role, struct shape shape, struct init init,
                              enum kept_as kept, struct partition cut)
{
    int before = b->graph->leaves->n;
    struct node *w = kept == KEPT_FLOAT ? graph_weight_cut(b->graph, path, role, shape, init, cut)
                                        : graph_codes(b->graph, path, role, shape, init, kept);
    if (build_freezes(b, role)) graph_freeze(w);
    if (b->graph->leaves->n == before) return w;
    w->leaf->layer = b->layer;
    w->leaf->active = b->share;
    return w;
}

static struct node *weight(struct build *b, const char *path, enum role role, struct shape shape, struct init init)
{
    return weight_as(b, path, role, shape, init, KEPT_FLOAT, (struct partition){ 0 });
}

struct scaling model_scaling(const struct model_conf *model, enum weight_reads reads, int64_t inputs,
                             enum stepping stepping)
{
    struct pick p = model->parametrization;
    if (!p.module->scaling) return (struct scaling){ 1, 1, 1, 1, 1, 1 };
    return p.module->scaling(p, model, reads, inputs, stepping);
}

static int64_t narrower(int64_t n, double by) { return n > by ? llround((double)n / by) : 1; }

/* Of the base, with the factor of what it reads. */
struct init build_init_of(struct build *b, enum role role, enum weight_reads reads, struct shape shape)
{
    struct pick p = b->conf->init;
    struct scaling s = model_scaling(b->conf, reads, shape_last(shape), STEPPING_UNKNOWN);
    int64_t width = b->width;
    for (int i = shape.rank - 1; i >= 0 && i >= shape.rank - 2; i--)
        if (reads != READS_OUT || i == shape.rank - 1) shape.dim[i] = narrower(shape.dim[i], s.wider);
    b->width = narrower(width, s.model);
    struct init init = p.module->init(b, p, role, shape);
    b->width = width;
    init.std *= s.init;
    return init;
}

struct init build_init(struct build *b, enum role role, struct shape shape)
{
    return build_init_of(b, role, role_rule[role].reads, shape);
}

struct node *build_reads(struct node *w, enum weight_reads reads)
{
    if (w->leaf) w->leaf->reads = reads;
    return w;
}

/* Axes over which each rank keeps a part of a matrix, cut by rows where its optimizer takes values one by one, or of a
   stack, cut by matrices; none where it does not come out even, nor of routers, which losses read whole. */
static unsigned sharded(const struct build *b, enum role role, struct shape shape, struct partition cut)
{
    const struct place *here = &b->graph->leaves->here;
    unsigned over = OVER_DATA & ~cut.over;
    bool alone = shape.rank > 2 || (b->own->optim.module && module_traits(b->own->optim).elementwise);
    bool even = shape.dim[0] % place_group(here, cut.over | over) == 0;
    return b->own->division.zero > 1 && role != ROLE_ROUTER && cut.dim == 0 && alone && even ? over : 0;
}

/* What a product reads. */
static struct node *matrix(struct build *b, const char *name, enum role role, struct shape shape, struct init init,
                           struct partition cut)
{
    cut.shard = sharded(b, role, shape, cut);
    return weight_as(b, build_path(b, name, ".weight"), role, shape, init, build_kept_as(b, role), cut);
}

struct node *build_copied(struct build *b, struct node *w, const struct dispatched *d)
{
    return d->copies ? with_copies(b->graph, w, d->copies, b->own->division.spare, OVER_NEAR) : w;
}

struct node *build_product(struct build *b, struct node *x, struct node *w, const struct dispatched *d)
{
    struct node *offsets = d ? d->offsets : NULL;
    const struct leaf *l = w->leaf;
    if (l->kind == LEAF_WEIGHT && l->kept != KEPT_FLOAT) {
        struct shape s = l->values;
        b->own->fp8_roles |= 1u << l->role;                 /* whatever the slot asks for: conf_agree has refused it */
        return nf4_matmul(b->graph, x, w, offsets, (struct nf4_attr){
            s.dim[s.rank - 2], shape_last(s), offsets ? s.dim[0] : 0, l->kept });
    }
    struct pick fp8 = b->train ? b->train->fp8 : (struct pick){ 0 };
    struct node *y = b->train && fp8.module->product ? fp8.module->product(b, fp8, x, w, offsets) : NULL;
    if (y) return y;
    struct node *all = own_part(b->graph, w, l->read, l->cut);
    all = b->own->division.zero == 3 ? regather(b->graph, all, l->shard) : all_gather(b->graph, all, l->shard);
    if (offsets) return grouped_matmul(b->graph, x, build_copied(b, all, d), offsets);
    return matmul(b->graph, x, all, role_rule[l->role].real ? DTYPE_REAL : DTYPE_ACT);
}

/* x w^T, and what an adapter adds to it. */
static struct node *adapted(struct build *b, const char *name, struct node *x, struct node *w,
                            const struct dispatched *d)
{
    struct pick p = b->conf->adapter;
    struct node *y = build_product(b, x, w, d);
    if (b->graph->failed || !build_adapts(b, w->leaf->role)) return y;
    b->own->adapted_roles |= 1u << w->leaf->role;
    return add(b->graph, y, p.module->adapter(b, p, &(struct adapted){ name, x, w->leaf, d }));
}

/* x: [T, whole.dim[1]], or this rank's part of it. */
static struct node *linear_cut(struct build *b, const char *name, enum role role, enum weight_reads reads,
                               struct node *x, struct shape whole, bool zero, struct partition cut)
{
    struct init init = zero ? init_constant(0) : build_init_of(b, role, reads, whole);
    struct node *w = build_reads(matrix(b, name, role, whole, init, cut), reads);
    return adapted(b, name, x, w, NULL);                    /* [T,out], or this rank's part of it */
}

static struct node *linear_as(struct build *b, const char *name, enum role role, enum weight_reads reads,
                              struct node *x, int64_t out, bool zero)
{
    struct graph *g = b->graph;
    if (x->shape.rank != 2) x = view(g, x, SHAPE(b->tokens, shape_count(x->shape) / b->tokens));
    struct shape whole = SHAPE(out, shape_last(x->shape));                                   /* [out,in] */
    return linear_cut(b, name, role, reads, x, whole, zero, (struct partition){ 0 });
}

struct node *linear_from(struct build *b, const char *name, enum role role, struct node *x, int64_t out, bool zero)
{
    return linear_as(b, name, role, role_rule[role].reads, x, out, zero);
}

struct node *linear_same(struct build *b, const char *name, enum role role, struct node *x, int64_t out, bool zero)
{
    return linear_as(b, name, role, READS_SAME, x, out, zero);
}

/* x, times the factor on logits that a weight says of it. */
static struct node *to_logits(struct build *b, struct node *x)
{
    double by = model_scaling(b->conf, READS_OUT, shape_last(x->shape), STEPPING_UNKNOWN).logits;
    return by == 1 ? x : scale(b->graph, x, by);
}

struct node *readout(struct build *b, const char *name, enum role role, struct node *x, int64_t out)
{
    return to_logits(b, linear_as(b, name, role, READS_OUT, x, out, false));
}

struct node *linear(struct build *b, const char *name, enum role role, struct node *x, int64_t out)
{
    return linear_from(b, name, role, x, out, false);
}

struct node *expert_linear(struct build *b, const char *name, enum role role, const struct dispatched *d,
                           struct node *rows, int64_t out, int experts, double active)
{
    struct shape shape = SHAPE(experts, out, shape_last(rows->shape));                       /* [E,out,in] */
    struct node *w = matrix(b, name, role, shape, build_init(b, role, shape),
                            (struct partition){ .over = d->over });
    w->leaf->active = active * b->share;
    return adapted(b, name, rows, w, d);                    /* [R,out] */
}

static struct node *bias_cut(struct build *b, const char *name, struct shape whole, struct partition cut)
{
    struct node *w = weight_as(b, build_path(b, name, ".bias"), ROLE_SCALAR, whole, init_constant(0), KEPT_FLOAT, cut);
    return own_part(b->graph, w, cut.read, 0);
}

struct node *build_bias(struct build *b, const char *name, struct shape shape)
{
    return bias_cut(b, name, shape, (struct partition){ 0 });
}

struct node *build_expert_bias(struct build *b, const char *name, struct shape shape, const struct dispatched *d)
{
    return bias_cut(b, name, shape, (struct partition){ .over = d->over });
}

struct node *affine(struct build *b, bool bias, const char *name, enum role role, struct node *x, int64_t out)
{
    struct node *y = linear(b, name, role, x, out);
    return bias ? add_row(b->graph, y, build_bias(b, name, SHAPE(out))) : y;
}

int64_t build_part(const struct build *b, int64_t n)
{
    int ranks = place_group(&b->graph->leaves->here, OVER_TP);
    if (n % ranks != 0)
        graph_fail(b->graph, "train.ranks.tp: %s: %lld cannot be divided among %d ranks", b->path, (long long)n, ranks);
    return n / ranks;
}

struct node *build_all_parts(struct build *b, struct node *x) { return all_gather(b->graph, x, OVER_TP); }
struct node *build_shared(struct build *b, struct node *w) { return reduce_gradient(b->graph, w, OVER_TP); }

struct node *build_mean_parts(struct build *b, struct node *x)
{
    int ranks = place_group(&b->graph->leaves->here, OVER_TP);
    return ranks == 1 ? x : scale(b->graph, all_reduce(b->graph, x, OVER_TP), 1.0 / ranks);
}

struct node *affine_part(struct build *b, enum side side, bool bias, const char *name, enum role role, struct node *x,
                         int64_t out, bool zero)
{
    struct graph *g = b->graph;
    int ranks = place_group(&g->leaves->here, OVER_TP);
    bool inputs = side == SIDE_INPUTS;
    struct partition cut = { .dim = inputs };
    *(b->own->needs_whole ? &cut.read : &cut.over) = OVER_TP;
    if (!inputs) x = reduce_gradient(g, x, OVER_TP);
    struct shape whole = SHAPE(out, shape_last(x->shape) * (inputs ? ranks : 1));            /* [out,in] */
    struct node *y = linear_cut(b, name, role, role_rule[role].reads, x, whole, zero, cut);
    if (inputs) y = all_reduce(g, y, OVER_TP);
    return bias ? add_row(g, y, bias_cut(b, name, SHAPE(out), inputs ? (struct partition){ 0 } : cut)) : y;
}

struct node *linear_of_heads(struct build *b, const char *name, enum role role, struct node *u, int64_t heads,
                             bool zero)
{
    int ranks = place_group(&b->graph->leaves->here, OVER_TP);
    return affine_part(b, SIDE_OUTPUTS, false, name, role, u, heads * ranks, zero);
}

struct node *low_rank(struct build *b, const char *name, enum role role, struct node *x, int rank, int64_t out)
{
    if (rank == 0) return linear(b, name, role, x, out);
    x = linear(b, arena_text(b->arena, "%s_down", name), role, x, rank);
    return linear_same(b, name, role, x, out, false);
}

struct node *build_gated(struct build *b, struct node *x, struct node *gate)
{
    struct node *row = view(b->graph, x, SHAPE(x->shape.dim[0], 1, shape_last(x->shape)));
    return view(b->graph, mul_heads(b->graph, row, gate), x->shape);
}

struct node *build_above(struct build *b, struct node *x) { return clamp(b->graph, scale(b->graph, x, 1e30), 0, 1); }

struct node *build_row_sum(struct build *b, struct node *x)
{
    return columns(b->graph, cumsum(b->graph, x), shape_last(x->shape) - 1, 1);
}

static bool is_prime(int64_t n)
{
    for (int64_t i = 2; i * i <= n; i++) if (n % i == 0) return false;
    return n > 1;
}

int64_t build_prime(int64_t from)
{
    while (!is_prime(from)) from++;
    return from;
}

double build_progress(double length, int64_t step, int64_t steps)
{
    double end = length * (double)steps;
    return (double)step < end ? (double)step / end : 1;
}

struct node *build_weight(struct build *b, const char *name, enum role role, struct shape shape, struct init init)
{
    struct node *w = weight(b, build_path(b, name, ""), role, shape, init);
    if (role == ROLE_TABLE) w->leaf->active = b->share / (double)shape.dim[0];      /* a token looks up one row */
    return w;
}

struct node *build_made(struct build *b, const char *name)
{
    struct leaf *made = leaves_find(b->graph->leaves, build_path(b, name, ".weight"));
    return made ? graph_leaf(b->graph, made) : NULL;
}

void build_heads(struct build *b, const char *name, int64_t heads)
{
    struct node *w = build_made(b, name);
    if (w && w->leaf) w->leaf->heads = (int)heads * place_group(&b->graph->leaves->here, w->leaf->read);
}

struct node *build_buffer(struct build *b, const char *name, enum dtype dtype, struct shape shape, double value)
{
    return graph_buffer(b->graph, build_path(b, name, ""), dtype, shape, value);
}

/* ---- parts of the model ---- */

struct node *build_norm_from(struct build *b, const char *name, struct node *x, double gain)
{
    struct pick p = b->conf->norm;
    return p.module->norm(b, p, name, x, gain);
}

struct node *build_norm(struct build *b, const char *name, struct node *x) { return build_norm_from(b, name, x, 1); }

struct node *build_position(struct build *b, struct node *x)
{
    struct pick p = b->conf->position.pick[b->own->like];
    return p.module->position(b, p, x);
}

struct node *build_sink(struct build *b, enum sink sink, struct node *u, int64_t heads)
{
    struct init zero = init_constant(0);
    if (sink == SINK_HEAD) return build_weight(b, "sink", ROLE_SCALAR, SHAPE(heads), zero);
    if (sink == SINK_NONE) return NULL;
    return matmul(b->graph, u, build_weight(b, "sink.weight", ROLE_GATE, SHAPE(heads, b->width), zero), DTYPE_REAL);
}

void build_attended(struct build *b, struct node *heads, enum sink sink)
{
    struct graph *g = b->graph;
    build_metric_as(b, "layer_attn_logit_max", max_all(g, graph_result(g, heads, 1)), "", CARRY_MAX, BETTER_NONE,
                    "largest scaled score before softmax");
    if (sink != SINK_NONE && b->mode == MODE_TRAIN)
        build_row_metric(b, "head_sink_mass", build_without_fill(b, graph_result(g, heads, 2), 1), "", BETTER_NONE,
                         "mean share of its attention that each head gives to its sink");
    for (int i = 0; b->mode == MODE_EVAL && i < b->own->monitors.n; i++) {
        struct pick p = b->own->monitors.pick[i];
        if (p.module->watch_attention) p.module->watch_attention(b, p, attention_given(heads));
    }
}

struct node *build_position_bias(struct build *b, struct node *u, int64_t heads)
{
    struct pick p = b->conf->position.pick[b->own->like];
    return p.module->bias ? p.module->bias(b, p, u, heads) : NULL;
}

double build_sharpness(const struct build *b)
{
    double asked = module_traits(b->conf->position.pick[b->own->like]).sharpness;
    return asked > 0 ? asked : 1;
}

struct node *build_convolved(struct build *b, enum conv_at at, const char *name, struct node *x)
{
    struct pick p = b->conf->conv.pick[b->own->like];
    build_enter(b, "%s", name);
    x = p.module->conv(b, p, at, x);
    build_leave(b);
    return x;
}

struct node *build_position_back(struct build *b, struct node *x)
{
    struct pick p = b->conf->position.pick[b->own->like];
    return p.module->position_back ? p.module->position_back(b, p, x) : x;
}

struct node *build_attention(struct build *b, const void *none, struct node *u)
{
    (void)none;
    struct pick p = b->conf->attention.pick[b->own->like];
    u = p.module->attention(b, p, build_convolved(b, CONV_ATTENTION, "in", u));
    return build_convolved(b, CONV_WRITTEN, "written", u);
}

struct node *build_ffn(struct build *b, const void *none, struct node *u)
{
    (void)none;
    struct pick p = b->conf->ffn.pick[b->own->like];
    u = p.module->ffn(b, p, build_convolved(b, CONV_FFN, "in", u));
    return build_convolved(b, CONV_WRITTEN, "written", u);
}

void build_join_next(struct build *b, struct node *y) { b->own->joins_next = y; }

struct node *build_joined(struct build *b, struct node *y)
{
    struct node *late = b->own->joins;
    b->own->joins = NULL;
    return late ? add(b->graph, y, late) : y;
}

void build_around(struct build *b, struct stream *s, struct sublayer f)
{
    struct pick p = b->conf->residual.pick[b->own->like];
    build_enter(b, "%s", f.name);
    p.module->residual(b, p, s, f);
    s->sublayers++;
    build_leave(b);
}

void stream_keep(struct build *b, struct stream *s, struct node *y)
{
    struct node **all = arena_alloc(b->arena, (size_t)(s->n_kept + 1) * sizeof *all);
    for (int i = 0; i < s->n_kept; i++) all[i] = s->kept[i];
    all[s->n_kept++] = y;
    s->kept = all;
}

/* To each stream. */
static void add_to(struct build *b, struct stream *s, struct node *y)
{
    struct graph *g = b->graph;
    if (y) s->x = add(g, s->x, s->x->shape.rank > y->shape.rank ? repeat(g, y, s->x->shape.dim[1]) : y);
}

void build_layer(struct build *b, int like, struct stream *s)
{
    struct pick p = b->conf->block.pick[like], memory = b->conf->memory.pick[like], ple = b->conf->ple.pick[like];
    struct node *before = s->x;
    int outer = b->own->like;
    b->own->like = like;
    b->branch_bounded = module_traits(b->conf->residual.pick[like]).branch_bounded;
    build_enter(b, "memory");
    add_to(b, s, memory.module->memory(b, memory, s));
    build_leave(b);
    b->own->joins = b->own->joins_next;
    b->own->joins_next = NULL;
    build_keep(b, b->layer, "layer.input", s->x);
    p.module->block(b, p, s);
    INVARIANT(!b->own->joins, "block %s: nothing joins its feed-forward", p.module->name);
    build_enter(b, "ple");
    add_to(b, s, ple.module->ple(b, ple, s->x));
    build_leave(b);
    build_rms_metric(b, "layer_resid_rms", s->x, "", BETTER_NONE, "RMS of the residual stream after the layer");
    for (int i = 0; b->mode == MODE_EVAL && i < b->own->monitors.n; i++) {
        struct pick monitor = b->own->monitors.pick[i];
        if (monitor.module->watch_layer) monitor.module->watch_layer(b, monitor, before, s->x);
    }
    b->branch_bounded = false;
    b->own->like = outer;
}

struct stream build_open(struct build *b, struct pick residual, struct node *x, struct node *x0)
{
    struct stream s = { .x = x, .x0 = x0 };
    if (residual.module->open) residual.module->open(b, residual, &s);
    return s;
}

struct node *build_close(struct build *b, struct pick residual, const struct stream *s)
{
    if (!residual.module->close) return s->x;
    build_enter(b, "close");
    struct node *x = residual.module->close(b, residual, s);                                  /* [T,D] */
    build_leave(b);
    return x;
}

struct node *build_block(struct build *b, int like, struct node *x)
{
    struct pick residual = b->conf->residual.pick[like];
    struct stream s = build_open(b, residual, x, x);
    build_layer(b, like, &s);
    return build_close(b, residual, &s);
}

/* make(b, x, width) with weights of the model, whichever block asks. */
static struct node *of_model(struct build *b, struct node *(*make)(struct build *b, struct node *x, int64_t width),
                             struct node *x, int64_t width)
{
    char outer[sizeof b->path];
    memcpy(outer, b->path, sizeof outer);
    b->path[0] = 0;
    publish_path(b);
    x = make(b, x, width);
    memcpy(b->path, outer, sizeof outer);
    publish_path(b);
    return x;
}

static struct node *final_norm(struct build *b, struct node *x, int64_t width)
{
    (void)width;
    return build_norm(b, "final_norm", x);
}

struct node *build_ended(struct build *b, struct node *x)
{
    struct pick residual = b->conf->residual.pick[model_layer(b->conf, b->layers - 1)];
    return module_traits(residual).ends_normed ? x : of_model(b, final_norm, x, 0);
}

static struct node *head_down(struct build *b, struct node *h, int64_t width)
{
    return linear(b, "head.down", ROLE_MIX, h, width);
}

/* Rows as wide as the head's matrix, as it reads them. */
static struct node *narrowed(struct build *b, struct node *h, const struct node *head_weight)
{
    int64_t width = shape_last(head_weight->shape);
    return shape_last(h->shape) == width ? to_logits(b, h) : of_model(b, head_down, h, width);
}

struct node *build_logits(struct build *b, struct node *h, struct node *head_weight)
{
    struct node *x = matmul(b->graph, narrowed(b, h, head_weight), head_weight, DTYPE_REAL);    /* [T,V] */
    return b->softcap > 0 ? softcap(b->graph, x, b->softcap) : x;
}

struct node *build_cross_entropy(struct build *b, struct node *h, struct node *head_weight, struct node *target)
{
    return cross_entropy(b->graph, narrowed(b, h, head_weight), head_weight, target, b->softcap);
}

struct node *build_ids(struct build *b)
{
    return b->ids->shape.dim[1] == b->seq ? b->ids : slice(b->graph, b->ids, b->seq);
}

/* ---- tokens that a block takes out of their sequences ---- */

const struct taken *build_take_enter(struct build *b, struct node *index, int64_t each)
{
    struct graph *g = b->graph;
    build_undivided(b, "a block that takes tokens out of whole ones");
    struct taken *p = arena_alloc(b->arena, sizeof *p);
    struct node *sorted = dispatch(g, index, 1, b->batch * each), *order = graph_result(g, sorted, 1),
                *inverse = graph_result(g, sorted, 2), *at = view(g, order, SHAPE(b->batch, each)),         /* [B,C] */
                *begins = taken_starts(g, b->start, at);
    *p = (struct taken){ order, inverse, graph_result(g, begins, 1), graph_result(g, begins, 2),
                        arena_alloc(b->arena, sizeof *b) };
    *p->outer = *b;
    b->taken = p;
    b->share *= (double)each / (double)b->seq;
    b->ids = take(g, build_ids(b), at);
    b->start = begins;
    if (b->present)
        b->present = view(g, gather(g, view(g, b->present, SHAPE(b->tokens, 1)), order, inverse), at->shape);
    b->seq = each;
    b->tokens = b->batch * each;
    return p;
}

void build_take_leave(struct build *b)
{
    const struct build *outer = b->taken->outer;
    b->ids = outer->ids;
    b->start = outer->start;
    b->present = outer->present;
    b->seq = outer->seq;
    b->tokens = outer->tokens;
    b->share = outer->share;
    b->taken = outer->taken;
}

struct places build_places(const struct build *b)
{
    return b->taken ? (struct places){ b->taken->origin, b->taken->zero } : (struct places){ b->start, b->pos };
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

/* ---- noise ---- */

struct node *build_noise(struct build *b, const char *name, struct node *like, enum noise_kind kind)
{
    struct graph *g = b->graph;
    const char *path = build_path(b, name, "");
    if (b->mode != MODE_TRAIN) return NULL;
    build_undivided(b, "noise, which is drawn by a token's place in its sequence");
    if (!b->noise_key) b->noise_key = inputs_node(g, "", INPUT_noise_key, b->batch, b->seq);
    if (b->own->pass) path = arena_text(b->arena, "pass%d.%s", b->own->pass, path);
    for (int i = 0; i < g->n; i++)
        if (g->node[i]->op == &op_noise && ((const struct noise_attr *)g->node[i]->attr)->name == hash_name(path))
            return graph_fail(g, "%s: there is noise of this name already: both would be the same", path);
    return noise(g, like, b->noise_key, path, kind);
}

/* ---- updates ---- */

void build_update(struct build *b, void (*run)(struct build *b, void *state, struct update u), void *state)
{
    struct callback *c = arena_alloc(b->arena, sizeof *c), **last = &b->own->update;
    *c = (struct callback){ run, state, b->layer, b->metric_prefix, NULL };
    while (*last) last = &(*last)->next;
    *last = c;
}

static double scheduled(const void *conf, double scale, int64_t step, int64_t steps)
{
    const struct scheduled *s = conf;
    return scale * schedule_factor(s->schedule, s->warmup, step, steps);
}

static struct node *control(struct build *b, const char *name, struct pick schedule, double scale)
{
    struct scheduled s = train_scheduled(schedule, b->train, b->context);
    return graph_control(b->graph, name, (struct control){ scheduled, &s, sizeof s, scale });
}

struct node *build_rate(struct build *b, double lr)
{
    const struct train_conf *t = b->train;
    struct graph *g = b->graph;
    struct node *rate = control(b, "lr", t->schedule, lr);
    if (!schedule_varies(t->decay_schedule) && !schedule_varies(t->momentum_schedule)) return rate;
    struct node *part[] = { rate, control(b, "decay", t->decay_schedule, 1),
                            control(b, "momentum", t->momentum_schedule, 1) };
    for (int i = 0; i < COUNT(part); i++) part[i] = view(g, part[i], SHAPE(1, 1));
    return view(g, concat(g, COUNT(part), part), SHAPE(COUNT(part)));
}

static double constant_at(const void *conf, double scale, int64_t step, int64_t steps)
{
    (void)conf; (void)step; (void)steps;
    return scale;
}

struct node *build_constant(struct build *b, double value)
{
    return graph_control(b->graph, arena_text(b->arena, "constant.%.17g", value),
                         (struct control){ constant_at, NULL, 0, value });
}

struct node *build_ones(struct build *b, struct shape shape)
{
    return view(b->graph, repeat(b->graph, build_constant(b, 1), shape_count(shape)), shape);
}
