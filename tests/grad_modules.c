/* What every module must satisfy, found by walking the registry: gradients, legal bounds that build, no parameter
   without effect, "none" equal to nothing, and weights that a neighbour's arrival does not move. */
#include "tiny_gradient.h"
#include "toggle.h"

/* ---- gradients ---- */

static void test_gradients(void **state)
{
    (void)state;
    for (int i = 0; i < toggles.n; i++) {
        struct tiny t = toggle_build(toggles.toggle[i], MODE_TRAIN, 2, 6);
        check_gradient(&t, toggles.toggle[i]->name);
        tiny_free(&t);
    }
}

/* Everything together, with two readers of different sources in the mirror. */
static void test_gradient_of_all(void **state)
{
    (void)state;
    struct tiny t = { 0 };
    struct err e;
    char why[256];
    struct config c = { tiny_json(&model_schema, tiny_base, tiny_welm), json_object() };
    assert_int_equal(config_try(&c, false, "layers", json_integer(5), &e), 0);
    assert_int_equal(config_try(&c, false, "head.mtp.depth", json_integer(2), &e), 0);
    if (!tiny_load(&t, c.model, c.train, why)) fail_msg("%s", why);
    tiny_build(&t, MODE_TRAIN, 2, 6);
    check_gradient(&t, "the WeLM stack");
    tiny_free(&t);
    config_free(&c);
}

/* Memories of fixed size and attention in one stack, which mirrors inputs of both, also in a further token's block. */
static void test_gradient_of_hybrid(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({
        "layers": 4, "head.mtp": "sequential", "residual": "sandwich", "attention": {"layers": [
            {"module": "gated_delta", "heads": 1, "value_heads": 2, "key_dim": 4, "value_dim": 3},
            {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4, "value": "residual"},
            {"module": "gated_delta", "heads": 2, "value_heads": 2, "key_dim": 3, "value_dim": 5,
             "negative_eigenvalues": true},
            {"module": "gqa", "heads": 2, "kv_heads": 1, "head_dim": 4, "value": "residual",
             "kv": {"module": "mirror", "pairs": [3, 0, 4, 1]}}]} }), NULL, MODE_TRAIN, 2, 6);
    check_gradient(&t, "a hybrid stack");
    tiny_free(&t);
}

/* Noisy top-k with one width, as V-MoE. */
static void test_gradient_of_noise(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"ffn.router.noise": "normal", "ffn.router.normalize": "after",
                                   "ffn.balance": ["importance", "load"]}), NULL, MODE_TRAIN, 2, 6);
    check_gradient(&t, "normal noise, importance and load");
    tiny_free(&t);
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
        struct tiny t = tiny_new(sets[i], NULL, MODE_TRAIN, 2, 6);
        check_gradient(&t, "idle experts");
        tiny_free(&t);
    }
}

/* The gate as a factor on what an expert reads, as Llama 4, beside an expert that reads u itself. */
static void test_gradient_of_input_gates(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"ffn.router": {"score": "sigmoid", "top_k": 1, "gate_on": "input"},
                                   "ffn.shared": "dense"}), NULL, MODE_TRAIN, 2, 6);
    check_gradient(&t, "gates on inputs");
    tiny_free(&t);
}

/* Experts of attention with heads in groups, gates and sinks, and with what routes, drops and balances. */
static void test_gradient_of_attention_experts(void **state)
{
    (void)state;
    static const char *const sets[] = {
        TEXT({"attention": {"module": "gqa", "heads": 4, "kv_heads": 2, "head_dim": 4, "qk_norm": "qk", "gate": "head",
              "sink": "head", "bias": "all", "experts": {"module": "routed", "n": 5, "router": {"top_k": 3, "noise":
              "normal", "normalize": "after"}, "balance": ["importance", "load", "z_loss", "entropy"]}}}),
        TEXT({"attention.experts": {"module": "routed", "n": 4, "router": {"score": "sigmoid", "scale": 2},
              "balance": ["switch_aux", "bias", "orthogonal"], "dispatch": "capacity"}, "head.mtp": "sequential"}),
        TEXT({"attention.experts": {"module": "routed", "n": 4, "router": {"select": "expert_choice"}},
              "block": "parallel"}),
        TEXT({"attention.experts": {"module": "routed", "n": 3, "router": {"top_k": 1, "gate_on": "input"}},
              "block": {"module": "shortcut", "reads": "block"}}),
    };
    for (int i = 0; i < COUNT(sets); i++) {
        struct tiny t = tiny_new(sets[i], NULL, MODE_TRAIN, 2, 6);
        check_gradient(&t, "experts of attention");
        tiny_free(&t);
    }
}

/* ---- parameters ---- */

enum { STEPS = 6 };

/* By what share two losses differ; 0 where it is no more than rounding, as of 1 + x for y. */
static double apart(struct tiny *a, struct tiny *b)
{
    double x = tiny_loss(a, "lm"), y = tiny_loss(b, "lm"), share = fabs(x - y) / fabs(x);
    if (!isfinite(x) || !isfinite(y)) fail_msg("a loss of %g and %g", x, y);
    return share > 1e-12 ? share : 0;
}

/* The first difference between two trainings: before each step and after the last, and with the averages. */
static double trained_apart(struct tiny *a, struct tiny *b)
{
    for (int step = 0; step <= STEPS; step++) {
        tiny_step_of(a, step, STEPS);
        tiny_step_of(b, step, STEPS);
        if (apart(a, b) > 0) return apart(a, b);
    }
    plan_swap_averages(a->plan);
    plan_swap_averages(b->plan);
    tiny_forward(a);
    tiny_forward(b);
    return apart(a, b);
}

static double evaluated_apart(struct tiny *a, struct tiny *b)
{
    tiny_forward(a);
    tiny_forward(b);
    return apart(a, b);
}

/* Of two legal models that start alike, but for weights that are moved by about so much. */
static double models_apart(const struct together *a, const struct together *b, enum mode mode, double moved)
{
    struct tiny x, y;
    char why[256];
    assert_true(together_load(a, NULL, &x, why) && together_load(b, NULL, &y, why));
    tiny_build(&x, mode, 2, 6);
    tiny_build(&y, mode, 2, 6);
    double share = 0;
    if (moved > 0 || !tiny_same(&x, &y)) {
        tiny_start(&x, 1);
        tiny_start(&y, 1);
        if (moved > 0) nudge(&y, moved);
        share = mode == MODE_TRAIN ? trained_apart(&x, &y) : evaluated_apart(&x, &y);
    }
    tiny_free(&x);
    tiny_free(&y);
    return share;
}

/* Whether they have other losses in training, and not as one model has whose choices rounding turns; or, unless that
   is all that is asked, in evaluation. */
static bool differ(const struct together *a, const struct together *b, bool in_training)
{
    double share = models_apart(a, b, MODE_TRAIN, 0);
    if (share > 0) return share > 100 * models_apart(a, a, MODE_TRAIN, 1e-15);
    return !in_training && models_apart(a, b, MODE_EVAL, 0) > 0;
}

static bool is_legal(const struct together *s)
{
    struct tiny t;
    char why[256];
    bool legal = together_load(s, NULL, &t, why);
    if (legal) arena_free(t.arena);
    return legal;
}

/* A module is other losses than none within a few steps, as it is or with a parameter at another value. */
static void check_module(const struct toggle *on)
{
    struct toggles own = toggles_own(on->module, NULL);
    struct together with = together_new(&on, 1, true), without = together_new(&on->beside, on->beside != NULL, false);
    bool found = differ(&with, &without, false);
    for (int i = 0; i < own.n && !found; i++) {
        with = together_new((const struct toggle *[]){ on, own.toggle[i] }, 2, true);
        found = is_legal(&with) && differ(&with, &without, false);
    }
    if (!found) fail_msg("%s: not one loss of %d steps changes", on->name, STEPS);
    toggles_free(&own);
}

static void test_no_dead_module(void **state)
{
    (void)state;
    for (int i = 0; i < toggles.n; i++) if (!toggles.toggle[i]->param) check_module(toggles.toggle[i]);
}

/* A module, with what must be beside it. */
static struct toggle module_on(const struct module *m)
{
    for (int i = 0; i < toggles.n; i++)
        if (toggles.toggle[i]->module == m && !toggles.toggle[i]->param) return *toggles.toggle[i];
    return (struct toggle){ .module = m };
}

/* What a parameter of a module is that is on. New reference. */
static json_t *value_now(const struct toggle *on, const struct param *p)
{
    char path[160];
    struct tiny t = toggle_load(on);
    struct config c = config_full(&t);
    param_path(on->module, p, path);
    json_t *value = json_incref(config_get(site_of(on->module->slot).train ? c.train : c.model, path));
    config_free(&c);
    arena_free(t.arena);
    return value;
}

/* A parameter of a module that is on, and what it may be. quick: the first legal value is tried, in training. */
struct trial { const struct toggle *on; const struct param *param; const json_t *values; bool quick, legal; };

/* Whether a value changes a loss, in a model with its module and two other switches. */
static bool acts(struct trial *t, const struct toggle *one, const struct toggle *two)
{
    struct toggle changed = { .module = t->on->module, .param = t->param };
    const struct toggle *on[] = { t->on, one, two, &changed };
    struct together usual = together_new(on, 3, true), now = together_new(on, 4, true);
    json_t *value;
    size_t i;
    bool tried = false, found = false;
    if (!is_legal(&usual)) return false;
    json_array_foreach((json_t *)t->values, i, value) {
        changed.value = value;
        if (found || (tried && t->quick) || !is_legal(&now)) continue;
        tried = t->legal = true;
        found = differ(&now, &usual, t->quick);
    }
    return found;
}

static bool acts_beside(struct trial *t, const struct toggles *others, int n)
{
    bool found = false;
    for (int i = 0; i < others->n && i < n && !found; i++) found = acts(t, others->toggle[i], t->on);
    return found;
}

enum { NEAR = 8, FEW = 24 };

static bool acts_beside_two(struct trial *t, const struct toggles *own)
{
    bool found = false;
    for (int i = 0; i < own->n && i < FEW; i++)
        for (int k = 0; k < i && !found; k++)
            if (own->toggle[i]->param != own->toggle[k]->param) found = acts(t, own->toggle[i], own->toggle[k]);
    return found;
}

/* Beside another parameter of the module at another value, or one of the module that has this one; beside another
   switch; beside two other parameters. */
static bool acts_in_company(struct trial *t, const struct toggles *own, const struct toggles *outer, bool quick)
{
    t->quick = quick;
    return acts_beside(t, own, own->n) || acts_beside(t, outer, outer->n) || acts_beside(t, &toggles, toggles.n) ||
           acts_beside_two(t, own);
}

/* Alone, beside few, then in any company. There are many: quickly first, for mostly one value does what any does. */
static void check_values(const struct toggle *on, const struct param *p, const json_t *values)
{
    struct site at = site_of(on->module->slot);
    struct toggles own = toggles_own(on->module, p),
                   outer = at.owner ? toggles_own(at.owner, at.param) : (struct toggles){ 0 };
    struct trial t = { on, p, values, false, false };
    bool found = acts(&t, on, on) || acts_beside(&t, &own, NEAR) || acts_in_company(&t, &own, &outer, true) ||
                 acts_in_company(&t, &own, &outer, false);
    char *text = config_canonical(values);
    if (!found)
        fail_msg("%s %s %s = one of %s: %s, alone and beside others", slot_name[on->module->slot], on->module->name,
                 p->name, text, t.legal ? "no loss changes" : "refused");
    free(text);
    toggles_free(&own);
    toggles_free(&outer);
}

/* Another value of a parameter, and each other word, is other losses within a few steps. A slot may have one module
   alone. */
static void check_param(const struct toggle *on, const struct param *p)
{
    json_t *now = value_now(on, p), *values = other_values(p, now), *value;
    size_t i;
    json_array_foreach(values, i, value) {
        json_t *word = json_pack("[O]", value);
        if (p->type == PARAM_CHOICE) check_values(on, p, word);
        json_decref(word);
    }
    if (p->type != PARAM_CHOICE && i > 0) check_values(on, p, values);
    json_decref(values);
    json_decref(now);
}

static void test_no_dead_parameter(void **state)
{
    (void)state;
    for (const struct module *const *m = module_all; *m; m++) {
        struct toggle on = module_on(*m);
        for (const struct param *p = (*m)->params; p && p->name && !is_beside_graph(*m); p++) check_param(&on, p);
    }
}

static bool builds(const struct toggle *on, const struct param *p, double value)
{
    json_t *number = p->type == PARAM_INT ? json_integer((json_int_t)value) : json_real(value);
    const struct toggle changed = { .module = on->module, .param = p, .value = number }, *t[] = { on, &changed };
    struct together s = together_new(t, 2, true);
    struct hash h;
    bool legal = together_fingerprint(&s, NULL, MODE_TRAIN, &h);
    json_decref(number);
    return legal;
}

/* At a bound a module builds, or its rules refuse it; one of the bounds is legal. */
static void test_bounds(void **state)
{
    (void)state;
    for (const struct module *const *m = module_all; *m; m++)
        for (const struct param *p = (*m)->params; p && p->name; p++) {
            struct toggle on = module_on(*m);
            if (p->type != PARAM_INT && p->type != PARAM_REAL) continue;
            if (is_beside_graph(*m) && (*m)->slot != SLOT_MONITORS) continue;    /* wants another run: test_start */
            bool low = builds(&on, p, p->min), high = builds(&on, p, p->max);
            if (!low && !high)
                fail_msg("%s %s: '%s' is legal at neither bound", slot_name[(*m)->slot], (*m)->name, p->name);
        }
}

/* ---- none, and independence ---- */

/* "none" is what its slot holds when nothing is said of it. */
static void test_off_is_inert(void **state)
{
    (void)state;
    struct tiny plain = tiny_new("{}", NULL, MODE_TRAIN, 2, 6);
    struct hash with;
    for (const struct module *const *m = module_all; *m; m++) {
        const struct toggle on = { .module = *m };
        const struct together s = { 1, { &on } };
        if (strcmp((*m)->name, "none") != 0) continue;
        const char *usual = site_of((*m)->slot).param->module;
        if (*usual && strcmp(usual, "none") != 0) continue;
        assert_true(together_fingerprint(&s, NULL, MODE_TRAIN, &with));
        if (!hash_equal(graph_fingerprint(plain.graph, 1000), with))
            fail_msg("%s none is not the same as leaving it out", slot_name[(*m)->slot]);
    }
    tiny_free(&plain);
}

/* Drawn weights of two models that have the same path hold the same values as far as both reach; their number.
   narrower: or the same draws of another spread. */
static int check_shared_weights(const char *name, struct tiny *a, struct tiny *b, bool narrower)
{
    int same = 0;
    for (int i = 0; i < a->leaves->n; i++) {
        const struct leaf *l = a->leaves->leaf[i], *old = leaves_find(b->leaves, l->path);
        if (l->kind != LEAF_WEIGHT || l->init.kind == INIT_CONSTANT || !old) continue;
        if (l->kept != KEPT_FLOAT) {                        /* what is in codes: test_adapters */
            same++;
            continue;
        }
        const struct shape *x = &l->decl.shape, *y = &old->decl.shape;
        const real *p = state_data(a->state, l), *q = state_data(b->state, old);
        double by = narrower ? l->init.std / old->init.std : 1;
        for (int64_t k = 0; k < shape_count(*x); k++) {
            int64_t rest = k, at = 0, scale = 1;
            bool inside = x->rank == y->rank;
            for (int d = x->rank - 1; d >= 0 && inside; d--) {
                inside = rest % x->dim[d] < y->dim[d];
                at += rest % x->dim[d] * scale;
                rest /= x->dim[d];
                scale *= y->dim[d];
            }
            bool equal = !inside || memcmp(&p[k], &q[at], sizeof *p) == 0;
            if (by != 1) equal |= fabs(p[k] - by * q[at]) < 1e-12;
            if (!equal) fail_msg("%s moves the initial %s", name, l->path);
        }
        same++;
    }
    return same;
}

/* The same draws, times a factor. */
static bool is_narrower(const struct toggle *t)
{
    return t->module->slot == SLOT_RESIDUAL || t->module->slot == SLOT_PARAMETRIZATION;
}

/* Whatever is switched on, the weights that were there before start as they did. */
static void test_initial_weights_do_not_move(void **state)
{
    (void)state;
    struct tiny base = tiny_new("{}", NULL, MODE_TRAIN, 2, 6);
    tiny_start(&base, 5);
    for (int i = 0; i < toggles.n; i++) {
        const struct toggle *one = toggles.toggle[i];
        if (one->module->slot == SLOT_INIT) continue;
        struct tiny t = toggle_build(one, MODE_TRAIN, 2, 6);
        tiny_start(&t, 5);
        int same = check_shared_weights(one->name, &t, &base, is_narrower(one));
        if (same < 5) fail_msg("%s: only %d weights are left to compare", one->name, same);
        tiny_free(&t);
    }
    tiny_free(&base);
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
        assert_int_equal(check_shared_weights(larger[i], &base, &t, false),
                         check_shared_weights(larger[i], &base, &base, false));
        tiny_free(&t);
    }
    tiny_free(&base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients), cmocka_unit_test(test_gradient_of_all),
        cmocka_unit_test(test_gradient_of_hybrid), cmocka_unit_test(test_gradient_of_noise),
        cmocka_unit_test(test_gradient_of_idle_experts), cmocka_unit_test(test_gradient_of_input_gates),
        cmocka_unit_test(test_gradient_of_attention_experts),
        cmocka_unit_test(test_no_dead_module), cmocka_unit_test(test_no_dead_parameter), cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_off_is_inert), cmocka_unit_test(test_initial_weights_do_not_move),
        cmocka_unit_test(test_larger_models_hold_smaller_ones),
    };
    return cmocka_run_group_tests(tests, toggles_begin, toggles_end);
}
