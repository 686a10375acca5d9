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

/* ---- parameters ---- */

enum { STEPS = 6, LOSSES = STEPS + 3 };

/* What switches come to: the graphs, the loss before each step and after the last, that of the averages, and that of an
   evaluation of the initial weights. */
struct outcome { struct hash graph; double loss[LOSSES]; };

/* False: not legal. */
static bool outcome_of(const struct toggle *const *t, int n, const struct toggle *off, struct outcome *out)
{
    struct together s = together_new(t, n, true);
    struct tiny tiny;
    char why[256];
    if (!together_load(&s, off, &tiny, why)) return false;
    tiny_build(&tiny, MODE_TRAIN, 2, 6);
    out->graph = graph_fingerprint(tiny.graph);
    tiny_start(&tiny, 1);
    for (int step = 0; step <= STEPS; step++) {
        tiny_step_of(&tiny, step, STEPS);
        out->loss[step] = tiny_loss(&tiny, "lm");
    }
    plan_swap_averages(tiny.plan);
    tiny_forward(&tiny);
    out->loss[STEPS + 1] = tiny_loss(&tiny, "lm");
    tiny_free(&tiny);
    assert_true(together_load(&s, off, &tiny, why));
    tiny_build(&tiny, MODE_EVAL, 2, 6);
    struct hash graph = graph_fingerprint(tiny.graph);
    out->graph = hash_more(out->graph, &graph, sizeof graph);
    tiny_start(&tiny, 1);
    tiny_forward(&tiny);
    out->loss[STEPS + 2] = tiny_loss(&tiny, "lm");
    tiny_free(&tiny);
    return true;
}

/* More than rounding: writing 1 + x for y rounds otherwise. */
static bool differ(const struct outcome *a, const struct outcome *b)
{
    double most = 0;
    for (int i = 0; i < LOSSES; i++) {
        if (!isfinite(a->loss[i]) || !isfinite(b->loss[i])) fail_msg("a loss of %g and %g", a->loss[i], b->loss[i]);
        most = fmax(most, fabs(a->loss[i] - b->loss[i]) / fabs(a->loss[i]));
    }
    if (most > 0 && hash_equal(a->graph, b->graph)) fail_msg("the same graph, but losses are %.2g apart", most);
    return most > 1e-12;
}

/* A module is other losses than none within a few steps. */
static void test_no_dead_module(void **state)
{
    (void)state;
    for (int i = 0; i < toggles.n; i++) {
        const struct toggle *on = toggles.toggle[i];
        struct outcome with, without;
        if (on->param) continue;
        assert_true(outcome_of(&on, 1, NULL, &with) && outcome_of(&on, 1, on, &without));
        if (!differ(&with, &without)) fail_msg("%s: not one loss of %d steps changes", on->name, STEPS);
    }
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

static void add_value(json_t *values, const json_t *now, json_t *value)
{
    if (!json_equal(value, now)) json_array_append(values, value);
    json_decref(value);
}

static void add_number(json_t *values, const struct param *p, const json_t *now, double number)
{
    if (number < p->min || number > p->max) return;
    add_value(values, now, p->type == PARAM_INT ? json_integer((json_int_t)number) : json_real(number));
}

/* What else a parameter may be: numbers that are near, twice and half as much, at the ends of the range, and small; all
   other modules. New reference. */
static json_t *other_values(const struct param *p, const json_t *now)
{
    const double v = json_number_value(now), reals[] = { 2 * v, v / 2, (v + p->min) / 2, (v + p->max) / 2, p->min,
                                                         p->max, 1, 0.1, 0.01 };
    json_t *values = json_array(), *switched = switched_values(p), *value;
    size_t k;
    for (int i = 0; p->type == PARAM_REAL && i < COUNT(reals); i++) add_number(values, p, now, reals[i]);
    for (int i = 2; p->type == PARAM_INT && i < 18; i++) add_number(values, p, now, v + (i % 2 ? -1 : 1) * (i / 2));
    if (p->type == PARAM_INTS) add_value(values, now, json_pack("[i,i]", (int)p->min + 1, (int)p->min));
    json_array_foreach(switched, k, value) add_value(values, now, json_incref(value));
    json_decref(switched);
    const char *name = json_string_value(json_object_get(now, "module"));
    for (const struct module *const *m = module_all; has_slot(p) && *m; m++) {
        if ((*m)->slot != p->slot || (name && strcmp((*m)->name, name) == 0)) continue;
        value = module_small(*m);
        json_array_append_new(values, p->type == PARAM_SLOT ? value : json_pack("[o]", value));
    }
    return values;
}

/* Whether one of some values of a parameter changes a loss, in a model with its module and another switch. */
static bool acts(const struct toggle *on, const struct param *p, const json_t *values, const struct toggle *other,
                 bool *legal)
{
    struct toggle changed = { .module = on->module, .param = p };
    const struct toggle *t[] = { on, other, &changed };
    struct outcome usual, now;
    json_t *value;
    size_t i;
    if (!outcome_of(t, 2, NULL, &usual)) return false;
    json_array_foreach((json_t *)values, i, value) {
        changed.value = value;
        if (!outcome_of(t, 3, NULL, &now)) continue;
        *legal = true;
        if (differ(&usual, &now)) return true;
    }
    return false;
}

/* Alone, or beside the first other switch with which one does. */
static void check_values(const struct toggle *on, const struct param *p, const json_t *values)
{
    bool legal = false, found = acts(on, p, values, on, &legal);
    for (int i = 0; i < toggles.n && !found; i++) found = acts(on, p, values, toggles.toggle[i], &legal);
    char *text = config_canonical(values);
    if (!found)
        fail_msg("%s %s %s = one of %s: %s, alone and beside every other switch", slot_name[on->module->slot],
                 on->module->name, p->name, text, legal ? "no loss changes" : "refused");
    free(text);
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
        for (const struct param *p = (*m)->params; p && p->name; p++) check_param(&on, p);
    }
}

static bool builds(const struct toggle *on, const struct param *p, double value)
{
    json_t *number = p->type == PARAM_INT ? json_integer((json_int_t)value) : json_real(value);
    const struct toggle changed = { .module = on->module, .param = p, .value = number }, *t[] = { on, &changed };
    struct together s = together_new(t, 2, true);
    struct hash h;
    bool legal = together_fingerprint(&s, NULL, &h);
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
    int tested = 0;
    for (const struct module *const *m = module_all; *m; m++) {
        const struct toggle on = { .module = *m };
        const struct together s = { 1, { &on } };
        const char *usual = site_of((*m)->slot).param->module;
        if (strcmp((*m)->name, "none") != 0 || (*usual && strcmp(usual, "none") != 0)) continue;
        assert_true(together_fingerprint(&s, NULL, &with));
        if (!hash_equal(graph_fingerprint(plain.graph), with))
            fail_msg("%s none is not the same as leaving it out", slot_name[(*m)->slot]);
        tested++;
    }
    assert_true(tested > 0);
    tiny_free(&plain);
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
    struct tiny base = tiny_new("{}", NULL, MODE_TRAIN, 2, 6);
    tiny_start(&base, 5);
    for (int i = 0; i < toggles.n; i++) {
        const struct toggle *one = toggles.toggle[i];
        if (one->module->slot == SLOT_INIT) continue;
        struct tiny t = toggle_build(one, MODE_TRAIN, 2, 6);
        tiny_start(&t, 5);
        int same = check_shared_weights(one->name, &t, &base);
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
        assert_int_equal(check_shared_weights(larger[i], &base, &t), check_shared_weights(larger[i], &base, &base));
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
        cmocka_unit_test(test_no_dead_module), cmocka_unit_test(test_no_dead_parameter), cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_off_is_inert), cmocka_unit_test(test_initial_weights_do_not_move),
        cmocka_unit_test(test_larger_models_hold_smaller_ones),
    };
    return cmocka_run_group_tests(tests, toggles_begin, toggles_end);
}
