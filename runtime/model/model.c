/* The skeleton: it knows slots, never modules. */
#include "model.h"
#include "module.h"

#include <stdio.h>
#include <string.h>

static const struct param model_params[] = {
    INT(struct model_conf, layers, 4, 1, 1024, "", "blocks of attention and ffn"),
    INT(struct model_conf, d_model, 128, 2, 65536, "", "width of the residual stream"),
    INT(struct model_conf, seq, 256, 1, 1048576, "token", "length of a training sequence"),
    INT(struct model_conf, vocab, 256, 2, 1048576, "", "size of the vocabulary; at least the data's"),
    SLOT(struct model_conf, init, SLOT_INIT, "normal", "how weights are drawn"),
    SLOT(struct model_conf, embed, SLOT_EMBED, "plain", "from token ids to vectors"),
    SLOT(struct model_conf, norm, SLOT_NORM, "rms", "the normalisation that residual, head and blocks use"),
    SLOT(struct model_conf, head, SLOT_HEAD, "lm", "from vectors to losses"),
    LAYERS(struct model_conf, position, SLOT_POSITION, "rope", "how queries and keys know where they are"),
    LAYERS(struct model_conf, residual, SLOT_RESIDUAL, "pre", "where norms stand around a branch"),
    LAYERS(struct model_conf, attention, SLOT_ATTENTION, "gqa", "mixing along the sequence"),
    LAYERS(struct model_conf, ffn, SLOT_FFN, "swiglu", "mixing along the width, dense or mixture of experts"),
    { 0 }
};
const struct schema model_schema = { "model", "the architecture", sizeof(struct model_conf), model_params };

static const struct param train_params[] = {
    INT(struct train_conf, steps, 400, 1, 1e9, "step", "optimizer steps"),
    INT(struct train_conf, batch, 16, 1, 1e6, "sequence", "sequences in a step"),
    INT(struct train_conf, micro, 1, 1, 1e6, "", "micro-batches that a step's batch is cut into"),
    REAL(struct train_conf, clip, 1, 0, 1e9, "", "largest global gradient norm; 0: no clipping"),
    CHOICE(struct train_conf, backend, BACKEND_CPU, BACKENDS, "what computes: the processor, or an NVIDIA GPU"),
    CHOICE(struct train_conf, precision, 0, "fp32 bf16", "of activations; weights, scores and sums stay fp32"),
    CHOICE(struct train_conf, recompute, 0, "none selective",
           "selective: norms, gathered expert rows and gated activations are computed again for backward; less memory, "
           "a little more time, the same bits"),
    SLOT(struct train_conf, optim, SLOT_OPTIM, "adamw", "the optimizer"),
    SLOT(struct train_conf, schedule, SLOT_SCHEDULE, "wsd", "the learning rate over the run"),
    SLOT(struct train_conf, average, SLOT_AVERAGE, "none", "averages of the weights, for evaluation and sampling"),
    INT(struct train_conf, eval_every, 100, 1, 1e9, "step",
        "steps between evaluations; the last step always evaluates"),
    INT(struct train_conf, eval_tokens, 32768, 0, 2e9, "token",
        "held-out tokens that an evaluation measures, the same for all variants; 0: all there are"),
    INT(struct train_conf, checkpoint_every, 100, 1, 1e9, "step", "steps between checkpoints"),
    INT(struct train_conf, keep, 2, 0, 1000, "",
        "checkpoints kept; 0: the newest while the run goes on, none when it is over"),
    INT(struct train_conf, stop_window, 50, 5, 1e6, "step",
        "trailing steps that a loss spike is measured against; so many without a target end a run"),
    REAL(struct train_conf, stop_sigma, 0, 0, 1e6, "",
         "stop as diverged when the loss stays this many standard deviations above the window for 10 steps; 0: never"),
    REAL(struct train_conf, stop_dead, 0, 0, 1, "",
         "stop when this share of experts got no token for a window; 0: never"),
    REAL(struct train_conf, stop_seconds, 0, 0, 1e9, "s", "stop after so much training time; 0: never"),
    { 0 }
};
const struct schema train_schema = { "train", "the training run", sizeof(struct train_conf), train_params };

/* ---- loading ---- */

static void check_picks(const struct param *params, const void *conf, const char *path, const struct model_conf *model,
                        struct problems *problems);

static void check_pick(const struct pick *p, const char *path, const struct model_conf *model,
                       struct problems *problems)
{
    if (!p->module) return;
    if (p->module->check) p->module->check(p->conf, model, path, problems);
    if (p->module->params) check_picks(p->module->params, p->conf, path, model, problems);
}

/* Every module's own rules, depth first; a mistake that several layers share is said once. */
static void check_picks(const struct param *params, const void *conf, const char *path, const struct model_conf *model,
                        struct problems *problems)
{
    for (const struct param *p = params; p->name; p++) {
        char below[256];
        const void *field = (const char *)conf + p->offset;
        snprintf(below, sizeof below, "%s%s%s", path, *path ? "." : "", p->name);
        if (p->type == PARAM_SLOT) check_pick(field, below, model, problems);
        if (p->type != PARAM_SLOTS && p->type != PARAM_LAYERS) continue;
        const struct picks *list = field;
        for (int i = 0; i < list->n; i++) {
            int before = problems->n;
            check_pick(&list->pick[i], below, model, problems);
            if (p->type == PARAM_LAYERS && problems->n > before) break;
        }
    }
}

void model_load(const json_t *json, struct arena *arena, struct model_conf *conf, struct problems *problems)
{
    int before = problems->n;
    config_load(&model_schema, json, "", arena, conf, problems);
    if (problems->n == before) check_picks(model_params, conf, "", conf, problems);
}

/* The rate that is asked for is reached, and what follows it begins there. */
static void check_warmup(const struct train_conf *c, struct problems *problems)
{
    const struct module *m = c->schedule.module;
    const int *warmup = module_value(c->schedule, "warmup");
    int64_t most = m->peak_ends ? m->peak_ends(c->schedule.conf, c->steps) + 1 : c->steps;
    if (most > c->steps) most = c->steps;
    if (!warmup || *warmup <= most) return;
    if (*warmup > c->steps)
        module_problem(problems, "train.schedule", "warmup",
                       "%d steps of warm-up in a run of %d: lr is never reached; at most %lld", *warmup, c->steps,
                       (long long)most);
    else
        module_problem(
            problems, "train.schedule", "warmup",
            "%d steps of warm-up, but the decay begins after step %lld of %d: at most %lld, or a shorter decay",
            *warmup, (long long)most, c->steps, (long long)most);
}

void train_load(const json_t *json, struct arena *arena, struct train_conf *conf, struct problems *problems)
{
    int before = problems->n;
    config_load(&train_schema, json, "train", arena, conf, problems);
    if (problems->n > before) return;
    if (conf->batch % conf->micro != 0)
        problem_add(problems, "train.micro", "%d does not divide the batch of %d sequences", conf->micro, conf->batch);
    check_warmup(conf, problems);
    const int *from = module_value(conf->average, "from");
    if (from && *from >= conf->steps)
        module_problem(problems, "train.average", "from", "%d steps of a run of %d: nothing is averaged; at most %d",
                       *from, conf->steps, conf->steps - 1);
    check_picks(train_params, conf, "train", NULL, problems);
}

/* ---- building ---- */

/* loss_NAME: each loss summed over layers, unweighted; loss: that of the next token; targets: how many of these there
   are; objective: the weighted sum. */
static void report_losses(struct build *b)
{
    struct term *term = arena_alloc(b->arena, (size_t)(b->n_losses + 1) * sizeof *term);
    b->graph->layer = -1;
    for (int i = 0; i < b->n_losses; i++) {
        const char *name = b->loss[i].name;
        bool said = false, next_token = strcmp(name, "lm") == 0, mtp = strcmp(name, "mtp") == 0;
        int n = 0;
        for (int k = 0; k < b->n_losses; k++) {
            if (strcmp(b->loss[k].name, name) != 0) continue;
            said |= k < i;
            term[n++] = b->loss[k].value;
        }
        if (said) continue;
        graph_probe(b->graph, next_token ? "loss" : arena_text(b->arena, "loss_%s", name),
                    next_token || mtp ? "nat/token" : "", BETTER_LOWER,
                    next_token ? "cross-entropy of the next token"
                               : arena_text(b->arena, "loss '%s' summed over layers, without its weight", name),
                    n, term);
    }
    for (int i = 0; i < b->n_losses; i++) {
        term[i] = b->loss[i].value;
        term[i].weight = b->loss[i].weight;
    }
    if (b->targets)
        graph_probe(b->graph, "targets", "token", BETTER_NONE, "targets that count in the step", 1,
                    &(struct term){ 1, b->targets, NULL, false });
    if (b->n_losses && b->mode == MODE_TRAIN)
        graph_probe(b->graph, "objective", "nat/token", BETTER_LOWER, "weighted sum of all losses", b->n_losses, term);
}

static double step_number(const void *conf, double scale, int64_t step, int64_t steps)
{
    (void)conf; (void)scale; (void)steps;
    return (double)step + 1;
}

/* Gradients of the weights of a layer, or of all (layer -1). */
static struct node *norm_of(struct build *b, int layer)
{
    struct graph *g = b->graph;
    struct node **grads = arena_alloc(b->arena, (size_t)(g->leaves->n + 1) * sizeof *grads);
    int n = 0, leaves = g->leaves->n;
    for (int i = 0; i < leaves; i++) {
        struct leaf *l = g->leaves->leaf[i];
        if (l->kind == LEAF_WEIGHT && (layer < 0 || l->layer == layer)) grads[n++] = graph_grad_of(g, l);
    }
    return n ? global_norm(g, n, grads) : NULL;
}

/* One update for each weight. */
static void optimize(struct build *b, struct pace pace)
{
    struct graph *g = b->graph;
    const struct pick *optim = &b->train->optim;
    int n = 0, leaves = g->leaves->n;                       /* the optimizer's memory are leaves too */
    struct node **changes = arena_alloc(b->arena, (size_t)(leaves + 1) * sizeof *changes);
    for (int i = 0; i < leaves && !g->failed; i++) {
        struct leaf *w = g->leaves->leaf[i];
        if (w->kind == LEAF_WEIGHT)
            changes[n++] = optim->module->optim(b, optim->conf, graph_leaf(g, w), graph_grad_of(g, w), pace);
    }
    build_metric(b, "update_ratio", update_ratio(g, n, changes), "", BETTER_NONE,
                 "norm of the step's change over norm of the weights");
}

/* Averages of what evaluation reads of the first `leaves` leaves, the model's own; after all that changes them. */
static void follow(struct build *b, int leaves)
{
    struct graph *g = b->graph;
    struct node *rate = b->train->average.module->average(b, b->train->average.conf);
    for (int i = 0; rate && i < leaves && !g->failed; i++) {
        struct leaf *l = g->leaves->leaf[i];
        bool kept = l->kind == LEAF_WEIGHT || (l->kind == LEAF_BUFFER && !l->transient);
        if (kept && l->decl.dtype == DTYPE_REAL) average(g, graph_average_of(g, l), graph_leaf(g, l), b->clip, rate);
    }
}

static void build_update_region(struct build *b)
{
    struct graph *g = b->graph;
    int leaves = g->leaves->n;
    g->region = REGION_UPDATE;
    b->layer = -1;
    struct node *norm = norm_of(b, -1);
    build_metric(b, "grad_norm", norm, "", BETTER_NONE, "L2 norm of all gradients before clipping");
    b->clip = clip_norm(g, norm, b->targets, b->train->clip);
    const double *lr = module_value(b->train->optim, "lr");
    INVARIANT(lr, "optimizer %s has no parameter lr", b->train->optim.module->name);
    struct node *step = graph_control(g, "step", (struct control){ step_number, NULL, 0, 1 });
    optimize(b, (struct pace){ build_rate(b, *lr), step, b->clip });
    for (struct callback *c = b->update; c; c = c->next) {
        b->layer = c->layer;
        c->run(b, c->state);
    }
    follow(b, leaves);
    for (b->layer = 0; b->layer < b->blocks; b->layer++)
        build_metric(b, "layer_grad_norm", norm_of(b, b->layer), "", BETTER_NONE,
                     "L2 norm of the layer's gradients before clipping");
    b->layer = -1;
    g->region = REGION_MICRO;
}

static void build_inputs(struct build *b)
{
    struct graph *g = b->graph;
    struct shape s = SHAPE(b->batch, b->seq);
    b->ids = graph_input(g, "ids", DTYPE_I32, s);
    b->start = graph_input(g, "start", DTYPE_I32, s);
    if (b->mode == MODE_DECODE) {
        b->pos = graph_input(g, "pos", DTYPE_I32, SHAPE(1));
    } else {
        b->target = graph_input(g, "target", DTYPE_I32, s);
        b->weight = graph_input(g, "weight", DTYPE_REAL, s);
    }
    if (b->mode == MODE_EVAL) b->present.rows = graph_input(g, "present", DTYPE_REAL, s);
}

static bool ends_normed(struct pick residual)
{
    return residual.module->ends_normed && residual.module->ends_normed(residual.conf);
}

struct node *model_build(struct graph *g, struct arena *arena, const struct model_conf *conf,
                         const struct train_conf *train, enum mode mode, int64_t batch, int64_t seq, int64_t context)
{
    struct build build = {
        .graph = g, .arena = arena, .mode = mode, .batch = batch, .seq = seq, .tokens = batch * seq,
        .width = conf->d_model, .vocab = conf->vocab, .context = mode == MODE_DECODE ? context : seq,
        .layers = conf->layers, .layer = -1, .blocks = model_blocks(conf), .conf = conf,
        .train = mode == MODE_TRAIN ? train : NULL, .init = conf->init, .norm = conf->norm,
        .position = conf->position.pick[0],
    }, *b = &build;
    b->sublayer_input = arena_alloc(arena, (size_t)(b->blocks + 1) * sizeof *b->sublayer_input);
    build_inputs(b);
    struct node *x = conf->embed.module->embed(b, conf->embed.conf, 0);      /* [T,D] */
    for (b->layer = 0; b->layer < conf->layers; b->layer++) {
        build_enter(b, "layers.%d", b->layer);
        x = build_block(b, b->layer, x);
        build_leave(b);
    }
    b->layer = -1;
    b->branch_normed = false;
    if (!ends_normed(conf->residual.pick[conf->layers - 1])) x = build_norm(b, "final_norm", x);
    conf->head.module->head(b, conf->head.conf, x);
    for (struct callback *c = b->finish; c; c = c->next) {
        b->layer = c->layer;
        c->run(b, c->state);
    }
    b->layer = -1;
    if (mode != MODE_DECODE) report_losses(b);
    if (b->train) build_update_region(b);
    if (b->logits) b->logits->output_of_graph = true;
    return b->logits;
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
        int64_t n = shape_count(w->decl.shape);
        c.total += n;
        bool row = w->role == ROLE_EMBED && untied;
        double used = row ? (double)shape_last(w->decl.shape) : (double)n * w->active;
        active += used;
        embedded += row ? (double)n : used;
        if (w->role != ROLE_EMBED && w->role != ROLE_TABLE && w->role != ROLE_HEAD) c.non_embedding += n;
    }
    c.active = (int64_t)(active + 0.5);
    c.active_embedded = (int64_t)(embedded + 0.5);
    return c;
}

size_t model_kv_bytes(const struct leaves *decode_leaves, int64_t batch, int64_t context, size_t bytes)
{
    int64_t values = 0;
    for (int i = 0; i < decode_leaves->n; i++) {
        const struct leaf *b = decode_leaves->leaf[i];
        if (b->kind != LEAF_BUFFER || !b->transient || b->decl.dtype == DTYPE_I32) continue;
        int64_t held = b->window && b->window < context ? b->window : context;
        values += shape_count(b->decl.shape) / context * held;
    }
    return (size_t)(values / batch) * bytes / (size_t)context;
}
