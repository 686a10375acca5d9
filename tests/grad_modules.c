/* What every module must satisfy, found by walking the registry: gradients, legal bounds that build, no parameter
   without effect, "none" equal to nothing, and weights that a neighbour's arrival does not move. */
#include "tiny.h"

/* Where each slot is in the tables of a model or of its training. */
static const char *const place[SLOT_COUNT] = {
    [SLOT_INIT] = "init", [SLOT_EMBED] = "embed", [SLOT_POSITION] = "position", [SLOT_NORM] = "norm", [SLOT_RESIDUAL] = "residual",
    [SLOT_ATTENTION] = "attention", [SLOT_MASK] = "attention.mask", [SLOT_KV] = "attention.kv", [SLOT_QK_NORM] = "attention.qk_norm",
    [SLOT_GATE] = "attention.gate", [SLOT_FFN] = "ffn", [SLOT_ROUTER] = "ffn.router", [SLOT_BALANCE] = "ffn.balance",
    [SLOT_DISPATCH] = "ffn.dispatch", [SLOT_SHARED] = "ffn.shared", [SLOT_HEAD] = "head", [SLOT_MTP] = "head.mtp",
    [SLOT_OPTIM] = "optim", [SLOT_SCHEDULE] = "schedule",
};
static bool trains(enum slot slot) { return slot == SLOT_OPTIM || slot == SLOT_SCHEDULE; }

/* The company that a module needs to be active; other legal values where the nearest one means the same. */
static const struct { const char *module, *model; } company[] = {
    { "position rope", TEXT({"position.fraction": 0.5}) },
    { "mask window", TEXT({"attention.mask.size": 2}) },
    { "balance bias", TEXT({"ffn.router.score": "sigmoid"}) },
    { "embed over_encoding", TEXT({"embed.rows": 7, "embed.width": 3}) },
};
static const struct { const char *param; double value; } other_value[] = {
    { "schedule constant warmup", 2 }, { "schedule cosine warmup", 2 }, { "schedule wsd warmup", 2 },      /* one step of warm-up is none */
    { "embed over_encoding rows", 9 },                                                                    /* rows are rounded up to a prime */
};

/* A model as JSON with a module in its slot, and the training likewise. */
struct config { json_t *model, *train; };

static void set(struct config *c, enum slot slot, const char *path, json_t *value)
{
    struct err e;
    bool train = trains(slot);
    if (config_set(train ? &train_schema : &model_schema, train ? c->train : c->model, path, value, &e) != 0) fail_msg("%s: %s", path, e.text);
    json_decref(value);
}

static struct config config_new(const struct module *m)
{
    struct config c = { tiny_json(&model_schema, tiny_base, NULL), json_object() };
    if (!m) return c;
    set(&c, m->slot, place[m->slot], m->slot == SLOT_BALANCE ? json_pack("[{s:s}]", "module", m->name) : json_pack("{s:s}", "module", m->name));
    for (int i = 0; i < COUNT(company); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s %s", slot_name[m->slot], m->name);
        if (strcmp(name, company[i].module) != 0) continue;
        char *so_far = json_dumps(c.model, 0);
        json_decref(c.model);
        c.model = tiny_json(&model_schema, so_far, company[i].model);
        free(so_far);
    }
    return c;
}

static void config_free(struct config *c) { json_decref(c->model); json_decref(c->train); }

static void param_path(const struct module *m, const struct param *p, char path[128])
{
    snprintf(path, 128, "%s%s%s.%s", place[m->slot], m->slot == SLOT_BALANCE ? "." : "", m->slot == SLOT_BALANCE ? m->name : "", p->name);
}

/* Builds the training graph of a configuration; false when its rules refuse it. */
static bool build(struct tiny *t, const struct config *c)
{
    char why[256];
    *t = (struct tiny){ 0 };
    if (tiny_load(t, c->model, c->train, why)) {
        tiny_build(t, MODE_TRAIN, 2, 6);
        return true;
    }
    arena_free(t->arena);
    return false;
}

static bool fingerprint(const struct config *c, struct hash *out)
{
    struct tiny t;
    if (!build(&t, c)) return false;
    *out = graph_fingerprint(t.graph);
    tiny_free(&t);
    return true;
}

/* ---- gradients ---- */

/* Integers that a nudge must not change: a derivative holds only while they stand still. */
static int32_t *choices(struct tiny *t, int *n)
{
    int32_t *all = NULL;
    *n = 0;
    for (int i = 0; i < t->graph->n; i++) {
        const struct node *node = t->graph->node[i];
        if (node->op != &op_topk) continue;
        double *value = tiny_read(t, node);
        int64_t count = shape_count(node->shape);
        all = xrealloc(all, (size_t)(*n + count) * sizeof *all);
        for (int64_t k = 0; k < count; k++) all[(*n)++] = (int32_t)value[k];
        free(value);
    }
    return all;
}

static double objective(struct tiny *t)
{
    double value;
    tiny_forward(t);
    tiny_metric(t, "objective", -1, &value);
    return value;
}

/* The same direction each time: N(0,1) in every weight. */
static double direction(const struct leaf *l, int64_t i)
{
    return key_normal((struct key){ 7, PURPOSE_TEST, hash_name(l->path), 0 }, (uint64_t)i);
}

static void nudge(struct tiny *t, double by)
{
    for (int i = 0; i < t->leaves->n; i++) {
        const struct leaf *l = t->leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT) continue;
        real *w = state_data(t->state, l);
        for (int64_t k = 0; k < shape_count(l->decl.shape); k++) w[k] += (real)(by * direction(l, k));
    }
}

static double slope(struct tiny *t)
{
    double sum = 0;
    plan_backward(t->plan, 0);
    for (int i = 0; i < t->graph->n; i++) {
        const struct node *n = t->graph->node[i];
        if (!n->leaf || n->leaf->kind != LEAF_WEIGHT || n->region != REGION_MICRO) continue;
        double *g = xcalloc((size_t)shape_count(n->shape), sizeof *g);
        if (!plan_read_grad(t->plan, n, g)) fail_msg("no gradient reaches %s", n->leaf->path);
        for (int64_t k = 0; k < shape_count(n->shape); k++) sum += g[k] * direction(n->leaf, k);
        free(g);
    }
    return sum;
}

static void check_gradient(const char *name, struct tiny *t, uint64_t seed)
{
    const double h = 1e-6;
    int n, m;
    tiny_start(t, seed);
    t->start[2 * t->seq - 1] = t->start[2 * t->seq - 2] = t->seq - 2;       /* a second document ends the second sequence */
    t->weight[2 * t->seq - 3] = 0;
    objective(t);
    double exact = slope(t);
    int32_t *before = choices(t, &n);
    double side[2];
    for (int i = 0; i < 2; i++) {
        nudge(t, i ? -2 * h : h);
        side[i] = objective(t);
        int32_t *after = choices(t, &m);
        bool still = n == m && (n == 0 || memcmp(before, after, (size_t)n * sizeof *before) == 0);
        if (!still) fail_msg("%s: the nudge flipped a choice: take another seed", name);
        free(after);
    }
    free(before);
    double numeric = (side[0] - side[1]) / (2 * h), error = fabs(exact - numeric) / fmax(fabs(exact), fabs(numeric));
    if (!(error < 1e-6)) fail_msg("%s: derivative %.12g, by differences %.12g, relative error %.2g", name, exact, numeric, error);
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
    char path[128], name[128];
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
            if (p->type == PARAM_BOOL) checked += check_choice(*m, p, json_boolean(!p->value));
            for (const char *at = p->type == PARAM_CHOICE ? p->choices : ""; *at; at += strcspn(at, " "), at += *at == ' ')
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

/* ---- parameters ---- */

static json_t *number(const struct param *p, double v) { return p->type == PARAM_INT ? json_integer((json_int_t)v) : json_real(v); }

/* Sets a parameter and says whether the result is legal, with its fingerprint. */
static bool try_value(const struct module *m, const struct param *p, json_t *value, struct hash *out)
{
    char path[128];
    struct config c = config_new(m);
    param_path(m, p, path);
    set(&c, m->slot, path, value);
    bool legal = fingerprint(&c, out);
    config_free(&c);
    return legal;
}

static double value_now(const struct module *m, const struct param *p)
{
    char path[128];
    struct config c = config_new(m);
    param_path(m, p, path);
    const json_t *given = config_get(trains(m->slot) ? c.train : c.model, path);
    double v = given ? json_number_value(given) : p->value;
    config_free(&c);
    return v;
}

/* The nearest other legal number, searched outwards. */
static bool try_other_number(const struct module *m, const struct param *p, struct hash *out)
{
    char name[128];
    snprintf(name, sizeof name, "%s %s %s", slot_name[m->slot], m->name, p->name);
    for (int i = 0; i < COUNT(other_value); i++)
        if (strcmp(name, other_value[i].param) == 0) return try_value(m, p, number(p, other_value[i].value), out);
    double v = value_now(m, p);
    double reals[] = { v * 1.001, v * 0.999, v / 2, (v + p->min) / 2, (v + p->max) / 2, p->min, p->max };
    for (int i = 0; i < (p->type == PARAM_INT ? 64 : COUNT(reals)); i++) {
        double w = p->type == PARAM_INT ? v + (i % 2 ? -1 : 1) * (i / 2 + 1) : reals[i];
        if (w != v && w >= p->min && w <= p->max && try_value(m, p, number(p, w), out)) return true;
    }
    return false;
}

static const struct module *other_module(const struct param *p)
{
    for (const struct module *const *m = module_all; *m; m++)
        if ((*m)->slot == p->slot && strcmp((*m)->name, p->module) != 0 && strcmp((*m)->name, "none") != 0) return *m;
    return NULL;
}

/* False: there is nothing else to choose. */
static bool try_other(const struct module *m, const struct param *p, struct hash *out)
{
    const struct module *other;
    switch (p->type) {
    case PARAM_INT: case PARAM_REAL: return try_other_number(m, p, out);
    case PARAM_BOOL: return try_value(m, p, json_boolean(!p->value), out);
    case PARAM_CHOICE:                                      /* the first word that is legal and not the default */
        for (int i = 0, at = 0; p->choices[at]; i++) {
            int n = (int)strcspn(p->choices + at, " ");
            if (i != (int)p->value && try_value(m, p, json_stringn(p->choices + at, (size_t)n), out)) return true;
            at += n + (p->choices[at + n] == ' ');
        }
        return false;
    case PARAM_INTS: return try_value(m, p, json_pack("[i,i]", (int)p->min + 1, (int)p->min), out);
    case PARAM_SLOT: case PARAM_SLOTS:
        other = other_module(p);
        return other && try_value(m, p, p->type == PARAM_SLOTS ? json_pack("[s]", other->name) : json_string(other->name), out);
    case PARAM_LAYERS: break;
    }
    return false;
}

static void test_no_dead_parameter(void **state)
{
    (void)state;
    for (const struct module *const *m = module_all; *m; m++) {
        struct config c = config_new(*m);
        struct hash usual, changed;
        assert_true(fingerprint(&c, &usual));
        config_free(&c);
        for (const struct param *p = (*m)->params; p && p->name; p++) {
            bool single = (p->type == PARAM_SLOT || p->type == PARAM_SLOTS) && !other_module(p);
            bool legal = try_other(*m, p, &changed);
            if (!legal && !single) fail_msg("%s %s: no other legal value of '%s' was found", slot_name[(*m)->slot], (*m)->name, p->name);
            if (legal && hash_equal(usual, changed)) fail_msg("%s %s: '%s' changes nothing", slot_name[(*m)->slot], (*m)->name, p->name);
        }
    }
}

/* At a bound a module builds, or its rules refuse it; one of the bounds is legal. */
static void test_bounds(void **state)
{
    (void)state;
    for (const struct module *const *m = module_all; *m; m++)
        for (const struct param *p = (*m)->params; p && p->name; p++) {
            struct hash h;
            if (p->type != PARAM_INT && p->type != PARAM_REAL) continue;
            bool low = try_value(*m, p, number(p, p->min), &h), high = try_value(*m, p, number(p, p->max), &h);
            if (!low && !high) fail_msg("%s %s: '%s' is legal at neither bound", slot_name[(*m)->slot], (*m)->name, p->name);
        }
}

/* ---- none, and independence ---- */

static void test_off_is_inert(void **state)
{
    (void)state;
    struct config plain = config_new(NULL);
    struct hash without, with;
    int tested = 0;
    assert_true(fingerprint(&plain, &without));
    for (const struct module *const *m = module_all; *m; m++) {
        if (strcmp((*m)->name, "none") != 0 || (*m)->slot == SLOT_POSITION) continue;      /* rope is the usual position */
        struct config c = config_new(*m);
        assert_true(fingerprint(&c, &with));
        if (!hash_equal(without, with)) fail_msg("%s none is not the same as leaving it out", slot_name[(*m)->slot]);
        config_free(&c);
        tested++;
    }
    assert_int_equal(tested, 5);
    config_free(&plain);
}

static void test_initial_weights_do_not_move(void **state)
{
    (void)state;
    struct config plain = config_new(NULL);
    struct tiny base, t;
    assert_true(build(&base, &plain));
    tiny_start(&base, 5);
    for (const struct module *const *m = module_all; *m; m++) {
        if ((*m)->slot == SLOT_INIT) continue;
        int same = 0;
        struct config c = config_new(*m);
        assert_true(build(&t, &c));
        tiny_start(&t, 5);
        for (int i = 0; i < t.leaves->n; i++) {
            const struct leaf *l = t.leaves->leaf[i], *old = leaves_find(base.leaves, l->path);
            if (l->kind != LEAF_WEIGHT || !old || !shape_equal(l->decl.shape, old->decl.shape)) continue;
            if (memcmp(state_data(t.state, l), state_data(base.state, old), leaf_bytes(l)) != 0)
                fail_msg("%s %s moves the initial %s", slot_name[(*m)->slot], (*m)->name, l->path);
            same++;
        }
        if (same < 5) fail_msg("%s %s: only %d weights are left to compare", slot_name[(*m)->slot], (*m)->name, same);
        tiny_free(&t);
        config_free(&c);
    }
    tiny_free(&base);
    config_free(&plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients), cmocka_unit_test(test_gradients_of_choices), cmocka_unit_test(test_gradient_of_all),
        cmocka_unit_test(test_no_dead_parameter), cmocka_unit_test(test_bounds), cmocka_unit_test(test_off_is_inert),
        cmocka_unit_test(test_initial_weights_do_not_move),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
