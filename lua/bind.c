/* Runs an experiment script and takes its description as JSON. The library itself is Lua (lua/sluice); here are the few
   things that it asks of the program: places in scripts, problems, the schemas' config_set, and require. */
#include "bind.h"
#include "embedded.h"
#include "literal.h"
#include "locate.h"
#include "model/model.h"
#include "model/registry.h"
#include "print.h"
#include "base/regular.h"
#include "base/text.h"
#include "sandbox.h"
#include "study/study.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX_BYTES = 4 << 20, DEEPEST = 40, NAMES_MAX = 512 };

/* A call of the library in a script: sl.model at line 3 of sources[0]. */
struct site { int source, line; const char *function; };

struct script {
    struct arena *arena; struct problems *problems;
    const char *path, *folder;                              /* of the script itself, which is sources[0] */
    bool trust; int n_set; char **set; struct print print;
    int n_sources, n_sites, n_base; struct source *source; struct site *site;
    int study, *base;                                       /* sites: of the study, and of the calls that made its
                                                               base */
    json_t *description, *tree;    /* tree: what host_set works on; here it outlives an error of Lua's */
};
static const char study_type[] = "sluice.study";

/* ---- places ---- */

static void *grown(struct arena *arena, const void *old, int n, size_t size)   /* room for one more, in powers of two */
{
    if (n & (n - 1)) return (void *)old;
    void *bigger = arena_alloc(arena, (size_t)(n ? 2 * n : 1) * size);
    if (n) memcpy(bigger, old, (size_t)n * size);
    return bigger;
}

static const char *location(struct script *s, const struct site *site, int line)
{
    return arena_text(s->arena, "%s:%d", s->source[site->source].path, line);
}

/* The key's own line in the call's table, or the line of the call. */
static const char *location_of_key(struct script *s, const struct site *site, const char *path)
{
    int line = site->line;
    source_key(&s->source[site->source], site->function, site->line, path, &line);
    return location(s, site, line);
}

/* Whether a table of the call writes at least `least` characters of the path: a whole key or more. */
static const char *key_in(struct script *s, const struct site *site, const char *path, size_t least)
{
    int line = 0;
    return source_key(&s->source[site->source], site->function, site->line, path, &line) > least
               ? location(s, site, line)
               : NULL;
}

static const char *set_by_option(struct script *s, const char *path)
{
    for (int i = s->n_set - 1; i >= 0; i--) {
        size_t length = strcspn(s->set[i], "=");
        if (strncmp(s->set[i], path, length) == 0 && (path[length] == 0 || path[length] == '.'))
            return arena_text(s->arena, "--set %s", s->set[i]);
    }
    return NULL;
}

static const char *set_by_variant(struct script *s, const char *variant, const char *path)
{
    static const char *const tables[] = { "axes", "toggles", "drop" };
    struct site *study = &s->site[s->study];
    const char *prefix = arena_text(s->arena, "variants.%s.", variant);
    const char *at = key_in(s, study, arena_text(s->arena, "%s%s", prefix, path), strlen(prefix));
    for (int i = 0; !at && i < COUNT(tables); i++)
        at = key_in(s, study, arena_text(s->arena, "%s.%s", tables[i], path), strlen(tables[i]) + 1);
    if (at) return at;
    int line = source_string(&s->source[study->source], study->line, path);
    return line ? location(s, study, line) : NULL;
}

const char *script_locate(struct script *s, const char *variant, const char *path)
{
    const char *at = NULL;
    if (s->study < 0) return s->path;
    if (variant) at = set_by_variant(s, variant, path);
    if (!at) at = set_by_option(s, path);
    if (!at) at = key_in(s, &s->site[s->study], path, 0);   /* train.steps, data, match, ... */
    for (int i = s->n_base - 1; !at && i >= 0; i--) at = key_in(s, &s->site[s->base[i]], path, 0);
    if (at) return at;
    const struct site *call = &s->site[s->n_base && strncmp(path, "train.", 6) != 0 ? s->base[0] : s->study];
    return location(s, call, call->line);
}

/* ---- Lua values and JSON ---- */

static int to_json(lua_State *L, int at, int depth, json_t **out, const char **why);

static int table_to_json(lua_State *L, int at, int depth, json_t **out, const char **why)
{
    lua_Integer n = (lua_Integer)lua_rawlen(L, at);
    *out = n ? json_array() : json_object();
    for (lua_Integer i = 1; i <= n; i++) {
        json_t *item;
        lua_rawgeti(L, at, i);
        int failed = to_json(L, lua_gettop(L), depth + 1, &item, why);
        lua_pop(L, 1);
        if (failed) return -1;
        json_array_append_new(*out, item);
    }
    if (n > 0) return 0;
    for (lua_pushnil(L); lua_next(L, at); lua_pop(L, 1)) {
        json_t *item;
        size_t length;
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tolstring(L, -2, &length) : NULL;
        int failed = to_json(L, lua_gettop(L), depth + 1, &item, why);
        if (!failed && (!key || strlen(key) != length || json_object_set(*out, key, item))) {
            *why = "a key is no UTF-8 text";
            failed = -1;
        }
        json_decref(item);
        if (failed) { lua_pop(L, 2); return -1; }
    }
    return 0;
}

/* The value at an absolute index as a new reference; never raises, so that nothing is lost on the way. On failure *out
   is released and *why says what is wrong. */
static int to_json(lua_State *L, int at, int depth, json_t **out, const char **why)
{
    size_t length;
    int failed = 0;
    *out = NULL;
    switch (lua_type(L, at)) {
    case LUA_TBOOLEAN: *out = json_boolean(lua_toboolean(L, at)); break;
    case LUA_TNUMBER:
        *out = lua_isinteger(L, at) ? json_integer(lua_tointeger(L, at)) : json_real(lua_tonumber(L, at));
        if (!*out) *why = "a number is not finite";
        break;
    case LUA_TSTRING: {
        const char *text = lua_tolstring(L, at, &length);
        *out = strlen(text) == length ? json_string(text) : NULL;
        if (!*out) *why = "a text is not UTF-8, or holds a zero byte";
        break;
    }
    case LUA_TTABLE:
        if (depth > DEEPEST || !lua_checkstack(L, 8)) { *why = "tables nest too deeply"; break; }
        failed = table_to_json(L, at, depth, out, why);
        break;
    default: *why = "only texts, numbers, true, false and tables are values"; break;
    }
    if (failed) { json_decref(*out); *out = NULL; }
    return *out ? 0 : -1;
}

static void push_json(lua_State *L, const json_t *json)
{
    const char *key;
    json_t *item;
    size_t i;
    luaL_checkstack(L, 4, NULL);
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        lua_newtable(L);
        json_object_foreach((json_t *)json, key, item) { push_json(L, item); lua_setfield(L, -2, key); }
        break;
    case JSON_ARRAY:
        lua_newtable(L);
        json_array_foreach(json, i, item) { push_json(L, item); lua_rawseti(L, -2, (lua_Integer)i + 1); }
        break;
    case JSON_STRING: lua_pushlstring(L, json_string_value(json), json_string_length(json)); break;
    case JSON_INTEGER: lua_pushinteger(L, (lua_Integer)json_integer_value(json)); break;
    case JSON_REAL: lua_pushnumber(L, json_real_value(json)); break;
    default: lua_pushboolean(L, json_is_true(json)); break;
    }
}

/* ---- what the library asks for: functions with the script as upvalue ---- */

static struct script *script_of(lua_State *L) { return lua_touserdata(L, lua_upvalueindex(1)); }

/* The innermost line of a script that is running, as a new site; code that a script made with load counts as its line
   1. */
static int site_new(lua_State *L, struct script *s, const char *function)
{
    struct site site = { 0, 1, arena_text(s->arena, "%s", function) };
    lua_Debug ar;
    bool found = false;
    for (int level = 0; !found && lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        for (int i = 0; *ar.source == '@' && !found && i < s->n_sources; i++) {
            found = strcmp(s->source[i].path, ar.source + 1) == 0;
            if (found) { site.source = i; site.line = ar.currentline; }
        }
    }
    s->site = grown(s->arena, s->site, s->n_sites, sizeof site);
    s->site[s->n_sites] = site;
    return s->n_sites++;
}

static const struct site *check_site(lua_State *L, int argument)
{
    struct script *s = script_of(L);
    lua_Integer i = luaL_checkinteger(L, argument);
    luaL_argcheck(L, i >= 0 && i < s->n_sites, argument, "no site");
    return &s->site[i];
}

/* Upvalues: script, name, function. Calls function(site, ...): a C function here keeps the caller's frame alive even
   in "return sl.study { ... }", whose line would be gone in a tail call. */
static int host_entered(lua_State *L)
{
    int n = lua_gettop(L);
    lua_pushinteger(L, site_new(L, script_of(L), lua_tostring(L, lua_upvalueindex(2))));
    lua_insert(L, 1);
    lua_pushvalue(L, lua_upvalueindex(3));
    lua_insert(L, 1);
    lua_call(L, n + 1, LUA_MULTRET);
    return lua_gettop(L);
}

static int host_entry(lua_State *L)                         /* entry(name, function) */
{
    lua_settop(L, 2);
    lua_pushlightuserdata(L, script_of(L));
    lua_insert(L, 1);
    lua_pushcclosure(L, host_entered, 3);
    return 1;
}

/* Keys of a study, and what is changed in its base, may stand on the command line. */
static const char *location_of_mistake(lua_State *L)
{
    struct script *s = script_of(L);
    const struct site *site = check_site(L, 1);
    const char *path = luaL_checkstring(L, 2), *at = NULL;
    if (s->problems->n >= PROBLEMS_KEPT) return s->path;    /* it is only counted */
    bool of_model = strcmp(site->function, "model") == 0 || strcmp(site->function, "preset") == 0 ||
                    strcmp(site->function, "extend") == 0 || strcmp(site->function, "deepen") == 0;
    if (*path && !of_model) at = set_by_option(s, path);
    return at ? at : location_of_key(s, site, path);
}

static int host_problem(lua_State *L)                       /* problem(site, path, text) */
{
    const char *text = luaL_checkstring(L, 3);
    problem_add(script_of(L)->problems, "", "%s: %s", location_of_mistake(L), text);
    return 0;
}

static int host_fail(lua_State *L)                          /* fail(site, path, text): goes no further */
{
    const char *text = luaL_checkstring(L, 3);
    lua_pushfstring(L, "%s: %s", location_of_mistake(L), text);
    return lua_error(L);
}

static int host_nearest(lua_State *L)                       /* nearest(name, list) -> name or nil */
{
    const char *names[NAMES_MAX];
    int n = 0;
    luaL_checktype(L, 2, LUA_TTABLE);
    for (lua_Integer i = 1; n < NAMES_MAX - 1 && lua_rawgeti(L, 2, i) == LUA_TSTRING; i++) {
        names[n++] = lua_tostring(L, -1);                   /* the list keeps it alive */
        lua_pop(L, 1);
    }
    names[n] = NULL;
    lua_pushstring(L, nearest_name(luaL_checkstring(L, 1), names));
    return 1;
}

static int host_is_name(lua_State *L)                       /* is_name(text) */
{
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    lua_pushboolean(L, strlen(text) == size && study_is_name(text));
    return 1;
}

static int host_literal(lua_State *L)                       /* literal(text) -> value, or nil and why not */
{
    struct err e;
    if (literal_push(L, luaL_checkstring(L, 1), &e) == 0) return 1;
    lua_pushnil(L);
    lua_pushstring(L, e.text);
    return 2;
}

static int host_set(lua_State *L)    /* set("model" or "train", tree, path, value) -> tree, or nil and why not */
{
    struct script *s = script_of(L);
    const struct schema *schema = strcmp(luaL_checkstring(L, 1), "train") == 0 ? &train_schema : &model_schema;
    const char *path = luaL_checkstring(L, 3), *why = NULL;
    json_t *value = NULL;
    struct err e = { "" };
    lua_settop(L, 4);
    json_decref(s->tree);
    bool ok = to_json(L, 2, 0, &s->tree, &why) == 0 && to_json(L, 4, 0, &value, &why) == 0 &&
              config_set(schema, s->tree, path, value, &e) == 0;
    json_decref(value);
    if (ok) { push_json(L, s->tree); return 1; }
    lua_pushnil(L);
    lua_pushstring(L, why ? why : e.text);
    return 2;
}

/* layers_of(tree, n) -> of n layers those that a model's are copies of, from 1, or nil and why not */
static int host_layers_of(lua_State *L)
{
    struct script *s = script_of(L);
    struct problems problems = { 0 };
    struct model_conf conf;
    struct ints of = { 0 };
    struct err e = { "" };
    const char *why = e.text;
    int n = (int)luaL_checkinteger(L, 2);
    json_decref(s->tree);
    if (to_json(L, 1, 0, &s->tree, &why) == 0) model_load(s->tree, s->arena, &conf, &problems);
    const struct start *start = s->tree && !problems.n ? model_start(&conf) : NULL;
    if (problems.n) err_set(&e, "%s: %s", problems.problem[0].path, problems.problem[0].text);
    else if (start && start->map.module->layers) of = start_layers(start, n, s->arena, &e);
    else if (s->tree)
        err_set(&e, "init.map says of no layer which it is a copy of: \"cycle\", \"overlap\" and \"layers\" do");
    problems_free(&problems);
    if (of.n == 0) {
        lua_pushnil(L);
        lua_pushstring(L, why);
        return 2;
    }
    lua_createtable(L, of.n, 0);
    for (int i = 0; i < of.n; i++) {
        lua_pushinteger(L, of.value[i] + 1);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static int host_study(lua_State *L)    /* study(site, description, sites of base) -> what a script returns */
{
    check_site(L, 1);
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_settop(L, 3);
    lua_newuserdatauv(L, 0, 3);
    for (int i = 1; i <= 3; i++) {
        lua_pushvalue(L, i);
        lua_setiuservalue(L, 4, i);
    }
    luaL_setmetatable(L, study_type);
    return 1;
}

/* ---- require ---- */

/* Leaves the compiled chunk of a file of the script's on the stack. */
static void load_file(lua_State *L, struct script *s, const char *path)
{
    struct err e;
    size_t size = 0;
    char *text = regular_text(path, FILE_MAX_BYTES, &size, &e);
    if (!text) luaL_error(L, "%s: %s", path, e.text);
    char *kept = arena_copy(s->arena, text, size + 1);
    free(text);
    s->source = grown(s->arena, s->source, s->n_sources, sizeof *s->source);
    size_t mark = strncmp(kept, "\xef\xbb\xbf", 3) == 0 ? 3 : 0, skip = mark;       /* a byte order mark */
    s->source[s->n_sources++] = (struct source){ .arena = s->arena, .path = arena_text(s->arena, "%s", path),
                                                 .text = kept + mark };
    if (kept[mark] == '#') skip += strcspn(kept + mark, "\n");                        /* "#!" */
    lua_pushfstring(L, "@%s", path);
    if (luaL_loadbufferx(L, kept + skip, size - skip, lua_tostring(L, -1), "t") != LUA_OK) lua_error(L);
    if (strlen(kept) != size) luaL_error(L, "%s: holds a zero byte: not a script", path);
    lua_remove(L, -2);
}

/* A dot in the name of a part is a slash of its path, or itself: sluice.presets.glm-4.5. */
static bool names_part(const char *name, const char *path)
{
    if (strcmp(name, "sluice") == 0) name = "sluice.init";
    for (; *name; name++, path++)
        if (*name != *path && !(*name == '.' && *path == '/')) return false;
    return strcmp(path, ".lua") == 0;
}

static bool load_embedded(lua_State *L, const char *name)
{
    if (strcmp(name, "sluice") != 0 && strncmp(name, "sluice.", 7) != 0) return false;
    for (const struct embedded *e = embedded_lua; e->path; e++) {
        if (!names_part(name, e->path)) continue;
        lua_pushfstring(L, "=%s", e->path);
        if (luaL_loadbufferx(L, e->text, e->size, lua_tostring(L, -1), "t") != LUA_OK) lua_error(L);
        return true;
    }
    return luaL_error(L, "the library has no part '%s'", name);
}

/* The chunk of a file beside the script, or in trust what Lua's own require gives (then it has already run: false). */
static bool load_beside(lua_State *L, struct script *s, const char *name)
{
    const char *path = lua_pushfstring(L, "%s%s.lua", s->folder, name);
    if (s->trust && access(path, F_OK)) {
        lua_pushvalue(L, lua_upvalueindex(4));
        lua_pushvalue(L, 1);
        lua_call(L, 1, 1);
        return false;
    }
    if (!*name || name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")])
        luaL_error(L, "require '%s': only 'sluice' and files beside the script, by their bare names", name);
    load_file(L, s, path);
    return true;
}

/* require(name): the library, or a file beside the script. Upvalues: script, table of what is loaded, host, and in
   trust Lua's own require. Only the library is handed the host. */
static int host_require(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    lua_settop(L, 1);
    if (lua_getfield(L, lua_upvalueindex(2), name) == LUA_TBOOLEAN)
        return luaL_error(L, "require '%s': it requires itself", name);
    if (!lua_isnil(L, -1)) return 1;
    bool library = load_embedded(L, name);
    if (!library && !load_beside(L, script_of(L), name)) return 1;
    lua_pushboolean(L, true);                               /* mark: being loaded */
    lua_setfield(L, lua_upvalueindex(2), name);
    lua_pushvalue(L, library ? lua_upvalueindex(3) : 1);
    lua_call(L, 1, 1);
    if (lua_isnil(L, -1)) return luaL_error(L, "require '%s': the file returns nothing", name);
    lua_pushvalue(L, -1);
    lua_setfield(L, lua_upvalueindex(2), name);
    return 1;
}

/* ---- running ---- */

/* A list of { path, text } of --set path=text. */
static void push_overrides(lua_State *L, struct script *s)
{
    lua_newtable(L);
    for (int i = 0; i < s->n_set; i++) {
        const char *set = s->set[i], *value = strchr(set, '=');
        if (!value || value == set) { problem_add(s->problems, "", "--set %s: must be path=value", set); continue; }
        if (!value[1]) {
            problem_add(s->problems, "", "--set %s: no value is given; an empty text is written \"\"", set);
            continue;
        }
        lua_newtable(L);
        lua_pushlstring(L, set, (size_t)(value - set));
        lua_setfield(L, -2, "path");
        lua_pushstring(L, value + 1);
        lua_setfield(L, -2, "text");
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    }
}

/* Names of the presets, ended by NULL. */
static const char **preset_names(struct arena *arena)
{
    static const char folder[] = "sluice/presets/";
    const char **names = arena_alloc(arena, NAMES_MAX * sizeof *names);
    int n = 0;
    for (const struct embedded *e = embedded_lua; e->path && n < NAMES_MAX - 1; e++)
        if (strncmp(e->path, folder, sizeof folder - 1) == 0)
            names[n++] = arena_text(arena, "%.*s", (int)(strlen(e->path) - sizeof folder + 1 - strlen(".lua")),
                                    e->path + sizeof folder - 1);
    return names;
}

static void push_presets(lua_State *L, struct script *s)
{
    lua_newtable(L);
    for (const char **name = preset_names(s->arena); *name; name++) {
        lua_pushstring(L, *name);
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    }
}

static void push_host(lua_State *L, struct script *s)
{
    static const luaL_Reg functions[] = {
        { "entry", host_entry }, { "problem", host_problem }, { "fail", host_fail }, { "nearest", host_nearest },
        { "is_name", host_is_name }, { "literal", host_literal }, { "set", host_set },
        { "layers_of", host_layers_of }, { "study", host_study }, { NULL, NULL }
    };
    lua_newtable(L);
    lua_pushlightuserdata(L, s);
    luaL_setfuncs(L, functions, 1);
    push_overrides(L, s);
    lua_setfield(L, -2, "overrides");
    push_presets(L, s);
    lua_setfield(L, -2, "presets");
    lua_pushinteger(L, STUDY_NAME_MAX);
    lua_setfield(L, -2, "longest_name");
    lua_pushstring(L, study_name_rule);
    lua_setfield(L, -2, "name_rule");
    const char *file = s->path + strlen(s->folder), *dot = strrchr(file, '.');
    lua_pushlstring(L, file, dot && dot > file ? (size_t)(dot - file) : strlen(file));
    lua_setfield(L, -2, "script");
}

/* Takes apart what the script returned, which is on the top. */
static void take_study(lua_State *L, struct script *s)
{
    const char *why = NULL;
    int at = lua_gettop(L);
    if (!luaL_testudata(L, at, study_type))
        luaL_error(L, "%s: must return a study: 'return sl.study { ... }'", s->path);
    lua_getiuservalue(L, at, 1);
    s->study = (int)lua_tointeger(L, -1);
    lua_getiuservalue(L, at, 3);
    s->n_base = (int)lua_rawlen(L, -1);
    s->base = arena_alloc(s->arena, (size_t)(s->n_base + 1) * sizeof *s->base);
    for (int i = 0; i < s->n_base; i++, lua_pop(L, 1)) {
        lua_rawgeti(L, -1, i + 1);
        lua_Integer site = lua_tointeger(L, -1);
        if (site < 0 || site >= s->n_sites) luaL_error(L, "%s: the base is from no place", s->path);
        s->base[i] = (int)site;
    }
    lua_getiuservalue(L, at, 2);
    if (to_json(L, lua_gettop(L), 0, &s->description, &why)) luaL_error(L, "%s: %s", s->path, why);
}

/* The library in the sandbox, ready for `require "sluice"`. */
static void open_library(lua_State *L, struct script *s)
{
    sandbox_open(L);
    print_open(L, &s->print);
    luaL_newmetatable(L, study_type);
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_settop(L, 0);
    lua_pushlightuserdata(L, s);
    lua_newtable(L);
    push_host(L, s);
    lua_pushnil(L);
    if (s->trust) { lua_getglobal(L, "require"); lua_replace(L, -2); }
    lua_pushcclosure(L, host_require, 4);
    lua_setglobal(L, "require");
    sandbox_strict(L);
}

static int run_protected(lua_State *L)
{
    struct script *s = lua_touserdata(L, 1);
    open_library(L, s);
    load_file(L, s, s->path);
    lua_call(L, 0, 1);
    take_study(L, s);
    return 0;
}

/* What the library's file of the script's name gives, as a tree. */
static int table_protected(lua_State *L)
{
    struct script *s = lua_touserdata(L, 1);
    const char *why = NULL;
    open_library(L, s);
    if (luaL_loadstring(L, "return require 'sluice.tree'.normal(require(...), 0, '')") != LUA_OK) lua_error(L);
    lua_pushstring(L, s->path);
    lua_call(L, 1, 1);
    if (to_json(L, lua_gettop(L), 0, &s->tree, &why)) luaL_error(L, "%s", why);
    return 0;
}

/* Errors get the path of the script when they say no place of their own. */
static void add_error(lua_State *L, struct script *s, const struct sandbox *box)
{
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error that is no text was raised";
    if (strcmp(text, "not enough memory") == 0) {
        problem_add(s->problems, "", "%s: the script needs more than %d MiB of memory",
                    *box->location ? box->location : s->path, SANDBOX_MEMORY >> 20);
        return;
    }
    size_t name = strcspn(text, ":"), digits = text[name] ? strspn(text + name + 1, "0123456789") : 0;
    if (digits > 0 || strncmp(text, s->path, strlen(s->path)) == 0) problem_add(s->problems, "", "%s", text);
    else problem_add(s->problems, "", "%s: %s", s->path, text);
}

/* Lua's tables have no order; a description has: what a variant sets is set in the order of paths. */
static json_t *sorted(json_t *json)
{
    char *text = config_canonical(json);
    json_t *out = json_loads(text, 0, NULL);
    INVARIANT(out, "a description does not read back");
    free(text);
    json_decref(json);
    return out;
}

/* Every file that was read goes with the description: what is run can be run again. */
static void add_sources(struct script *s)
{
    json_t *required = json_array();
    json_object_set_new(s->description, "script_path", json_string(s->path));
    json_object_set_new(s->description, "required", required);
    for (int i = 0; i < s->n_sources; i++) {
        const struct source *source = &s->source[i];
        json_t *text = json_string(source->text);
        char hash[33];
        hash_print(hash_bytes(source->text, strlen(source->text)), hash);
        if (!text) problem_add(s->problems, "", "%s: the text is not UTF-8", source->path);
        else if (i > 0) json_array_append_new(required, json_pack("{s:s, s:s, s:o}",
                                                                  "name", source->path + strlen(s->folder),
                                                                  "xxh128", hash, "text", text));
        else {
            json_object_set_new(s->description, "script_text", text);
            json_object_set_new(s->description, "script_xxh128", json_string(hash));
        }
    }
}

int script_run(const char *path, const struct script_options *o, struct script **out, json_t **description,
               struct problems *problems)
{
    struct arena *arena = arena_new();
    struct script *s = arena_alloc(arena, sizeof *s);
    const char *slash = strrchr(path, '/');
    *s = (struct script){ .arena = arena, .problems = problems, .trust = o->trust, .print = { .say = o->say },
                          .study = -1, .path = arena_text(arena, "%s", path),
                          .folder = arena_text(arena, "%.*s", slash ? (int)(slash - path) + 1 : 0, path) };
    s->set = arena_alloc(arena, (size_t)(o->n_set + 1) * sizeof *s->set);
    for (; s->n_set < o->n_set; s->n_set++) s->set[s->n_set] = arena_text(arena, "%s", o->set[s->n_set]);
    struct sandbox box = { .trust = o->trust, .most_work = o->most_work ? o->most_work : SANDBOX_WORK };
    int before = problems->n;
    lua_State *L = sandbox_new(&box);
    INVARIANT(L, "no memory for a Lua state");
    lua_pushcfunction(L, run_protected);
    lua_pushlightuserdata(L, s);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) add_error(L, s, &box);
    sandbox_close(L);
    json_decref(s->tree);
    if (s->description) {
        s->description = sorted(s->description);
        add_sources(s);
    }
    *out = s;
    *description = s->description;
    s->problems = NULL;
    return problems->n > before ? -1 : 0;
}

_Static_assert((int)SCRIPT_LOCATION == (int)SANDBOX_LOCATION && (int)SCRIPT_SECONDS == (int)SANDBOX_SECONDS,
               "what bind.h says of the sandbox");

void script_stands(char location[SCRIPT_LOCATION]) { sandbox_location(location); }

bool script_is_read(const struct script *s) { return s->n_sources > 0; }

void script_free(struct script *s)
{
    if (s) arena_free(s->arena);
}

/* A table of the library by its name in `require`. */
static int library_table(const char *name, json_t **out, struct err *e)
{
    struct arena *arena = arena_new();
    struct script s = { .arena = arena, .study = -1, .path = name, .folder = "" };
    struct sandbox box = { .most_work = SANDBOX_WORK };
    int failure = 0;
    lua_State *L = sandbox_new(&box);
    INVARIANT(L, "no memory for a Lua state");
    lua_pushcfunction(L, table_protected);
    lua_pushlightuserdata(L, &s);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) failure = err_set(e, "%s: %s", name, lua_tostring(L, -1));
    sandbox_close(L);
    *out = s.tree;
    arena_free(arena);
    return failure;
}

static json_t *library_list(const char *name)
{
    json_t *list;
    struct err e;
    INVARIANT(library_table(name, &list, &e) == 0, "%s", e.text);
    return list;
}

json_t *script_routers(void) { return library_list("sluice.routers"); }
json_t *script_mixers(void) { return library_list("sluice.mixers"); }

int script_preset(const char *name, json_t **model, struct err *e)
{
    struct arena *arena = arena_new();
    const char **names = preset_names(arena);
    char hint[HINT];
    did_you_mean(nearest_name(name, names), hint);
    while (*names && strcmp(*names, name) != 0) names++;
    int failure = *names ? library_table(arena_text(arena, "sluice.presets.%s", name), model, e)
                         : err_set(e, "no preset '%s'%s", name, hint);
    arena_free(arena);
    return failure;
}

char *script_library(char out[32])
{
    const char *number = lua_ident + strcspn(lua_ident, "0123456789");     /* "$LuaVersion: Lua 5.4.4  Copyright ..." */
    snprintf(out, 32, "%.*s", (int)strspn(number, "0123456789."), number);
    return out;
}
