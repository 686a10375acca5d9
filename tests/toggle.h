/* Switches, found by walking the registry: each module in its slot, each word and each yes or no of a parameter. Models
   in which any number of them is on, where that is legal.

       struct toggles all = toggles_new();
       const struct toggle *both[] = { &all.toggle[3], &all.toggle[7] };
       if (toggles_load(both, 2, &t, why)) tiny_build(&t, MODE_TRAIN, 2, 6);       else: `why` says what forbids it

   A new module needs no line here, but one in `company` when it does nothing at its defaults in the tiny model. */
#ifndef SLUICE_TOGGLE_H
#define SLUICE_TOGGLE_H

#include "tiny.h"

/* What a module needs to be active, or to be small. */
static const struct { const char *module, *model; } company[] = {
    { "position rope", TEXT({"position.fraction": 0.5}) },
    { "mask window", TEXT({"attention.mask.size": 2}) },
    { "attention gated_delta", TEXT({"attention.heads": 1, "attention.value_heads": 2, "attention.key_dim": 4,
                                     "attention.value_dim": 3}) },
    { "mask chunk", TEXT({"attention.mask.size": 2}) },
    { "balance bias", TEXT({"ffn.router.score": "sigmoid"}) },
    { "balance load", TEXT({"ffn.router.noise": "learned"}) },
    { "embed over_encoding", TEXT({"embed.rows": 7, "embed.width": 3}) },
};

/* Parameters that stop a gradient on purpose: differences see what it does not. */
static const char *const stops[] = { "balance load detach" };

static inline bool stops_gradient(const struct module *m, const struct param *p)
{
    char name[128];
    snprintf(name, sizeof name, "%s %s %s", slot_name[m->slot], m->name, p ? p->name : "");
    for (int i = 0; i < COUNT(stops); i++) if (strcmp(name, stops[i]) == 0) return true;
    return false;
}

static inline bool has_slot(const struct param *p)
{
    return p->type == PARAM_SLOT || p->type == PARAM_SLOTS || p->type == PARAM_LAYERS;
}
static inline const char *module_label(const struct module *m, char out[64])
{
    snprintf(out, 64, "%s %s", slot_name[m->slot], m->name);
    return out;
}

/* Where a slot is: its path in the tables of the model or of the training, and the module that has it (NULL: the table
   itself), and the row that it is. */
struct site { bool train, list; char path[96]; const struct module *owner; const struct param *param; };

static inline bool site_below(const struct param *params, const struct module *owner, enum slot slot, int depth,
                               struct site *out)
{
    for (const struct param *p = params; p && p->name && depth < 6; p++) {
        if (!has_slot(p)) continue;
        if (p->slot == slot) {
            *out = (struct site){ .list = p->type == PARAM_SLOTS, .owner = owner, .param = p };
            snprintf(out->path, sizeof out->path, "%s", p->name);
            return true;
        }
        for (const struct module *const *m = module_all; *m; m++) {
            char inner[96];
            if ((*m)->slot != p->slot || !site_below((*m)->params, *m, slot, depth + 1, out)) continue;
            memcpy(inner, out->path, sizeof inner);
            snprintf(out->path, sizeof out->path, "%.24s.%.70s", p->name, inner);
            return true;
        }
    }
    return false;
}

static inline struct site site_of(enum slot slot)
{
    struct site at;
    if (site_below(model_schema.params, NULL, slot, 0, &at)) return at;
    if (!site_below(train_schema.params, NULL, slot, 0, &at)) fail_msg("slot %s is nowhere", slot_name[slot]);
    at.train = true;
    return at;
}

/* Whether a module is what its slot holds when nothing is said of it. */
static inline bool is_usual(const struct module *m)
{
    const char *usual = site_of(m->slot).param->module;
    return strcmp(m->name, *usual ? usual : "none") == 0;
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

/* Puts a module in its slot. Where nothing has that slot, the module that does comes first, unless its own is
   `taken`. */
static inline int config_place(struct config *c, const struct module *m, const struct module *const *taken,
                               struct err *e)
{
    struct site at = site_of(m->slot);
    json_t *now = config_get(at.train ? c->train : c->model, at.path);
    if (!now && at.owner && !taken[at.owner->slot] && config_place(c, at.owner, taken, e) != 0) return -1;
    json_t *value = json_pack("{s:s}", "module", m->name);
    if (at.list) {
        json_t *list = json_is_array(now) ? json_copy(now) : json_array();
        json_array_append_new(list, value);
        value = list;
    }
    return config_try(c, at.train, at.path, value, e);
}

static inline bool has_company(const struct module *m)
{
    char label[64];
    module_label(m, label);
    for (int i = 0; i < COUNT(company); i++) if (strcmp(label, company[i].module) == 0) return true;
    return false;
}

static inline int config_add_company(struct config *c, const struct module *m, struct err *e)
{
    char label[64];
    const char *path;
    json_t *value;
    int failure = 0;
    module_label(m, label);
    for (int i = 0; i < COUNT(company); i++) {
        if (strcmp(label, company[i].module) != 0) continue;
        json_t *sets = json_loads(company[i].model, 0, NULL);
        json_object_foreach(sets, path, value) failure |= config_try(c, false, path, json_incref(value), e);
        json_decref(sets);
    }
    return failure;
}

/* The tiny model written out in full, so that every slot can be read. */
static inline struct config config_plain(void)
{
    struct tiny t;
    char why[256];
    json_t *model = tiny_json(&model_schema, tiny_base, NULL), *train = json_object();
    if (!tiny_load(&t, model, train, why)) fail_msg("%s", why);
    struct config c = { config_write(&model_schema, &t.model), config_write(&train_schema, &t.train) };
    json_decref(model);
    json_decref(train);
    arena_free(t.arena);
    return c;
}

/* A switch: a module, or one of its parameters at a value that is not the usual one. */
struct toggle { const struct module *module; const struct param *param; json_t *value; char name[96]; };
struct toggles { int n, room; struct toggle *toggle; };

/* Modules first, outer slots before inner ones; then the company of each; then parameters. -1: a slot or a key that is
   not there, or two modules for one slot. One switch may be left `off`: a module goes with its company, a parameter's
   stays. */
static inline int config_combine(struct config *c, const struct toggle *const *t, int n, int off, bool with_company,
                                 struct err *e)
{
    const struct module *in[SLOT_COUNT] = { NULL };
    *c = config_plain();
    for (int depth = 0; depth < 8; depth++)
        for (int i = 0; i < n; i++) {
            const struct module *m = t[i]->module;
            struct site at = site_of(m->slot);
            int dots = 0;
            for (const char *s = at.path; *s; s++) dots += *s == '.';
            if (dots != depth || (i == off && !t[i]->param)) continue;
            if (in[m->slot] && in[m->slot] != m && !at.list)
                return err_set(e, "%s: '%s' and '%s'", at.path, in[m->slot]->name, m->name);
            in[m->slot] = m;
            if (!config_has_module(c, m) && config_place(c, m, in, e) != 0) return -1;
        }
    for (int i = 0; i < n && with_company; i++)
        if ((i != off || t[i]->param) && config_add_company(c, t[i]->module, e) != 0) return -1;
    for (int i = 0; i < n; i++) {
        char path[160];
        if (!t[i]->param || i == off) continue;
        param_path(t[i]->module, t[i]->param, path);
        if (config_try(c, site_of(t[i]->module->slot).train, path, json_incref(t[i]->value), e) != 0) return -1;
    }
    return 0;
}

/* With their company, or without where that is in the way of another. */
static inline bool toggles_load_without(const struct toggle *const *t, int n, int off, struct tiny *out, char why[256])
{
    bool legal = false;
    for (int with_company = 1; with_company >= 0 && !legal; with_company--) {
        struct config c;
        struct err e;
        *out = (struct tiny){ 0 };
        if (config_combine(&c, t, n, off, with_company, &e) != 0) snprintf(why, 256, "%.255s", e.text);
        else if (!(legal = tiny_load(out, c.model, c.train, why))) arena_free(out->arena);
        config_free(&c);
    }
    return legal;
}

static inline bool toggles_load(const struct toggle *const *t, int n, struct tiny *out, char why[256])
{
    return toggles_load_without(t, n, -1, out, why);
}

/* False: not legal. */
static inline bool toggles_fingerprint(const struct toggle *const *t, int n, int off, struct hash *out)
{
    struct tiny tiny;
    char why[256];
    if (!toggles_load_without(t, n, off, &tiny, why)) return false;
    tiny_build(&tiny, MODE_TRAIN, 2, 6);
    *out = graph_fingerprint(tiny.graph);
    tiny_free(&tiny);
    return true;
}

/* Keeps a switch that changes something, or that only another makes legal. */
static inline void toggles_add(struct toggles *all, const struct toggle *t, const struct hash *usual)
{
    struct hash h;
    if (toggles_fingerprint(&t, 1, -1, &h) && hash_equal(h, *usual)) {
        json_decref(t->value);
        return;
    }
    if (all->n == all->room) {
        all->room = all->room ? 2 * all->room : 64;
        all->toggle = xrealloc(all->toggle, (size_t)all->room * sizeof *all->toggle);
    }
    all->toggle[all->n++] = *t;
}

static inline void toggles_add_params(struct toggles *all, const struct module *m, const struct hash *usual)
{
    for (const struct param *p = m->params; p && p->name; p++) {
        if (p->type == PARAM_BOOL)
            for (int on = 0; on < 2; on++) {
                struct toggle t = { m, p, json_boolean(on), "" };
                snprintf(t.name, sizeof t.name, "%s %s %s = %s", slot_name[m->slot], m->name, p->name,
                         on ? "true" : "false");
                toggles_add(all, &t, usual);
            }
        if (p->optional) {
            struct toggle t = { m, p, json_real(p->value == 0 ? fmin(1, p->max) : 0), "" };
            snprintf(t.name, sizeof t.name, "%s %s %s %s", slot_name[m->slot], m->name, p->name,
                     p->value == 0 ? "on" : "off");
            toggles_add(all, &t, usual);
        }
        for (const char *at = p->type == PARAM_CHOICE ? p->choices : ""; *at;
             at += strcspn(at, " "), at += *at == ' ') {
            int length = (int)strcspn(at, " ");
            struct toggle t = { m, p, json_stringn(at, (size_t)length), "" };
            snprintf(t.name, sizeof t.name, "%s %s %s = %.*s", slot_name[m->slot], m->name, p->name, length, at);
            toggles_add(all, &t, usual);
        }
    }
}

static inline struct toggles toggles_new(void)
{
    struct toggles all = { 0 };
    struct hash plain, with;
    if (!toggles_fingerprint(NULL, 0, -1, &plain)) fail_msg("the tiny model is refused");
    for (const struct module *const *m = module_all; *m; m++) {
        struct toggle t = { *m, NULL, NULL, "" };
        const struct toggle *one = &t;
        module_label(*m, t.name);
        if (!toggles_fingerprint(&one, 1, -1, &with)) fail_msg("%s is refused", t.name);
        toggles_add(&all, &t, &plain);
        toggles_add_params(&all, *m, &with);
    }
    return all;
}

static inline void toggles_free(struct toggles *all)
{
    for (int i = 0; i < all->n; i++) json_decref(all->toggle[i].value);
    free(all->toggle);
}

/* One switch, with the first other that makes it legal where it is not so alone. */
struct subject { const struct toggle *t[3]; int n; char name[200]; };

static inline struct subject subject_new(const struct toggles *all, int i)
{
    struct subject s = { { &all->toggle[i] }, 1, "" };
    struct tiny t;
    char why[256];
    bool legal = toggles_load(s.t, 1, &t, why);
    for (int k = 0; k < all->n && !legal; k++) {
        s.t[1] = &all->toggle[k];
        if (k != i) legal = toggles_load(s.t, s.n = 2, &t, why);
    }
    if (!legal) fail_msg("%s: nothing makes it legal: %s", all->toggle[i].name, why);
    arena_free(t.arena);
    snprintf(s.name, sizeof s.name, "%s%s%s", s.t[0]->name, s.n > 1 ? " + " : "", s.n > 1 ? s.t[1]->name : "");
    return s;
}

#endif
