/* Studies: every mistake found, twins refused, budgets matched, identities stable, study.json read back. */
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "study/study.h"
#include "train/train.h"

#define TEXT(...) #__VA_ARGS__

static const char *const base = TEXT({
    "name": "s", "replicates": 2, "seed": 3, "data": "synthetic", "baseline": "base",
    "base": { "layers": 2, "d_model": 16, "seq": 16, "attention": {"module": "gqa", "heads": 2, "kv_heads": 1,
                                                                   "head_dim": 8},
              "ffn": {"module": "moe", "experts": 4, "d_ff": 16} },
    "train": { "steps": 10, "batch": 4 },
    "variants": [ {"name": "base", "set": {}}, {"name": "gated", "set": {"attention.gate": "head"}},
                 {"name": "wide", "set": {"attention.heads": 8}} ]
});

static const struct corpus_info data = { .path = "synthetic", .vocab = 256, .train_tokens = 1 << 20, .hash = { 1, 2 } };

static json_t *description(const char *changes)
{
    json_t *json = json_loads(base, 0, NULL), *more = json_loads(changes ? changes : "{}", 0, NULL);
    assert_non_null(json);
    if (!more) fail_msg("no JSON: %s", changes);
    json_object_update_recursive(json, more);
    json_decref(more);
    return json;
}

static struct study *resolved(const char *changes)
{
    struct study *s = NULL;
    struct problems problems = { 0 };
    json_t *json = description(changes);
    if (study_resolve(json, &data, &s, &problems))
        fail_msg("%s: %s", problems.problem[0].path, problems.problem[0].text);
    json_decref(json);
    return s;
}

/* The mistake at `path` (of `variant`) says all of `words`. */
static void refuses(const char *changes, const char *variant, const char *path, const char *words)
{
    struct study *s = NULL;
    struct problems problems = { 0 };
    json_t *json = description(changes);
    assert_int_equal(study_resolve(json, &data, &s, &problems), -1);
    bool found = false;
    for (int i = 0; i < problems.n; i++) {
        const struct problem *p = &problems.problem[i];
        bool same = variant ? p->variant && strcmp(p->variant, variant) == 0 : !p->variant;
        found |= same && strcmp(p->path, path) == 0 && strstr(p->text, words);
    }
    if (!found) {
        for (int i = 0; i < problems.n; i++)
            print_message("%s | %s: %s\n", problems.problem[i].variant ? problems.problem[i].variant : "-",
                          problems.problem[i].path, problems.problem[i].text);
        fail_msg("no mistake at %s saying '%s'", path, words);
    }
    problems_free(&problems);
    json_decref(json);
}

static void a_study_has_points(void **state)
{
    (void)state;
    struct study *s = resolved(NULL);
    assert_int_equal(s->n_variants, 3);
    assert_int_equal(s->n_points, 6);
    assert_int_equal(s->point[0].seed, 3);
    assert_int_equal(s->point[3].seed, 4);
    assert_int_equal(s->point[1].variant, 1);
    assert_true(s->variant[1].counts.total > s->variant[0].counts.total);
    assert_false(hash_equal(s->variant[0].fingerprint, s->variant[1].fingerprint));
    study_free(s);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    refuses(TEXT({"base": {"ffn": {"module": "moe", "expertz": 4}}}), NULL, "ffn.expertz", "did you mean 'experts'");
    refuses(TEXT({"base": {"ffn": {"module": "moe", "router": {"top_k": 9}}}}), NULL, "ffn.router.top_k", "4 experts");
    refuses(TEXT({"train": {"stepz": 4}}), NULL, "train.stepz", "did you mean 'steps'");
    refuses(TEXT({"train": {"micro": 3}}), NULL, "train.micro", "does not divide");
    refuses(TEXT({"train": {"offload": true}}), NULL, "train.offload", "all memory is the host's");
    refuses(TEXT({"base": {"vocab": 100}}), NULL, "vocab", "token ids up to 255");
    refuses(TEXT({"base": {"seq": 1048576}}), NULL, "seq", "only 1048576 tokens to train on");
    refuses(TEXT({"train": {"eval_batches": 4}}), NULL, "train.eval_batches", "did you mean 'eval_tokens'");
    refuses(TEXT({"variants": [{"name": "base", "set": {}}, {"name": "x", "set": {"train.eval_tokens": 64}}]}), "x",
            "train.eval_tokens", "set it for the whole study");
    refuses(TEXT({"train": {"schedule": {"module": "constant", "warmup": 11}}}), NULL, "train.schedule.warmup",
            "11 steps of warm-up in a run of 10: lr is never reached; at most 10");
    refuses(TEXT({"train": {"schedule": {"module": "wsd", "warmup": 10}}}), NULL, "train.schedule.warmup",
            "the decay begins after step 9 of 10: at most 9");
    refuses(TEXT({"train": {"schedule": {"module": "step", "warmup": 9}}}), NULL, "train.schedule.warmup",
            "the decay begins after step 8 of 10: at most 8");
    refuses(TEXT({"train": {"schedule": {"module": "wsds", "warmup": 4}}}), NULL, "train.schedule.warmup",
            "the decay begins after step 3 of 10: at most 3");
    refuses(TEXT({"train": {"schedule": {"module": "wsd", "warmup_tokens": 1000000}}}), NULL,
            "train.schedule.warmup_tokens", "in a run of 10: lr is never reached");
    refuses(TEXT({"train": {"schedule": {"module": "wsd", "warmup": 1, "warmup_tokens": 10}}}), NULL,
            "train.schedule.warmup_tokens", "10: the warm-up is given in steps already, 1");
    refuses(TEXT({"train": {"schedule": {"module": "wsd", "shape": "exponential"}}}), NULL, "train.schedule.final",
            "an exponential never gets there");
    refuses(TEXT({"train": {"schedule": {"module": "step", "first": 0.95}}}), NULL, "train.schedule.second",
            "is before the first fall");
    refuses(TEXT({"train": {"guard": "outliers"}}), NULL, "train.guard.window",
            "the first 64 steps are not judged, and the run has 10");
    refuses(TEXT({"train": {"average": {"module": "ema", "from": 10}}}), NULL, "train.average.from",
            "10 steps of a run of 10: nothing is averaged; at most 9");
    refuses(TEXT({"train": {"schedule": {"module": "wsd", "decay": 0, "warmup": 11}}}), NULL, "train.schedule.warmup",
            "in a run of 10");
    refuses(TEXT({"baseline": "bass"}), NULL, "baseline", "did you mean 'base'");
    refuses(TEXT({"replicates": 0}), NULL, "replicates", "out of range");
    refuses(TEXT({"primary": "loss"}), NULL, "primary", "eval.SERIES");
    refuses(TEXT({"variants": [{"name": "base", "set": {}}, {"name": "x", "set": {"attention.gat": "head"}}]}), "x",
            "attention.gat", "gate");
    refuses(TEXT({"variants": [{"name": "base", "set": {}}, {"name": "x", "set": {"attention.gate": "heads"}}]}), "x",
            "attention.gate", "did you mean 'head'");
    refuses(TEXT({"variants": [{"name": "base", "set": {}}, {"name": "x", "set": {"train.lrr": 1}}]}), "x", "train.lrr",
            "no");
    refuses(TEXT({"variants": [{"name": "base", "set": {}}, {"name": "x", "set": {"ffn": {"module": "dens"}}},
                               {"name": "y", "set": {"ffn": {"module": "dens"}}}]}), "x", "ffn",
            "did you mean 'dense'");                        /* said once, and y is no more legal */
    refuses(TEXT({"variants": []}), NULL, "variants", "at least two");
    refuses(TEXT({"match": {"quantity": "active_param", "adjust": "ffn.d_ff"}}), NULL, "match",
            "did you mean 'active_params'");
    refuses(TEXT({"match": {"quantity": "active_params", "adjust": "ffn.router.score"}}), NULL, "match.adjust",
            "no whole number");
    refuses(TEXT({"match": {"quantity": "active_params", "adjust": "attention.heads"}}), NULL, "match.adjust",
            "sets 'attention.heads' itself");
}

static void warm_ups_that_end_are_taken(void **state)
{
    (void)state;
    study_free(resolved(TEXT({"train": {"schedule": {"module": "constant", "warmup": 10}}})));
    study_free(resolved(TEXT({"train": {"schedule": {"module": "cosine", "warmup": 10}}})));
    study_free(resolved(TEXT({"train": {"schedule": {"module": "wsd", "warmup": 9}}})));
    study_free(resolved(TEXT({"train": {"schedule": {"module": "wsd", "decay": 1, "warmup": 1}}})));
}

/* What plan and show say, and run admits by, is what a session takes: slabs, arenas and the staged inputs of all
   micro-batches. */
static void memory_is_a_session_s(void **state)
{
    (void)state;
    static const char *const train[] = { TEXT({"train": {"batch": 4}}), TEXT({"train": {"batch": 4096, "micro": 4096}}),
                                         TEXT({"train": {"batch": 4096, "micro": 2, "precision": "bf16"}}) };
    for (int i = 0; i < COUNT(train); i++) {
        struct study *s = resolved(train[i]);
        struct session *session;
        struct err e;
        for (int v = 0; v < s->n_variants; v++) {
            if (session_new(&session, s->variant[v].config, 1, &e)) fail_msg("%s", e.text);
            assert_int_equal(s->variant[v].memory_bytes, session_bytes(session));
            session_free(session);
        }
        study_free(s);
    }
}

static void twins_are_refused(void **state)
{
    (void)state;
    refuses(TEXT({"variants": [{"name": "base", "set": {}}, {"name": "same", "set": {"attention.gate": "none"}}]}),
            NULL, "variants", "the change has no effect");
    /* Training longer is a difference, though the graph is the same. */
    struct study *s = resolved(TEXT({"variants": [{"name": "base", "set": {}},
                                                  {"name": "long", "set": {"train.steps": 20}}]}));
    study_free(s);
    /* And so are rates that differ in a few steps of a thousand. */
    s = resolved(TEXT({"train": {"steps": 1000, "schedule": {"module": "wsd", "decay": 0.005}},
                       "variants": [{"name": "base", "set": {}},
                                    {"name": "late", "set": {"train.schedule.decay": 0.003}}]}));
    study_free(s);
}

static void budgets_are_matched(void **state)
{
    (void)state;
    struct study *s = resolved(TEXT({"match": {"quantity": "active_params", "adjust": "ffn.d_ff", "tolerance": 0.02},
                                     "base": {"ffn": {"d_ff": 64}}}));
    double want = (double)s->variant[0].counts.active;
    for (int i = 1; i < s->n_variants; i++) {
        double have = (double)s->variant[i].counts.active;
        assert_true(have > 0.98 * want && have < 1.02 * want);
    }
    /* Wide */
    assert_true(json_integer_value(config_get(json_object_get(s->variant[2].config, "model"), "ffn.d_ff")) < 64);
    study_free(s);
    refuses(TEXT({"match": {"quantity": "active_params", "adjust": "ffn.d_ff", "tolerance": 0.000001}}), NULL, "match",
            "more than the tolerance");
}

/* The FLOPs of a run: twice the steps are twice the budget, which half the work a token meets. */
static void flops_are_of_the_run(void **state)
{
    (void)state;
    const char *longer = TEXT({"match": {"quantity": "train_flops", "adjust": "ffn.d_ff", "tolerance": 0.05},
                               "base": {"ffn": {"d_ff": 256}},
                               "variants": [{"name": "base", "set": {}},
                                            {"name": "longer", "set": {"train.steps": 20}}]});
    struct study *s = resolved(longer);
    const struct variant *v = s->variant;
    assert_int_equal(variant_tokens(&v[0]), 10 * 4 * 16);
    assert_int_equal(variant_tokens(&v[1]), 20 * 4 * 16);
    double want = (double)variant_tokens(&v[0]) * v[0].train_flops_per_token,
           have = (double)variant_tokens(&v[1]) * v[1].train_flops_per_token;
    assert_true(fabs(have - want) <= 0.05 * want && v[1].train_flops_per_token < 0.6 * v[0].train_flops_per_token);
    study_free(s);
    refuses(TEXT({"match": {"quantity": "train_flops", "adjust": "ffn.d_ff"},
                  "variants": [{"name": "base", "set": {}}, {"name": "longer", "set": {"train.steps": 200}}]}),
            NULL, "match", "more than the tolerance");
}

/* What a point is called depends on its own configuration, not on its neighbours or its place. */
static void identity_is_content(void **state)
{
    (void)state;
    struct study *a = resolved(NULL), *b = resolved(TEXT({"variants": [{"name": "gated",
                                                                        "set": {"attention.gate": "head"}},
                                                                        {"name": "base", "set": {}}]}));
    assert_true(hash_equal(a->variant[1].hash, b->variant[0].hash));
    assert_string_equal(a->point[1].dir, b->point[0].dir);
    struct study *c = resolved(TEXT({"train": {"steps": 11}}));
    assert_false(hash_equal(a->variant[1].hash, c->variant[1].hash));
    study_free(a);
    study_free(b);
    study_free(c);
}

static void study_json_reads_back(void **state)
{
    (void)state;
    char folder[] = "/tmp/sluice-study-XXXXXX";
    assert_non_null(mkdtemp(folder));
    struct study *s = resolved(TEXT({"match": {"quantity": "total_params", "adjust": "ffn.d_ff", "tolerance": 0.05},
                                   "record": {"command": ["sluice", "run"]},
                                   "required": [{"name": "a.lua", "text": ""}]})), *back = NULL;
    struct err e;
    s->dir = arena_text(s->arena, "%s/deep/er", folder);
    if (study_save(s, &e) || study_open(s->dir, &back, &e)) fail_msg("%s", e.text);
    assert_int_equal(back->n_points, s->n_points);
    assert_int_equal(back->baseline, s->baseline);
    assert_string_equal(back->match_adjust, s->match_adjust);
    for (int i = 0; i < s->n_variants; i++) {
        assert_string_equal(back->variant[i].name, s->variant[i].name);
        assert_true(hash_equal(back->variant[i].hash, s->variant[i].hash));
        assert_true(hash_equal(back->variant[i].fingerprint, s->variant[i].fingerprint));
        assert_true(json_equal(back->variant[i].config, s->variant[i].config));
        assert_int_equal(back->variant[i].counts.active, s->variant[i].counts.active);
        assert_int_equal(back->variant[i].counts.active_embedded, s->variant[i].counts.active_embedded);
    }
    for (int i = 0; i < s->n_points; i++) assert_string_equal(back->point[i].dir, s->point[i].dir);
    assert_true(json_equal(back->record, s->record) && json_equal(back->required, s->required));
    study_free(back);
    assert_int_equal(study_open("/nowhere", &back, &e), -1);
    assert_non_null(strstr(e.text, "/nowhere/study.json"));
    study_free(s);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

static struct study *saved_in(const char *folder, const char *changes)
{
    struct study *s = resolved(changes);
    s->dir = arena_text(s->arena, "%s/s", folder);
    return s;
}

/* A study that takes another's place: counts are of runs, those with a run file and those without. */
static void changes_are_counted(void **state)
{
    (void)state;
    char folder[] = "/tmp/sluice-study-XXXXXX", command[128];
    assert_non_null(mkdtemp(folder));
    struct study *old = saved_in(folder, TEXT({"script_path": "a.lua", "script_text": "a",
                                               "record": {"script": "/a.lua"}})), *new;
    struct study_change c;
    struct err e;
    assert_int_equal(study_change(old, &c, &e), 0);
    assert_false(c.exists);
    if (study_save(old, &e)) fail_msg("%s", e.text);
    for (int p = 0; p < 3; p++) {                           /* begun: replicate 0 of base, gated, wide */
        char *path = study_point_path(old, p, "run.h5");
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fclose(f);
        free(path);
    }
    assert_int_equal(study_change(old, &c, &e), 0);
    assert_true(c.exists && !c.other && c.kept == 6 && c.added == 0 && c.earlier == 0);
    new = saved_in(folder, TEXT({"script_path": "b.lua", "script_text": "b", "record": {"script": "/b.lua"},
                                 "replicates": 3,
                                 "variants": [ {"name": "base", "set": {}},
                                              {"name": "gated", "set": {"attention.gate": "head"}} ]}));
    assert_int_equal(study_change(new, &c, &e), 0);
    assert_true(c.exists && c.other);
    assert_string_equal(c.script, "/a.lua");
    assert_int_equal(c.kept, 4);
    assert_int_equal(c.added, 2);
    assert_int_equal(c.earlier, 1);
    assert_int_equal(c.dropped, 1);
    if (study_save(new, &e)) fail_msg("%s", e.text);
    assert_int_equal(study_change(old, &c, &e), 0);
    assert_true(c.back == 1 && c.added == 1 && c.earlier == 0 && c.dropped == 2);
    study_free(new);
    new = saved_in(folder, TEXT({"script_path": "c.lua", "script_text": "b", "record": {"script": "/c.lua"}}));
    assert_true(study_change(new, &c, &e) == 0 && !c.other);            /* moved */
    study_free(new);
    new = saved_in(folder, TEXT({"script_path": "b.lua", "script_text": "d", "record": {"script": "/b.lua"}}));
    assert_true(study_change(new, &c, &e) == 0 && !c.other);            /* changed where it lies */
    study_free(new);
    study_free(old);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

static void points_are_selected(void **state)
{
    (void)state;
    static const struct { const char *names[2]; int points; const char *error; } cases[] = {
        { { "base" }, 2, NULL }, { { "gated" }, 4, NULL }, { { "gated/1" }, 1, NULL },
        { { "gated/1", "wide/0" }, 2, NULL }, { { "gated/1", "wide" }, 5, NULL },
        { { "gaded" }, 0, "did you mean 'gated'" }, { { "gated/2" }, 0, "no such variant and replicate" },
        { { "gated/" }, 0, "no such" }, { { "gated/1x" }, 0, "no such" },
    };
    for (int i = 0; i < COUNT(cases); i++) {
        struct study *s = resolved(NULL);
        struct err e = { "" };
        int failure = study_select(s, cases[i].names, cases[i].names[1] ? 2 : 1, &e);
        if (cases[i].error) assert_true(failure && strstr(e.text, cases[i].error));
        else assert_true(!failure && s->n_points == cases[i].points);
        study_free(s);
    }
}

/* ---- what runs share ---- */

/* Of a study's base and of it with `change`: steps that are shared, and in which they are alike. */
static void shares(const char *study, const char *change, int64_t steps, int64_t alike)
{
    char text[1024];
    snprintf(text, sizeof text, "{%s, \"variants\": [{\"name\": \"base\", \"set\": {}}, "
                                "{\"name\": \"other\", \"set\": %s}]}", study, change);
    struct study *s = resolved(text);
    int64_t its, back;
    assert_int_equal(study_shared(s->variant[0].config, s->variant[1].config, &its), steps);
    assert_int_equal(its, alike);
    assert_int_equal(study_shared(s->variant[1].config, s->variant[0].config, &back), steps);
    study_trunks(s);
    for (int p = 0; p < s->n_points; p++) {
        bool branch = s->point[p].variant == 1 && steps > 0;
        assert_int_equal(s->point[p].shared, branch ? steps : 0);
        if (branch) assert_int_equal(s->point[s->point[p].trunk].replicate, s->point[p].replicate);
        if (branch) assert_int_equal(s->point[s->point[p].trunk].variant, 0);
    }
    study_free(s);
}

static void trunks_are_what_runs_share(void **state)
{
    (void)state;
#define TRAINED(schedule) "\"train\": {\"steps\": 100, \"schedule\": {\"module\": " schedule ", \"warmup\": 5}}"
    static const char wsd[] = TRAINED("\"wsd\", \"decay\": 0.2"), constant[] = TRAINED("\"constant\""),
                      cosine[] = TRAINED("\"cosine\"");
    /* Step (1 - d) n + 1 has the peak still. */
    shares(wsd, TEXT({"train.steps": 200}), 81, 81);
    shares(wsd, TEXT({"train.schedule.shape": "cosine"}), 81, 81);
    shares(wsd, TEXT({"train.schedule.decay": 0.5}), 51, 51);
    shares(wsd, TEXT({"train.schedule": {"module": "constant", "warmup": 5}}), 81, 81);
    shares(wsd, TEXT({"train.schedule": {"module": "wsds", "warmup": 5, "horizons": 2}}), 46, 46);
    shares(constant, TEXT({"train.steps": 101}), 100, 100);
    shares(constant, TEXT({"train.steps": 60}), 60, 60);
    /* Too little, and nothing. */
    shares(cosine, TEXT({"train.steps": 200}), 0, 6);
    shares(constant, TEXT({"train.steps": 200, "train.schedule.warmup": 6}), 0, 0);
    shares(constant, TEXT({"train.steps": 200, "train.optim.lr": 1e-4}), 0, -1);
    shares(constant, TEXT({"train.steps": 200, "attention.gate": "head"}), 0, -1);
    /* All that goes by the step is asked: biases that move for half of the run. */
    static const char bias[] = TRAINED("\"constant\"") ", \"base\": {\"ffn\": {\"module\": \"moe\", \"experts\": 4, "
                               "\"balance\": [{\"module\": \"bias\", \"length\": 0.5}]}}";
    shares(bias, TEXT({"train.steps": 200}), 50, 50);
}

static void each_horizon_has_its_baseline(void **state)
{
    (void)state;
    struct err e;
    struct study *s = resolved(TEXT({"baseline": "long", "match": {"quantity": "train_flops", "adjust": "ffn.d_ff",
                                                                   "tolerance": 0.2},
        "variants": [{"name": "short", "set": {"train.steps": 5}, "baseline": "short"},
                     {"name": "long", "set": {}},
                     {"name": "short_top1", "set": {"train.steps": 5, "ffn.router.top_k": 1}, "baseline": "short"},
                     {"name": "long_top1", "set": {"ffn.router.top_k": 1}}]})), *again;
    static const int baseline[] = { 0, 1, 0, 1 };
    json_t *json = study_write(s);
    assert_int_equal(study_read(json, &again, &e), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(s->variant[i].baseline, baseline[i]);
        assert_int_equal(again->variant[i].baseline, baseline[i]);
    }
    assert_int_equal(s->variant[2].counts.total, s->variant[3].counts.total);       /* each matched to its own */
    assert_true(s->variant[2].counts.total > s->variant[0].counts.total);
    const char *name = "short_top1";
    assert_int_equal(study_select(s, &name, 1, &e), 0);
    for (int p = 0; p < s->n_points; p++) assert_true(s->point[p].variant == 0 || s->point[p].variant == 2);
    json_object_set_new(json_array_get(json_object_get(json, "variants"), 2), "baseline", json_integer(4));
    study_free(again);
    assert_int_equal(study_read(json, &again, &e), -1);
    assert_non_null(strstr(e.text, "the baseline is variant 4 of 4"));
    refuses(TEXT({"variants": [{"name": "base", "set": {}, "baseline": "bade"}]}), NULL, "baseline",
            "no variant 'bade' (did you mean 'base'?)");
    json_decref(json);
    study_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_study_has_points), cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(warm_ups_that_end_are_taken), cmocka_unit_test(memory_is_a_session_s),
        cmocka_unit_test(twins_are_refused), cmocka_unit_test(budgets_are_matched),
        cmocka_unit_test(flops_are_of_the_run), cmocka_unit_test(identity_is_content),
        cmocka_unit_test(study_json_reads_back), cmocka_unit_test(changes_are_counted),
        cmocka_unit_test(points_are_selected),
        cmocka_unit_test(trunks_are_what_runs_share), cmocka_unit_test(each_horizon_has_its_baseline),
    };
    return cmocka_run_group_tests_name("study", tests, NULL, NULL);
}
