/* Experiment scripts: what good ones describe, what is said about bad ones, and what hostile ones cannot do. */
#include "bind.h"
#include "model/model.h"
#include <ctype.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/sluice-script-XXXXXX";

struct result { int code; struct script *script; json_t *description; struct problems problems; };

static void write_file(const char *name, const char *text, size_t size)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void check_model(const json_t *model, const json_t *train, struct problems *problems)
{
    struct arena *arena = arena_new();
    struct model_conf model_conf;
    struct train_conf train_conf;
    model_load(model, arena, &model_conf, problems);
    train_load(train, arena, &train_conf, problems);
    arena_free(arena);
}

/* What study_resolve checks before it measures: the base, and each variant after its settings. */
static void check_schemas(struct result *r)
{
    const char *path;
    json_t *base = json_object_get(r->description, "base"), *table = json_object_get(r->description, "train"), *variant,
           *value;
    size_t i;
    if (!base) return;
    check_model(base, table, &r->problems);
    json_array_foreach(json_object_get(r->description, "variants"), i, variant) {
        json_t *model = json_deep_copy(base), *train = json_deep_copy(table);
        r->problems.variant = json_string_value(json_object_get(variant, "name"));
        json_object_foreach(json_object_get(variant, "set"), path, value) {
            struct err e;
            bool training = strncmp(path, "train.", 6) == 0;
            if (training ? config_set(&train_schema, train, path + 6, value, &e)
                         : config_set(&model_schema, model, path, value, &e))
                problem_add(&r->problems, path, "%s", e.text);
        }
        check_model(model, train, &r->problems);
        r->problems.variant = NULL;
        json_decref(model);
        json_decref(train);
    }
}

static struct result run_file(const char *path, const struct script_options *options)
{
    struct result r = { 0 };
    r.code = script_run(path, options, &r.script, &r.description, &r.problems);
    assert_int_equal(r.code, r.problems.n ? -1 : 0);
    if (r.description) check_schemas(&r);
    return r;
}

static struct result run_with(const char *text, const struct script_options *options)
{
    char path[256];
    write_file("x.lua", text, strlen(text));
    snprintf(path, sizeof path, "%s/x.lua", folder);
    return run_file(path, options);
}

static struct result run(const char *text) { return run_with(text, &(struct script_options){ 0 }); }
static struct result run_setting(const char *text, int n, const char *const *set)
{
    return run_with(text, &(struct script_options){ .n_set = n, .set = set });
}

static void done(struct result *r)
{
    json_decref(r->description);
    problems_free(&r->problems);
    script_free(r->script);
}

/* All problems as lines "file:line: path: text", the way they are printed, without the folder. */
static char *told(struct result *r)
{
    static char text[65536];
    size_t at = 0;
    text[0] = 0;
    for (int i = 0; i < problems_kept(&r->problems); i++) {
        struct problem *p = &r->problems.problem[i];
        const char *where = *p->path ? script_locate(r->script, p->variant, p->path) : p->text;
        where = strncmp(where, folder, strlen(folder)) == 0 ? where + strlen(folder) + 1 : where;
        at += (size_t)snprintf(text + at, sizeof text - at, *p->path ? "%s: %s: %s\n" : "%s\n", where, p->path,
                               p->text);
    }
    return text;
}

static char *dumped(struct result *r)                       /* without what holds the folder or the text */
{
    if (!r->description) fail_msg("no description: %s", told(r));
    if (r->problems.n) fail_msg("%s", told(r));
    json_object_del(r->description, "script_text");
    json_object_del(r->description, "script_path");
    json_object_del(r->description, "script_xxh128");
    json_object_del(r->description, "required");
    return config_canonical(r->description);
}

#define HEAD "local sl = require 'sluice' "
#define BASE HEAD "local base = sl.model { layers = 2, d_model = 32, ffn = 'moe' } "

static void describes(const char *script, const char *wanted)
{
    struct result r = run(script);
    char *got = dumped(&r), *want = xstrdup(wanted);
    for (char *c = want; *c; c++) if (*c == '\'') *c = '"';
    assert_string_equal(got, want);
    free(got);
    free(want);
    done(&r);
}

static void test_named_variants(void **state)
{
    (void)state;
    describes(BASE "return sl.study { base = base, name = 'q', replicates = 3, seed = 7, data = 'c.tok', primary = "
                   "'eval.loss', train = { steps = 10, optim = { 'adamw', lr = 1e-3 } },"
              "variants = { control = {}, gated = { ['attention.gate'] = { 'head', mult = 2 } }, slow = { "
              "['train.steps'] = 20 } },"
              "match = { 'active_params', adjust = 'ffn.d_ff' } }",
              "{'base':{'d_model':32,'ffn':'moe','layers':2},'baseline':'control','data':'c.tok',"
              "'match':{'adjust':'ffn.d_ff','quantity':'active_params','tolerance':0.01},"
              "'name':'q','primary':'eval.loss','replicates':3,'seed':7,'train':{'optim':{'lr':0.001,'module':'adamw'},"
              "'steps':10},"
              "'variants':[{'name':'control','set':{}},{'name':'gated','set':{'attention.gate':{'module':'head',"
              "'mult':2}}},{'name':'slow','set':{'train.steps':20}}]}");
}

static void test_defaults(void **state)
{
    (void)state;
    describes(BASE "return sl.study { base = base, variants = { a = {}, b = { d_model = 64 } } }",
              "{'base':{'d_model':32,'ffn':'moe','layers':2},'baseline':'a','data':'synthetic','name':'x',"
              "'primary':'eval.loss','replicates':5,'seed':0,'train':{},"
              "'variants':[{'name':'a','set':{}},{'name':'b','set':{'d_model':64}}]}");
}

static void test_axes(void **state)
{
    (void)state;
    describes(BASE "return sl.study { base = base, filter = function(v) return not (v['ffn.router.score'] == 'sigmoid' "
                   "and v['ffn.balance'] == 'none') end,"
              "axes = { ['ffn.router.score'] = { 'softmax', 'sigmoid' }, ['ffn.balance'] = { { 'bias', gamma = 0.01 }, "
              "'none' } } }",
              "{'base':{'d_model':32,'ffn':'moe','layers':2},'baseline':'balance=bias-gamma=0.01,score=softmax',"
              "'data':'synthetic','name':'x','primary':'eval.loss','replicates':8,'seed':0,'train':{},"
              "'variants':[{'name':'balance=bias-gamma=0.01,score=softmax','set':{'ffn.balance':{'gamma':0.01,"
              "'module':'bias'},'ffn.router.score':'softmax'}},"
              "{'name':'balance=bias-gamma=0.01,score=sigmoid','set':{'ffn.balance':{'gamma':0.01,'module':'bias'},"
              "'ffn.router.score':'sigmoid'}},"
              "{'name':'balance=none,score=softmax','set':{'ffn.balance':'none','ffn.router.score':'softmax'}}]}");
}

static void test_horizons(void **state)
{
    (void)state;
    describes(BASE "return sl.study { base = base, horizons = { 5, 20 }, baseline = 'b', variants = { a = {}, "
                   "b = sl.extend(base, { ['d_model'] = 64 }) } }",
              "{'base':{'d_model':32,'ffn':'moe','layers':2},'baseline':'b,steps=20','data':'synthetic','name':'x',"
              "'primary':'eval.loss','replicates':5,'seed':0,'train':{'steps':20},'variants':["
              "{'baseline':'b,steps=5','name':'a,steps=5','set':{'train.steps':5}},"
              "{'baseline':'b,steps=20','name':'a,steps=20','set':{'train.steps':20}},"
              "{'baseline':'b,steps=5','name':'b,steps=5','set':{'d_model':64,'ffn':'moe','layers':2,'train.steps':5}},"
              "{'baseline':'b,steps=20','name':'b,steps=20',"
              "'set':{'d_model':64,'ffn':'moe','layers':2,'train.steps':20}}]}");
    static const char *const lists[] = { "{}", "{ 5, 5 }", "{ 9, 5 }", "{ 0 }", "{ 1.5 }", "{ 'a' }", "{ 5, a = 6 }" };
    for (int i = 0; i < COUNT(lists); i++) {
        char script[256];
        snprintf(script, sizeof script, BASE "return sl.study { base = base, horizons = %s, variants = { a = {} } }",
                 lists[i]);
        struct result r = run(script);
        if (!strstr(told(&r), "horizons: must be a list of steps that ascend: { 100, 200, 400 }"))
            fail_msg("%s: %s", lists[i], told(&r));
        done(&r);
    }
}

static const char *names_of(struct result *r)
{
    static char text[1024];
    json_t *v;
    size_t i, at = 0;
    text[0] = 0;
    if (r->problems.n || !r->description) fail_msg("%s", told(r));
    json_array_foreach(json_object_get(r->description, "variants"), i, v)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", i ? " " : "",
                               json_string_value(json_object_get(v, "name")));
    return text;
}

static void named(const char *script, const char *names)
{
    struct result r = run(script);
    assert_string_equal(names_of(&r), names);
    done(&r);
}

static void test_shapes_of_studies(void **state)
{
    (void)state;
    named(BASE "return sl.leave_one_out { base = base, drop = { 'attention.gate', 'embed', residual = 'post', "
               "'ffn.shared' } }",
          "full no_gate no_embed no_shared no_residual");
    named(BASE "return sl.factorial { base = base, toggles = { ['attention.gate'] = 'head', ['attention.kv'] = { "
               "'mirror', pairs = { 1, 0 } } } }",
          "base gate kv gate+kv");
    named(BASE "return sl.study { base = base, axes = { ['train.optim.lr'] = { 1e-3, 0.01, 1 }, d_model = { 32 } } }",
          "d_model=32,lr=0.001 d_model=32,lr=0.01 d_model=32,lr=1");
    named(BASE "return sl.study { base = base, axes = { ['embed.scale'] = { 1, 2 }, ['ffn.router.scale'] = { 1 } } }",
          "embed.scale=1,ffn.router.scale=1 embed.scale=2,ffn.router.scale=1");
    named(BASE "return sl.study { base = base, replicates = 2.0, axes = { ['ffn.balance'] = { plain = 'none', biased = "
               "{ 'bias', gamma = 0.01 } }, seq = { 8, 16 } } }",
          "biased,seq=8 biased,seq=16 plain,seq=8 plain,seq=16");
    named(BASE "return sl.study { base = base, baseline = 'plain', variants = { plain = {}, other = sl.model { layers "
               "= 1, d_model = 64, ffn = 'dense' } } }", "other plain");
}

static void based_on(const char *script, const char *wanted)
{
    struct result r = run(script);
    if (r.problems.n) fail_msg("%s", told(&r));
    char *got = config_canonical(json_object_get(r.description, "base")), *want = xstrdup(wanted);
    for (char *c = want; *c; c++) if (*c == '\'') *c = '"';
    assert_string_equal(got, want);
    free(got);
    free(want);
    done(&r);
}
#define STUDY " return sl.study { base = m, variants = { a = {} } }"

static void test_models(void **state)
{
    (void)state;
    based_on(HEAD "local m = sl.model { layers = 3, attention = { 'gqa', mask = function(l) return l < 3 and { "
                  "'window', size = 8 } or 'causal' end }, ffn = 'moe' }" STUDY,
             "{'attention':{'layers':[{'mask':{'module':'window','size':8},'module':'gqa'},{'mask':{'module':'window',"
             "'size':8},'module':'gqa'},{'mask':'causal','module':'gqa'}]},'ffn':'moe','layers':3}");
    based_on(HEAD "local m = sl.extend(sl.model { layers = 2, ffn = function(l) return l == 1 and 'dense' or { 'moe', "
                  "experts = 4 } end }, { ['ffn.router.top_k'] = 1 })" STUDY,
             "{'ffn':{'layers':['dense',{'experts':4,'module':'moe','router':{'top_k':1}}]},'layers':2}");
    based_on(HEAD "local m = sl.model { layers = 3, ffn = { 'moe', router = { select = function(l) return l < 3 and "
                  "'hash' or 'top_k' end } } }" STUDY,
             "{'ffn':{'layers':[{'module':'moe','router':{'select':'hash'}},{'module':'moe','router':{'select':"
             "'hash'}},{'module':'moe','router':{'select':'top_k'}}]},'layers':3}");
    based_on(HEAD "local m = sl.extend(sl.model { layers = 2, position = 'rope' }, { position = function(l) return l "
                  "== 2 and 'none' or 'rope' end })" STUDY,
             "{'layers':2,'position':{'layers':['rope','none']}}");
    based_on(HEAD "local m = sl.extend(sl.extend(sl.preset 'baseline-nano', { layers = 1, ffn = 'dense', attention = { "
                  "gate = 'head' } }), { d_model = 32, ['ffn.d_ff'] = 8 })" STUDY,
             "{'attention':{'gate':'head','head_dim':16,'heads':4,'kv_heads':2,'module':'gqa'},'d_model':32,"
             "'embed':'plain','ffn':{'d_ff':8,'module':'dense'},"
             "'head':{'module':'lm','tied':true},'layers':1,'position':'rope','residual':'pre','seq':128}");
    based_on(HEAD
             "local m = sl.model { layers = 6, attention = { kv = { 'mirror', pairs = sl.u_mirror(6, 2) } } }" STUDY,
             "{'attention':{'kv':{'module':'mirror','pairs':[5,0,4,1]}},'layers':6}");
    based_on(HEAD "local m = sl.model { layers = 6, attention = { kv = { 'mirror', pairs = sl.u_mirror(6, 2, true) } "
                  "}, head = { mtp = 'sequential' } }" STUDY,
             "{'attention':{'kv':{'module':'mirror','pairs':[6,0,5,1]}},'head':{'mtp':'sequential'},'layers':6}");
}

/* Each layer of a deeper model is set as the one that it is a copy of; changes mean the deeper model's layers. */
static void test_deeper_models(void **state)
{
    (void)state;
    based_on(HEAD "local m = sl.deepen(sl.extend(sl.model { layers = 3, attention = { mask = function(l) return l == 2 "
                  "and 'window' or 'causal' end }, ffn = { layers = { 'dense', 'moe', { 'moe', experts = 4 } } } }, "
                  "{ position = function(l) return l == 3 and 'none' or 'rope' end }), { init = { 'from', run = 'a', "
                  "map = { 'cycle', from = 1, to = 2, times = 2 } }, ['attention.gate'] = function(l) return l == 5 "
                  "and 'head' or 'none' end })" STUDY,
             "{'attention':{'layers':[{'gate':'none','mask':'causal'},{'gate':'none','mask':'window'},{'gate':'none',"
             "'mask':'causal'},{'gate':'none','mask':'window'},{'gate':'head','mask':'causal'}]},'ffn':{'layers':["
             "'dense','moe',{'experts':4,'module':'moe'},'moe',{'experts':4,'module':'moe'}]},'init':{'map':{'from':1,"
             "'module':'cycle','times':2,'to':2},'module':'from','run':'a'},'layers':5,'position':{'layers':['rope',"
             "'rope','none','rope','none']}}");
    based_on(HEAD "local m = sl.deepen(sl.model { layers = 3, position = function(l) return l == 1 and 'none' or "
                  "'rope' end }, { init = { 'from', run = 'a', map = { 'overlap', removed = 1 } } })" STUDY,
             "{'init':{'map':{'module':'overlap','removed':1},'module':'from','run':'a'},'layers':4,'position':{"
             "'layers':['none','rope','rope','rope']}}");
}

/* A variant that changes the number of layers gets its own list. */
static void test_functions_meet_variants(void **state)
{
    (void)state;
    struct result r = run(HEAD "local m = sl.model { layers = 2, attention = { mask = function(l) return l == 1 and "
                          "'window' or 'causal' end } } return sl.study { base = m, variants = { a = {}, deep = { "
                          "layers = 3, ['attention.gate'] = 'head' }, gated = { ['attention.gate'] = 'head' },"
                          "mixed = { ['attention.gate'] = function(l) return l == 2 and 'head' or 'none' end } } }");
    char *got = dumped(&r);
    assert_non_null(strstr(got, "{\"name\":\"deep\",\"set\":{\"attention\":{\"layers\":[{\"gate\":\"head\","
                                "\"mask\":\"window\"},{\"gate\":\"head\",\"mask\":\"causal\"},"
                                "{\"gate\":\"head\",\"mask\":\"causal\"}]},\"layers\":3}}"));
    assert_non_null(strstr(got, "{\"name\":\"gated\",\"set\":{\"attention.gate\":\"head\"}}"));
    assert_non_null(strstr(got, "{\"name\":\"mixed\",\"set\":{\"attention\":{\"layers\":[{\"gate\":\"none\","
                                "\"mask\":\"window\"},{\"gate\":\"head\",\"mask\":\"causal\"}]}}}"));
    free(got);
    done(&r);
}

static void test_overrides(void **state)
{
    (void)state;
    const char *set[] = { "layers=3", "train.steps=7", "ffn.router.score=sigmoid", "replicates=2",
                          "ffn.balance={{'bias'}}" };
    struct result r = run_setting(HEAD "local m = sl.model { layers = 2, ffn = { 'moe', d_ff = function(l) return 8 * "
                                       "l end } }" STUDY, COUNT(set), set);
    char *got = dumped(&r);
    assert_non_null(strstr(got, "\"base\":{\"ffn\":{\"layers\":[{\"balance\":[{\"module\":\"bias\"}],\"d_ff\":8,"
                                "\"module\":\"moe\",\"router\":{\"score\":\"sigmoid\"}}"));
    assert_non_null(strstr(got, "\"d_ff\":24"));
    assert_non_null(strstr(got, "\"train\":{\"steps\":7}"));
    assert_non_null(strstr(got, "\"replicates\":2"));
    free(got);
    done(&r);
    const char *bad[] = { "nonsense", "ffn.router.topk=1", "train.stepz=1", "layers=0" };
    r = run_setting(BASE "return sl.study { base = base, variants = { a = {} } }", COUNT(bad), bad);
    const char *text = told(&r);
    assert_non_null(strstr(text, "--set nonsense: must be path=value"));
    assert_non_null(strstr(text, "did you mean 'top_k'?"));
    assert_non_null(strstr(text, "did you mean 'steps'?"));
    assert_non_null(strstr(text, "--set layers=0: layers: 0 is out of range"));
    done(&r);
}

/* The order of keys in a table never shows, whatever Lua's hash seed is. */
static void test_order_does_not_matter(void **state)
{
    (void)state;
    char *first = NULL;
    for (int i = 0; i < 8; i++) {
        struct result r = run(i % 2 ? BASE "return sl.study { axes = { seq = { 8, 16 }, ['ffn.d_ff'] = { 16, 32 }, "
                                           "['attention.gate'] = { 'none', 'head' } }, base = base }"
                                    : BASE "return sl.study { base = base, axes = { ['attention.gate'] = { 'none', "
                                           "'head' }, ['ffn.d_ff'] = { 16, 32 }, seq = { 8, 16 } } }");
        char *got = dumped(&r);
        if (first) assert_string_equal(got, first);
        else { first = got; got = NULL; }
        free(got);
        done(&r);
    }
    free(first);
}

/* A bad script and the words that it must produce. */
static const struct { const char *script, *words; } bad[] = {
    /* the language */
    { "local x = = 3", "x.lua:1: unexpected symbol near '='" },
    { "return", "x.lua: must return a study" },
    { "return 3", "must return a study" },
    { "return { description = {} }", "must return a study" },
    { "local x = {} \n return x.y.z", "x.lua:2: attempt to index a nil value" },
    { "error('my words')", "x.lua:1: my words" },
    { "error({})", "x.lua: an error that is no text" },
    { HEAD "\nlocal base = 3\nreturn bse", "x.lua:3: undeclared name 'bse' (did you mean 'base'?)" },
    { HEAD "local function f() return s.model end return f()", "undeclared name 's'" },
    { "study = 3", "x.lua:1: undeclared name 'study' is assigned to" },
    { "return requir 'sluice'", "did you mean 'require'?" },
    { "local _ = head", "a text needs quotes" },
    { "require 'sluise'", "sluise.lua: No such file" },
    { "require 'sluice.nothing'", "the library has no part 'sluice.nothing'" },
    { "require 'x'", "x.lua:1: require 'x': it requires itself" },
    { HEAD "sl.modell {}", "attempt to call a nil value (field 'modell')" },
    /* keys of a study */
    { BASE "return sl.study { base = base, replicate = 3, variants = { a = {} } }",
      "sl.study has no key 'replicate' (did you mean 'replicates'?)" },
    { BASE "return sl.study { base = base, variants = { a = {} },\n replicates = 'three' }",
      "x.lua:2: replicates: must be an integer, not 'three'" },
    { BASE "return sl.study { base = base, variants = { a = {} }, replicates = 0 }",
      "replicates: 0 is out of range: 1 to 1000" },
    { BASE "return sl.study { base = base, variants = { a = {} }, replicates = 2.5 }",
      "replicates: must be an integer, not 2.5" },
    { BASE "return sl.study { variants = { a = {} } }", "base is missing" },
    { BASE "return sl.study { base = { layers = 3 }, variants = { a = {} } }", "base: must be a model" },
    { BASE "return sl.study { base = base }", "needs variants or axes" },
    { BASE "return sl.study { base = base, variants = {} }", "nothing to compare" },
    { BASE "return sl.study { base = base, variants = { a = {} }, axes = { seq = { 1 } } }", "not both" },
    { BASE "return sl.study { base = base, variants = { {} } }", "each needs a name" },
    { BASE "return sl.study { base = base, variants = { a = 3 } }", "variants.a: must be a table" },
    { BASE "return sl.study { base = base, variants = { ['a/b'] = {} } }", "'a/b': a name begins with a letter" },
    { BASE "return sl.study { base = base, name = '../x', variants = { a = {} } }",
      "'../x': a name begins with a letter" },
    { BASE "return sl.study { base = base, variants = { gated = { seq = 8 }, plain = { seq = 4 } } }",
      "baseline: which variant are the others compared with?\n  known: gated, plain" },
    { BASE "return sl.study { base = base, variants = { gated = {} }, baseline = 'gate' }",
      "no variant 'gate' (did you mean 'gated'?)" },
    { BASE "return sl.study { base = base, variants = { a = {} }, primary = 'loss' }",
      "primary: 'loss': must be a group and a metric" },
    { BASE "return sl.study { base = base, variants = { a = {} }, match = { 'active_params', ajust = 'ffn.d_ff' } }",
      "match has no key 'ajust' (did you mean 'adjust'?)" },
    { BASE "return sl.study { base = base, variants = { a = {} }, match = { 'active_params', adjust = 'ffn.d_ff', "
           "tolerance = 2 } }", "match.tolerance: 2 is out of range" },
    { BASE "return sl.study { base = base, variants = { a = {} }, filter = true }", "filter: must be a function" },
    { BASE "return sl.study { base = base, axes = { seq = { 4, 8 } }, filter = function() end }",
      "filter: must give true or false, gave nil for 'seq=4'" },
    { BASE "return sl.study { base = base, axes = { seq = { 4, 8 } }, filter = function() return false end }",
      "no variant is left" },
    { BASE "return sl.study { base = base, axes = { seq = 4 } }", "axes.seq: must be a list of values" },
    { BASE "return sl.study { base = base, axes = { seq = { 4, 8, 4 } } }", "'4' is listed twice" },
    { BASE "return sl.study { base = base, axes = { seq = { 4, a = 8 } } }", "axes.seq: must be a list of values, " },
    { BASE "return sl.study { base = base, axes = { seq = { ['a/b'] = 8 } } }", "'a/b': a name begins with a letter" },
    { BASE "return sl.study { base = base, axes = { ['ffn.balance'] = { { 'bias', gamma = tonumber('0.' .. "
           "('1'):rep(5)) }, { ('x'):rep(120) } } } }", "give values short names: axes = { [\"ffn.balance\"]" },
    { BASE "local v = {} for i = 1, 4097 do v['v' .. i] = {} end return sl.study { base = base, baseline = 'v1', "
           "variants = v }", "4097 variants: at most 4096" },
    { BASE "return sl.study { base = base, train = { steps = function() return 3 end }, variants = { a = {} } }",
      "train: functions are for the model's layers" },
    { BASE "return sl.study { base = base, train = { steps = 0/0 }, variants = { a = {} } }",
      "no number to compute with" },
    { BASE "return sl.study(3)", "sl.study takes a table" },
    { BASE "return sl.leave_one_out { base = base, drop = {} }", "needs drop" },
    { BASE "return sl.leave_one_out { base = base, dorp = { 'embed' } }",
      "sl.leave_one_out has no key 'dorp' (did you mean 'drop'?)" },
    { BASE "return sl.leave_one_out { base = base, drop = { 'attention.gat' } }",
      "attention.gat: no parameter 'gat' (did you mean 'gate'?)" },
    { BASE "return sl.factorial { base = base, toggles = {} }", "from 1 to 8" },
    /* models */
    { HEAD "local m = sl.model { 'gqa', layers = 3 }" STUDY, "sl.model takes keys only" },
    { HEAD "local m = sl.model(3)" STUDY, "sl.model takes a table" },
    { HEAD "local m = sl.preset 'baseline-nan'" STUDY, "no preset 'baseline-nan' (did you mean 'baseline-nano'?)" },
    { HEAD "local m = sl.extend({}, {})" STUDY, "sl.extend takes a model first" },
    { BASE "local m = sl.extend(base, { ['ffn.router.topk'] = 3 })" STUDY,
      "ffn.router.topk: no parameter 'topk' (did you mean 'top_k'?)" },
    { BASE "base.layers = 3", "a model cannot be assigned to" },
    { BASE "print(base.layers)", "a model cannot be read" },
    { HEAD "local m = sl.model { ffn = { 'moe', 'dense', d_ff = 3 } }" STUDY,
      "ffn: a table is a list, or a module's name first" },
    { HEAD "local m = sl.model { ffn = { 'moe', module = 'dense' } }" STUDY, "ffn: the module is named twice" },
    { HEAD "local m = sl.model { attention = { kv = { 'mirror', pairs = { 1, nil, 3 } } } }" STUDY,
      "attention.kv.pairs: the list has a hole" },
    { HEAD "local m = sl.model { [true] = 3 }" STUDY, "keys are names" },
    { HEAD "local t = {} t.t = t local m = sl.model { attention = t }" STUDY, "attention.t: a table contains itself" },
    { BASE "local m = sl.model { attention = base }" STUDY, "an object is no value" },
    { HEAD "local m = sl.model { layers = 2, embed = function() return 'plain' end }" STUDY,
      "embed: only position, residual, memory, block, ple, conv, attention, ffn may be functions of the layer" },
    { HEAD "local m = sl.model { ffn = function() return 'moe' end }" STUDY, "needs 'layers' in sl.model" },
    { HEAD "local m = sl.model { layers = 2, ffn = function(l) if l < 2 then return 'moe' end end }" STUDY,
      "ffn: the function gives nothing for layer 2" },
    { HEAD "local m = sl.model { layers = 2, ffn = function(l) return l.x end }" STUDY,
      "x.lua:1: attempt to index a number value" },
    { HEAD "local m = sl.deepen({}, {})" STUDY, "sl.deepen takes a model first" },
    { BASE "local m = sl.deepen(base, { layers = 4 })" STUDY, "sl.deepen takes changes second, with init" },
    { HEAD "local m = sl.deepen(sl.model {}, { init = { 'from', run = 'a', map = 'cycle' } })" STUDY,
      "sl.deepen needs 'layers' in sl.model" },
    { BASE "local m = sl.deepen(base, {\n init = { 'from', run = 'a', map = 'cycel' } })" STUDY,
      "x.lua:2: sl.deepen: init.map: no module named 'cycel' (did you mean 'cycle'?)" },
    { BASE "local m = sl.deepen(base, { init = { 'from', run = 'a' } })" STUDY,
      "sl.deepen: init.map says of no layer which it is a copy of" },
    { BASE "local m = sl.deepen(base, { init = 'normal' })" STUDY, "sl.deepen: init.map says of no layer" },
    { BASE "local m = sl.deepen(base, { init = { 'from', run = 'a', map = { 'layers', of = { 0, 9 } } } })" STUDY,
      "layer 1 is to be a copy of layer 9, and a has " },
    { HEAD "local m = sl.deepen(sl.model { layers = 2, order = { 0, 0, 1 } }, { init = { 'from', run = 'a', map = "
      "'cycle' } })" STUDY, "`order` of the model names layers by their old numbers" },
    { HEAD "sl.router 'deepseek-3'", "no router 'deepseek-3' (did you mean 'deepseek-v3'?)" },
    { HEAD "sl.router('mixtral', 2)", "a table of the router's keys" },
    { HEAD "sl.router('mixtral', {}, 'attention')", "attention.experts" },
    { HEAD "sl.u_mirror(4, 3)", "n must be from 1 to 2" },
    { HEAD "sl.u_mirror(1 << 40)", "layers must be an integer from 2 to 4096" },
    { HEAD "local m = sl.model { init = '\\xff' }" STUDY, "not UTF-8" },
    /* schemas */
    { HEAD "local m = sl.model {\n layer = 3 }" STUDY,
      "x.lua:2: layer: no parameter 'layer' (did you mean 'layers'?)" },
    { HEAD "local m = sl.model { layers = 0 }" STUDY, "layers: 0 is out of range" },
    { HEAD "local m = sl.model { attention = {\n gate = 'heads' } }" STUDY,
      "x.lua:2: attention.gate: no module named 'heads' (did you mean 'head'?)\n  known: none, head" },
    { HEAD "local m = sl.model { ffn = { 'moe', router = { score = 'softmx' } } }" STUDY,
      "no choice 'softmx' (did you mean 'softmax'?)" },
    { BASE "return sl.study { base = base, variants = { a = {},\n b = {\n ['attention.gat'] = 'head' } } }",
      "x.lua:3: attention.gat: no parameter 'gat' (did you mean 'gate'?)" },
    { BASE "return sl.study { base = base, variants = { a = {}, b = sl.model { layers = 2 } } }",
      "variants.b: the model says nothing of 'd_model'" },
    { BASE "return sl.study { base = base, horizons = { 5 }, train = { steps = 7 }, variants = { a = {} } }",
      "x.lua:1: horizons: train.steps is what they say: give one of the two" },
    { BASE "return sl.study { base = base, horizons = { 5 }, variants = { a = {\n ['train.steps'] = 7 } } }",
      "'a' sets train.steps, and horizons do too" },
    { BASE "return sl.study { base = base, variants = { a = {} }, train = {\n optim = { 'adamw',\n rl = 3 } } }",
      "x.lua:3: train.optim.rl: no parameter 'rl' (did you mean 'lr'?)" },
};

static void test_bad_scripts(void **state)
{
    (void)state;
    int missed = 0;
    for (int i = 0; i < COUNT(bad); i++) {
        struct result r = run(bad[i].script);
        if (r.problems.n && strstr(told(&r), bad[i].words)) { done(&r); continue; }
        print_error("%s\n  wanted: %s\n  got: %s\n", bad[i].script, bad[i].words, told(&r));
        done(&r);
        missed++;
    }
    assert_int_equal(missed, 0);
}

static void test_all_mistakes_at_once(void **state)
{
    (void)state;
    struct result r = run(HEAD "\nlocal base = sl.model { layer = 3,\nattention = { 'gqa', gate = 'heads' } }\n"
                          "return sl.study {\n bse = base,\n base = base,\n replicates = 'x',\n"
                          " variants = { a = {}, b = { ['ffn.x'] = 1 } },\n train = { stepz = 1 } }");
    const char *text = told(&r);
    assert_non_null(strstr(text, "x.lua:5: sl.study has no key 'bse' (did you mean 'base'?)"));
    assert_non_null(strstr(text, "x.lua:7: replicates: must be an integer"));
    assert_non_null(strstr(text, "x.lua:2: layer: no parameter 'layer'"));
    assert_non_null(strstr(text, "x.lua:3: attention.gate: no module named 'heads'"));
    assert_non_null(strstr(text, "x.lua:8: ffn.x: no parameter 'x'"));
    assert_non_null(strstr(text, "x.lua:9: train.stepz: no parameter 'stepz' (did you mean 'steps'?)"));
    done(&r);
}

static void located(struct result *r, const char *variant, const char *path, const char *wanted)
{
    const char *at = script_locate(r->script, variant, path);
    at = strncmp(at, folder, strlen(folder)) == 0 ? at + strlen(folder) + 1 : at;
    if (strcmp(at, wanted) != 0) fail_msg("%s of %s: %s, not %s", path, variant ? variant : "the base", at, wanted);
}

static void test_places(void **state)
{
    (void)state;
    static const char other[] = "local sl = require 'sluice'\nlocal gqa = { 'gqa',\n  heads = 4 }\nreturn sl.model {\n"
                                " layers = 2, -- seq = 3\n attention = gqa,\n ffn = { 'moe',\n"
                                "  balance = { { 'bias',\n   gamma = 0.1 } } } }\n";
    write_file("other.lua", other, sizeof other - 1);
    struct result r = run("local sl = require 'sluice'\nlocal base = sl.extend(require 'other', {\n"
                          " ['attention.kv_heads'] = 1,\n [ [[seq]] ] = 8 })\n"
                          "return sl.study {\n base = base,\n train = {\n  steps = 3, optim = { 'adamw',\n"
                          "   lr = 1 } },\n variants = { a = {},\n  b = { ['attention.heads'] = 8,\n"
                          "   ffn = { 'moe',\n    experts = 4 } } } }");
    if (r.problems.n) fail_msg("%s", told(&r));
    located(&r, NULL, "attention.heads", "other.lua:3");
    located(&r, NULL, "attention.kv_heads", "x.lua:3");
    located(&r, NULL, "seq", "x.lua:4");
    located(&r, NULL, "ffn.balance.bias.gamma", "other.lua:9");
    located(&r, NULL, "train.optim.lr", "x.lua:9");
    located(&r, NULL, "train.batch", "x.lua:7");
    located(&r, NULL, "vocab", "other.lua:4");
    located(&r, "b", "attention.heads", "x.lua:11");
    located(&r, "b", "ffn.experts", "x.lua:13");
    located(&r, "b", "ffn.d_ff", "x.lua:12");
    located(&r, "a", "attention.heads", "other.lua:3");
    done(&r);
}

/* Tables that name themselves lead nowhere new; of several tables a call's own is the last. */
static void test_places_in_tangles(void **state)
{
    (void)state;
    double start = clock_seconds();
    struct result r = run("local sl = require 'sluice'\nlocal a\nif a then a = { a = a, a = a, a = a, a = a } a = { a "
                          "= a, a = a, a = a } end\n"
                          "local m = sl.extend(\n sl.model { layers = 2,\n seq = 8 },\n { seq = 16,\n a = a,\n"
                          " ['x.a.a.a'] = 1,\n"
                          "['a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a'] = 1 })"
                          STUDY);
    assert_non_null(strstr(told(&r), "x.lua:9: x.a.a.a: no parameter 'x'"));
    assert_non_null(strstr(told(&r), "x.lua:3: a.a.a.a"));
    located(&r, NULL, "seq", "x.lua:7");
    located(&r, NULL, "layers", "x.lua:5");
    assert_true(clock_seconds() - start < 20);
    done(&r);
}

static char said[4096];
static void keep_said(const char *line) { snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", line); }

static void test_print(void **state)
{
    (void)state;
    *said = 0;
    struct result r = run_with("print(1, nil, 'a\\n\\27[2J\\xc3\\xa4\\xff\\u{202e}', setmetatable({}, { __tostring = "
                               "function() return 'named' end }))", &(struct script_options){ .say = keep_said });
    assert_string_equal(said, "1\tnil\ta\n\\u{1b}[2J\xc3\xa4\\xff\\u{202e}\tnamed\n");
    done(&r);
}

/* Every experiment that the project ships is without mistakes, and asks its question first. */
/* Every file that was read goes with the description, those of the library do not. */
static void test_sources(void **state)
{
    (void)state;
    static const char other[] = "return require('third')\n",
                      third[] = "-- \xc3\xa9\nreturn { ['attention.gate'] = 'head' }\n";
    write_file("other.lua", other, sizeof other - 1);
    write_file("third.lua", third, sizeof third - 1);
    const char *text = BASE
        "return sl.study { base = base, baseline = 'a', variants = { a = {}, b = require 'other' } }";
    struct result r = run(text);
    if (r.problems.n) fail_msg("%s", told(&r));
    const json_t *required = json_object_get(r.description, "required");
    assert_string_equal(json_string_value(json_object_get(r.description, "script_text")), text);
    assert_int_equal(json_array_size(required), 2);
    const char *const wanted[][2] = { { "other.lua", other }, { "third.lua", third } };
    for (int i = 0; i < 2; i++) {
        const json_t *file = json_array_get(required, (size_t)i);
        char hash[33];
        hash_print(hash_bytes(wanted[i][1], strlen(wanted[i][1])), hash);
        assert_string_equal(json_string_value(json_object_get(file, "name")), wanted[i][0]);
        assert_string_equal(json_string_value(json_object_get(file, "text")), wanted[i][1]);
        assert_string_equal(json_string_value(json_object_get(file, "xxh128")), hash);
    }
    done(&r);
    write_file("other.lua", "return {} -- \xff", 14);
    r = run(text);
    assert_non_null(strstr(told(&r), "other.lua: the text is not UTF-8"));
    done(&r);
    write_file("other.lua", "return {} -- \0", 14);
    r = run(text);
    assert_non_null(strstr(told(&r), "other.lua: holds a zero byte"));
    done(&r);
}

static void test_experiments(void **state)
{
    (void)state;
    static const char *const files[] = { "quickstart", "router_x_norm", "no_balance", "muon_vs_adamw",
                                         "welm_leave_one_out", "nano_reference" };
    struct script_options options = { 0 };
    for (int i = 0; i < COUNT(files); i++) {
        char path[128];
        snprintf(path, sizeof path, "experiments/%s.lua", files[i]);
        struct result r = run_file(path, &options);
        if (r.problems.n) fail_msg("%s", told(&r));
        const char *text = json_string_value(json_object_get(r.description, "script_text"));
        assert_memory_equal(text, "-- ", 3);
        assert_int_equal(text[strcspn(text, "\n") - 1], '?');
        done(&r);
    }
    for (const char *const *size = (const char *const[]){ "nano", "micro", "tiny", NULL }; *size; size++) {
        char script[512];
        snprintf(script, sizeof script, HEAD "return sl.study { base = sl.preset 'baseline-%s', baseline = 'base', "
                                             "variants = { base = {}, welm = sl.preset 'welm-%s' } }", *size, *size);
        struct result r = run(script);
        if (r.problems.n) fail_msg("%s", told(&r));
        done(&r);
        snprintf(script, sizeof script, HEAD "return sl.study { base = sl.preset 'welm-%s', variants = { base = {} } }",
                 *size);
        r = run(script);
        if (r.problems.n) fail_msg("%s", told(&r));
        done(&r);
    }
}

/* ---- every key of the quickstart, misspelt ---- */

static char *quickstart(void)
{
    FILE *f = fopen("experiments/quickstart.lua", "rb");
    assert_non_null(f);
    char *text = xcalloc(1, 1 << 16);
    assert_true(fread(text, 1, (1 << 16) - 1, f) > 0);
    fclose(f);
    return text;
}

/* The word that ends before `end` when it is a key: a name before "=", or the last part of a ["dotted.path"]. */
static const char *key_before(const char *text, const char *equals, size_t *length)
{
    const char *end = equals;
    while (end > text && end[-1] == ' ') end--;
    if (end - text > 2 && end[-1] == ']' && end[-2] == '"') end -= 2;
    const char *start = end;
    while (start > text && (isalnum((unsigned char)start[-1]) || start[-1] == '_')) start--;
    *length = (size_t)(end - start);
    return *length && strncmp(start - 6 < text ? text : start - 6, "local ", 6) != 0 ? start : NULL;
}

static int line_of(const char *text, const char *at)
{
    int line = 1;
    for (; text < at; text++) line += *text == '\n';
    return line;
}

/* names of variants are the script's own */
static bool is_own(const char *key, size_t length)
{
    static const char *const own[] = { "mirror", "gated", "partial_post", "over_encoding" };
    for (int i = 0; i < COUNT(own); i++) if (strlen(own[i]) == length && memcmp(own[i], key, length) == 0) return true;
    return length == 4 && memcmp(key, "base = {}", 9) == 0;
}

static void misspell(const char *text, const char *key, size_t length)
{
    char changed[1 << 16], right[64], at[32];
    size_t middle = (size_t)(key - text) + length / 2;
    snprintf(changed, sizeof changed, "%.*sz%s", (int)middle, text, text + middle);   /* one letter too many */
    snprintf(right, sizeof right, "did you mean '%.*s'?", (int)length, key);
    snprintf(at, sizeof at, "x.lua:%d: ", line_of(text, key));
    struct result r = run(changed);
    if (!strstr(told(&r), right) || !strstr(told(&r), at))
        fail_msg("'%.*s': wanted %s %s, got: %s", (int)length, key, at, right, told(&r));
    done(&r);
}

static void test_every_misspelt_key(void **state)
{
    (void)state;
    int keys = 0;
    char *text = quickstart();
    for (const char *c = strchr(text, '='); c; c = strchr(c + 1, '=')) {
        size_t length;
        const char *key = key_before(text, c, &length);
        if (!key || is_own(key, length)) continue;
        misspell(text, key, length);
        keys++;
    }
    assert_true(keys > 35);
    free(text);
}

/* ---- hostile scripts ---- */

/* Each ends with an error; `words` says which. None may take more memory or time than the limits. */
static const struct { const char *script, *words; } hostile[] = {
    { "load('return 1')()", "'load' is not available" },
    { "loadstring = 1", "undeclared" },
    { "dofile '/etc/passwd'", "'dofile' is not available" },
    { "loadfile '/etc/passwd'", "'loadfile' is not available" },
    { "io.open '/etc/passwd'", "'io' is not available" },
    { "os.execute 'true'", "attempt to call a nil value (field 'execute')" },
    { "os.exit(0)", "attempt to call a nil value (field 'exit')" },
    { "os.getenv 'HOME'", "field 'getenv'" },
    { "os.remove 'x'", "field 'remove'" },
    { "package.loadlib('x', 'y')", "'package' is not available" },
    { "debug.getregistry()", "'debug' is not available" },
    { "coroutine.wrap(print)", "'coroutine' is not available" },
    { "collectgarbage('stop')", "'collectgarbage' is not available" },
    { "string.dump(print)", "field 'dump'" },
    { "require '/etc/passwd'", "by their bare names" },
    { "require '../x'", "by their bare names" },
    { "require 'io'", "io.lua: No such file" },
    { "require ''", "by their bare names" },
    { "require 'x\\0y'", "" },
    { "local m = getmetatable('') m.__index = nil", "attempt to index a boolean value" },
    { "local m = getmetatable(_G) m.__index = nil", "attempt to index a boolean value" },
    { "setmetatable(_G, nil)", "protected metatable" },
    { "setmetatable(_G, {})", "protected metatable" },
    { "setmetatable({}, { __gc = function() while true do end end })", "'__gc' is not available" },
    { "xpcall(function() while true do end end, function() while true do end end)", "'xpcall' is not available" },
    { "while true do end", "does a loop not end?" },
    { "while true do pcall(function() while true do end end) end", "does a loop not end?" },
    { "local function f() pcall(f) pcall(f) end while true do f() end", "does a loop not end?" },
    { "local t <close> = setmetatable({}, { __close = function() while true do end end }) while true do end",
      "does a loop not end?" },
    { "local function f() return f() end f()", "does a loop not end?" },
    { "local function f() return 1 + f() end f()", "stack overflow" },
    { "local t = setmetatable({}, {}) getmetatable(t).__index = function(x, k) return x[k .. 'a'] end return t.a", "" },
    { "local s = 'x' while true do s = s .. s end", "256 MiB" },
    { "local t = {} for i = 1, 1e9 do t[i] = {} end", "256 MiB" },
    { "local t, s = {}, ('x'):rep(1e6) for i = 1, 1e9 do t[i] = s .. i end", "256 MiB" },
    { "('x'):rep(1e9)", "the limit is 16777216" },
    { "('x'):rep(1 << 62)", "the limit is" },
    { "('x'):rep(10, ('y'):rep(1e7))", "the limit is" },
    { "('x'):rep(-1):rep(1e18, 'yyyyyyyy')", "the limit is" },
    { "('a'):rep(40):find(('a-'):rep(12) .. 'b')", "could take too long" },
    { "('a'):rep(40):match(('(a-)'):rep(12) .. 'b')", "could take too long" },
    { "('a'):rep(40):gsub(('a*'):rep(20) .. 'b', '')", "could take too long" },
    { "for _ in ('a'):rep(40):gmatch(('a?'):rep(20) .. 'b') do end", "could take too long" },
    { "('a'):rep(1e6):find('a-b')", "could take too long" },
    { "('a'):rep(1e5):find(('a'):rep(5e4) .. 'b')", "could take too long" },
    { "('(('):rep(100):find(('%b()'):rep(30))", "could take too long" },
    { "('a'):find('[a')", "malformed pattern" },
    { "('a'):find('%')", "malformed pattern" },
    { "('a'):find(('('):rep(100))", "too many captures" },
    { "local s = ('%s'):rep(1e6) string.format(s)", "bad argument #2 to 'format'" },
    { "string.format('%999999d', 1)", "invalid conversion" },
    { "table.concat({}, '', 1, 1 << 60)", "at index 1" },
    { "table.unpack({}, 1, 1e8)", "too many results" },
    { "table.move({}, 1, math.maxinteger - 1, 2)", "too many values" },
    { "table.insert(setmetatable({}, { __len = function() return 1 << 50 end }), 1, 1)", "a length of its own" },
    { "table.remove(setmetatable({}, { __len = function() return 1 << 50 end }), 1)", "a length of its own" },
    { "table.sort({ 3, 1, 2 }, function() while true do end end)", "does a loop not end?" },
    { "local s = ('x'):rep(1e7) local t = ('x'):rep(1e7) while true do local _ = s .. t end", "" },
    { "error(setmetatable({}, { __tostring = function() while true do end end }))", "an error that is no text" },
    { "local s = require 'sluice.study' s.new(99, { variants = {} })", "no site" },
    { "local m = require 'sluice.model' m.new('x', 3)", "number expected" },
    { "local t = require 'sluice' t.study = nil t.model { __index = 3 } return setmetatable({}, { __name = "
      "'sluice.study' })", "must return a study" },
    { "rawset(_G, 'x', 1) x = 2 local n = {} for i = 1, 200 do n = { n } end require('sluice').model { init = n }",
      "nest too deeply" },
    { HEAD "local t = {} for i = 1, 16 do local n = {} for k = 1, 9 do n['k' .. k] = t end t = n end sl.model { init = "
           "t }", "nest too deeply" },
    { HEAD "local t = {} for i = 1, 9 do local n = {} for k = 1, 9 do n['k' .. k] = t end t = n end sl.model { init = "
           "t }", "more than 100000 values" },
    { BASE "local a = {} for i = 1, 30 do a['k' .. i] = { 1, 2 } end return sl.study { base = base, axes = a }",
      "more than 4096 variants" },
    { "\x1bLua\x54\x00", "a binary chunk" },
};

static void test_hostile_scripts(void **state)
{
    (void)state;
    int missed = 0;
    for (int i = 0; i < COUNT(hostile); i++) {
        struct result r = run_with(hostile[i].script, &(struct script_options){ .most_work = 20000000 });
        if (r.problems.n == 0 || !strstr(told(&r), hostile[i].words)) {
            print_error("%s\n  wanted: %s\n  got: %s\n", hostile[i].script, hostile[i].words, told(&r));
            missed++;
        }
        done(&r);
    }
    assert_int_equal(missed, 0);
}

/* The limit that people meet: endless, but not for long. */
static void test_default_limit(void **state)
{
    (void)state;
    double start = clock_seconds();
    struct result r = run("while true do end");
    assert_non_null(strstr(told(&r), "x.lua:1: the script took more than 200000000 instructions or 5 seconds"));
    assert_true(clock_seconds() - start < 120);             /* 5 s of this thread, on a machine that may be busy */
    done(&r);
}

static void test_binary_chunk(void **state)
{
    (void)state;
    static const char chunk[] = "\x1bLuaT\0\x19\x93\r\n\x1a\n\x04\x08\x08";
    write_file("y.lua", chunk, sizeof chunk);
    struct result r = run("require 'y'");
    assert_non_null(strstr(told(&r), "attempt to load a binary chunk"));
    done(&r);
}

static void test_trust(void **state)
{
    (void)state;
    static const char text[] = HEAD "assert(io and os.getenv and load and debug and coroutine and xpcall) local s = "
                                    "('x'):rep(2e7) assert(#s == 2e7) assert(require 'string' == string)"
                               "return sl.study { base = sl.model {}, variants = { a = {} } }";
    char path[256];
    struct script_options options = { .trust = true };
    write_file("t.lua", text, sizeof text - 1);
    snprintf(path, sizeof path, "%s/t.lua", folder);
    struct result r = run_file(path, &options);
    if (r.problems.n) fail_msg("%s", told(&r));
    done(&r);
}

static void test_files(void **state)
{
    (void)state;
    struct script_options options = { 0 };
    struct result r = run_file("/nonexistent/x.lua", &options);
    assert_string_equal(told(&r), "/nonexistent/x.lua: No such file or directory\n");
    done(&r);
    r = run_file("/dev/zero", &options);
    assert_string_equal(told(&r), "/dev/zero: is a device, not a file\n");
    done(&r);
    char large[256];
    snprintf(large, sizeof large, "%s/large.lua", folder);
    int file = open(large, O_WRONLY | O_CREAT, 0644);
    assert_int_equal(ftruncate(file, (4 << 20) + 1), 0);
    close(file);
    r = run_file(large, &options);
    assert_non_null(strstr(told(&r), "larger than 4 MiB"));
    done(&r);
    unlink(large);
    r = run_file(folder, &options);
    assert_non_null(strstr(told(&r), "is a folder, not a file"));
    done(&r);
    r = run("#!/usr/bin/env sluice\n" BASE "\nreturn sl.study { base = base, variants = { a = 3 } }");
    assert_non_null(strstr(told(&r), "x.lua:3: variants.a"));
    done(&r);
}

static int open_folder(void **state) { (void)state; return mkdtemp(folder) ? 0 : -1; }

static int remove_folder(void **state)
{
    (void)state;
    static const char *const files[] = { "x.lua", "y.lua", "t.lua", "other.lua", "third.lua" };
    for (int i = 0; i < COUNT(files); i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_named_variants), cmocka_unit_test(test_defaults), cmocka_unit_test(test_axes),
        cmocka_unit_test(test_horizons),
        cmocka_unit_test(test_shapes_of_studies), cmocka_unit_test(test_models),
        cmocka_unit_test(test_deeper_models), cmocka_unit_test(test_functions_meet_variants),
        cmocka_unit_test(test_overrides),
        cmocka_unit_test(test_order_does_not_matter), cmocka_unit_test(test_bad_scripts),
        cmocka_unit_test(test_all_mistakes_at_once), cmocka_unit_test(test_places),
        cmocka_unit_test(test_places_in_tangles), cmocka_unit_test(test_print), cmocka_unit_test(test_sources),
        cmocka_unit_test(test_experiments), cmocka_unit_test(test_every_misspelt_key),
        cmocka_unit_test(test_hostile_scripts), cmocka_unit_test(test_default_limit),
        cmocka_unit_test(test_binary_chunk), cmocka_unit_test(test_trust), cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
