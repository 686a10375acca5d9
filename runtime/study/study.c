/* From a description to variants and points: every mistake found, budgets matched, identities hashed. */
#include "study.h"
#include "model/registry.h"
#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_REPLICATES = 1000 };

const char study_name_rule[] =
    "a name begins with a letter of a-z, a digit or _ and has only these and . = , + -, at most 120";

/* The library says where a name is no name; a script can talk the library out of it. */
bool study_is_name(const char *name)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    size_t begin = strspn(name, first), length = strlen(name);
    for (size_t i = begin; i < length; i++) if (!strchr(first, name[i]) && !strchr(".=,+-", name[i])) return false;
    return begin > 0 && length <= STUDY_NAME_MAX;
}

/* ---- one configuration, built and measured ---- */

/* FLOPs of a token; tokens of the run */
struct measure {
    struct counts counts;
    struct hash fingerprint;
    double train_flops, start_flops;
    int64_t tokens;
    size_t memory, offloaded;
    struct cache_bytes cache, drafting;                     /* drafting: with MTP blocks */
    double prompt_flops;
    enum ahead looks_ahead;
    bool replays, records;
};

/* A switch may show in one of the graphs alone. */
static struct hash fingerprint_of(const struct graph *train, const struct graph *eval, const struct graph *decode,
                                  int64_t steps)
{
    struct hash all[] = { graph_fingerprint(train, steps), graph_fingerprint(eval, steps),
                          graph_fingerprint(decode, steps) };
    return hash_bytes(all, sizeof all);
}

/* Of a token of a prompt as long as the model's sequences, at batch 1. */
static int measure_prompt(const struct model_conf *model, struct arena *arena, struct plan_how how, size_t bytes,
                          struct measure *out, struct err *e)
{
    struct leaves *leaves = leaves_new(), *drafts = leaves_new();
    struct graph *g = graph_new(leaves), *drafting = graph_new(drafts);
    struct model_size size = { .batch = 1, .seq = model->seq, .context = model->seq, .part = DECODE_PROMPT };
    struct plan *plan = NULL;
    model_build(g, arena, model, NULL, MODE_DECODE, size);
    size.seq = 1;
    size.drafts = true;
    model_build(drafting, arena, model, NULL, MODE_DECODE, size);
    int failure = drafting->failed ? err_set(e, "%s", drafting->err.text) : plan_new(&plan, g, how, e);
    if (!failure) {
        out->prompt_flops = plan_report(plan)->forward_flops / model->seq;
        out->drafting = model_cache_bytes(drafts, 1, model->seq, bytes);
    }
    plan_free(plan);
    graph_free(g);
    graph_free(drafting);
    leaves_free(leaves);
    leaves_free(drafts);
    return failure;
}

/* Builds the graphs that training, evaluation and sampling will build; nothing is allocated for tensors. */
static int measure(const struct model_conf *model, const struct train_conf *train, struct arena *arena,
                   struct measure *out, struct err *e)
{
    int64_t batch = train->batch / train->micro;
    struct plan_how how = { backend_find((enum backend_kind)train->backend, e), (enum precision)train->precision,
                            (enum recompute)train->recompute };
    if (!how.backend) return -1;
    struct leaves *leaves = leaves_new(), *decode_leaves = leaves_new();
    struct graph *g = graph_new(leaves), *eval = graph_new(leaves), *decode = graph_new(decode_leaves);
    struct plan *plan = NULL, *eval_plan = NULL;
    leaves->offload = train->offload;
    model_build(g, arena, model, train, MODE_TRAIN, (struct model_size){ .batch = batch, .seq = model->seq });
    leaves->closed = true;
    out->looks_ahead = model_looks_ahead(model);
    if (!g->failed) model_build(eval, arena, model, train, MODE_EVAL, model_eval_size(model, train, batch));
    if (!g->failed && out->looks_ahead != AHEAD_ALWAYS)
        model_build(decode, arena, model, NULL, MODE_DECODE,
                    (struct model_size){ .batch = 1, .seq = 1, .context = model->seq });
    int failure = g->failed ? err_set(e, "%s", g->err.text) : eval->failed ? err_set(e, "%s", eval->err.text)
                : decode->failed ? err_set(e, "%s", decode->err.text) : 0;
    if (!failure) failure = plan_new(&plan, g, how, e) || plan_new(&eval_plan, eval, how, e);
    if (!failure) {
        out->counts = model_count(leaves);
        out->fingerprint = fingerprint_of(g, eval, decode, train->steps);
        if (module_traits(train->guard).goes_back) out->fingerprint = hash_more(out->fingerprint, "back", 4);
        out->tokens = train_tokens(train, model->seq, train->steps);
        out->records = leaves_find(leaves, "place") != NULL;
        out->replays = false;
        for (int i = 0; i < leaves->n; i++) out->replays |= inputs_choices_layer(leaves->leaf[i]) >= 0;
        if (out->replays && schedule_varies(train->batch_schedule))
            failure = err_set(e, "train.batch_schedule: choices are replayed, and a record of them has as many "
                                 "sequences in every step: it must be constant");
        size_t bytes = train->precision == PRECISION_BF16 ? 2 : 4;
        out->cache = model_cache_bytes(decode_leaves, 1, model->seq, bytes);
        if (!failure && out->looks_ahead != AHEAD_ALWAYS)
            failure = measure_prompt(model, arena, how, bytes, out, e);
        out->train_flops = plan_report(plan)->train_flops / (double)(batch * model->seq);
        out->memory = plan_bytes(plan, eval_plan) + state_staged_bytes(leaves, train->micro);
        out->offloaded = plan_report(plan)->offloaded;
    }
    plan_free(plan);
    plan_free(eval_plan);
    graph_free(g);
    graph_free(eval);
    graph_free(decode);
    leaves_free(leaves);
    leaves_free(decode_leaves);
    return failure;
}

/* ---- variants ---- */

static void apply(json_t *model, json_t *train, const char *path, json_t *value, struct problems *problems)
{
    struct err e;
    bool training = strncmp(path, "train.", 6) == 0;
    int failure = training ? config_set(&train_schema, train, path + 6, value, &e)
                           : config_set(&model_schema, model, path, value, &e);
    if (failure) problem_add(problems, path, "%s", e.text);
}

/* Loads both tables; false when there is a mistake. */
static bool load_both(json_t *model_json, json_t *train_json, struct arena *arena, struct model_conf *model,
                      struct train_conf *train, const struct corpus_info *data, struct problems *problems)
{
    int before = problems->found;
    model_load(model_json, arena, model, problems);
    train_load(train_json, arena, train, problems);
    if (problems->found > before) return false;
    conf_agree(model, train, problems);
    if (data && data->vocab > model->vocab)
        problem_add(problems, "vocab", "%d: the data in %s has token ids up to %d", model->vocab, data->path,
                    data->vocab - 1);
    train->answers = data && data->answers;
    if (train->answers && !data->samples && !data->train_answers)
        problem_add(problems, "data", "%s has no answers to train on: all are held out", data->path);
    if (train->answers && train->record)
        problem_add(problems, "train.record", "the data in %s has answers: a record has room for as many windows as "
                                              "an evaluation has of text", data->path);
    if (data && data->sample_tokens > model->seq + 1)
        problem_add(problems, "seq", "%d: samples of %s have %d tokens: at least %d", model->seq, data->path,
                    data->sample_tokens, data->sample_tokens - 1);
    if (data && !train->answers && data->train_tokens <= (uint64_t)model->seq)
        problem_add(problems, "seq", "%d: the data in %s has only %llu tokens to train on", model->seq, data->path,
                    (unsigned long long)data->train_tokens);
    return problems->found == before;
}

static void keep(struct variant *v, const struct measure *m)
{
    v->counts = m->counts;
    v->fingerprint = m->fingerprint;
    v->train_flops_per_token = m->train_flops;
    v->kv_bytes_per_token = m->cache.per_token;
    v->draft_bytes_per_token = m->drafting.per_token - m->cache.per_token;
    v->state_bytes = m->cache.fixed;
    v->prompt_flops_per_token = m->prompt_flops;
    v->looks_ahead = m->looks_ahead;
    v->replays = m->replays;
    v->memory_bytes = m->memory;
    v->offloaded_bytes = m->offloaded;
}

/* Losses are compared: all measure the same text, in equal sequences. */
static void check_measured(const struct train_conf *its, const struct train_conf *all, struct problems *problems)
{
    if (its->eval_tokens != all->eval_tokens)
        problem_add(problems, "train.eval_tokens",
                    "%d: all variants are measured on the same text: set it for the whole study", its->eval_tokens);
    if (its->eval_seq != all->eval_seq)
        problem_add(problems, "train.eval_seq",
                    "%d: all variants are measured in equal sequences: set it for the whole study", its->eval_seq);
}

static void resolve_variant(struct study *s, struct variant *v, json_t *base, json_t *base_train,
                            const struct train_conf *all, const json_t *given, const struct corpus_info *data,
                            struct problems *problems)
{
    json_t *model_json = json_deep_copy(base), *train_json = json_deep_copy(base_train), *value;
    const char *path, *name = json_string_value(json_object_get(given, "name"));
    struct model_conf model;
    struct train_conf train;
    struct measure m;
    struct err e;
    v->name = arena_text(s->arena, "%s", name ? name : "?");
    problems->variant = v->name;
    int before = problems->found;
    if (before == 0 && !study_is_name(v->name)) problem_add(problems, "", "%s", study_name_rule);
    json_object_foreach(json_object_get(given, "set"), path, value)
        apply(model_json, train_json, path, value, problems);
    if (problems->found == before && load_both(model_json, train_json, s->arena, &model, &train, data, problems)) {
        check_measured(&train, all, problems);
        v->config = json_pack("{s:o, s:o}", "model", config_write(&model_schema, &model),
                              "train", config_write(&train_schema, &train));
        if (train.answers) json_object_set_new(v->config, "answers", json_true());
        if (measure(&model, &train, s->arena, &m, &e)) problem_add(problems, "", "%s", e.text);
        else keep(v, &m);
        if (problems->found == before && train.record && !m.records)
            problem_add(problems, "train.record", "the model has no router whose choices could be kept");
    }
    problems->variant = NULL;
    json_decref(model_json);
    json_decref(train_json);
}

/* ---- equal budgets ---- */

static double quantity_of(const struct measure *m, const char *quantity)
{
    if (strcmp(quantity, "active_params") == 0) return (double)m->counts.active;
    if (strcmp(quantity, "total_params") == 0) return (double)m->counts.total;
    return m->train_flops * (double)m->tokens + (strcmp(quantity, "total_flops") == 0 ? m->start_flops : 0);
}

static const char *const quantities[] = { "active_params", "total_params", "train_flops", "total_flops", NULL };

/* Sets `adjust` of a variant, and measures what comes of it. */
static int measure_with(struct study *s, struct variant *v, int value, const struct corpus_info *data,
                        struct measure *out, struct err *e)
{
    json_t *number = json_integer(value), *train_json = json_object_get(v->config, "train"),
           *model_json = json_object_get(v->config, "model");
    bool training = strncmp(s->match_adjust, "train.", 6) == 0;
    int failure = training ? config_set(&train_schema, train_json, s->match_adjust + 6, number, e)
                           : config_set(&model_schema, model_json, s->match_adjust, number, e);
    json_decref(number);
    struct arena *arena = arena_new();
    struct problems problems = { 0 };
    struct model_conf model;
    struct train_conf train;
    if (!failure && !load_both(model_json, train_json, arena, &model, &train, data, &problems))
        failure = err_set(e, "%s: %s", problems.problem[0].path, problems.problem[0].text);
    if (!failure) failure = measure(&model, &train, arena, out, e);
    out->start_flops = v->start_flops;
    problems_free(&problems);
    arena_free(arena);
    return failure;
}

/* The whole number at path `adjust` that brings the quantity nearest to `want`; it grows with the number. */
static int match_variant(struct study *s, struct variant *v, double want, const struct corpus_info *data,
                         struct problems *problems)
{
    bool training = strncmp(s->match_adjust, "train.", 6) == 0;
    json_t *old = config_get(training ? v->config : json_object_get(v->config, "model"), s->match_adjust);
    struct measure m;
    struct err e;
    int low = 1, high = 1 << 17, best = 0;
    double gap = INFINITY;
    if (!json_is_integer(old)) {
        problem_add(problems, "match.adjust", "'%s' is no whole number of variant '%s'", s->match_adjust, v->name);
        return -1;
    }
    while (low <= high) {
        int middle = low + (high - low) / 2;
        if (measure_with(s, v, middle, data, &m, &e)) {     /* a model is too wide, a run too short for its schedule */
            if (training) low = middle + 1; else high = middle - 1;
            continue;
        }
        double have = quantity_of(&m, s->match_quantity), distance = fabs(have - want);
        if (distance < gap) { gap = distance; best = middle; }
        if (have < want) low = middle + 1; else high = middle - 1;
    }
    int failure = best == 0;
    if (!failure && (failure = measure_with(s, v, best, data, &m, &e)) == 0) keep(v, &m);
    if (failure) problem_add(problems, "match.adjust", "no value of '%s' builds: %s", s->match_adjust, e.text);
    else if (gap > s->match_tolerance * want)
        problem_add(problems, "match", "variant '%s' comes to %.0f %s with %s = %d, the baseline has %.0f: more than "
                                       "the tolerance of %g apart", v->name, quantity_of(&m, s->match_quantity),
                    s->match_quantity, s->match_adjust, best, want, s->match_tolerance);
    return failure ? -1 : 0;
}

static bool is_donor(const struct study *s, int variant)
{
    bool is = false;
    for (int i = 0; i < s->n_variants; i++) is |= study_start_variant(s, i) == variant;
    return is;
}

/* What others begin with stays as it is. */
static void match_all(struct study *s, const int *order, const json_t *given, const struct corpus_info *data,
                      struct problems *problems)
{
    for (int i = 0; i < s->n_variants; i++) s->variant[i].start_flops = study_start_flops(s, i);
    for (int at = 0; at < s->n_variants; at++) {
        int i = order[at];
        const json_t *set = json_object_get(json_array_get(json_object_get(given, "variants"), (size_t)i), "set");
        struct variant *base = &s->variant[s->variant[i].baseline];
        struct measure m = { .counts = base->counts, .train_flops = base->train_flops_per_token,
                             .start_flops = base->start_flops, .tokens = variant_tokens(base) };
        s->variant[i].start_flops = study_start_flops(s, i);
        if (i == s->variant[i].baseline || is_donor(s, i)) continue;
        if (json_object_get(set, s->match_adjust)) {
            problem_add(problems, "match.adjust", "variant '%s' sets '%s' itself: it cannot be adjusted too",
                        s->variant[i].name, s->match_adjust);
            continue;
        }
        match_variant(s, &s->variant[i], quantity_of(&m, s->match_quantity), data, problems);
    }
}

/* ---- the study ---- */

static const char *text_of(struct study *s, const json_t *given, const char *key, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(given, key));
    return arena_text(s->arena, "%s", text ? text : otherwise);
}

static void name_points(struct study *s, const int *order, uint64_t seed)
{
    s->point = arena_alloc(s->arena, (size_t)(s->n_variants * s->replicates + 1) * sizeof *s->point);
    /* Replicates outside, variants inside: pairs complete one after another. */
    for (int k = 0; k < s->replicates; k++)
        for (int at = 0; at < s->n_variants; at++) {
            int i = order[at];
            char hash[33];
            hash_print(s->variant[i].hash, hash);
            s->point[s->n_points++] = (struct point){
                .variant = i, .replicate = k, .seed = seed + (uint64_t)k, .trunk = -1, .start = -1,
                .dir = arena_text(s->arena, "%s-%.8s/%d", s->variant[i].name, hash, k) };
        }
}

bool study_is_of(const struct study *s, const struct point *p, const struct corpus_info *data)
{
    const struct variant *v = &s->variant[p->variant];
    return hash_equal(study_identity(v->config, data, p->seed - (uint64_t)p->replicate), v->hash);
}

static void identify(struct study *s, const int *order, const struct corpus_info *data, uint64_t seed,
                     struct problems *problems)
{
    for (int at = 0; at < s->n_variants; at++) {
        struct variant *v = &s->variant[order[at]];
        study_begin(s, order[at], problems);
        v->hash = study_identity(v->config, data, seed);
        /* What the graph does not hold of a run: how long, on what, how often looked at is no difference. */
        json_t *train = json_object_get(v->config, "train");
        int64_t run[] = { json_integer_value(json_object_get(train, "steps")),
                          json_integer_value(json_object_get(train, "batch")),
                          json_integer_value(json_object_get(train, "micro")) };
        const char *precision = json_string_value(json_object_get(train, "precision"));
        v->fingerprint = hash_more(hash_more(v->fingerprint, run, sizeof run), precision,
                                   precision ? strlen(precision) : 0);
        static const char *const ramps[] = { "batch_schedule", "seq_schedule" };
        for (int k = 0; k < COUNT(ramps); k++) {
            char *text = config_canonical(json_object_get(train, ramps[k]));
            v->fingerprint = hash_more(v->fingerprint, text, strlen(text));
            free(text);
        }
        static const char *const others[] = { "choices", "start" };
        for (int k = 0; k < COUNT(others); k++) {
            const char *hash = json_string_value(json_object_get(v->config, others[k]));
            if (hash) v->fingerprint = hash_more(v->fingerprint, hash, strlen(hash));
        }
        if (json_object_get(v->config, "start")) {
            char *text = config_canonical(config_get(v->config, "model.init"));
            v->fingerprint = hash_more(v->fingerprint, text, strlen(text));
            free(text);
        }
        for (int j = 0; j < at; j++)
            if (hash_equal(v->fingerprint, s->variant[order[j]].fingerprint))
                problem_add(problems, "variants", "'%s' and '%s' build the same graph: the change has no effect",
                            s->variant[order[j]].name, v->name);
    }
}

static int read_head(struct study *s, const json_t *given, struct problems *problems)
{
    int before = problems->n;
    json_int_t replicates = json_integer_value(json_object_get(given, "replicates"));
    const json_t *match = json_object_get(given, "match"), *variants = json_object_get(given, "variants");
    study_read_head(s, given);
    s->replicates = (int)replicates;
    s->n_variants = (int)json_array_size(variants);
    if (before == 0 && !study_is_name(s->name)) problem_add(problems, "name", "'%s': %s", s->name, study_name_rule);
    if (replicates < 1 || replicates > MOST_REPLICATES)
        problem_add(problems, "replicates", "%lld is out of range: 1 to %d", (long long)replicates, MOST_REPLICATES);
    if (strncmp(s->primary, "eval.", 5) != 0 && strncmp(s->primary, "train.", 6) != 0)
        problem_add(problems, "primary", "'%s': must be eval.SERIES or train.SERIES, as \"eval.loss\"", s->primary);
    if (s->n_variants == 0) problem_add(problems, "variants", "there is none: a study compares at least two");
    if (match) {
        s->match_quantity = text_of(s, match, "quantity", "");
        s->match_adjust = text_of(s, match, "adjust", "");
        json_t *tolerance = json_object_get(match, "tolerance");
        s->match_tolerance = tolerance ? json_number_value(tolerance) : 0.01;
        bool known = false;
        for (const char *const *q = quantities; *q; q++) known |= strcmp(*q, s->match_quantity) == 0;
        char hint[HINT];
        if (!known)
            problem_add(problems, "match", "no quantity '%s'%s\n  known: active_params, total_params, train_flops, "
                        "total_flops", s->match_quantity,
                        did_you_mean(nearest_name(s->match_quantity, quantities), hint));
    }
    return problems->n - before;
}

static int find_baseline(struct study *s, const char *name, struct problems *problems)
{
    int found = study_variant(s, name);
    if (found >= 0) return found;
    char hint[HINT];
    problem_add(problems, "baseline", "no variant '%s'%s", name, did_you_mean(study_nearest(s, name), hint));
    return -1;
}

/* The study's, and what each variant is compared with. */
static void find_baselines(struct study *s, const json_t *given, struct problems *problems)
{
    const char *name = json_string_value(json_object_get(given, "baseline"));
    s->baseline = find_baseline(s, name ? name : s->variant[0].name, problems);
    for (int i = 0; i < s->n_variants; i++) {
        const json_t *variant = json_array_get(json_object_get(given, "variants"), (size_t)i);
        name = json_string_value(json_object_get(variant, "baseline"));
        s->variant[i].baseline = name ? find_baseline(s, name, problems) : s->baseline;
    }
}

int study_resolve(const json_t *given, const struct corpus_info *data, struct study **out, struct problems *problems)
{
    struct study *s = xcalloc(1, sizeof *s);
    s->arena = arena_new();
    json_t *base = json_object_get(given, "base"), *train_json = json_object_get(given, "train"),
           *empty = json_object();
    struct model_conf model;
    struct train_conf train;
    uint64_t seed = (uint64_t)json_integer_value(json_object_get(given, "seed"));
    bool sound = read_head(s, given, problems) == 0;
    sound &= load_both(base ? base : empty, train_json ? train_json : empty, s->arena, &model, &train, data, problems);
    s->variant = arena_alloc(s->arena, (size_t)(s->n_variants + 1) * sizeof *s->variant);
    if (sound) {
        for (int i = 0; i < s->n_variants; i++)
            resolve_variant(s, &s->variant[i], base ? base : empty, train_json ? train_json : empty, &train,
                            json_array_get(json_object_get(given, "variants"), (size_t)i), data, problems);
        find_baselines(s, given, problems);
        const int *order = problems->n == 0 ? study_order(s, problems) : NULL;
        if (problems->n == 0 && s->match_quantity) match_all(s, order, given, data, problems);
        if (problems->n == 0) study_impose(s, data, seed, problems);
        if (problems->n == 0) identify(s, order, data, seed, problems);
        if (problems->n == 0) name_points(s, order, seed);
    }
    json_decref(empty);
    if (problems->n == 0) { *out = s; return 0; }
    study_free(s);
    return -1;
}
