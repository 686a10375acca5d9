/* sluice plan: what a study would cost, before anything runs. */
#include "train/disk.h"
#include "mapping_print.h"
#include "roofline.h"
#include "scale_options.h"
#include "stats.h"
#include "train/start.h"
#include "train/train.h"
#include "cpu/pool.h"
#include "graph/ops.h"
#include "graph/signature.h"
#include "model/registry.h"
#include "model/training_graph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct option options[] = {
    SCRIPT_OPTIONS,
    { "json", 0, NULL, "the resolved study as JSON, with what else is asked for" },
    { "config", 'c', "VARIANT", "the full configuration of a variant" },
    { "weights", 'w', "VARIANT", "every weight of a variant: shape, role, optimizer, decay" },
    { "map", 'm', "VARIANT", "what the tensors of a variant are made of that begins with another's" },
    { "time", 0, NULL, "measure a step for two seconds and estimate how long the study takes" },
    { "roofline", 0, "GPU", "what a step of the baseline would take at best by the data sheet of a GPU: a100, h100, "
                            "h200, h800" },
    SCALE_OPTIONS,
    { 0 }
};

/* The data once more, for what it holds; a variant's epochs are its samples over the windows of an epoch. */
static double epochs_of(const struct variant *v, const struct corpus *c)
{
    int seq = (int)config_integer(v->config, "model.seq");
    return (double)(variant_tokens(v) / seq) / (double)corpus_windows(c, seq);
}

static struct eval_set eval_set_of(const struct study *s, const struct corpus *c)
{
    return corpus_eval_set(c, config_integer(s->variant[s->baseline].config, "train.eval_tokens"));
}

/* Rows of an embedding beyond the data's tokens cost parameters and FLOPs and learn nothing. Some round the number
   up. */
static void print_vocab(const struct study *s, const struct corpus_info *i)
{
    enum { ROUNDED = 128 };
    for (int v = 0; v < s->n_variants; v++) {
        long long vocab = config_integer(s->variant[v].config, "model.vocab");
        if (vocab < i->vocab + ROUNDED) continue;
        printf("note: variant '%s' has a vocabulary of %lld, the data %d: %lld rows of its embedding are of no token; "
               "vocab = %d leaves them out\n", s->variant[v].name, vocab, i->vocab, vocab - i->vocab, i->vocab);
        return;
    }
}

static void print_task(const struct study *s, const struct corpus_info *i, const struct eval_set *on)
{
    char held[FORMAT_SIZE], answers[FORMAT_SIZE], measured[FORMAT_SIZE];
    text_print(stdout, 0, 2, "%s: samples of at most %d tokens, one a sequence, made as they are read; %s others are "
                             "held out, with %s tokens of answers, of which every evaluation measures the first %s\n",
               s->data_path, i->sample_tokens, format_count((double)i->documents, held),
               format_count((double)i->answers, answers), format_count((double)on->targets, measured));
}

static void print_answers(const struct study *s, const struct corpus *c, const struct eval_set *on)
{
    const struct corpus_info *i = corpus_info(c);
    int seq = (int)config_integer(s->variant[s->baseline].config, "model.seq");
    struct answers_facts f = corpus_answers_facts(c, seq);
    char train[FORMAT_SIZE], answers[FORMAT_SIZE], held[FORMAT_SIZE], measured[FORMAT_SIZE];
    text_print(stdout, 0, 2, "%s: %s tokens to train on, %s of answers, %s held out; every evaluation measures the "
                             "first %s of answers among these. Windows are %.0f %% filled, %llu examples longer than "
                             "seq are cut\n",
               s->data_path, format_count((double)i->train_tokens, train),
               format_count((double)i->train_answers, answers), format_count((double)i->held_out_tokens, held),
               format_count((double)on->targets, measured), 100 * f.filled, (unsigned long long)f.longer);
}

static void print_data(const struct study *s, const struct corpus *c)
{
    const struct corpus_info *i = corpus_info(c);
    struct eval_set on = eval_set_of(s, c);
    char train[FORMAT_SIZE], held[FORMAT_SIZE], measured[FORMAT_SIZE];
    format_count((double)i->train_tokens, train);
    if (on.targets == 0)
        text_print(stdout, 0, 2, "%s: %s tokens to train on, nothing held out: no run can be measured; pack it with "
                                 "--held-out SHARE or --held-out-from INPUT\n", s->data_path, train);
    else if (i->samples)
        print_task(s, i, &on);
    else if (i->answers)
        print_answers(s, c, &on);
    else
        text_print(stdout, 0, 2,
                   "%s: %s tokens to train on, %s held out; every evaluation measures the first %s of these\n",
                   s->data_path, train, format_count((double)i->held_out_tokens, held),
                   format_count((double)on.targets, measured));
    print_vocab(s, i);
}

/* Of runs that begin alike one trains what they have in common. */
static void print_steps(const struct study *s)
{
    int64_t all = 0, taken = 0;
    for (int p = 0; p < s->n_points; p++) {
        const json_t *config = s->variant[s->point[p].variant].config;
        all += config_integer(config, "train.steps");
        taken += s->point[p].shared;
    }
    if (taken)
        text_print(stdout, 0, 2, "steps: %lld of %lld are trained: runs that begin alike share their trunk\n",
                   (long long)(all - taken), (long long)all);
}

/* Who begins with whose weights, and what these cost. */
static void print_starts(const struct study *s)
{
    for (int i = 0; i < s->n_variants; i++) {
        const struct variant *v = &s->variant[i];
        int64_t step;
        const char *run = variant_start(v, &step);
        char at[64] = "", flops[FORMAT_SIZE];
        if (!run) continue;
        if (step) snprintf(at, sizeof at, " after step %lld", (long long)step);
        text_print(stdout, 0, 2, "%s begins with the weights of %s%s%s%s\n", v->name, run, at,
                   v->start_flops > 0 ? ", trained with FLOPs beside its own: " : "",
                   v->start_flops > 0 ? format_count(v->start_flops, flops) : "");
    }
}

/* What this many pairs can see: differences of pairs whose runs have standard deviation 1 and correlation rho. */
static void print_power(const struct study *s)
{
    int n = s->replicates, k = 0, family = stats_family_find(s->family);
    for (int i = 0; i < s->n_variants; i++) k += s->variant[i].baseline != i;
    double alpha = stats_alpha(family < 0 ? FAMILY_SIDAK : (enum family)family, k);
    char shared[64] = "";
    if (k < 1) { printf("One variant: there is nothing to compare it with.\n"); return; }
    if (n < 2) {
        text_print(stdout, 0, 2, "One replicate shows no spread: nothing can be told from noise. Take at least %d.\n",
                   STATS_LEAST);
        return;
    }
    if (k > 1) snprintf(shared, sizeof shared, " over %d comparisons, family %s", k, s->family);
    text_print(stdout, 0, 2, "%d pairs show a difference of %.2f standard deviations between runs when pairs correlate "
                             "by 0.5, %.2f by 0.9 (80 %% power at 5 %%%s).\n", n,
               stats_detectable(1, n, alpha), stats_detectable(sqrt(0.2), n, alpha), shared);
    if (n < STATS_LEAST) printf("Below %d replicates no interval and no p-value is given.\n", STATS_LEAST);
}

/* Seconds of one training step of the baseline, measured on random tokens. */
static double step_seconds(const struct study *s, struct err *e)
{
    enum { SECONDS = 2 };
    struct session *session;
    if (session_new(&session, s->variant[s->baseline].config, 1, e)) return NAN;
    int64_t n = session->batch * session->model.seq, steps = -1;
    struct inputs batch = inputs_new(session->batch, session->model.seq);
    for (int64_t i = 0; i < n; i++)
        batch.ids[i] = batch.target[i] = (int32_t)key_below((struct key){ 1, PURPOSE_TEST, 0, 0 }, (uint64_t)i,
                                                            (uint64_t)session->model.vocab);
    state_fill(session->state, 1);
    for (int micro = 0; micro < session->train.micro; micro++) session_stage(session, micro, &batch);
    double begin = clock_seconds(), now = begin;
    for (; now - begin < SECONDS || steps < 1; now = clock_seconds()) {
        plan_begin(session->plan, 0, 1, session->train.micro);
        plan_step(session->plan, NULL);
        plan_gather(session->plan);                         /* waits for the device */
        if (++steps == 0) begin = clock_seconds();          /* the first step touches memory for the first time */
    }
    inputs_free(batch);
    session_free(session);
    return (now - begin) / (double)steps;
}

struct estimate { double step, total; int jobs; };          /* seconds */

/* Every variant by its FLOPs, runs side by side on all cores; on a GPU one after the other, as sluice run has them. */
static int estimate(const struct study *s, struct estimate *out, struct err *e)
{
    const struct variant *base = &s->variant[s->baseline];
    double step = step_seconds(s, e), total = 0;
    if (isnan(step)) return -1;
    int64_t steps = config_integer(base->config, "train.steps");
    for (int i = 0; i < s->n_variants; i++) {
        const struct variant *v = &s->variant[i];
        int64_t its = config_integer(v->config, "train.steps"),
                taken = s->point[study_point(s, i, 0)].shared;
        total += step * (double)steps * (double)variant_tokens(v) * v->train_flops_per_token /
                 ((double)variant_tokens(base) * base->train_flops_per_token) * (double)(its - taken) / (double)its;
    }
    int most = study_uses_gpu(s) ? 1 : pool_cores(), jobs = most < s->n_points ? most : s->n_points;
    *out = (struct estimate){ step, total * s->replicates / jobs, jobs };
    return 0;
}

static void print_time(const struct estimate *t)
{
    char text[FORMAT_SIZE];
    text_print(stdout, 0, 2, "About %s on %d cores, from %.1f ms a step of the baseline on one thread; evaluation and "
                             "checkpoints come on top.\n",
               format_seconds(t->total, text), t->jobs, 1e3 * t->step);
}

/* Of every variant, malloc'd; after them of the study. */
static struct disk *disks_of(const struct study *s)
{
    struct disk *d = xcalloc((size_t)s->n_variants + 1, sizeof *d), *all = &d[s->n_variants];
    struct err e;
    all->total = 4096.0 * (s->n_variants + 3);              /* folders, study.json */
    for (int i = 0; i < s->n_variants; i++) {
        INVARIANT(disk_of(s, &s->variant[i], &d[i], &e) == 0, "%s", e.text);   /* it was built before, to be measured */
        all->total += d[i].total * s->replicates;
        all->file += d[i].file * s->replicates;
        if (d[i].more > all->more) all->more = d[i].more;
    }
    return d;
}

static void print_disk(const struct disk *all)
{
    char total[FORMAT_SIZE], file[FORMAT_SIZE], one[FORMAT_SIZE];
    text_print(stdout, 0, 2, "disk: %s when all is done, %s of it metrics, the rest checkpoints (train.keep, sluice "
                             "prune); each run that goes on needs up to %s more\n",
               format_bytes(all->total, total), format_bytes(all->file, file), format_bytes(all->more, one));
}

static void print_ahead(const struct study *s)
{
    for (int i = 0; i < s->n_variants; i++) {
        const struct variant *v = &s->variant[i];
        if (v->looks_ahead == AHEAD_ALWAYS) printf("%s: not causal, so it has no sample\n", v->name);
        if (v->looks_ahead == AHEAD_TRAINING) printf("%s: not causal in training\n", v->name);
    }
}

static bool freezes(const struct study *s)
{
    bool any = false;
    for (int i = 0; i < s->n_variants; i++) any |= s->variant[i].counts.trained < s->variant[i].counts.total;
    return any;
}

static void print_table(const struct study *s, const struct corpus *c)
{
    bool frozen = freezes(s);
    const char *columns[] = { "variant", ">params", ">active", ">with embedding", ">non-emb", ">train FLOP/token",
                                    ">prompt FLOP/token", ">tokens", ">epochs", ">train FLOP", ">memory", ">disk",
                                    ">KV B/token", ">state", "graph", NULL, NULL };
    int n = COUNT(columns) - 2;
    if (frozen) columns[n++] = ">trained";
    if (s->match_adjust) columns[n++] = s->match_adjust;
    struct table *t = table_new(columns, n);
    struct disk *disk = disks_of(s);
    char text[FORMAT_SIZE], host[FORMAT_SIZE], hash[33];
    for (int i = 0; i < s->n_variants; i++) {
        const struct variant *v = &s->variant[i];
        double tokens = (double)variant_tokens(v);
        table_cell(t, "%s%s", v->name, i == v->baseline ? " (baseline)" : "");
        table_cell(t, "%s", format_count((double)v->counts.total, text));
        table_cell(t, "%s", format_count((double)v->counts.active, text));
        table_cell(t, "%s", format_count((double)v->counts.active_embedded, text));
        table_cell(t, "%s", format_count((double)v->counts.non_embedding, text));
        table_cell(t, "%s", format_count(v->train_flops_per_token, text));
        if (v->looks_ahead == AHEAD_ALWAYS) table_cell(t, "-");
        else table_cell(t, "%s", format_count(v->prompt_flops_per_token, text));
        table_cell(t, "%s", format_count(tokens, text));
        table_cell(t, "%s", format_real(epochs_of(v, c), 2, text));
        table_cell(t, "%s", format_count(tokens * v->train_flops_per_token, text));
        if (v->offloaded_bytes)
            table_cell(t, "%s + %s", format_bytes((double)v->memory_bytes, text),
                       format_bytes((double)v->offloaded_bytes, host));
        else table_cell(t, "%s", format_bytes((double)v->memory_bytes, text));
        table_cell(t, "%s", format_bytes(disk[i].total, text));
        if (v->looks_ahead == AHEAD_ALWAYS) {               /* it cannot decode */
            table_cell(t, "-");
            table_cell(t, "-");
        } else {
            if (v->draft_bytes_per_token) table_cell(t, "%zu + %zu", v->kv_bytes_per_token, v->draft_bytes_per_token);
            else table_cell(t, "%zu", v->kv_bytes_per_token);
            table_cell(t, "%s", format_bytes((double)v->state_bytes, text));
        }
        hash_print(v->fingerprint, hash);
        table_cell(t, "%.8s", hash);
        if (frozen) table_cell(t, "%s", format_count((double)v->counts.trained, text));
        if (!s->match_adjust) continue;
        const json_t *value = config_get(json_object_get(v->config, "model"), s->match_adjust);
        table_cell(t, "%lld", (long long)json_integer_value(value));
    }
    table_print(t, stdout);
    print_ahead(s);
    printf("%d variant%s x %d replicate%s = %d run%s\n", s->n_variants, s->n_variants == 1 ? "" : "s", s->replicates,
           s->replicates == 1 ? "" : "s", s->n_points, s->n_points == 1 ? "" : "s");
    print_steps(s);
    print_starts(s);
    print_disk(&disk[s->n_variants]);
    free(disk);
    print_data(s, c);
    if (s->match_quantity)
        printf("matched: %s by %s, tolerance %s\n", s->match_quantity, s->match_adjust,
               format_figures(s->match_tolerance, 6, text));
    print_power(s);
    text_print(stdout, 0, 2, "active: parameters that a token uses, one row of an untied input embedding; with "
                             "embedding: all its rows, as models are advertised.\n");
    text_print(stdout, 0, 2, "memory: + of the host, for what a GPU leaves there; prompt: read into the caches, "
                             "without logits and what no cache needs; KV: of a full context, and + for drafts of "
                             "multi-token prediction.\n");
    text_print(stdout, 0, 2,
               "FLOPs: 1 MAC = 2; attention counts the causal half; lookups are 0; backward is twice the forward%s.\n",
               frozen ? ", without gradients of frozen weights" : "");
    if (frozen) text_print(stdout, 0, 2, "trained: parameters that are not frozen; gradients and what an optimizer "
                                         "remembers are of these alone.\n");
}

static void print_sorted(const json_t *config)
{
    json_dumpf(config, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    putchar('\n');
}

/* Whether a node is the update of a weight; its decay. Ops of optimizers are those that read a gradient. */
static bool is_update(const struct node *n)
{
    struct op_value in;
    return n->region == REGION_UPDATE && op_input(n->op, 1, &in) && strcmp(in.name, "grad") == 0;
}

static double decay_of(const struct node *n)
{
    const struct param *p = n->op->attributes;
    while (strcmp(p->name, "decay") != 0) p++;
    return *(const double *)((const char *)n->attr + p->offset);
}

static void add_weight(struct table *t, json_t *list, const struct leaf *w, const char *optimizer, double decay)
{
    char shape[64], text[FORMAT_SIZE];
    shape_text(w->values, shape);
    json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:s, s:s, s:f}", "weight", w->path, "shape", shape,
                                          "params", (json_int_t)shape_count(w->values),
                                          "role", role_rule[w->role].name, "optimizer", optimizer,
                                          "decay", decay));
    table_cell(t, "%s", w->path);
    table_cell(t, "%s", shape);
    table_cell(t, "%lld", (long long)shape_count(w->values));
    table_cell(t, "%s", role_rule[w->role].name);
    table_cell(t, "%s", optimizer);
    table_cell(t, "%s", format_figures(decay, 6, text));
}

static const char *frozen_as(const struct leaf *w)
{
    return w->kept == KEPT_FLOAT ? "frozen" : "frozen, nf4";
}

/* Every weight that is not frozen has one update in the training graph, which knows by what it moves and how it
   decays. */
static void print_weights(const json_t *config, bool json)
{
    static const char *const columns[] = { "weight", "shape", ">params", "role", "optimizer", ">decay" };
    struct table *t = table_new(columns, COUNT(columns));
    struct training_graph of;
    struct err e;
    json_t *list = json_array();
    INVARIANT(training_graph_build(&of, config, &e) == 0, "a variant of a resolved study does not build: %s", e.text);
    const struct graph *g = of.graph;
    const struct leaves *leaves = of.leaves;
    for (int i = 0; i < g->n; i++) {
        const struct node *n = g->node[i];
        if (!is_update(n)) continue;
        const struct leaf *w = n->in[0]->leaf;
        add_weight(t, list, w, n->op == &op_adamw ? n->op->name : of.train.optim.module->name, decay_of(n));
    }
    for (int i = 0; i < leaves->n; i++)
        if (leaves->leaf[i]->frozen) add_weight(t, list, leaves->leaf[i], frozen_as(leaves->leaf[i]), 0);
    table_print(t, json ? NULL : stdout);
    if (json) print_sorted(list);
    json_decref(list);
    training_graph_free(&of);
}

static json_t *study_json(const struct study *s, const struct corpus *c)
{
    json_t *list = json_array();
    struct disk *disk = disks_of(s);
    for (int i = 0; i < s->n_variants; i++) {
        const struct variant *v = &s->variant[i];
        const struct disk d = disk[i];
        char hash[33];
        hash_print(v->fingerprint, hash);
        json_array_append_new(list,
                              json_pack("{s:s, s:O, s:f, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:I, s:I, s:I, s:I, s:I, "
                                        "s:s, s:I, s:I, s:i, s:I, s:s}", "name", v->name, "config", v->config,
                                        "epochs", epochs_of(v, c),
                                        "params_total", (json_int_t)v->counts.total,
                                        "params_active", (json_int_t)v->counts.active,
                                        "params_active_embedded", (json_int_t)v->counts.active_embedded,
                                        "params_non_embedding", (json_int_t)v->counts.non_embedding,
                                        "params_trained", (json_int_t)v->counts.trained,
                                        "train_flops_per_token", v->train_flops_per_token,
                                        "prompt_flops_per_token", v->prompt_flops_per_token,
                                        "memory_bytes", (json_int_t)v->memory_bytes,
                                        "offloaded_bytes", (json_int_t)v->offloaded_bytes,
                                        "kv_bytes_per_token", (json_int_t)v->kv_bytes_per_token,
                                        "draft_bytes_per_token", (json_int_t)v->draft_bytes_per_token,
                                        "state_bytes", (json_int_t)v->state_bytes, "fingerprint", hash,
                                        "run_file_bytes", (json_int_t)d.file,
                                        "checkpoint_bytes", (json_int_t)d.checkpoint, "checkpoints_kept", d.kept,
                                        "disk_bytes", (json_int_t)d.total, "looks_ahead",
                                        ahead_name[v->looks_ahead]));
    }
    const struct corpus_info *data = corpus_info(c);
    json_t *all = json_pack("{s:s, s:i, s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:o}", "name", s->name,
                            "replicates", s->replicates, "baseline", s->variant[s->baseline].name, "data", s->data_path,
                            "data_vocab", data->vocab, "train_tokens", (json_int_t)data->train_tokens,
                            "held_out_tokens", (json_int_t)data->held_out_tokens,
                            "eval_tokens", (json_int_t)eval_set_of(s, c).targets,
                            "disk_bytes", (json_int_t)disk[s->n_variants].total, "variants", list);
    free(disk);
    return all;
}

static json_t *estimate_json(const struct estimate *t)
{
    return json_pack("{s:f, s:f, s:i}", "seconds", t->total, "baseline_step_seconds", t->step, "jobs", t->jobs);
}

/* The whole study: for a person one part after the other, else one document. */
static enum code plan_study(const struct call *c, const struct study *s)
{
    const char *gpu = cli_value(c, "roofline", NULL);
    struct roofline *roofline = NULL;
    struct estimate time = { 0 };
    struct corpus *data;
    struct err e;
    bool json = cli_flag(c, "json"), timed = cli_flag(c, "time");
    enum code code = gpu ? roofline_new(&roofline, s, gpu) : CODE_OK;
    if (code) return code;
    if (corpus_open(&data, s->data_path, &e)) code = cli_fail(CODE_INPUT, "data: %s", e.text);
    json_t *all = code || !json ? NULL : study_json(s, data);
    if (!code && !json) print_table(s, data);
    if (!code) corpus_close(data);
    if (!code && timed && estimate(s, &time, &e)) code = cli_fail(CODE_SCRIPT, "%s", e.text);
    if (!code && timed && json) json_object_set_new(all, "time", estimate_json(&time));
    else if (!code && timed) print_time(&time);
    if (!code && roofline && json) json_object_set_new(all, "roofline", roofline_json(roofline));
    else if (!code && roofline) roofline_print(roofline);
    if (!code && json) print_sorted(all);
    json_decref(all);
    roofline_free(roofline);
    return code;
}

static enum code run(const struct call *c)
{
    const char *config = cli_value(c, "config", NULL), *weights = cli_value(c, "weights", NULL),
               *map = cli_value(c, "map", NULL), *devices = cli_value(c, "devices", NULL);
    if (scale_agrees(c)) return CODE_USAGE;
    if ((config != NULL) + (weights != NULL) + (map != NULL) + (devices != NULL) +
            (cli_flag(c, "time") || cli_flag(c, "roofline")) > 1)
        return cli_usage(c, "--config, --weights, --map and --devices show one variant and nothing else: ask for one "
                            "of them, without --time and --roofline");
    enum code code;
    struct study *s = script_study(c, false, &code);
    if (!s) return code;
    const char *option = config ? "config" : weights ? "weights" : map ? "map" : NULL;
    int variant = option ? script_variant(c, option, s) : s->baseline;
    if (variant < 0) code = CODE_USAGE;
    else if (config) print_sorted(s->variant[variant].config);
    else if (weights) print_weights(s->variant[variant].config, cli_flag(c, "json"));
    else if (devices) code = scale_study(c, s);
    else if (map) code = mapping_print(s, variant, cli_flag(c, "json"));
    else {
        study_trunks(s);
        code = plan_study(c, s);
    }
    study_free(s);
    return code;
}

const struct command command_plan = {
    "plan", "check a script and show what it would cost", "SCRIPT",
    "sluice plan experiments/quickstart.lua --data synthetic --time", options, 1, 1,
    "Nothing is trained and no weight is allocated, so models of any size can be planned.", run,
};
