/* sluice plan: what a study would cost, before anything runs. */
#include "disk.h"
#include "roofline.h"
#include "script.h"
#include "stats.h"
#include "train.h"
#include "cpu/pool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct option options[] = { SCRIPT_OPTIONS, { "json", 0, NULL, "the resolved study as JSON" }, { "config", 'c', "VARIANT", "the full configuration of a variant" },
    { "weights", 'w', "VARIANT", "every weight of a variant: shape, role, optimizer, decay" },
    { "time", 0, NULL, "measure a step for two seconds and estimate how long the study takes" },
    { "roofline", 0, "GPU", "what a step of the baseline would take at best by the data sheet of a GPU: a100, h100, h200" }, { 0 } };

/* The data once more, for what it holds; a variant's epochs are its samples over the windows of an epoch. */
static double epochs_of(const struct variant *v, const struct corpus *c)
{
    int seq = (int)json_integer_value(config_get(v->config, "model.seq"));
    return (double)(variant_tokens(v) / seq) / (double)corpus_windows(c, seq);
}

static struct eval_set eval_set_of(const struct study *s, const struct corpus *c)
{
    return corpus_eval_set(c, json_integer_value(config_get(s->variant[s->baseline].config, "train.eval_tokens")));
}

static void print_data(const struct study *s, const struct corpus *c)
{
    const struct corpus_info *i = corpus_info(c);
    struct eval_set on = eval_set_of(s, c);
    char train[FORMAT_SIZE], held[FORMAT_SIZE], measured[FORMAT_SIZE];
    printf("%s: %s tokens to train on, ", s->data_path, format_count((double)i->train_tokens, train));
    if (on.targets == 0) printf("nothing held out: no run can be measured\n");
    else printf("%s held out; every evaluation measures the first %s of these\n", format_count((double)i->held_out_tokens, held), format_count((double)on.targets, measured));
}

/* What this many pairs can see: differences of pairs whose runs have standard deviation 1 and correlation rho. */
static void print_power(const struct study *s)
{
    int n = s->replicates, k = s->n_variants - 1, family = stats_family_find(s->family);
    double alpha = stats_alpha(family < 0 ? FAMILY_SIDAK : (enum family)family, k);
    if (n < 2) { printf("One replicate shows no spread: nothing can be told from noise. Take at least 4.\n"); return; }
    if (k < 1) return;
    printf("%d pairs show a difference of %.2f standard deviations between runs when pairs correlate by 0.5, %.2f by 0.9 (80 %% power at 5 %%", n,
           stats_detectable(1, n, alpha), stats_detectable(sqrt(0.2), n, alpha));
    if (k > 1) printf(" over %d comparisons, family %s", k, s->family);
    printf(").\n");
    if (n < STATS_LEAST) printf("Below %d replicates no interval and no p-value is given.\n", STATS_LEAST);
}

/* Seconds of one training step of the baseline, measured on random tokens. */
static double step_seconds(const struct study *s, struct err *e)
{
    enum { SECONDS = 2 };
    struct session *session;
    if (session_new(&session, s->variant[s->baseline].config, 1, e)) return NAN;
    int64_t n = session->batch * session->model.seq, steps = -1;
    struct batch batch = batch_new(n);
    for (int64_t i = 0; i < n; i++)
        batch.ids[i] = batch.target[i] = (int32_t)key_below((struct key){ 1, PURPOSE_TEST, 0, 0 }, (uint64_t)i, (uint64_t)session->model.vocab);
    state_fill(session->state, 1);
    for (int micro = 0; micro < session->train.micro; micro++) session_stage(session, micro, &batch);
    double begin = clock_seconds(), now = begin;
    for (; now - begin < SECONDS || steps < 1; now = clock_seconds()) {
        plan_begin(session->plan, 0, 1, session->train.micro);
        plan_step(session->plan, NULL);
        if (++steps == 0) begin = clock_seconds();          /* the first step touches memory for the first time */
    }
    batch_free(batch);
    session_free(session);
    return (now - begin) / (double)steps;
}

/* Every variant by its FLOPs, runs side by side on all cores. */
static enum code print_time(const struct study *s)
{
    struct err e;
    char text[FORMAT_SIZE];
    const struct variant *base = &s->variant[s->baseline];
    double step = step_seconds(s, &e), total = 0;
    if (isnan(step)) return cli_fail(CODE_SCRIPT, "%s", e.text);
    int64_t steps = json_integer_value(json_object_get(json_object_get(base->config, "train"), "steps"));
    for (int i = 0; i < s->n_variants; i++)
        total += step * (double)steps * (double)variant_tokens(&s->variant[i]) * s->variant[i].train_flops_per_token / ((double)variant_tokens(base) * base->train_flops_per_token);
    int jobs = pool_cores() < s->n_points ? pool_cores() : s->n_points;
    printf("About %s on %d cores, from %.1f ms a step of the baseline on one thread; evaluation and checkpoints come on top.\n",
           format_seconds(total * s->replicates / jobs, text), jobs, 1e3 * step);
    return CODE_OK;
}

/* Of every variant, malloc'd; after them of the study. */
static struct disk *disks_of(const struct study *s)
{
    struct disk *d = xcalloc((size_t)s->n_variants + 1, sizeof *d), *all = &d[s->n_variants];
    struct err e;
    all->total = 4096.0 * (s->n_variants + 3);              /* folders, study.json */
    for (int i = 0; i < s->n_variants; i++) {
        INVARIANT(disk_of(s, &s->variant[i], &d[i], &e) == 0, "%s", e.text);    /* it was built before, to be measured */
        all->total += d[i].total * s->replicates;
        all->file += d[i].file * s->replicates;
        if (d[i].more > all->more) all->more = d[i].more;
    }
    return d;
}

static void print_disk(const struct disk *all)
{
    char total[FORMAT_SIZE], file[FORMAT_SIZE], one[FORMAT_SIZE];
    printf("disk: %s when all is done, %s of it metrics, the rest checkpoints (train.keep, sluice prune); each run that goes on needs up to %s more\n",
           format_bytes(all->total, total), format_bytes(all->file, file), format_bytes(all->more, one));
}

static void print_table(const struct study *s, const struct corpus *c)
{
    const char *const columns[] = { "variant", ">params", ">active", ">with embedding", ">non-emb", ">train FLOP/token", ">tokens", ">epochs", ">train FLOP", ">memory", ">disk", ">KV B/token", "graph", s->match_adjust };
    struct table *t = table_new(columns, COUNT(columns) - !s->match_adjust);
    struct disk *disk = disks_of(s);
    char text[FORMAT_SIZE], hash[33];
    for (int i = 0; i < s->n_variants; i++) {
        const struct variant *v = &s->variant[i];
        double tokens = (double)variant_tokens(v);
        table_cell(t, "%s%s", v->name, i == s->baseline ? " (baseline)" : "");
        table_cell(t, "%s", format_count((double)v->counts.total, text));
        table_cell(t, "%s", format_count((double)v->counts.active, text));
        table_cell(t, "%s", format_count((double)v->counts.active_embedded, text));
        table_cell(t, "%s", format_count((double)v->counts.non_embedding, text));
        table_cell(t, "%s", format_count(v->train_flops_per_token, text));
        table_cell(t, "%s", format_count(tokens, text));
        table_cell(t, "%s", format_real(epochs_of(v, c), 2, text));
        table_cell(t, "%s", format_count(tokens * v->train_flops_per_token, text));
        table_cell(t, "%s", format_bytes((double)v->memory_bytes, text));
        table_cell(t, "%s", format_bytes(disk[i].total, text));
        table_cell(t, "%zu", v->kv_bytes_per_token);
        hash_print(v->fingerprint, hash);
        table_cell(t, "%.8s", hash);
        if (!s->match_adjust) continue;
        const json_t *value = config_get(json_object_get(v->config, "model"), s->match_adjust);
        table_cell(t, "%lld", (long long)json_integer_value(value));
    }
    table_print(t, stdout);
    printf("%d variants x %d replicates = %d runs\n", s->n_variants, s->replicates, s->n_points);
    print_disk(&disk[s->n_variants]);
    free(disk);
    print_data(s, c);
    if (s->match_quantity) printf("matched: %s by %s, tolerance %g\n", s->match_quantity, s->match_adjust, s->match_tolerance);
    print_power(s);
    printf("active: parameters that a token uses, one row of an untied input embedding; with embedding: all its rows, as models are advertised.\n");
    printf("FLOPs: 1 MAC = 2; attention counts the causal half; lookups are 0; backward is twice the forward.\n");
}

static const json_t *config_of(const struct study *s, const char *option, const char *name, enum code *code)
{
    for (int i = 0; i < s->n_variants; i++) if (strcmp(s->variant[i].name, name) == 0) return s->variant[i].config;
    *code = cli_fail(CODE_USAGE, "--%s %s: the study has no such variant", option, name);
    return NULL;
}

static void print_config(const json_t *config)
{
    json_dumpf(config, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    putchar('\n');
}

/* Every weight has one update in the training graph, which knows by what it moves and how it decays. */
static void print_weights(const json_t *config)
{
    static const char *const columns[] = { "weight", "shape", ">params", "role", "optimizer", ">decay" };
    struct arena *arena = arena_new();
    struct leaves *leaves = leaves_new();
    struct graph *g = graph_new(leaves);
    struct table *t = table_new(columns, COUNT(columns));
    struct problems none = { 0 };
    struct model_conf model;
    struct train_conf train;
    model_load(json_object_get(config, "model"), arena, &model, &none);
    train_load(json_object_get(config, "train"), arena, &train, &none);
    model_build(g, arena, &model, &train, MODE_TRAIN, 1, model.seq, 0);
    INVARIANT(none.n == 0 && !g->failed, "a variant of a resolved study does not build");
    for (int i = 0; i < g->n; i++) {
        const struct node *n = g->node[i];
        if (n->op != &op_adamw && n->op != &op_muon) continue;
        const struct leaf *w = n->in[0]->leaf;
        char text[64];
        table_cell(t, "%s", w->path);
        table_cell(t, "%s", shape_text(w->decl.shape, text));
        table_cell(t, "%lld", (long long)shape_count(w->decl.shape));
        table_cell(t, "%s", role_rule[w->role].name);
        table_cell(t, "%s", n->op->name);
        table_cell(t, "%g", n->op == &op_muon ? ((const struct muon_attr *)n->attr)->decay : ((const struct adamw_attr *)n->attr)->decay);
    }
    table_print(t, stdout);
    graph_free(g);
    leaves_free(leaves);
    arena_free(arena);
}

static void print_json(const struct study *s, const struct corpus *c)
{
    json_t *list = json_array();
    struct disk *disk = disks_of(s);
    for (int i = 0; i < s->n_variants; i++) {
        const struct variant *v = &s->variant[i];
        const struct disk d = disk[i];
        char hash[33];
        hash_print(v->fingerprint, hash);
        json_array_append_new(list, json_pack("{s:s, s:O, s:f, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:s, s:I, s:I, s:i, s:I}", "name", v->name, "config", v->config, "epochs", epochs_of(v, c), "params_total", (json_int_t)v->counts.total, "params_active",
            (json_int_t)v->counts.active, "params_active_embedded", (json_int_t)v->counts.active_embedded, "params_non_embedding", (json_int_t)v->counts.non_embedding, "train_flops_per_token", v->train_flops_per_token, "memory_bytes", (json_int_t)v->memory_bytes,
            "kv_bytes_per_token", (json_int_t)v->kv_bytes_per_token, "fingerprint", hash, "run_file_bytes", (json_int_t)d.file, "checkpoint_bytes", (json_int_t)d.checkpoint,
            "checkpoints_kept", d.kept, "disk_bytes", (json_int_t)d.total));
    }
    const struct corpus_info *data = corpus_info(c);
    json_t *all = json_pack("{s:s, s:i, s:s, s:s, s:I, s:I, s:I, s:I, s:o}", "name", s->name, "replicates", s->replicates, "baseline", s->variant[s->baseline].name, "data", s->data_path,
        "train_tokens", (json_int_t)data->train_tokens, "held_out_tokens", (json_int_t)data->held_out_tokens, "eval_tokens", (json_int_t)eval_set_of(s, c).targets, "disk_bytes", (json_int_t)disk[s->n_variants].total, "variants", list);
    free(disk);
    json_dumpf(all, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    putchar('\n');
    json_decref(all);
}

static enum code run(const struct call *c)
{
    enum code code;
    struct study *s = script_study(c, &code);
    if (!s) return code;
    const char *config = cli_value(c, "config", NULL), *weights = cli_value(c, "weights", NULL), *gpu = cli_value(c, "roofline", NULL);
    const json_t *of_variant = config ? config_of(s, "config", config, &code) : weights ? config_of(s, "weights", weights, &code) : NULL;
    struct corpus *data;
    struct err e;
    if (config || weights) {
        if (of_variant) (config ? print_config : print_weights)(of_variant);
    } else if (corpus_open(&data, s->data_path, &e)) code = cli_fail(CODE_INPUT, "data: %s", e.text);
    else {
        if (cli_flag(c, "json")) print_json(s, data);
        else print_table(s, data);
        corpus_close(data);
    }
    if (code == CODE_OK && cli_flag(c, "time")) code = print_time(s);
    if (code == CODE_OK && gpu) code = roofline_print(s, gpu);
    study_free(s);
    return code;
}

const struct command command_plan = {
    "plan", "check a script and show what it would cost", "SCRIPT", "sluice plan experiments/quickstart.lua --data synthetic --time", options, 1, 1,
    "Nothing is trained and no weight is allocated, so models of any size can be planned.", run,
};
