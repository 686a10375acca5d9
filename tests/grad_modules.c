/* What every module must satisfy, found by walking the registry: gradients, legal bounds that build, no parameter
   without effect, "none" equal to nothing, and weights that a neighbour's arrival does not move. */
#include "tiny_gradient.h"
#include "toggle.h"

/* Other legal values, where the nearest one means the same. */
static const struct { const char *param; double value; } other_value[] = {
    /* One step of warm-up is none */
    { "schedule constant warmup", 2 }, { "schedule cosine warmup", 2 }, { "schedule wsd warmup", 2 },
    { "select top_k chance", 1 },    /* a large one takes all */
    { "embed over_encoding rows", 9 },    /* rows are rounded up to a prime */
    { "attention gqa qk_clip", 0.02 },    /* below the largest logit */
    { "dispatch capacity eval_factor", 0.5 },    /* so little that something is dropped */
};

/* What a parameter needs beside its module's company to change a loss. */
static const struct { const char *param; bool train; const char *sets; } needs[] = {
    /* Without noise there is nothing to be beneath */
    { "anneal cold_start beneath_noise", false, TEXT({"ffn.router.noise": {"module": "normal", "std": 1}}) },
    { "router staged gate_on", false, TEXT({"ffn.router.top_k": 1}) },    /* one input, one expert */
    { "norm rms zero_centred", true, TEXT({"optim.decay_gains": true}) },    /* but for decay 1 + w is as good as w */
    { "dispatch capacity until", false, TEXT({"ffn.dispatch.start": 3}) },
    { "balance bias centred", false, TEXT({"ffn.balance.bias.gamma": 0.1, "ffn.balance.bias.clip": 0.15}) },
    { "balance bias ema", false, TEXT({"ffn.balance.bias.gamma": 0.1, "ffn.balance.bias.rule": "proportional"}) },
    { "balance bias clip", false, TEXT({"ffn.balance.bias.gamma": 0.1, "ffn.balance.bias.clip": 0.15}) },
    { "balance gate_pro penalty", false, TEXT({"ffn.balance.gate_pro.penalty": 0.02}) },
    { "balance switch_aux counts", false, TEXT({"ffn.router.score": "sigmoid",
                                                "ffn.balance": ["switch_aux", {"module": "bias", "gamma": 0.1}]}) },
    { "balance switch_aux device", false, TEXT({"ffn.balance.switch_aux.groups": 2}) },
    { "balance switch_aux communication", false, TEXT({"ffn.router.top_k": 1, "ffn.balance.switch_aux.groups": 2}) },
    { "balance switch_aux groups", false, TEXT({"ffn.balance.switch_aux.groups": 2, "ffn.balance.switch_aux.device": 1})
    },
    { "balance switch_aux per_token", false, TEXT({"ffn.router.top_k": 1, "ffn.balance.switch_aux.groups": 2,
                                                   "ffn.balance.switch_aux.communication": 1}) },
    { "position rope base", false, TEXT({"attention.head_dim": 8}) },    /* of one pair alone the frequency is 1 */
};

static void param_label(const struct module *m, const struct param *p, char out[128])
{
    snprintf(out, 128, "%s %s %s", slot_name[m->slot], m->name, p->name);
}

static void set(struct config *c, enum slot slot, const char *path, json_t *value)
{
    struct err e;
    if (config_try(c, site_of(slot).train, path, value, &e) != 0) fail_msg("%s: %s", path, e.text);
}

/* A model with a module in its slot, in company. */
static struct config config_new(const struct module *m)
{
    struct toggle t = { m, NULL, NULL, "" };
    struct config c;
    struct err e;
    if (config_combine(&c, (const struct toggle *[]){ &t }, 1, -1, true, &e) != 0)
        fail_msg("%s %s: %s", slot_name[m->slot], m->name, e.text);
    return c;
}

/* Builds a graph of a configuration; false when its rules refuse it. */
static bool build_for(struct tiny *t, const struct config *c, enum mode mode)
{
    char why[256];
    *t = (struct tiny){ 0 };
    if (tiny_load(t, c->model, c->train, why)) {
        tiny_build(t, mode, 2, 6);
        return true;
    }
    arena_free(t->arena);
    return false;
}

static bool build(struct tiny *t, const struct config *c) { return build_for(t, c, MODE_TRAIN); }

enum { STEPS = 6 };

/* What a configuration comes to: its graphs and, where it is `trained`, the loss before each step and after the last,
   that of the averages, and that of an evaluation of the initial weights. */
enum { LOSSES = STEPS + 3 };
struct outcome { bool trained; struct hash graph; double loss[LOSSES]; };

static void evaluate(const struct config *c, struct outcome *out)
{
    struct tiny t;
    assert_true(build_for(&t, c, MODE_EVAL));
    struct hash graph = graph_fingerprint(t.graph);
    out->graph = hash_more(out->graph, &graph, sizeof graph);
    if (out->trained) {
        tiny_start(&t, 1);
        tiny_forward(&t);
        out->loss[STEPS + 2] = tiny_loss(&t, "lm");
    }
    tiny_free(&t);
}

static bool outcome_of(const struct config *c, struct outcome *out)
{
    struct tiny t;
    if (!build(&t, c)) return false;
    out->graph = graph_fingerprint(t.graph);
    if (out->trained) tiny_start(&t, 1);
    for (int step = 0; out->trained && step <= STEPS; step++) {
        tiny_step_of(&t, step, STEPS);
        out->loss[step] = tiny_loss(&t, "lm");
    }
    if (out->trained) {
        plan_swap_averages(t.plan);
        tiny_forward(&t);
        out->loss[STEPS + 1] = tiny_loss(&t, "lm");
    }
    tiny_free(&t);
    evaluate(c, out);
    return true;
}

static bool fingerprint(const struct config *c, struct hash *out)
{
    struct outcome o = { 0 };
    bool legal = outcome_of(c, &o);
    *out = o.graph;
    return legal;
}

/* ---- gradients ---- */

static void check_gradient(const char *name, struct tiny *t, uint64_t seed)
{
    tiny_start(t, seed);
    struct derivative d = derivative_of(t);
    if (!d.still) fail_msg("%s: the nudge flipped a choice: take another seed", name);
    if (!(d.error < 1e-6))
        fail_msg("%s: derivative %.12g, by differences %.12g, relative error %.2g", name, d.exact, d.numeric, d.error);
}

static void test_gradients(void **state)
{
    (void)state;
    for (const struct module *const *m = module_all; *m; m++) {
        char name[64];
        snprintf(name, sizeof name, "%s %s", slot_name[(*m)->slot], (*m)->name);
        struct config c = config_new(*m);
        struct tiny t;
        if (!build(&t, &c)) fail_msg("%s: is refused at its defaults", name);
        check_gradient(name, &t, 1);
        tiny_free(&t);
        config_free(&c);
    }
}

/* The gradient with one choice or switch set otherwise; true when that is legal. */
static bool check_choice(const struct module *m, const struct param *p, json_t *value)
{
    char path[160], name[128];
    struct config c = config_new(m);
    struct tiny t;
    param_path(m, p, path);
    const char *word = json_is_string(value) ? json_string_value(value) : "other";
    snprintf(name, sizeof name, "%s %s %s = %s", slot_name[m->slot], m->name, p->name, word);
    set(&c, m->slot, path, value);
    bool legal = build(&t, &c);
    if (legal) {
        check_gradient(name, &t, 1);
        tiny_free(&t);
    }
    config_free(&c);
    return legal;
}

static void test_gradients_of_choices(void **state)
{
    (void)state;
    int checked = 0;
    for (const struct module *const *m = module_all; *m; m++)
        for (const struct param *p = (*m)->params; p && p->name; p++) {
            if (stops_gradient(*m, p)) continue;
            if (p->type == PARAM_BOOL) checked += check_choice(*m, p, json_boolean(!p->value));
            for (const char *at = p->type == PARAM_CHOICE ? p->choices : ""; *at;
                 at += strcspn(at, " "), at += *at == ' ')
                checked += check_choice(*m, p, json_stringn(at, strcspn(at, " ")));
        }
    assert_true(checked >= 20);
}

/* Everything together, with two readers of different sources in the mirror. */
static void test_gradient_of_all(void **state)
{
    (void)state;
    struct config c = { tiny_json(&model_schema, tiny_base, tiny_welm), json_object() };
    set(&c, SLOT_EMBED, "layers", json_integer(5));
    set(&c, SLOT_EMBED, "head.mtp.depth", json_integer(2));
    struct tiny t;
    assert_true(build(&t, &c));
    check_gradient("the WeLM stack", &t, 3);
    tiny_free(&t);
    config_free(&c);
}

/* Memories of fixed size and attention in one stack, which mirrors inputs of both, also in a further token's block. */
static void test_gradient_of_hybrid(void **state)
{
    (void)state;
    struct config c = { tiny_json(&model_schema, tiny_base, TEXT({
        "layers": 4, "head.mtp": "sequential", "residual": "sandwich", "attention": {"layers": [
            {"module": "gated_delta", "heads": 1, "value_heads": 2, "key_dim": 4, "value_dim": 3},
            {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4, "value": "residual"},
            {"module": "gated_delta", "heads": 2, "value_heads": 2, "key_dim": 3, "value_dim": 5,
             "negative_eigenvalues": true},
            {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4, "value": "residual",
             "kv": {"module": "mirror", "pairs": [3, 0, 4, 1]}}]} })), json_object() };
    struct tiny t;
    assert_true(build(&t, &c));
    check_gradient("a hybrid stack", &t, 3);
    tiny_free(&t);
    config_free(&c);
}

/* Noisy top-k with one width, as V-MoE; `balance load` has the learned one for company. */
static void test_gradient_of_noise(void **state)
{
    (void)state;
    struct config c = { tiny_json(&model_schema, tiny_base, TEXT({
        "ffn.router.noise": "normal", "ffn.router.normalize": "after", "ffn.balance": ["importance", "load"]
    })), json_object() };
    struct tiny t;
    assert_true(build(&t, &c));
    check_gradient("normal noise, importance and load", &t, 1);
    tiny_free(&t);
    config_free(&c);
}

/* Copies, constants and zeros beside experts, in company with what counts and what drops. */
static void test_gradient_of_idle_experts(void **state)
{
    (void)state;
    static const char *const sets[] = {
        TEXT({"ffn.copy": 2, "ffn.constant": 3, "ffn.zero": 1, "ffn.router.top_k": 5,
              "ffn.balance": ["switch_aux", "z_loss", "importance"], "ffn.dispatch": "capacity"}),
        TEXT({"ffn.copy": 1, "ffn.router.top_k": 4, "ffn.router.normalize": "after"}),
        TEXT({"ffn.constant": 1, "ffn.router": {"top_k": 4, "score": "sigmoid"}, "ffn.balance": ["bias"]}),
    };
    for (int i = 0; i < COUNT(sets); i++) {
        struct config c = { tiny_json(&model_schema, tiny_base, sets[i]), json_object() };
        struct tiny t;
        assert_true(build(&t, &c));
        check_gradient("idle experts", &t, 1);
        tiny_free(&t);
        config_free(&c);
    }
}

/* The gate as a factor on what an expert reads, as Llama 4, beside an expert that reads u itself. */
static void test_gradient_of_input_gates(void **state)
{
    (void)state;
    struct config c = { tiny_json(&model_schema, tiny_base, TEXT({
        "ffn.router": {"score": "sigmoid", "top_k": 1, "gate_on": "input"}, "ffn.shared": "dense"
    })), json_object() };
    struct tiny t;
    assert_true(build(&t, &c));
    check_gradient("gates on inputs", &t, 1);
    tiny_free(&t);
    config_free(&c);
}

/* ---- parameters ---- */

static json_t *number(const struct param *p, double v)
{
    return p->type == PARAM_INT ? json_integer((json_int_t)v) : json_real(v);
}

/* A model with a module, in company and with what one of its parameters needs. */
static struct config config_for(const struct module *m, const struct param *p)
{
    struct config c = config_new(m);
    char name[128];
    param_label(m, p, name);
    for (int i = 0; i < COUNT(needs); i++) {
        if (strcmp(name, needs[i].param) != 0) continue;
        json_t *sets = json_loads(needs[i].sets, 0, NULL), *value;
        const char *path;
        struct err e;
        json_object_foreach(sets, path, value)
            if (config_try(&c, needs[i].train, path, json_incref(value), &e) != 0) fail_msg("%s: %s", path, e.text);
        json_decref(sets);
    }
    return c;
}

/* Sets a parameter, to another module with its company where it is a slot, and says whether the result is legal, with
   what it comes to. */
static bool try_module(const struct module *m, const struct param *p, json_t *value, const struct module *other,
                       struct outcome *out)
{
    char path[160];
    struct config c = config_for(m, p);
    struct err e;
    param_path(m, p, path);
    set(&c, m->slot, path, value);
    char label[64];
    if (other && config_add_company(&c, module_label(other, label), &e) != 0) fail_msg("%s", e.text);
    bool legal = outcome_of(&c, out);
    config_free(&c);
    return legal;
}

static bool try_value(const struct module *m, const struct param *p, json_t *value, struct outcome *out)
{
    return try_module(m, p, value, NULL, out);
}

/* What a parameter is in the company of its module. New reference. */
static json_t *value_now(const struct module *m, const struct param *p)
{
    char path[160];
    struct config c = config_for(m, p);
    param_path(m, p, path);
    json_t *given = config_get(site_of(m->slot).train ? c.train : c.model, path);
    if (given) json_incref(given);
    else if (p->type == PARAM_BOOL) given = json_boolean(p->value != 0);
    else given = json_real(p->value);
    config_free(&c);
    return given;
}

/* Another legal number: the nearest whole one, or half or twice a real one where that may be. */
static bool try_other_number(const struct module *m, const struct param *p, struct outcome *out)
{
    char name[128];
    param_label(m, p, name);
    for (int i = 0; i < COUNT(other_value); i++)
        if (strcmp(name, other_value[i].param) == 0) return try_value(m, p, number(p, other_value[i].value), out);
    json_t *now = value_now(m, p);
    double v = json_number_value(now);
    json_decref(now);
    double reals[] = { 2 * v, v / 2, (v + p->min) / 2, (v + p->max) / 2, p->min, p->max };
    for (int i = 0; i < (p->type == PARAM_INT ? 64 : COUNT(reals)); i++) {
        double w = p->type == PARAM_INT ? v + (i % 2 ? -1 : 1) * (i / 2 + 1) : reals[i];
        if (w != v && w >= p->min && w <= p->max && try_value(m, p, number(p, w), out)) return true;
    }
    return false;
}

static bool try_other_bool(const struct module *m, const struct param *p, struct outcome *out)
{
    json_t *now = value_now(m, p);
    bool legal = try_value(m, p, json_boolean(!json_is_true(now)), out);
    json_decref(now);
    return legal;
}

static const struct module *other_module(const struct param *p)
{
    for (const struct module *const *m = module_all; *m; m++)
        if ((*m)->slot == p->slot && strcmp((*m)->name, p->module) != 0 && strcmp((*m)->name, "none") != 0) return *m;
    return NULL;
}

/* False: there is nothing else to choose. */
static bool try_other(const struct module *m, const struct param *p, struct outcome *out)
{
    const struct module *other;
    switch (p->type) {
    case PARAM_INT: case PARAM_REAL: return try_other_number(m, p, out);
    case PARAM_BOOL: return try_other_bool(m, p, out);
    case PARAM_INTS: return try_value(m, p, json_pack("[i,i]", (int)p->min + 1, (int)p->min), out);
    case PARAM_SLOT: case PARAM_SLOTS:
        other = other_module(p);
        return other &&
               try_module(m, p, p->type == PARAM_SLOTS ? json_pack("[s]", other->name) : json_string(other->name),
                          other, out);
    case PARAM_CHOICE: case PARAM_LAYERS: break;
    }
    return false;
}

/* The same losses but for rounding: writing 1 + x for y rounds otherwise. */
static bool same_losses(const struct outcome *a, const struct outcome *b)
{
    for (int i = 0; i < LOSSES; i++) {
        if (!isfinite(a->loss[i]) || !isfinite(b->loss[i])) fail_msg("a loss of %g and %g", a->loss[i], b->loss[i]);
        if (fabs(a->loss[i] - b->loss[i]) > 1e-12 * fabs(a->loss[i])) return false;
    }
    return true;
}

static void check_differs(const char *name, const struct outcome *usual, const struct outcome *changed)
{
    if (hash_equal(usual->graph, changed->graph)) fail_msg("%s: another value is the same graph", name);
    if (same_losses(usual, changed))
        fail_msg("%s: another value is another graph, but not one loss of %d steps changes", name, STEPS);
}

/* Every word that is legal and not the default; their number. */
static int check_words(const struct module *m, const struct param *p, const struct outcome *usual)
{
    int legal = 0;
    for (int i = 0, at = 0; p->choices[at]; i++) {
        char name[192];
        int n = (int)strcspn(p->choices + at, " ");
        struct outcome changed = { .trained = true };
        snprintf(name, sizeof name, "%s %s %s = %.*s", slot_name[m->slot], m->name, p->name, n, p->choices + at);
        if (i != (int)p->value && try_value(m, p, json_stringn(p->choices + at, (size_t)n), &changed)) {
            check_differs(name, usual, &changed);
            legal++;
        }
        at += n + (p->choices[at + n] == ' ');
    }
    return legal;
}

/* Another value of a parameter is another graph, and other losses within a few steps. */
static void test_no_dead_parameter(void **state)
{
    (void)state;
    for (const struct module *const *m = module_all; *m; m++)
        for (const struct param *p = (*m)->params; p && p->name; p++) {
            char name[128];
            param_label(*m, p, name);
            struct config c = config_for(*m, p);
            struct outcome usual = { .trained = true }, changed = { .trained = true };
            if (!outcome_of(&c, &usual)) fail_msg("%s: its module is refused", name);
            config_free(&c);
            bool single = (p->type == PARAM_SLOT || p->type == PARAM_SLOTS) && !other_module(p);
            bool words = p->type == PARAM_CHOICE,
                 legal = words ? check_words(*m, p, &usual) > 0 : try_other(*m, p, &changed);
            if (!legal && !single) fail_msg("%s: no other legal value was found", name);
            if (legal && !words) check_differs(name, &usual, &changed);
        }
}

/* At a bound a module builds, or its rules refuse it; one of the bounds is legal. */
static void test_bounds(void **state)
{
    (void)state;
    for (const struct module *const *m = module_all; *m; m++)
        for (const struct param *p = (*m)->params; p && p->name; p++) {
            struct outcome o = { 0 };
            if (p->type != PARAM_INT && p->type != PARAM_REAL) continue;
            bool low = try_value(*m, p, number(p, p->min), &o), high = try_value(*m, p, number(p, p->max), &o);
            if (!low && !high)
                fail_msg("%s %s: '%s' is legal at neither bound", slot_name[(*m)->slot], (*m)->name, p->name);
        }
}

/* ---- none, and independence ---- */

static void test_off_is_inert(void **state)
{
    (void)state;
    struct config plain = { tiny_json(&model_schema, tiny_base, NULL), json_object() };
    struct hash without, with;
    int tested = 0;
    assert_true(fingerprint(&plain, &without));
    for (const struct module *const *m = module_all; *m; m++) {
        if (strcmp((*m)->name, "none") != 0 || !is_usual(*m)) continue;
        struct config c = config_new(*m);
        assert_true(fingerprint(&c, &with));
        if (!hash_equal(without, with)) fail_msg("%s none is not the same as leaving it out", slot_name[(*m)->slot]);
        config_free(&c);
        tested++;
    }
    assert_true(tested > 0);
    config_free(&plain);
}

/* Drawn weights of two models that have the same path hold the same values as far as both reach; their number. */
static int check_shared_weights(const char *name, struct tiny *a, struct tiny *b)
{
    int same = 0;
    for (int i = 0; i < a->leaves->n; i++) {
        const struct leaf *l = a->leaves->leaf[i], *old = leaves_find(b->leaves, l->path);
        if (l->kind != LEAF_WEIGHT || l->init.kind == INIT_CONSTANT || !old) continue;
        const struct shape *x = &l->decl.shape, *y = &old->decl.shape;
        const real *p = state_data(a->state, l), *q = state_data(b->state, old);
        for (int64_t k = 0; k < shape_count(*x); k++) {
            int64_t rest = k, at = 0, scale = 1;
            bool inside = x->rank == y->rank;
            for (int d = x->rank - 1; d >= 0 && inside; d--) {
                inside = rest % x->dim[d] < y->dim[d];
                at += rest % x->dim[d] * scale;
                rest /= x->dim[d];
                scale *= y->dim[d];
            }
            if (inside && memcmp(&p[k], &q[at], sizeof *p) != 0) fail_msg("%s moves the initial %s", name, l->path);
        }
        same++;
    }
    return same;
}

/* Whatever is switched on, the weights that were there before start as they did. */
static void test_initial_weights_do_not_move(void **state)
{
    (void)state;
    struct toggles all = toggles_new();
    struct tiny base, t;
    char why[256];
    int compared = 0;
    assert_true(toggles_load(NULL, 0, &base, why));
    tiny_build(&base, MODE_TRAIN, 2, 6);
    tiny_start(&base, 5);
    for (int i = 0; i < all.n; i++) {
        const struct toggle *one = &all.toggle[i];
        if (one->module->slot == SLOT_INIT || !toggles_load(&one, 1, &t, why)) continue;
        tiny_build(&t, MODE_TRAIN, 2, 6);
        tiny_start(&t, 5);
        int same = check_shared_weights(one->name, &t, &base);
        if (same < 5) fail_msg("%s: only %d weights are left to compare", one->name, same);
        compared++;
        tiny_free(&t);
    }
    assert_true(compared > all.n - 4);
    tiny_free(&base);
    toggles_free(&all);
}

/* A larger model begins with the smaller one in its corner. */
static void test_larger_models_hold_smaller_ones(void **state)
{
    (void)state;
    static const char *const larger[] = {
        TEXT({"layers": 5}), TEXT({"d_model": 12}), TEXT({"vocab": 17}), TEXT({"seq": 9}), TEXT({"attention.heads": 4}),
        TEXT({"attention.head_dim": 6}), TEXT({"ffn.experts": 7}), TEXT({"ffn.d_ff": 11}),
        TEXT({"ffn.router.top_k": 3}),
    };
    struct tiny base = tiny_new("{}", NULL, MODE_TRAIN, 2, 6);
    tiny_start(&base, 5);
    for (int i = 0; i < COUNT(larger); i++) {
        struct tiny t = tiny_new(larger[i], NULL, MODE_TRAIN, 2, 6);
        tiny_start(&t, 5);
        assert_int_equal(check_shared_weights(larger[i], &base, &t), check_shared_weights(larger[i], &base, &base));
        tiny_free(&t);
    }
    tiny_free(&base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients), cmocka_unit_test(test_gradients_of_choices),
        cmocka_unit_test(test_gradient_of_all), cmocka_unit_test(test_gradient_of_hybrid),
        cmocka_unit_test(test_gradient_of_noise),
        cmocka_unit_test(test_gradient_of_idle_experts),
        cmocka_unit_test(test_gradient_of_input_gates),
        cmocka_unit_test(test_no_dead_parameter), cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_off_is_inert), cmocka_unit_test(test_initial_weights_do_not_move),
        cmocka_unit_test(test_larger_models_hold_smaller_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
