/* sluice plan: what a study would cost, before anything runs. */
#include "script.h"

#include <stdlib.h>
#include <string.h>

static const struct option options[] = { SCRIPT_OPTIONS, { "json", 0, NULL, "the resolved study as JSON" }, { "config", 'c', "VARIANT", "the full configuration of a variant" }, { 0 } };

static int64_t tokens_of(const struct variant *v)
{
    const json_t *train = json_object_get(v->config, "train"), *model = json_object_get(v->config, "model");
    return json_integer_value(json_object_get(train, "steps")) * json_integer_value(json_object_get(train, "batch")) * json_integer_value(json_object_get(model, "seq"));
}

static void print_table(const struct study *s)
{
    static const char *const columns[] = { "variant", ">params", ">active", ">non-emb", ">train FLOP/token", ">tokens", ">train FLOP", ">memory", ">KV B/token", "graph" };
    struct table *t = table_new(columns, COUNT(columns));
    char text[FORMAT_SIZE], hash[33];
    for (int i = 0; i < s->n_variants; i++) {
        const struct variant *v = &s->variant[i];
        double tokens = (double)tokens_of(v);
        table_cell(t, "%s%s", v->name, i == s->baseline ? " (baseline)" : "");
        table_cell(t, "%s", format_count((double)v->counts.total, text));
        table_cell(t, "%s", format_count((double)v->counts.active, text));
        table_cell(t, "%s", format_count((double)v->counts.non_embedding, text));
        table_cell(t, "%s", format_count(v->train_flops_per_token, text));
        table_cell(t, "%s", format_count(tokens, text));
        table_cell(t, "%s", format_count(tokens * v->train_flops_per_token, text));
        table_cell(t, "%s", format_bytes((double)v->memory_bytes, text));
        table_cell(t, "%zu", v->kv_bytes_per_token);
        hash_print(v->fingerprint, hash);
        table_cell(t, "%.8s", hash);
    }
    table_print(t, stdout);
    printf("%d variants x %d replicates = %d runs of data %s\n", s->n_variants, s->replicates, s->n_points, s->data_path);
    if (s->match_quantity) printf("matched: %s by %s, tolerance %g\n", s->match_quantity, s->match_adjust, s->match_tolerance);
    printf("FLOPs: 1 MAC = 2; attention counts the causal half; lookups are 0; backward is twice the forward.\n");
}

static enum code print_config(const struct study *s, const char *name)
{
    for (int i = 0; i < s->n_variants; i++) {
        if (strcmp(s->variant[i].name, name) != 0) continue;
        json_dumpf(s->variant[i].config, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
        putchar('\n');
        return CODE_OK;
    }
    return cli_fail(CODE_USAGE, "--config %s: the study has no such variant", name);
}

static void print_json(const struct study *s)
{
    json_t *list = json_array();
    for (int i = 0; i < s->n_variants; i++) {
        const struct variant *v = &s->variant[i];
        char hash[33];
        hash_print(v->fingerprint, hash);
        json_array_append_new(list, json_pack("{s:s, s:O, s:I, s:I, s:I, s:f, s:I, s:I, s:s}", "name", v->name, "config", v->config, "params_total", (json_int_t)v->counts.total, "params_active",
            (json_int_t)v->counts.active, "params_non_embedding", (json_int_t)v->counts.non_embedding, "train_flops_per_token", v->train_flops_per_token, "memory_bytes", (json_int_t)v->memory_bytes,
            "kv_bytes_per_token", (json_int_t)v->kv_bytes_per_token, "fingerprint", hash));
    }
    json_t *all = json_pack("{s:s, s:i, s:s, s:s, s:o}", "name", s->name, "replicates", s->replicates, "baseline", s->variant[s->baseline].name, "data", s->data_path, "variants", list);
    json_dumpf(all, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    putchar('\n');
    json_decref(all);
}

static enum code run(const struct call *c)
{
    enum code code;
    struct study *s = script_study(c, &code);
    if (!s) return code;
    const char *config = cli_value(c, "config", NULL);
    if (config) code = print_config(s, config);
    else if (cli_flag(c, "json")) print_json(s);
    else print_table(s);
    study_free(s);
    return code;
}

const struct command command_plan = {
    "plan", "check a script and show what it would cost", "SCRIPT", "sluice plan experiments/quickstart.lua --data synthetic", options, 1, 1,
    "Nothing is trained and no weight is allocated, so models of any size can be planned.", run,
};
