/* Values on the command line: Lua's own literals, and bare words as texts. */
#include "literal.h"
#include <lauxlib.h>
#include <string.h>

/* Texts that only Lua can read: quotes, tables, functions. They see no names but their own. */
static bool is_expression(const char *text)
{
    size_t level = *text == '[' ? strspn(text + 1, "=") : 0;
    return (*text && strchr("\"'{", *text)) || (*text == '[' && text[1 + level] == '[') ||
           strncmp(text, "function", 8) == 0;
}

static int evaluate(lua_State *L)
{
    const char *text = lua_pushfstring(L, "return %s\n", lua_tostring(L, 1));
    if (luaL_loadbufferx(L, text, strlen(text), "=value", "t") != LUA_OK) return lua_error(L);
    lua_newtable(L);
    lua_setupvalue(L, -2, 1);                               /* its globals */
    int before = lua_gettop(L) - 1;
    lua_call(L, 0, LUA_MULTRET);
    return lua_gettop(L) - before == 1 ? 1 : luaL_error(L, "one value is needed, not %d", lua_gettop(L) - before);
}

int literal_push(lua_State *L, const char *text, struct err *e)
{
    if (!is_expression(text)) {
        if (lua_stringtonumber(L, text) == strlen(text) + 1) return 0;
        if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) lua_pushboolean(L, *text == 't');
        else lua_pushstring(L, text);
        return 0;
    }
    lua_pushcfunction(L, evaluate);
    lua_pushstring(L, text);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK) return 0;
    const char *why = luaL_tolstring(L, -1, NULL);
    const char *colon = strncmp(why, "value:", 6) == 0 ? strchr(why + 6, ':') : NULL;      /* "value:1: " */
    err_set(e, "%s", colon ? colon + 2 : why);
    lua_pop(L, 2);
    return -1;
}
