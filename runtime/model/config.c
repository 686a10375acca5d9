/* Schemas and typed configurations: JSON in, structs out, every mistake collected. */
#include "registry.h"
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_NAME(upper, name) name,
const char *const slot_name[SLOT_COUNT] = { SLOT_LIST(SLOT_NAME) };

enum { NAMES_MAX = 64, SHOWN_MAX = 60 };

/* What every step of a load shares. */
struct load { struct arena *arena; struct problems *problems; int layers; };

/* Names: lists ended by NULL, for suggestions */

static void names_of_params(const struct param *params, const char *out[NAMES_MAX])
{
    int n = 0;
    for (const struct param *p = params; p && p->name && n < NAMES_MAX - 1; p++) out[n++] = p->name;
    out[n] = NULL;
}

static void names_of_modules(enum slot slot, const char *out[NAMES_MAX])
{
    int n = 0;
    for (const struct module *const *m = module_all; *m && n < NAMES_MAX - 1; m++)
        if ((*m)->slot == slot) out[n++] = (*m)->name;
    out[n] = NULL;
}

static void names_of_choices(struct arena *arena, const char *words, const char *out[NAMES_MAX])
{
    int n = 0;
    char *rest, *word = strtok_r(arena_text(arena, "%s", words), " ", &rest);
    for (; word && n < NAMES_MAX - 1; word = strtok_r(NULL, " ", &rest)) out[n++] = word;
    out[n] = NULL;
}

static void names_join(const char *const *names, char out[512])
{
    size_t at = 0;
    out[0] = 0;
    for (int i = 0; names[i] && at < 500; i++)
        at += (size_t)snprintf(out + at, 512 - at, "%s%s", i ? ", " : "", names[i]);
}

/* "no parameter 'topk' (did you mean 'top_k'?)\n  known: ..." */
static void unknown(char out[1024], const char *what, const char *given, const char *const *names)
{
    char known[512];
    const char *near = nearest_name(given, names);
    names_join(names, known);
    int at = snprintf(out, 1024, "no %s '%.*s'", what, SHOWN_MAX, given);
    if (near) at += snprintf(out + at, 1024 - (size_t)at, " (did you mean '%s'?)", near);
    if (*known) snprintf(out + at, 1024 - (size_t)at, "\n  known: %s", known);
    else snprintf(out + at, 1024 - (size_t)at, ": nothing can be set here");
}

static const char *shown(struct arena *arena, const json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS | JSON_REAL_PRECISION(15));
    char *kept = arena_text(arena, "%.*s%s", SHOWN_MAX, text, strlen(text) > SHOWN_MAX ? "..." : "");
    free(text);
    return kept;
}

static const struct param *param_find(const struct param *params, const char *name)
{
    for (const struct param *p = params; p && p->name; p++)
        if (strcmp(p->name, name) == 0) return p;
    return NULL;
}

static bool is_slot(const struct param *p)
{
    return p->type == PARAM_SLOT || p->type == PARAM_SLOTS || p->type == PARAM_LAYERS;
}

static json_t *layer_list(const json_t *json)               /* the array of {"layers": [...]}, or NULL */
{
    json_t *list = json_object_get(json, "layers");
    return json_is_array(list) && !json_object_get(json, "module") ? list : NULL;
}

/* Loading */

static void load_params(struct load *l, const struct param *params, const json_t *json, const char *path, void *conf);

static bool number_load(struct load *l, const struct param *p, const json_t *json, const char *path, double *out)
{
    bool whole = p->type != PARAM_REAL;
    double v = json_number_value(json);
    if (!json_is_number(json) || (whole && v != floor(v))) {
        problem_add(l->problems, path, "%s: must be %s", shown(l->arena, json), whole ? "an integer" : "a number");
        return false;
    }
    if (v < p->min || v > p->max) {
        const char *gap = p->unit && *p->unit ? " " : "", *unit = p->unit ? p->unit : "";
        if (p->max >= INT_MAX)
            problem_add(l->problems, path, "%.15g is out of range: at least %.15g%s%s", v, p->min, gap, unit);
        else problem_add(l->problems, path, "%.15g is out of range: %.15g to %.15g%s%s", v, p->min, p->max, gap, unit);
        return false;
    }
    *out = v;
    return true;
}

static void choice_load(struct load *l, const struct param *p, const json_t *json, const char *path, int *out)
{
    const char *names[NAMES_MAX];
    char text[1024];
    names_of_choices(l->arena, p->choices, names);
    const char *given = json_is_string(json) ? json_string_value(json) : shown(l->arena, json);
    for (int i = 0; names[i]; i++)
        if (json_is_string(json) && strcmp(names[i], given) == 0) { *out = i; return; }
    unknown(text, "choice", given, names);
    problem_add(l->problems, path, "%s", text);
}

static void list_load(struct load *l, const struct param *p, const json_t *json, const char *path, struct ints *out)
{
    if (json_is_object(json) && json_object_size(json) == 0) return;        /* Lua's {} has no kind */
    if (!json_is_array(json)) {
        problem_add(l->problems, path, "%s: must be a list of integers", shown(l->arena, json));
        return;
    }
    int n = (int)json_array_size(json);
    *out = (struct ints){ n, arena_alloc(l->arena, (size_t)n * sizeof(int)) };
    for (int i = 0; i < n; i++) {
        double v;
        if (number_load(l, p, json_array_get(json, (size_t)i), path, &v)) out->value[i] = (int)v;
    }
}

/* A string or a table, or NULL for the default module; wanted: name of the module when nobody says. */
static struct pick pick_load(struct load *l, enum slot slot, const char *wanted, const json_t *json, const char *path)
{
    const char *names[NAMES_MAX];
    char text[1024];
    const json_t *word = json_is_object(json) ? json_object_get(json, "module") : json;
    names_of_modules(slot, names);
    if (word && !json_is_string(word)) {
        names_join(names, text);
        problem_add(l->problems, path, "%s: must be the name of a module or its table\n  known: %s",
                    shown(l->arena, word), text);
        return (struct pick){ 0 };
    }
    const char *name = word ? json_string_value(word) : wanted;
    const struct module *m = module_find(slot, name);
    if (!m) {
        unknown(text, "module named", name, names);
        problem_add(l->problems, path, "%s", text);
        return (struct pick){ 0 };
    }
    void *conf = arena_alloc(l->arena, m->conf_size ? m->conf_size : 1);
    load_params(l, m->params, json_is_object(json) ? json : NULL, path, conf);
    return (struct pick){ m, conf };
}

/* Any number of different modules; "none" adds nothing. The keys of each have its name in their path. */
static void picks_load(struct load *l, const struct param *p, const json_t *json, const char *path, struct picks *out)
{
    bool list = json_is_array(json), empty = json_is_object(json) && json_object_size(json) == 0;
    int n = empty ? 0 : list ? (int)json_array_size(json) : 1;
    *out = (struct picks){ 0, arena_alloc(l->arena, (size_t)(n ? n : 1) * sizeof(struct pick)) };
    for (int i = 0; i < n; i++) {
        const json_t *item = list ? json_array_get(json, (size_t)i) : json;
        const char *name = json_string_value(json_is_object(item) ? json_object_get(item, "module") : item);
        struct pick pick = pick_load(l, p->slot, "", item, name ? arena_text(l->arena, "%s.%s", path, name) : path);
        if (!pick.module || strcmp(pick.module->name, "none") == 0) continue;
        bool duplicate = false;
        for (int k = 0; k < out->n; k++) duplicate |= out->pick[k].module == pick.module;
        if (duplicate) problem_add(l->problems, path, "'%s' is listed twice", name);
        else out->pick[out->n++] = pick;
    }
}

static void layers_load(struct load *l, const struct param *p, const json_t *json, const char *path, struct picks *out)
{
    const json_t *list = layer_list(json);
    int n = l->layers;
    *out = (struct picks){ n, arena_alloc(l->arena, (size_t)(n ? n : 1) * sizeof(struct pick)) };
    if (!list) {                                            /* one value: the layers share it */
        struct pick same = pick_load(l, p->slot, p->module, json, path);
        for (int i = 0; i < n; i++) out->pick[i] = same;
        return;
    }
    if ((int)json_array_size(list) != n || json_object_size(json) != 1) {
        problem_add(l->problems, path,
                    "the list has %d values, the model has %d layers: one for each, and no other key",
                    (int)json_array_size(list), n);
        return;
    }
    for (int i = 0; i < n; i++) out->pick[i] = pick_load(l, p->slot, p->module, json_array_get(list, (size_t)i), path);
}

/* A value of the script, or NULL where it says nothing. A mistaken value leaves the default in place, so that the
   search for mistakes can go on. */
static void param_load(struct load *l, const struct param *p, const json_t *json, const char *path, void *field)
{
    double v = p->value;
    switch (p->type) {
    case PARAM_INT: case PARAM_REAL:
        if (json) number_load(l, p, json, path, &v);
        if (p->type == PARAM_INT) *(int *)field = (int)v;
        else *(double *)field = v;
        break;
    case PARAM_BOOL:
        if (json && !json_is_boolean(json))
            problem_add(l->problems, path, "%s: must be true or false", shown(l->arena, json));
        *(int *)field = json && json_is_boolean(json) ? json_is_true(json) : (int)v;
        break;
    case PARAM_CHOICE:
        *(int *)field = (int)v;
        if (json) choice_load(l, p, json, path, field);
        break;
    case PARAM_INTS:
        *(struct ints *)field = (struct ints){ 0 };
        if (json) list_load(l, p, json, path, field);
        break;
    case PARAM_TEXT:
        *(const char **)field = json_is_string(json) ? arena_text(l->arena, "%s", json_string_value(json)) : p->module;
        if (json && !json_is_string(json)) problem_add(l->problems, path, "%s: must be a text", shown(l->arena, json));
        break;
    case PARAM_SLOT: *(struct pick *)field = pick_load(l, p->slot, p->module, json, path); break;
    case PARAM_SLOTS:
        *(struct picks *)field = (struct picks){ 0 };
        if (json) picks_load(l, p, json, path, field);
        break;
    case PARAM_LAYERS: layers_load(l, p, json, path, field); break;
    }
}

static void load_params(struct load *l, const struct param *params, const json_t *json, const char *path, void *conf)
{
    const char *dot = *path ? "." : "", *key;
    json_t *value;
    char text[1024];
    const char *names[NAMES_MAX];
    names_of_params(params, names);
    json_object_foreach((json_t *)json, key, value) {
        if (strcmp(key, "module") == 0 || param_find(params, key)) continue;
        unknown(text, "parameter", key, names);
        problem_add(l->problems, arena_text(l->arena, "%s%s%s", path, dot, key), "%s", text);
    }
    for (int last = 0; last < 2; last++)                    /* per-layer slots need the number of layers */
        for (const struct param *p = params; p && p->name; p++) {
            if ((p->type == PARAM_LAYERS) != last) continue;
            param_load(l, p, json_object_get(json, p->name), arena_text(l->arena, "%s%s%s", path, dot, p->name),
                       (char *)conf + p->offset);
            if (p->type == PARAM_INT && strcmp(p->name, "layers") == 0) l->layers = *(int *)((char *)conf + p->offset);
        }
}

void config_load(const struct schema *schema, const json_t *json, const char *path, struct arena *arena, void *conf,
                 struct problems *problems)
{
    struct load l = { arena, problems, 0 };
    if (json && !json_is_object(json)) {
        problem_add(problems, path, "%s: must be a table", shown(arena, json));
        json = NULL;
    }
    load_params(&l, schema->params, json, path, conf);
}

/* Writing */

static json_t *write_params(const struct param *params, const void *conf);

static json_t *write_pick(struct pick pick)
{
    json_t *out = write_params(pick.module->params, pick.conf);
    json_object_set_new(out, "module", json_string(pick.module->name));
    return out;
}

static json_t *write_picks(struct picks picks)
{
    json_t *out = json_array();
    for (int i = 0; i < picks.n; i++) json_array_append_new(out, write_pick(picks.pick[i]));
    return out;
}

static json_t *write_layers(struct picks picks)    /* equal layers are written once: one form for one meaning */
{
    json_t *list = write_picks(picks), *first = json_array_get(list, 0);
    bool equal = first != NULL;
    for (size_t i = 1; i < json_array_size(list); i++) equal = equal && json_equal(first, json_array_get(list, i));
    if (!equal) return json_pack("{s:o}", "layers", list);
    json_incref(first);
    json_decref(list);
    return first;
}

static json_t *write_choice(const char *words, int index)
{
    int length;
    const char *word = param_word(words, index, &length);
    return json_stringn(word, (size_t)length);
}

static json_t *write_ints(const struct ints *ints)
{
    json_t *out = json_array();
    for (int i = 0; i < ints->n; i++) json_array_append_new(out, json_integer(ints->value[i]));
    return out;
}

static json_t *write_param(const struct param *p, const void *field)
{
    switch (p->type) {
    case PARAM_INT: return json_integer(*(const int *)field);
    case PARAM_REAL: return json_real(*(const double *)field + 0.0);        /* -0 is 0 */
    case PARAM_BOOL: return json_boolean(*(const int *)field);
    case PARAM_CHOICE: return write_choice(p->choices, *(const int *)field);
    case PARAM_INTS: return write_ints(field);
    case PARAM_TEXT: return json_string(*(const char *const *)field);
    case PARAM_SLOT: return write_pick(*(const struct pick *)field);
    case PARAM_SLOTS: return write_picks(*(const struct picks *)field);
    case PARAM_LAYERS: return write_layers(*(const struct picks *)field);
    }
    return NULL;
}

static json_t *write_params(const struct param *params, const void *conf)
{
    json_t *out = json_object();
    for (const struct param *p = params; p && p->name; p++)
        json_object_set_new(out, p->name, write_param(p, (const char *)conf + p->offset));
    return out;
}

json_t *config_write(const struct schema *schema, const void *conf)
{
    json_t *plain = write_params(schema->params, conf);
    char *text = config_canonical(plain);                   /* jansson keeps the order of a text's keys */
    json_t *out = json_loads(text, 0, NULL);
    free(text);
    json_decref(plain);
    return out;
}

char *config_canonical(const json_t *json)
{
    return json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
}

/* Setting and reading by path */

static int set_in(const struct param *params, json_t *object, const char *path, json_t *value, struct err *e);

/* A module's value as a table, so that keys can be put into it: {"module": "gqa"} for "gqa". */
static json_t *as_table(json_t *value)
{
    if (json_is_object(value)) return json_deep_copy(value);
    return json_is_string(value) ? json_pack("{s:O}", "module", value) : json_object();
}

static int set_in_module(const struct param *p, json_t *table, const char *path, json_t *value, struct err *e)
{
    const char *name = json_string_value(json_object_get(table, "module"));
    const struct module *m = module_find(p->slot, name ? name : p->module);
    if (!m) return err_set(e, "no module named '%s'", name ? name : p->module);
    return set_in(m->params, table, path, value, e);
}

static int set_in_layers(const struct param *p, json_t *list, const char *path, json_t *value, struct err *e)
{
    int done = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *layer = as_table(json_array_get(list, i));
        done += set_in_module(p, layer, path, value, e) == 0;       /* layers of another kind have no such key */
        json_array_set_new(list, i, layer);
    }
    return done ? 0 : -1;
}

static int set_in_list(const struct param *p, json_t *list, const char *path, json_t *value, struct err *e)
{
    size_t length = strcspn(path, ".");
    char name[NAMES_MAX];
    snprintf(name, sizeof name, "%.*s", (int)length, path);
    for (size_t i = 0; path[length] && i < json_array_size(list); i++) {
        json_t *item = as_table(json_array_get(list, i));
        json_array_set_new(list, i, item);
        const char *module = json_string_value(json_object_get(item, "module"));
        if (module && strcmp(module, name) == 0) return set_in_module(p, item, path + length + 1, value, e);
    }
    return err_set(e, "'%s' is not in the list '%s'", name, p->name);
}

static int set_below(const struct param *p, json_t *object, const char *path, json_t *value, struct err *e)
{
    json_t *old = json_object_get(object, p->name), *child, *layers;
    if (!is_slot(p)) return err_set(e, "'%s' is a value and has no parameter '%s'", p->name, path);
    if (p->type == PARAM_SLOTS)
        child = json_is_array(old) ? json_deep_copy(old) : old ? json_pack("[O]", old) : json_array();
    else child = as_table(old);
    json_object_set_new(object, p->name, child);
    if (p->type == PARAM_SLOTS) return set_in_list(p, child, path, value, e);
    if ((layers = layer_list(child))) return set_in_layers(p, layers, path, value, e);
    return set_in_module(p, child, path, value, e);
}

static int set_in(const struct param *params, json_t *object, const char *path, json_t *value, struct err *e)
{
    size_t length = strcspn(path, ".");
    char key[NAMES_MAX], text[1024];
    const char *names[NAMES_MAX];
    snprintf(key, sizeof key, "%.*s", (int)length, path);
    const struct param *p = param_find(params, key);
    if (!p) {
        names_of_params(params, names);
        unknown(text, "parameter", key, names);
        return err_set(e, "%s", text);
    }
    if (path[length]) return set_below(p, object, path + length + 1, value, e);
    if (is_slot(p) && json_is_object(value) && json_object_size(value) && !json_object_get(value, "module") &&
        !layer_list(value)) {
        const char *inner;    /* a table that names no module changes the one that is there */
        json_t *v;
        json_object_foreach(value, inner, v)
            if (set_below(p, object, inner, v, e) != 0) return -1;
        return 0;
    }
    return json_object_set_new(object, key, json_deep_copy(value));
}

int config_set(const struct schema *schema, json_t *json, const char *path, json_t *value, struct err *e)
{
    return set_in(schema->params, json, path, value, e);
}

json_t *config_get(const json_t *json, const char *path)
{
    json_t *at = (json_t *)json;
    while (at && *path) {
        size_t length = strcspn(path, "."), i;
        json_t *item, *found = NULL, *layers = layer_list(at);
        if (layers) at = json_array_get(layers, 0);
        if (json_is_array(at)) {                            /* a list of modules: the one of that name */
            json_array_foreach(at, i, item) {
                const char *name = json_string_value(json_is_object(item) ? json_object_get(item, "module") : item);
                if (name && strlen(name) == length && strncmp(name, path, length) == 0) found = item;
            }
            at = found;
        } else {
            at = json_object_getn(at, path, length);
        }
        path += length + (path[length] == '.');
    }
    json_t *layers = layer_list(at);
    return layers ? json_array_get(layers, 0) : at;
}

int64_t config_integer(const json_t *json, const char *path) { return json_integer_value(config_get(json, path)); }
