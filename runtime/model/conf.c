/* The tables of a script: their keys, loaded and checked. */
#include "model.h"
#include "registry.h"
#include "plan/pipeline.h"

#include <stdio.h>
#include <string.h>

static const struct param model_params[] = {
    INT(struct model_conf, layers, 4, 1, 1024, "", "blocks of attention and ffn"),
    INT(struct model_conf, d_model, 128, 2, 65536, "", "width of the residual stream"),
    INT(struct model_conf, seq, 256, 1, 1048576, "token", "length of a training sequence"),
    INT(struct model_conf, vocab, 256, 2, 1048576, "", "size of the vocabulary; at least the data's"),
    INTS(struct model_conf, order, 0, 1023,
         "layers from 0 as they run, any of them more than once, with the same weights; empty: each once"),
    SLOT(struct model_conf, init, SLOT_INIT, "normal", "how weights are drawn"),
    SLOT(struct model_conf, parametrization, SLOT_PARAMETRIZATION, "standard",
         "how initial values, rates and logits go with the model's width"),
    SLOT(struct model_conf, embed, SLOT_EMBED, "plain", "from token ids to vectors"),
    SLOT(struct model_conf, norm, SLOT_NORM, "rms", "the normalisation that residual, head and blocks use"),
    SLOT(struct model_conf, head, SLOT_HEAD, "lm", "from vectors to losses"),
    SLOT(struct model_conf, adapter, SLOT_ADAPTER, "none", "what is trained where weights are frozen"),
    LAYERS(struct model_conf, position, SLOT_POSITION, "rope", "how queries and keys know where they are"),
    LAYERS(struct model_conf, residual, SLOT_RESIDUAL, "pre",
           "how branches read and write the residual stream, where norms stand"),
    LAYERS(struct model_conf, memory, SLOT_MEMORY, "none", "what is looked up and added to the stream before a block"),
    LAYERS(struct model_conf, ple, SLOT_PLE, "none", "what a layer adds behind its block for the token itself"),
    LAYERS(struct model_conf, block, SLOT_BLOCK, "sequential", "how a layer's attention and ffn follow each other"),
    LAYERS(struct model_conf, conv, SLOT_CONV, "none", "short convolutions along the sequence, where a layer has them"),
    LAYERS(struct model_conf, attention, SLOT_ATTENTION, "gqa", "mixing along the sequence"),
    LAYERS(struct model_conf, ffn, SLOT_FFN, "dense", "mixing along the width, dense or mixture of experts"),
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
    CHOICE(struct train_conf, recompute, 0, "none selective full",
           "what is computed again for backward rather than kept, to the same bits. selective: norms, gathered expert "
           "rows and gated activations, a little more time; full: all that a layer makes, but for what others read of "
           "it, about a third more time"),
    CHOICE(struct train_conf, rounding, WEIGHTS_FP32, "none nearest stochastic",
           "of weights to values of bf16 after each step, as without copies of them in fp32"),
    BOOL(struct train_conf, offload, false,
         "what an optimizer remembers, and averages of weights, lie in the host's memory, to the same bits; for a GPU"),
    SLOT(struct train_conf, ranks, SLOT_RANKS, "grid", "how several ranks divide the model and its batches"),
    SLOT(struct train_conf, fp8, SLOT_FP8, "none", "products of operands in FP8, in training"),
    SLOT(struct train_conf, optim, SLOT_OPTIM, "adamw", "the optimizer"),
    SLOTS(struct train_conf, rates, SLOT_RATES, "factors on the learning rate, of layers or kinds of weights"),
    SLOT(struct train_conf, constraint, SLOT_CONSTRAINT, "none", "what weights are held to after each step"),
    SLOT(struct train_conf, schedule, SLOT_SCHEDULE, "wsd", "the learning rate over the run"),
    SLOT(struct train_conf, decay_schedule, SLOT_SCHEDULE, "constant",
         "the optimizer's decay over the run, beside what the rate makes of it"),
    SLOT(struct train_conf, momentum_schedule, SLOT_SCHEDULE, "constant",
         "its momentum over the run: of AdamW and Lion beta1, of SGD and Muon momentum"),
    SLOT(struct train_conf, batch_schedule, SLOT_SCHEDULE, "constant",
         "the batch over the run, as a share of `batch`, in whole micro-batches"),
    SLOT(struct train_conf, seq_schedule, SLOT_SCHEDULE, "constant",
         "how long sequences may be over the run, as a share of the model's seq; what is longer is cut into documents"),
    SLOT(struct train_conf, guard, SLOT_GUARD, "none", "steps that are left out"),
    SLOT(struct train_conf, average, SLOT_AVERAGE, "none", "averages of the weights, for evaluation and sampling"),
    SLOTS(struct train_conf, monitors, SLOT_MONITORS, "further metrics of weights, the residual stream, attention"),
    INT(struct train_conf, eval_every, 100, 1, 1e9, "step",
        "steps between evaluations; the last step always evaluates"),
    INT(struct train_conf, eval_tokens, 32768, 0, 2e9, "token",
        "held-out tokens that an evaluation measures, the same for all variants; 0: all there are"),
    INT(struct train_conf, eval_seq, 0, 0, 1048576, "token",
        "length of an evaluation's sequences, a multiple of the model's seq; 0: that"),
    BOOL(struct train_conf, record, false,
         "the experts that each token goes to are kept in the run file, for other runs to replay"),
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

static const struct param data_params[] = {
    SLOT(struct data_conf, data, SLOT_TASK, "mqar", "data that is generated: samples of a task, whose answers count"),
    { 0 }
};
const struct schema data_schema = { "data", "what is trained on", sizeof(struct data_conf), data_params };

/* Whether its schedule can be had for a step's micro-batches, of which a smaller batch has fewer. */
static int check_pipeline(const struct train_conf *c, const struct division *d, struct err *e)
{
    int ranks = d->mesh.size[AXIS_PP], failure = 0;
    struct arena *a = arena_new();
    struct schedule s;
    for (int micros = schedule_varies(c->batch_schedule) ? 1 : c->micro; ranks > 1 && micros <= c->micro; micros++)
        if (!failure && pipeline_make(&s, a, (enum pipeline)d->schedule, ranks, micros, d->chunks, e))
            failure = err_prefix(e, "train.ranks.schedule, with micro-batches by train.micro: ");
    arena_free(a);
    return failure;
}

/* A pipeline that runs both ways has two sides. */
static void fold(struct division *d)
{
    int *ranks = &d->mesh.size[AXIS_PP];
    if (d->schedule != PIPELINE_DUALPIPE || *ranks == 1) return;
    d->mesh.size[AXIS_SIDE] = 2;
    *ranks /= 2;
}

/* "dp 2 x ep 4" */
static const char *product_text(const struct mesh *l, char out[96])
{
    int n = 0;
    for (int a = AXES - 1; a >= 0; a--)
        if (l->size[a] > 1) n += snprintf(out + n, 96 - (size_t)n, "%s%s %d", n ? " x " : "", axis_name[a], l->size[a]);
    if (n == 0) snprintf(out, 96, "dp 1");
    return out;
}

static int divide_batch(const struct train_conf *c, const struct mesh *mesh, struct err *e)
{
    struct place any = { *mesh, 0 };
    int parts = place_group(&any, OVER_SEQUENCES);
    return c->batch % (c->micro * parts) == 0 ? 0
           : err_set(e, "train.batch: %d sequences in %d micro-batches cannot be divided among %d ranks: take a "
                        "multiple of %d", c->batch, c->micro, parts, c->micro * parts);
}

int train_division(const struct train_conf *c, int ranks, struct division *out, struct err *e)
{
    char text[96];
    *out = c->ranks.module->division(c->ranks);
    int others = mesh_ranks(&out->mesh), *dp = &out->mesh.size[AXIS_DP];
    if (*dp == 0 && ranks % others == 0) *dp = ranks / others;
    if (mesh_ranks(&out->mesh) == ranks) {
        if (divide_batch(c, &out->mesh, e) || check_pipeline(c, out, e)) return -1;
        fold(out);
        return 0;
    }
    product_text(&out->mesh, text);
    if (*dp == 0)
        return err_set(e, "train.ranks: %s are %d ranks, and %d, as are here, are no multiple of them: launch so many, "
                          "as 'mpirun -np %d sluice run ...'", text, others, ranks, others);
    return err_set(e, "train.ranks: %s are %d ranks, and %d %s here: launch so many, as 'mpirun -np %d sluice run ...'",
                   text, mesh_ranks(&out->mesh), ranks, ranks == 1 ? "is" : "are", mesh_ranks(&out->mesh));
}

/* ---- loading ---- */

static void check_picks(const struct param *params, const void *conf, const char *path, const struct model_conf *model,
                        struct problems *problems);

static void check_pick(const struct pick *p, const char *path, const struct model_conf *model,
                       struct problems *problems)
{
    if (!p->module) return;
    if (p->module->check) p->module->check(*p, model, path, problems);
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
            int before = problems->found;
            check_pick(&list->pick[i], below, model, problems);
            if (p->type == PARAM_LAYERS && problems->found > before) break;
        }
    }
}

/* Every layer stands in the order, and nothing else does. */
static void check_order(const struct model_conf *conf, struct problems *problems)
{
    const struct ints *order = &conf->order;
    for (int i = 0; i < order->n; i++)
        if (order->value[i] >= conf->layers)
            problem_add(problems, "order", "%d: the last layer is %d", order->value[i], conf->layers - 1);
    for (int layer = 0; order->n && layer < conf->layers; layer++) {
        bool runs = false;
        for (int i = 0; i < order->n; i++) runs |= order->value[i] == layer;
        if (!runs) problem_add(problems, "order", "layer %d is not in it: every layer runs at least once", layer);
    }
}

void model_load(const json_t *json, struct arena *arena, struct model_conf *conf, struct problems *problems)
{
    int before = problems->found;
    config_load(&model_schema, json, "", arena, conf, problems);
    if (problems->found > before) return;
    check_order(conf, problems);
    if (problems->found == before) check_picks(model_params, conf, "", conf, problems);
}

void data_load(const json_t *json, struct arena *arena, struct data_conf *conf, struct problems *problems)
{
    int before = problems->found;
    config_load(&data_schema, json, "", arena, conf, problems);
    if (problems->found == before) check_picks(data_params, conf, "", NULL, problems);
}

bool train_averages(const struct train_conf *c)
{
    return module_traits(c->optim).averages || c->average.module != module_find(SLOT_AVERAGE, "none");
}

void train_load(const json_t *json, struct arena *arena, struct train_conf *conf, struct problems *problems)
{
    int before = problems->found;
    conf->answers = false;
    config_load(&train_schema, json, "train", arena, conf, problems);
    if (problems->found > before) return;
    if (conf->batch % conf->micro != 0)
        problem_add(problems, "train.micro", "%d does not divide the batch of %d sequences", conf->micro, conf->batch);
    if (conf->record && conf->eval_tokens == 0)
        problem_add(problems, "train.record", "needs train.eval_tokens: of how many tokens an evaluation has choices");
    if (conf->offload && conf->backend == BACKEND_CPU)
        problem_add(problems, "train.offload", "true: with train.backend = 'cpu' all memory is the host's");
    int from = module_traits(conf->average).averages_from;
    if (from >= conf->steps)
        module_problem(problems, "train.average", module_traits(conf->average).averages_by,
                       "%d steps of a run of %d: nothing is averaged; at most %d",
                       from, conf->steps, conf->steps - 1);
    int judged = module_traits(conf->guard).guards_from;
    if (judged >= conf->steps)
        module_problem(problems, "train.guard", "window", "the first %d steps are not judged, and the run has %d",
                       judged, conf->steps);
    if (module_traits(conf->optim).averages && conf->average.module != module_find(SLOT_AVERAGE, "none"))
        problem_add(problems, "train.average", "%s: %s keeps averages of its own; it must be 'none'",
                    conf->average.module->name, conf->optim.module->name);
    check_picks(train_params, conf, "train", NULL, problems);
}

/* What is asked for is reached, and what follows it begins there. */
static void check_warmup(struct pick schedule, const char *name, const struct model_conf *model,
                         const struct train_conf *c, struct problems *problems)
{
    const struct module *m = schedule.module;
    const struct warmup *w = schedule.conf;
    const char *key = w->tokens ? "warmup_tokens" : "warmup";
    char path[64];
    long long warmup = schedule_warmup(schedule, c, model->seq),
              most = m->peak_ends ? m->peak_ends(schedule, c->steps) + 1 : c->steps;
    snprintf(path, sizeof path, "train.%s", name);
    if (most > c->steps) most = c->steps;
    if (w->tokens && w->steps)
        module_problem(problems, path, key, "%d: the warm-up is given in steps already, %d", w->tokens, w->steps);
    else if (warmup > c->steps)
        module_problem(problems, path, key, "%lld steps of warm-up in a run of %d: %s is never reached; at most %lld",
                       warmup, c->steps, strcmp(name, "schedule") ? "what is set" : "lr", most);
    else if (warmup > most)
        module_problem(problems, path, key, "%lld steps of warm-up, but the decay begins after step %lld of %d: at "
                       "most %lld, or a shorter decay", warmup, most, c->steps, most);
}

static void check_schedules(const struct model_conf *model, const struct train_conf *c, struct problems *problems)
{
    for (const struct param *p = train_params; p->name; p++)
        if (p->type == PARAM_SLOT && p->slot == SLOT_SCHEDULE)
            check_warmup(*(const struct pick *)((const char *)c + p->offset), p->name, model, c, problems);
    bool paced = schedule_varies(c->decay_schedule) || schedule_varies(c->momentum_schedule);
    if (paced && !module_traits(c->optim).paced)
        problem_add(problems, schedule_varies(c->decay_schedule) ? "train.decay_schedule" : "train.momentum_schedule",
                    "%s: decay and momentum of this optimizer stay as they are; it must be 'constant'",
                    c->optim.module->name);
    if (!schedule_varies(c->batch_schedule)) return;
    if (c->micro == 1)
        problem_add(problems, "train.batch_schedule", "%s: a smaller batch has fewer micro-batches, and there is one: "
                    "train.micro says how many a whole one is cut into", c->batch_schedule.module->name);
    if (c->record)
        problem_add(problems, "train.record", "a record has as many sequences in every step: batch_schedule must be "
                    "constant");
}

/* Rates that hold at other widths need an optimizer of which is known how its steps go with them. */
static void check_widths(const struct model_conf *model, const struct train_conf *c, struct problems *problems)
{
    const struct module *m = model->parametrization.module;
    struct traits optim = module_traits(c->optim);
    if (!m->scaling) return;
    if (optim.stepping == STEPPING_UNKNOWN)
        problem_add(problems, "train.optim", "%s: no rule is known by which its steps go with a model's width, and "
                    "parametrization = '%s' needs one%s%s", c->optim.module->name, m->name,
                    optim.steps_if ? "; one is of " : "", optim.steps_if ? optim.steps_if : "");
    if (c->constraint.module->constrain)
        problem_add(problems, "train.constraint", "%s: sets how large weights are, as parametrization = '%s' does; "
                    "it must be 'none'", c->constraint.module->name, m->name);
}

/* What the training asks of weights that are frozen. */
static void check_adapter(const struct model_conf *model, const struct train_conf *c, struct problems *problems)
{
    struct pick p = model->adapter;
    if (!p.module->adapter) return;
    if (p.module->kept(p) != KEPT_FLOAT && c->fp8.module->product)
        problem_add(problems, "train.fp8", "%s: weights with adapters are kept in codes, whose products are those of "
                    "the run's precision; it must be 'none'", c->fp8.module->name);
    if (c->constraint.module->constrain)
        problem_add(problems, "train.constraint", "%s: holds weights that adapter = '%s' freezes; it must be 'none'",
                    c->constraint.module->name, p.module->name);
}

/* What ranks that divide heads and hidden values need. */
static void check_heads(const struct model_conf *model, const struct train_conf *c, int ranks,
                        struct problems *problems)
{
    static const char key[] = "train.ranks.tp";
    const char *why = NULL;
    for (int i = 0; i < model->attention.n; i++) {
        struct traits t = module_traits(model->attention.pick[i]);
        if (!t.divides) why = "attention, of which 'gqa' can with keys = all, no value, temperature, experts, sink and "
                              "qk_clip, gate none or head, qk_norm of each head";
        else if (t.heads % ranks || t.kv_heads % ranks) why = "heads and kv_heads into equal parts";
    }
    for (int i = 0; i < model->conv.n; i++)
        if (strcmp(model->conv.pick[i].module->name, "none")) why = "short convolutions";
    for (int i = 0; i < model->position.n; i++)
        if (model->position.pick[i].module->bias) why = "biases by position";
    for (int i = 0; i < c->monitors.n; i++) if (c->monitors.pick[i].module->watch_attention) why = "monitored heads";
    if (c->fp8.module->product) why = "products in FP8";
    if (model->adapter.module->adapter) why = "matrices with adapters";
    if (why) problem_add(problems, key, "%d: ranks cannot divide %s; it must be 1", ranks, why);
}

/* What ranks that divide sequences need; what modules cannot, build_undivided says. */
static void check_sequences(const struct model_conf *model, int ranks, struct problems *problems)
{
    if (model->seq % ranks != 0)
        problem_add(problems, "train.ranks.cp", "%d: sequences of %d tokens (seq) cannot be divided among %d ranks: %d "
                    "are left over; take a seq that is a multiple of %d", ranks, model->seq, ranks, model->seq % ranks,
                    ranks);
}

/* What reads weights of which a rank has a part, and knows it not. */
static void check_ranks(const struct model_conf *model, const struct train_conf *c, struct problems *problems)
{
    struct division d = c->ranks.module->division(c->ranks);
    bool clips = false, parts = d.zero > 1;
    int experts = place_group(&(struct place){ d.mesh, 0 }, OVER_EP);
    for (int i = 0; i < model->attention.n; i++) clips |= module_traits(model->attention.pick[i]).clips;
    if (parts && c->fp8.module->product)
        problem_add(problems, "train.ranks.zero", "%d: products by train.fp8 = '%s' read whole matrices; it must be 1",
                    d.zero, c->fp8.module->name);
    if (parts && c->constraint.module->constrain)
        problem_add(problems, "train.ranks.zero", "%d: train.constraint = '%s' holds whole matrices; it must be 1",
                    d.zero, c->constraint.module->name);
    if (parts && clips)
        problem_add(problems, "train.ranks.zero", "%d: qk_clip shrinks heads of whole matrices; it must be 1", d.zero);
    if (d.mesh.size[AXIS_TP] > 1) check_heads(model, c, d.mesh.size[AXIS_TP], problems);
    if (d.mesh.size[AXIS_CP] > 1) check_sequences(model, d.mesh.size[AXIS_CP], problems);
    if ((parts || experts > 1) && model->adapter.module->adapter)
        problem_add(problems, parts ? "train.ranks.zero" : "train.ranks.ep",
                    "%d: adapter = '%s' adds to whole matrices; it must be 1", parts ? d.zero : experts,
                    model->adapter.module->name);
    if (d.spare && c->fp8.module->product)
        problem_add(problems, "train.ranks.spare", "%d: products by train.fp8 = '%s' read experts where they are at "
                    "home; it must be 0", d.spare, c->fp8.module->name);
}

void conf_agree(const struct model_conf *model, const struct train_conf *train, struct problems *problems)
{
    check_schedules(model, train, problems);
    check_widths(model, train, problems);
    check_adapter(model, train, problems);
    check_ranks(model, train, problems);
    if (train->eval_seq % model->seq != 0)
        problem_add(problems, "train.eval_seq", "%d: must be a multiple of the model's seq of %d", train->eval_seq,
                    model->seq);
}

const char *const ahead_name[] = { "never", "in training", "always" };

static enum ahead later(enum ahead most, struct pick pick)
{
    enum ahead own = module_traits(pick).looks_ahead;
    return own > most ? own : most;
}

enum ahead model_looks_ahead(const struct model_conf *conf)
{
    enum ahead ahead = AHEAD_NEVER;
    for (const struct param *p = model_params; p->name; p++) {
        const void *field = (const char *)conf + p->offset;
        if (p->type == PARAM_SLOT) ahead = later(ahead, *(const struct pick *)field);
        const struct picks *list = p->type == PARAM_LAYERS ? field : NULL;
        for (int i = 0; list && i < list->n; i++) ahead = later(ahead, list->pick[i]);
    }
    return ahead;
}
