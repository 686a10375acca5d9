/* A Lua state for scripts from anywhere. The hook counts instructions of Lua, not of C: library functions whose work
   can outgrow their arguments are bounded on their own; metamethods that run with hooks off (__gc), and handlers that
   run inside the hook (xpcall), are not there at all. */
#include "sandbox.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { HOOK_EVERY = 100, TEXT_MAX = 16 << 20, LIST_MAX = 10000000, NAMES_MAX = 512 };
static const double MATCH_STEPS = 1e8;

/* ---- limits ---- */

static struct sandbox *running;

/* The innermost line of a script's own: the library's are nobody's concern. */
void sandbox_location(char out[SANDBOX_LOCATION])
{
    enum { LEVELS = 1000 };
    lua_Debug ar;
    *out = 0;
    for (int level = 0; running && running->state && level < LEVELS && lua_getstack(running->state, level, &ar);
         level++) {
        lua_getinfo(running->state, "Sl", &ar);
        if (*ar.source != '@') continue;
        snprintf(out, SANDBOX_LOCATION, "%.*s:%d", SANDBOX_LOCATION - 16, ar.source + 1, ar.currentline);
        return;
    }
}

static void *counted(void *box_, void *old, size_t old_size, size_t size)
{
    struct sandbox *box = box_;
    if (!old) old_size = 0;                                 /* then it is the kind of object */
    if (!box->trust && size > old_size && box->used - old_size + size > SANDBOX_MEMORY) {
        sandbox_location(box->location);
        return NULL;
    }
    void *memory = NULL;
    box->work += (int64_t)(size / 64);
    if (size == 0) free(old);
    else if (!(memory = realloc(old, size))) return NULL;
    box->used += size - old_size;
    return memory;
}

static struct sandbox *box_of(lua_State *L)
{
    void *box;
    lua_getallocf(L, &box);
    return box;
}

static double cpu_seconds(void) { return (double)clock() / CLOCKS_PER_SEC; }

/* Once the limit is met it is met at every instruction, so that no pcall goes on. */
static void tick(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    struct sandbox *box = box_of(L);
    char location[SANDBOX_LOCATION];
    box->work += HOOK_EVERY;
    if (!box->spent && box->work <= box->most_work && cpu_seconds() - box->start <= SANDBOX_SECONDS) return;
    if (!box->spent) lua_sethook(L, tick, LUA_MASKCOUNT, 1);
    box->spent = true;
    sandbox_location(location);
    lua_pushfstring(L, "%s: the script took more than %I instructions or %d seconds: does a loop not end?", location,
                    (LUAI_UACINT)box->most_work, SANDBOX_SECONDS);
    lua_error(L);
}

lua_State *sandbox_new(struct sandbox *box)
{
    box->start = cpu_seconds();
    lua_State *L = lua_newstate(counted, box);
    box->state = L;
    running = box;
    if (L && !box->trust) lua_sethook(L, tick, LUA_MASKCOUNT, HOOK_EVERY);
    return L;
}

void sandbox_close(lua_State *L)
{
    lua_close(L);
    running = NULL;
}

/* ---- library functions with bounds: closures over the original ---- */

static int call_original(lua_State *L)
{
    int n = lua_gettop(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, n, LUA_MULTRET);
    return lua_gettop(L);
}

static int bounded_rep(lua_State *L)
{
    size_t length, gap;
    luaL_checklstring(L, 1, &length);
    luaL_optlstring(L, 3, "", &gap);
    double n = (double)luaL_checkinteger(L, 2), size = n * (double)(length + gap);
    if (size > TEXT_MAX)
        return luaL_error(L, "string.rep: the result would have %f characters, the limit is %d", size, TEXT_MAX);
    return call_original(L);
}

/* Repeats in a pattern: each multiplies the work of the matcher, which backtracks. */
static int repeats(const char *p, size_t length)
{
    int n = 0;
    for (size_t i = 0; i < length; i++) {
        if (p[i] == '%') n += ++i < length && (p[i] == 'b' || p[i] == 'f' || (p[i] >= '1' && p[i] <= '9'));
        else if (p[i] == '[') {                             /* a set: its first character may be "]" */
            i += 1 + (i + 1 < length && p[i + 1] == '^');
            do i += i < length && p[i] == '%' ? 2 : 1; while (i < length && p[i] != ']');
        } else n += strchr("*+-?", p[i]) && p[i];
    }
    return n;
}

/* Matching n characters with q repeats from every start tries at most binomial(n+q+1, q+1) ways. */
static int bounded_match(lua_State *L)
{
    size_t n, length;
    luaL_checklstring(L, 1, &n);
    const char *pattern = luaL_checklstring(L, 2, &length);
    int q = repeats(pattern, length);
    double steps = (double)length + 1;
    for (int i = 0; i <= q; i++) steps *= (double)(n + (size_t)i + 1) / (i + 1);
    if (steps > MATCH_STEPS)
        return luaL_error(L, "a pattern with %d repeats over %d characters could take too long", q, (int)n);
    return call_original(L);
}

static int bounded_list(lua_State *L)                       /* table.insert, table.remove */
{
    luaL_checktype(L, 1, LUA_TTABLE);
    if (luaL_getmetafield(L, 1, "__len") != LUA_TNIL)
        return luaL_error(L, "a table with a length of its own cannot be changed here");
    return call_original(L);
}

static int bounded_move(lua_State *L)
{
    if ((double)luaL_checkinteger(L, 3) - (double)luaL_checkinteger(L, 2) > LIST_MAX)
        return luaL_error(L, "table.move: too many values");
    return call_original(L);
}

static int bounded_setmetatable(lua_State *L)
{
    if (lua_istable(L, 2)) {
        lua_pushliteral(L, "__gc");
        if (lua_rawget(L, 2) != LUA_TNIL) return luaL_error(L, "'__gc' is not available in a script");
        lua_pop(L, 1);
    }
    return call_original(L);
}

/* Puts `bounded` around the field of the table on the top. */
static void bound(lua_State *L, const char *field, lua_CFunction bounded)
{
    lua_getfield(L, -1, field);
    lua_pushcclosure(L, bounded, 1);
    lua_setfield(L, -2, field);
}

static void forbid(lua_State *L, const char *field)
{
    lua_pushnil(L);
    lua_setfield(L, -2, field);
}

static void lock_metatable(lua_State *L)                    /* of the value on the top, which it pops */
{
    lua_getmetatable(L, -1);
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}

static void open_text(lua_State *L)
{
    static const char *const matchers[] = { "find", "match", "gmatch", "gsub" };
    luaL_requiref(L, "string", luaopen_string, 1);
    for (int i = 0; i < COUNT(matchers); i++) bound(L, matchers[i], bounded_match);
    bound(L, "rep", bounded_rep);
    forbid(L, "dump");
    lua_pop(L, 1);
    lua_pushliteral(L, "");
    lock_metatable(L);
}

static void open_tables(lua_State *L)
{
    luaL_requiref(L, "table", luaopen_table, 1);
    bound(L, "insert", bounded_list);
    bound(L, "remove", bounded_list);
    bound(L, "move", bounded_move);
    lua_pop(L, 1);
}

static void open_clocks(lua_State *L)
{
    static const char *const kept[] = { "time", "date", "clock" };
    luaL_requiref(L, "os", luaopen_os, 0);
    lua_createtable(L, 0, COUNT(kept));
    for (int i = 0; i < COUNT(kept); i++) {
        lua_getfield(L, -2, kept[i]);
        lua_setfield(L, -2, kept[i]);
    }
    lua_setglobal(L, "os");
    lua_pop(L, 1);
}

static const char *const unsafe[] = { "collectgarbage", "dofile", "load", "loadfile", "warn", "xpcall" };

void sandbox_open(lua_State *L)
{
    if (box_of(L)->trust) { luaL_openlibs(L); return; }
    luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
    for (int i = 0; i < COUNT(unsafe); i++) forbid(L, unsafe[i]);
    bound(L, "setmetatable", bounded_setmetatable);
    lua_pop(L, 1);
    luaL_requiref(L, "math", luaopen_math, 1);
    luaL_requiref(L, "utf8", luaopen_utf8, 1);
    lua_pop(L, 2);
    open_text(L);
    open_tables(L);
    open_clocks(L);
}

/* ---- strict globals ---- */

/* Names in sight of the function that is running: its locals and upvalues, and the globals. */
static int names_in_sight(lua_State *L, const char *names[NAMES_MAX])
{
    lua_Debug ar;
    const char *name;
    int n = 0;
    if (lua_getstack(L, 1, &ar)) {
        for (int i = 1; n < NAMES_MAX / 2 && (name = lua_getlocal(L, &ar, i)); i++, lua_pop(L, 1))
            if (*name != '(') names[n++] = name;
        lua_getinfo(L, "f", &ar);
        for (int i = 1; n < NAMES_MAX / 2 && (name = lua_getupvalue(L, -1, i)); i++, lua_pop(L, 1))
            if (*name != '_') names[n++] = name;
        lua_pop(L, 1);
    }
    lua_pushglobaltable(L);
    for (lua_pushnil(L); n < NAMES_MAX - 1 && lua_next(L, -2); lua_pop(L, 1))
        if (lua_type(L, -2) == LUA_TSTRING) names[n++] = lua_tostring(L, -2);
    names[n] = NULL;
    return n;
}

static int undeclared_read(lua_State *L)
{
    static const char *const withheld[] = { "io", "package", "debug", "coroutine" };
    const char *name = luaL_tolstring(L, 2, NULL), *names[NAMES_MAX];
    bool known = false;
    for (int i = 0; i < COUNT(unsafe); i++) known |= strcmp(name, unsafe[i]) == 0;
    for (int i = 0; i < COUNT(withheld); i++) known |= strcmp(name, withheld[i]) == 0;
    if (known && !box_of(L)->trust)
        return luaL_error(L, "'%s' is not available in a script (--trust gives scripts the whole of Lua)", name);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    names_in_sight(L, names);
    const char *near = nearest_name(name, names);
    if (near) return luaL_error(L, "undeclared name '%s' (did you mean '%s'?)", name, near);
    return luaL_error(L, "undeclared name '%s': a text needs quotes, a variable needs 'local'", name);
}

static int undeclared_write(lua_State *L)
{
    const char *name = luaL_tolstring(L, 2, NULL);
    return luaL_error(L, "undeclared name '%s' is assigned to: write 'local %s = ...' (scripts have no globals)", name,
                      name);
}

void sandbox_strict(lua_State *L)
{
    lua_pushglobaltable(L);
    lua_createtable(L, 0, 3);
    lua_pushcfunction(L, undeclared_read);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, undeclared_write);
    lua_setfield(L, -2, "__newindex");
    lua_setmetatable(L, -2);
    lock_metatable(L);
}
