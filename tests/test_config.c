/* Configurations: defaults, every kind of mistake and its words, one canonical form, values by path. */
#include "model/module.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct conf { int layers, flag, word; double rate; struct ints list; struct pick norm; struct picks attention, ffn; };
static const struct param params[] = {
    INT(struct conf, layers, 3, 1, 100, "layers", ""),
    REAL(struct conf, rate, 0.5, 0, 1, "nats", ""),
    BOOL(struct conf, flag, 1, ""),
    CHOICE(struct conf, word, 1, "red green blue", ""),
    INTS(struct conf, list, 0, 9, ""),
    SLOT(struct conf, norm, SLOT_NORM, "rms", ""),
    LAYERS(struct conf, attention, SLOT_ATTENTION, "gqa", ""),
    LAYERS(struct conf, ffn, SLOT_FFN, "moe", ""),
    { 0 }
};
static const struct schema schema = { "test", "a schema with every type", sizeof(struct conf), params };

static json_t *parse(const char *text)                      /* with ' for " */
{
    char *copy = xstrdup(text);
    for (char *c = copy; *c; c++) if (*c == '\'') *c = '"';
    json_error_t error;
    json_t *json = json_loads(copy, 0, &error);
    if (!json) fail_msg("%s: %s", text, error.text);
    free(copy);
    return json;
}

/* The full text of a configuration; mistakes fail the test. */
static char *resolved(const json_t *json)
{
    struct arena *arena = arena_new();
    struct problems problems = { 0 };
    struct conf conf;
    config_load(&schema, json, "", arena, &conf, &problems);
    if (problems.n) fail_msg("%s: %s", problems.problem[0].path, problems.problem[0].text);
    json_t *full = config_write(&schema, &conf);
    char *text = config_canonical(full);
    json_decref(full);
    arena_free(arena);
    return text;
}

static void assert_same(const char *a, const char *b)
{
    json_t *left = parse(a), *right = parse(b);
    char *one = resolved(left), *two = resolved(right);
    assert_string_equal(one, two);
    free(one); free(two);
    json_decref(left); json_decref(right);
}

static void test_one_form_for_one_meaning(void **state)
{
    (void)state;
    assert_same("{}", "{'layers':3,'rate':0.5,'flag':true,'word':'green','list':[],'norm':'rms','attention':'gqa',"
                      "'ffn':'moe'}");
    assert_same("{}", "{'layers':3.0,'norm':{},'attention':{'module':'gqa'},'list':{}}");
    assert_same("{'attention':{'layers':['gqa',{},{'module':'gqa'}]}}", "{}");
    assert_same("{'rate':1}", "{'rate':1.0}");
    assert_same("{'ffn':{'balance':'none'}}", "{'ffn':{'balance':[]}}");
    assert_same("{'ffn':{'balance':'bias'}}", "{'ffn':{'balance':['none',{'module':'bias'}]}}");
    json_t *once = parse("{'rate':0.1,'ffn':{'layers':['moe','dense','moe']}}");
    char *first = resolved(once);
    json_t *full = json_loads(first, 0, NULL);
    char *again = resolved(full);
    assert_string_equal(first, again);                      /* what is written reads back as itself */
    assert_non_null(strstr(first, "\"rate\":0.10000000000000001"));
    assert_non_null(strstr(first, "\"layers\":3,"));
    free(first); free(again);
    json_decref(once); json_decref(full);
}

static void test_values_reach_the_struct(void **state)
{
    (void)state;
    struct arena *arena = arena_new();
    struct problems problems = { 0 };
    struct conf conf;
    json_t *json = parse("{'layers':2,'flag':false,'word':'blue','rate':0.25,'list':[4,0,9],'ffn':{'layers':['dense',"
                         "'moe']}}");
    config_load(&schema, json, "", arena, &conf, &problems);
    assert_int_equal(problems.n, 0);
    assert_int_equal(conf.layers, 2);
    assert_int_equal(conf.flag, 0);
    assert_int_equal(conf.word, 2);
    assert_true(conf.rate == 0.25);
    assert_int_equal(conf.list.n, 3);
    assert_int_equal(conf.list.value[2], 9);
    assert_int_equal(conf.ffn.n, 2);
    assert_string_equal(conf.ffn.pick[0].module->name, "dense");
    assert_string_equal(conf.ffn.pick[1].module->name, "moe");
    assert_ptr_equal(conf.attention.pick[0].conf, conf.attention.pick[1].conf);
    json_decref(json);
    arena_free(arena);
}

/* A configuration with one mistake, the path that it is found at, and two parts of the message. */
static const struct { const char *json, *path, *words, *more; } mistakes[] = {
    { "{'rat':0.5}", "rat", "no parameter 'rat' (did you mean 'rate'?)", "known: layers, rate, flag" },
    { "{'ffn':{'router':{'topk':2}}}", "ffn.router.topk", "no parameter 'topk' (did you mean 'top_k'?)", "known:" },
    { "{'ffn':{'layers':[{'expert':8},'moe','moe']}}", "ffn.expert", "did you mean 'experts'?", "known:" },
    { "{'attention':{'gate':'heads'}}", "attention.gate", "no module named 'heads' (did you mean 'head'?)", "none" },
    { "{'attention':{'gate':{'module':'none','mult':2}}}", "attention.gate.mult", "no parameter 'mult'",
      "nothing can be set" },
    { "{'attention':{'gate':7}}", "attention.gate", "7: must be the name of a module", "known:" },
    { "{'norm':{'module':7}}", "norm", "7: must be the name of a module", "rms" },
    { "{'norm':{'module':'zzzzzzzzzz'}}", "norm", "no module named 'zzzzzzzzzz'\n", "known: rms" },
    { "{'layers':0}", "layers", "0 is out of range", "1 to 100 layers" },
    { "{'layers':1e300}", "layers", "1e+300 is out of range", "" },
    { "{'layers':2.5}", "layers", "2.5: must be an integer", "" },
    { "{'layers':'3'}", "layers", "\"3\": must be an integer", "" },
    { "{'rate':1.5}", "rate", "1.5 is out of range: 0 to 1 nats", "" },
    { "{'rate':true}", "rate", "true: must be a number", "" },
    { "{'flag':1}", "flag", "1: must be true or false", "" },
    { "{'flag':'no'}", "flag", "must be true or false", "" },
    { "{'word':'gren'}", "word", "no choice 'gren' (did you mean 'green'?)", "known: red, green, blue" },
    { "{'word':1}", "word", "no choice '1'", "known: red" },
    { "{'list':[1,10]}", "list", "10 is out of range: 0 to 9", "" },
    { "{'list':[1,1.5]}", "list", "must be an integer", "" },
    { "{'list':3}", "list", "must be a list", "" },
    { "{'attention':{'layers':['gqa','gqa']}}", "attention", "the list has 2 values, the model has 3 layers", "" },
    { "{'ffn':{'balance':'bia'}}", "ffn.balance.bia", "no module named 'bia' (did you mean 'bias'?)", "switch_aux" },
    { "{'ffn':{'balance':['bias','bias']}}", "ffn.balance", "'bias' is listed twice", "" },
    { "{'ffn':{'balance':[{'module':'bias','gama':1}]}}", "ffn.balance.bias.gama", "did you mean 'gamma'?", "" },
    { "{'ffn':{'balance':[{'gamma':1}]}}", "ffn.balance", "no module named ''", "known:" },
    { "[1]", "", "[1]: must be a table", "" },
};

static void test_each_mistake_is_named(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(mistakes); i++) {
        struct arena *arena = arena_new();
        struct problems problems = { 0 };
        struct conf conf;
        json_t *json = parse(mistakes[i].json);
        config_load(&schema, json, "", arena, &conf, &problems);
        if (problems.n != 1) fail_msg("%s: %d problems", mistakes[i].json, problems.n);
        struct problem p = problems.problem[0];
        if (strcmp(p.path, mistakes[i].path) != 0 || !strstr(p.text, mistakes[i].words) ||
            !strstr(p.text, mistakes[i].more))
            fail_msg("%s: got \"%s: %s\"", mistakes[i].json, p.path, p.text);
        problems_free(&problems);
        json_decref(json);
        arena_free(arena);
    }
}

static void test_all_mistakes_at_once(void **state)
{
    (void)state;
    struct arena *arena = arena_new();
    struct problems problems = { 0 };
    struct conf conf;
    json_t *json = parse("{'rat':1,'layers':0,'word':'x','attention':{'gate':'heads','head':3},"
                         "'ffn':{'router':{'topk':1}}}");
    config_load(&schema, json, "base", arena, &conf, &problems);
    assert_int_equal(problems.n, 6);
    for (int i = 0; i < problems.n; i++) assert_memory_equal(problems.problem[i].path, "base.", 5);
    problems_free(&problems);
    json_decref(json);
    arena_free(arena);
}

/* json with path set to value is, resolved, the same as `wanted`. */
static const struct { const char *json, *path, *value, *wanted; } settings[] = {
    { "{}", "rate", "0.25", "{'rate':0.25}" },
    { "{}", "attention.gate", "'head'", "{'attention':{'gate':'head'}}" },
    { "{'attention':'gqa'}", "attention.gate", "'head'", "{'attention':{'gate':'head'}}" },
    { "{'attention':{'gate':{'module':'head','mult':2}}}", "attention.gate", "'head'",
      "{'attention':{'gate':'head'}}" },
    { "{'ffn':{'d_ff':32}}", "ffn.router.top_k", "1", "{'ffn':{'d_ff':32,'router':{'top_k':1}}}" },
    { "{'ffn':{'layers':['dense','moe',{}]}}", "ffn.router.top_k", "1",
      "{'ffn':{'layers':['dense',{'router':{'top_k':1}},{'router':{'top_k':1}}]}}" },
    { "{'ffn':{'layers':['dense','moe',{}]}}", "ffn", "'dense'", "{'ffn':'dense'}" },
    { "{'attention':{'gate':'head'}}", "attention", "{'kv':'mirror'}", "{'attention':{'gate':'head','kv':'mirror'}}" },
    { "{'ffn':{'balance':'bias'}}", "ffn.balance.bias.gamma", "0.01",
      "{'ffn':{'balance':[{'module':'bias','gamma':0.01}]}}" },
    { "{'ffn':{'balance':['z_loss','bias']}}", "ffn.balance", "[]", "{'ffn':{'balance':'none'}}" },
};

static void test_set_by_path(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(settings); i++) {
        struct err e;
        char wrapped[256];
        snprintf(wrapped, sizeof wrapped, "{'v':%s}", settings[i].value);
        json_t *json = parse(settings[i].json), *value = parse(wrapped), *wanted = parse(settings[i].wanted);
        if (config_set(&schema, json, settings[i].path, json_object_get(value, "v"), &e) != 0)
            fail_msg("%s: %s", settings[i].path, e.text);
        char *got = resolved(json), *want = resolved(wanted);
        assert_string_equal(got, want);
        free(got); free(want);
        json_decref(json); json_decref(value); json_decref(wanted);
    }
}

static const struct { const char *json, *path, *words; } bad_paths[] = {
    { "{}", "rat", "did you mean 'rate'?" },
    { "{}", "rate.x", "'rate' is a value" },
    { "{}", "ffn.router.topk", "did you mean 'top_k'?" },
    { "{'ffn':'dense'}", "ffn.router.top_k", "no parameter 'router'" },
    { "{'ffn':{'layers':['dense','dense','dense']}}", "ffn.router.top_k", "no parameter 'router'" },
    { "{}", "ffn.balance.bias.gamma", "'bias' is not in the list" },
    { "{}", "", "no parameter ''" },
};

static void test_bad_paths(void **state)
{
    (void)state;
    json_t *one = json_integer(1);
    for (int i = 0; i < COUNT(bad_paths); i++) {
        struct err e;
        json_t *json = parse(bad_paths[i].json);
        assert_int_equal(config_set(&schema, json, bad_paths[i].path, one, &e), -1);
        if (!strstr(e.text, bad_paths[i].words)) fail_msg("%s: %s", bad_paths[i].path, e.text);
        json_decref(json);
    }
    json_decref(one);
}

static void test_get_by_path(void **state)
{
    (void)state;
    json_t *json = parse("{'rate':0.25,'ffn':{'layers':[{'module':'moe','router':{'top_k':1},"
                         "'balance':[{'module':'bias','gamma':2}]},'dense']}}");
    assert_true(json_real_value(config_get(json, "rate")) == 0.25);
    assert_int_equal(json_integer_value(config_get(json, "ffn.router.top_k")), 1);
    assert_int_equal(json_integer_value(config_get(json, "ffn.balance.bias.gamma")), 2);
    assert_string_equal(json_string_value(config_get(json, "ffn.module")), "moe");
    assert_null(config_get(json, "ffn.router.score"));
    assert_null(config_get(json, "ffn.balance.z_loss"));
    assert_null(config_get(json, "rate.x"));
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_form_for_one_meaning), cmocka_unit_test(test_values_reach_the_struct),
        cmocka_unit_test(test_each_mistake_is_named), cmocka_unit_test(test_all_mistakes_at_once),
        cmocka_unit_test(test_set_by_path), cmocka_unit_test(test_bad_paths), cmocka_unit_test(test_get_by_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
