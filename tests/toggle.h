/* Switches, found by walking the registry: each module in its slot, each word and each yes or no of a parameter, and
   reals that begin at an end of their range. Models in which any number of them is on, where that is legal.

       struct together both = together_new((const struct toggle *[]){ toggles.toggle[3], toggles.toggle[7] }, 2, true);
       if (together_load(&both, NULL, &t, why)) tiny_build(&t, MODE_TRAIN, 2, 6);  else: `why` says what forbids it
       ...
       return cmocka_run_group_tests(tests, toggles_begin, toggles_end);

   A new module needs no line here. */
#ifndef SLUICE_TOGGLE_H
#define SLUICE_TOGGLE_H

#include "tiny.h"

/* A switch: a module, or one of its parameters at a value that is not the usual one. What alone is refused or changes
   nothing has another beside it. */
struct toggle {
    const struct module *module; const struct param *param; json_t *value;
    const struct toggle *beside; char name[192];
};
struct toggles { int n; struct toggle **toggle; };

static inline bool has_slot(const struct param *p)
{
    return p->type == PARAM_SLOT || p->type == PARAM_SLOTS || p->type == PARAM_LAYERS;
}

/* What changes no graph of one rank: monitors (test_monitors), with whose weights a model begins (test_start), how
   ranks divide it (test_mesh), and what it is trained on (test_data_tasks). */
static inline bool is_beside_graph(const struct module *m)
{
    return m->slot == SLOT_MONITORS || m->slot == SLOT_MAP || m->slot == SLOT_RANKS || m->slot == SLOT_TASK ||
           (m->slot == SLOT_INIT && strcmp(m->name, "from") == 0);
}

/* Where a slot is: its path in the tables of the model or of the training, the dots in it, and the module that has it
   (NULL: the table itself), with the row that it is. */
struct site { bool train, list; int depth; char path[96]; const struct module *owner; const struct param *param; };

static inline bool site_below(const struct param *params, const struct module *owner, enum slot slot, int depth,
                              int deepest, struct site *out)
{
    for (const struct param *p = params; p && p->name && depth <= deepest; p++) {
        if (!has_slot(p)) continue;
        if (p->slot == slot) {
            *out = (struct site){ .list = p->type == PARAM_SLOTS, .depth = depth, .owner = owner, .param = p };
            snprintf(out->path, sizeof out->path, "%s", p->name);
            return true;
        }
        for (const struct module *const *m = module_all; *m; m++) {
            char inner[96];
            if ((*m)->slot != p->slot || !site_below((*m)->params, *m, slot, depth + 1, deepest, out)) continue;
            memcpy(inner, out->path, sizeof inner);
            snprintf(out->path, sizeof out->path, "%.24s.%.70s", p->name, inner);
            return true;
        }
    }
    return false;
}

/* Where it is least deep. */
static inline struct site site_of(enum slot slot)
{
    static struct site known[SLOT_COUNT];
    struct site *at = &known[slot];
    for (int deepest = 0; deepest < 6 && !at->param; deepest++) {
        if (site_below(model_schema.params, NULL, slot, 0, deepest, at)) continue;
        at->train = site_below(train_schema.params, NULL, slot, 0, deepest, at);
    }
    if (!at->param) fail_msg("slot %s is nowhere", slot_name[slot]);
    return *at;
}

static inline void param_path(const struct module *m, const struct param *p, char path[160])
{
    struct site at = site_of(m->slot);
    snprintf(path, 160, "%s%s%s.%s", at.path, at.list ? "." : "", at.list ? m->name : "", p->name);
}

/* A model and its training as JSON. */
struct config { json_t *model, *train; };

static inline void config_free(struct config *c) { json_decref(c->model); json_decref(c->train); }

static inline int config_try(struct config *c, bool train, const char *path, json_t *value, struct err *e)
{
    int failure = config_set(train ? &train_schema : &model_schema, train ? c->train : c->model, path, value, e);
    json_decref(value);
    return failure;
}

static inline bool config_has_module(const struct config *c, const struct module *m)
{
    struct site at = site_of(m->slot);
    const json_t *there = config_get(at.train ? c->train : c->model, at.path), *item;
    size_t i;
    json_array_foreach((json_t *)there, i, item)
        if (strcmp(json_string_value(json_object_get(item, "module")), m->name) == 0) return true;
    const char *name = json_string_value(json_object_get(there, "module"));
    return name && strcmp(name, m->name) == 0;
}

/* A module that is no larger than a tiny model. Its integers beyond 8 are 4, 6, 8 ...: even, as widths of heads are, no
   two the same, the first below the length of a sequence. Its reals beyond 3, as what caps values, are 2. What a block
   takes of a sequence is half of it: of one token's attention, queries and keys have no gradient but rounding. */
static inline json_t *module_small(const struct module *m)
{
    json_t *value = json_pack("{s:s}", "module", m->name);
    int size = 2;
    for (const struct param *p = m->params; p && p->name; p++) {
        if (p->type == PARAM_INT && p->value > 8) json_object_set_new(value, p->name, json_integer(size += 2));
        if (m->slot == SLOT_BLOCK && strcmp(p->name, "capacity") == 0)
            json_object_set_new(value, p->name, json_real(0.5));
        if (p->type == PARAM_REAL && p->value > 3) json_object_set_new(value, p->name, json_real(fmax(2, p->min)));
    }
    return value;
}

/* Puts a module in its slot. Where nothing has that slot, the module that does comes first, unless its own is
   `taken`. */
static inline int config_place(struct config *c, const struct module *m, const struct module *const *taken,
                               struct err *e)
{
    struct site at = site_of(m->slot);
    json_t *now = config_get(at.train ? c->train : c->model, at.path);
    if (!now && at.owner && !taken[at.owner->slot] && config_place(c, at.owner, taken, e) != 0) return -1;
    json_t *value = module_small(m);
    if (at.list) {
        json_t *list = json_is_array(now) ? json_copy(now) : json_array();
        json_array_append_new(list, value);
        value = list;
    }
    return config_try(c, at.train, at.path, value, e);
}

/* The module that has the slot of m, as it is now; NULL: a table, or several of them. */
static inline const struct module *config_owner(const struct config *c, const struct module *m)
{
    struct site at = site_of(m->slot);
    if (!at.owner) return NULL;
    struct site of = site_of(at.owner->slot);
    const json_t *there = config_get(of.train ? c->train : c->model, of.path);
    const char *name = json_string_value(json_object_get(there, "module"));
    return name ? module_find(at.owner->slot, name) : NULL;
}

/* A legal model written out in full, so that every slot can be read. */
static inline struct config config_full(const struct tiny *t)
{
    return (struct config){ config_write(&model_schema, &t->model), config_write(&train_schema, &t->train) };
}

/* Of the tiny model; a copy. */
static inline struct config config_plain(void)
{
    static struct config plain;
    if (!plain.model) {
        struct tiny t = tiny_new(NULL, NULL, MODE_TRAIN, 2, 6);
        plain = config_full(&t);
        tiny_free(&t);
    }
    return (struct config){ json_deep_copy(plain.model), json_deep_copy(plain.train) };
}

/* Switches of one model, and what is beside each, over which the others have precedence. */
struct together { int n; const struct toggle *on[8]; };

static inline struct together together_new(const struct toggle *const *t, int n, bool beside)
{
    struct together s = { 0 };
    assert_true(2 * n <= COUNT(s.on));
    for (int i = 0; i < n && beside; i++) if (t[i]->beside) s.on[s.n++] = t[i]->beside;
    for (int i = 0; i < n; i++) s.on[s.n++] = t[i];
    return s;
}

/* Modules first, outer slots before inner ones; then values. -1: a slot or a key that is not there, or two modules for
   one slot. One switch may be `off`: a module is left out, a parameter keeps its usual value. */
static inline int config_switch(struct config *c, const struct together *s, const struct toggle *off, struct err *e)
{
    const struct module *in[SLOT_COUNT] = { NULL };
    for (int depth = 0; depth < 8; depth++)
        for (int i = 0; i < s->n; i++) {
            const struct module *m = s->on[i]->module;
            struct site at = site_of(m->slot);
            if (at.depth != depth || (s->on[i] == off && !off->param)) continue;
            if (in[m->slot] && in[m->slot] != m && !at.list)
                return err_set(e, "%s: '%s' and '%s'", at.path, in[m->slot]->name, m->name);
            in[m->slot] = m;
            if (!config_has_module(c, m) && config_place(c, m, in, e) != 0) return -1;
            const struct module *owner = config_owner(c, m);
            if (owner) in[owner->slot] = owner;             /* another one would lack the slot */
        }
    for (int i = 0; i < s->n; i++) {
        const struct toggle *t = s->on[i];
        char path[160];
        if (!t->param || t == off) continue;
        param_path(t->module, t->param, path);
        if (config_try(c, site_of(t->module->slot).train, path, json_incref(t->value), e) != 0) return -1;
    }
    return 0;
}

/* False: not legal, and why. */
static inline bool together_load(const struct together *s, const struct toggle *off, struct tiny *out, char why[256])
{
    struct config c = config_plain();
    struct err e;
    bool legal = false;
    *out = (struct tiny){ 0 };
    if (config_switch(&c, s, off, &e) != 0) snprintf(why, 256, "%.255s", e.text);
    else if (!(legal = tiny_load(out, c.model, c.train, why))) arena_free(out->arena);
    config_free(&c);
    return legal;
}

/* False: not legal. */
static inline bool together_fingerprint(const struct together *s, const struct toggle *off, enum mode mode,
                                        struct hash *out)
{
    struct tiny tiny;
    char why[256];
    if (!together_load(s, off, &tiny, why)) return false;
    tiny_build(&tiny, mode, 2, 6);
    *out = graph_fingerprint(tiny.graph, 1000);
    tiny_free(&tiny);
    return true;
}

/* Whether a switch sets what is set without it: of two legal models, written out in full, that they are one. */
static inline bool together_is_usual(const struct together *s, const struct toggle *off)
{
    struct config c[2] = { { NULL, NULL }, { NULL, NULL } };
    for (int i = 0; i < 2; i++) {
        struct tiny tiny;
        char why[256];
        if (!together_load(s, i ? off : NULL, &tiny, why)) continue;
        c[i] = config_full(&tiny);
        arena_free(tiny.arena);
    }
    bool usual = json_equal(c[0].model, c[1].model) && json_equal(c[0].train, c[1].train);
    for (int i = 0; i < 2; i++) config_free(&c[i]);
    return usual;
}

/* ---- one switch ---- */

/* That is known to be legal. */
static inline struct tiny toggle_load(const struct toggle *t)
{
    struct together s = together_new(&t, 1, true);
    struct tiny tiny;
    char why[256];
    if (!together_load(&s, NULL, &tiny, why)) fail_msg("%s: %s", t->name, why);
    return tiny;
}

static inline struct tiny toggle_build(const struct toggle *t, enum mode mode, int batch, int seq)
{
    struct tiny tiny = toggle_load(t);
    tiny_build(&tiny, mode, batch, seq);
    return tiny;
}

enum effect { EFFECT_REFUSED, EFFECT_NONE, EFFECT_SOME };

/* Some: it is legal, and another graph than without it. */
static inline enum effect toggle_effect(const struct toggle *t, enum mode mode)
{
    struct together s = together_new(&t, 1, true);
    struct hash on, off;
    if (!together_fingerprint(&s, NULL, mode, &on)) return EFFECT_REFUSED;
    return together_fingerprint(&s, t, mode, &off) && hash_equal(on, off) ? EFFECT_NONE : EFFECT_SOME;
}

/* Whether it sets what is set without it. */
static inline bool toggle_is_usual(const struct toggle *t)
{
    struct together s = together_new(&t, 1, true);
    return together_is_usual(&s, t);
}

/* ---- all of them ---- */

/* Takes the reference to `value`. */
static inline struct toggle *toggle_new(const struct module *m, const struct param *p, json_t *value)
{
    struct toggle *t = xcalloc(1, sizeof *t);
    *t = (struct toggle){ .module = m, .param = p, .value = value };
    int n = snprintf(t->name, sizeof t->name, "%s %s", slot_name[m->slot], m->name);
    if (!p) return t;
    char *text = config_canonical(value);
    snprintf(t->name + n, sizeof t->name - (size_t)n, " %s = %s", p->name, text);
    free(text);
    return t;
}

static inline void toggle_free(struct toggle *t)
{
    json_decref(t->value);
    free(t);
}

static inline void toggles_push(struct toggles *to, struct toggle *t)
{
    to->toggle = xrealloc(to->toggle, (size_t)(to->n + 1) * sizeof(struct toggle *));
    to->toggle[to->n++] = t;
}

/* Each word, yes and no; of a real that begins at an end of its range, where it is off, one within; of one that can be
   off and is not, 0; of an integer that begins at 0, 3. New reference. */
static inline json_t *switched_values(const struct param *p)
{
    json_t *values = json_array();
    for (int on = 0; p->type == PARAM_BOOL && on < 2; on++) json_array_append_new(values, json_boolean(on));
    for (const char *at = p->type == PARAM_CHOICE ? p->choices : ""; *at; at += strcspn(at, " "), at += *at == ' ')
        json_array_append_new(values, json_stringn(at, strcspn(at, " ")));
    if (p->type == PARAM_INT && p->value == 0 && p->min == 0) json_array_append_new(values, json_integer(3));
    if (p->type != PARAM_REAL) return values;
    if (p->value == p->min) json_array_append_new(values, json_real(fmin(p->min + 1, p->max)));
    else if (p->value == p->max) json_array_append_new(values, json_real(p->max / 2));
    else if (p->optional) json_array_append_new(values, json_real(0));
    return values;
}

/* Numbers around a value, twice and half as much, small ones, and the ends of the range. */
static inline void add_numbers(json_t *values, const struct param *p, double v)
{
    const double reals[] = { 2 * v, 1, 0.1, v / 2, 0.01, (v + p->min) / 2, (v + p->max) / 2, p->min, p->max };
    for (int i = 2; p->type == PARAM_INT && i < 18; i++) {
        double w = v + (i % 2 ? -1 : 1) * (i / 2);
        if (w >= p->min && w <= p->max) json_array_append_new(values, json_integer((json_int_t)w));
    }
    /* the usual one too, where a tiny model has another */
    if (p->type == PARAM_INT) json_array_append_new(values, json_integer((json_int_t)v));
    for (int i = 0; p->type == PARAM_REAL && i < COUNT(reals); i++)
        if (reals[i] != v && reals[i] >= p->min && reals[i] <= p->max)
            json_array_append_new(values, json_real(reals[i]));
}

static inline void add_modules(json_t *values, const struct param *p)
{
    for (const struct module *const *m = module_all; *m; m++) {
        if ((*m)->slot != p->slot) continue;
        json_t *value = module_small(*m);
        json_array_append_new(values, p->type == PARAM_SLOT ? value : json_pack("[o]", value));
    }
}

/* What a parameter may be but `now`, or but its default (NULL). New reference. */
static inline json_t *other_values(const struct param *p, const json_t *now)
{
    json_t *all = switched_values(p), *values = json_array(), *value;
    const char *there = json_string_value(json_object_get(now, "module"));
    size_t i;
    add_numbers(all, p, json_is_number(now) ? json_number_value(now) : p->value);
    if (has_slot(p)) add_modules(all, p);
    if (p->type == PARAM_INTS) json_array_append_new(all, json_pack("[i,i]", (int)p->min + 1, (int)p->min));
    json_array_foreach(all, i, value) {
        const char *name = json_string_value(json_object_get(value, "module"));
        if (!json_equal(value, now) && !(name && there && strcmp(name, there) == 0)) json_array_append(values, value);
    }
    json_decref(all);
    return values;
}

/* Of a module, all parameters but one at their other values: the first of each, then the second, and so on. */
static inline struct toggles toggles_own(const struct module *m, const struct param *but)
{
    struct toggles own = { 0 };
    int before = -1;
    for (size_t i = 0; own.n > before; i++) {
        before = own.n;
        for (const struct param *p = m->params; p && p->name; p++) {
            json_t *values = other_values(p, NULL), *value = json_array_get(values, i);
            if (p != but && value) toggles_push(&own, toggle_new(m, p, json_incref(value)));
            json_decref(values);
        }
    }
    return own;
}

/* Whether a switch acts beside one of `n`, which it keeps; it may be usual there. */
static inline bool toggle_settle(struct toggle *t, struct toggle *const *other, int n, bool *usual)
{
    for (int i = 0; i < n && !*usual; i++) {
        size_t end = strlen(t->name);
        t->beside = other[i];
        enum effect effect = toggle_effect(t, MODE_TRAIN);
        if (effect == EFFECT_NONE) *usual = toggle_is_usual(t);
        if (effect != EFFECT_SOME) continue;
        snprintf(t->name + end, sizeof t->name - end, " beside %.90s", t->beside->name);
        return true;
    }
    return false;
}

/* Those that act alone, then the others; `besides` holds what is beside them and is none itself. */
static struct toggles toggles, besides;

/* What is usual is no switch, nor what says something of evaluations alone. */
static inline void toggles_sort(struct toggle *t, struct toggles *others)
{
    if (toggle_effect(t, MODE_TRAIN) == EFFECT_SOME) toggles_push(&toggles, t);
    else if (toggle_is_usual(t) || toggle_effect(t, MODE_EVAL) == EFFECT_SOME) toggle_free(t);
    else toggles_push(others, t);
}

static inline int toggles_begin(void **state)
{
    struct toggles others = { 0 };
    (void)state;
    for (const struct module *const *m = module_all; *m; m++) {
        if (is_beside_graph(*m)) continue;
        toggles_sort(toggle_new(*m, NULL, NULL), &others);
        for (const struct param *p = (*m)->params; p && p->name; p++) {
            json_t *values = switched_values(p), *value;
            size_t i;
            json_array_foreach(values, i, value) toggles_sort(toggle_new(*m, p, json_incref(value)), &others);
            json_decref(values);
        }
    }
    for (int i = 0, alone = toggles.n; i < others.n; i++) {
        struct toggle *t = others.toggle[i];
        struct site at = site_of(t->module->slot);
        struct toggles own = toggles_own(t->module, t->param),
                       outer = at.owner ? toggles_own(at.owner, at.param) : (struct toggles){ 0 };
        bool usual = false, acts = toggle_settle(t, own.toggle, own.n, &usual) ||
                                   toggle_settle(t, toggles.toggle, alone, &usual) ||
                                   toggle_settle(t, outer.toggle, outer.n, &usual);
        for (int k = 0; k < own.n; k++) toggles_push(&besides, own.toggle[k]);
        for (int k = 0; k < outer.n; k++) toggles_push(&besides, outer.toggle[k]);
        free(own.toggle);
        free(outer.toggle);
        if (acts) toggles_push(&toggles, t);
        else if (usual) toggle_free(t);
        else fail_msg("%s is refused or changes nothing, alone and beside each other switch", t->name);
    }
    free(others.toggle);
    return 0;
}

static inline void toggles_free(struct toggles *all)
{
    for (int i = 0; i < all->n; i++) toggle_free(all->toggle[i]);
    free(all->toggle);
}

static inline int toggles_end(void **state)
{
    (void)state;
    toggles_free(&toggles);
    toggles_free(&besides);
    return 0;
}

#endif
