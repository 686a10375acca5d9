/* Ops as functions of Lua. No op is named here but those of the arithmetic signs. */
#include "graph.h"
#include <lauxlib.h>
#include <string.h>

enum { NAMES = 24, MANY = 64 };                             /* of one call; nodes of an input of any number */
static const char node_type[] = "sluice.node";

/* ---- nodes ---- */

void lua_node_push(lua_State *L, struct node *n)
{
    *(struct node **)lua_newuserdatauv(L, sizeof n, 0) = n;
    luaL_setmetatable(L, node_type);
}

struct node *lua_node_check(lua_State *L, int at) { return *(struct node **)luaL_checkudata(L, at, node_type); }

static int node_index(lua_State *L)
{
    const struct node *n = lua_node_check(L, 1);
    const char *key = luaL_checkstring(L, 2);
    if (strcmp(key, "dtype") == 0) {
        lua_pushstring(L, dtype_name[n->dtype]);
        return 1;
    }
    if (strcmp(key, "shape") != 0) return luaL_error(L, "a node has 'shape' and 'dtype', no '%s'", key);
    lua_createtable(L, n->shape.rank, 0);
    for (int i = 0; i < n->shape.rank; i++) {
        lua_pushinteger(L, n->shape.dim[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* ---- calls ---- */

/* What a call gives, by name. Nodes of an input of any number lie in `many`. */
struct call { int n; struct named given[NAMES]; struct node *node[NAMES], *many[MANY]; };

static int nodes_of_list(lua_State *L, int at, struct call *c)
{
    int n = (int)lua_rawlen(L, at);
    if (n > MANY) luaL_error(L, "%d nodes are more than %d", n, MANY);
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, at, i + 1);
        c->many[i] = lua_node_check(L, -1);
        lua_pop(L, 1);
    }
    return n;
}

/* Takes the value at `at` for `name`, which lives as long as the call. */
static void take(lua_State *L, struct call *c, const char *name, int at)
{
    if (c->n == NAMES) luaL_error(L, "more than %d inputs and attributes", NAMES);
    for (int i = 0; i < c->n; i++)
        if (strcmp(c->given[i].name, name) == 0) luaL_error(L, "'%s' is given twice", name);
    struct named *v = &c->given[c->n];
    *v = (struct named){ .name = name, .n = 1, .nodes = &c->node[c->n] };
    switch (lua_type(L, at)) {
    case LUA_TUSERDATA: c->node[c->n] = lua_node_check(L, at); break;
    case LUA_TTABLE: v->n = nodes_of_list(L, at, c); v->nodes = c->many; break;
    case LUA_TSTRING: v->kind = GIVEN_WORD; v->word = lua_tostring(L, at); break;
    case LUA_TBOOLEAN: v->kind = GIVEN_BOOL; v->integer = lua_toboolean(L, at); break;
    case LUA_TNUMBER:
        v->kind = lua_isinteger(L, at) ? GIVEN_INT : GIVEN_REAL;
        if (lua_isinteger(L, at)) v->integer = lua_tointeger(L, at);
        else v->real = lua_tonumber(L, at);
        break;
    default: luaL_error(L, "'%s' is a %s", name, luaL_typename(L, at));
    }
    c->n++;
}

static void take_named(lua_State *L, struct call *c, int at)
{
    for (lua_pushnil(L); lua_next(L, at); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) luaL_error(L, "inputs and attributes of a table have names");
        take(L, c, lua_tostring(L, -2), lua_gettop(L));
    }
}

/* Pushes all outputs of the node that the call makes; its mistake becomes one of the script's. */
static int make(lua_State *L, struct graph *g, const char *op, const struct call *c)
{
    struct node *n = graph_call(g, op, c->n, c->given);
    if (g->failed) return luaL_error(L, "%s", g->err.text);
    for (int k = 0; k < n->n_out; k++) lua_node_push(L, graph_result(g, n, k));
    return n->n_out;
}

/* Upvalues: the graph, the op. */
static int call_op(lua_State *L)
{
    struct graph *g = lua_touserdata(L, lua_upvalueindex(1));
    const struct op *op = lua_touserdata(L, lua_upvalueindex(2));
    int last = lua_gettop(L);
    struct op_value in[NAMES];
    struct call c = { .n = 0 };
    bool named = last > 0 && lua_type(L, last) == LUA_TTABLE && lua_rawlen(L, last) == 0;
    for (int i = 0; i < last - named; i++) {
        if (i == NAMES || !op_input(op, i, &in[i])) return luaL_error(L, "%s: %d inputs are too many", op->name, i + 1);
        if (!lua_isnil(L, i + 1)) take(L, &c, in[i].name, i + 1);
    }
    if (named) take_named(L, &c, last);
    return make(L, g, op->name, &c);
}

/* x + y, where either may be a number: the op of two nodes, or of one and a number. Upvalues: the graph, their names,
   and the number's factor or power for what is taken away. */
static int call_sign(lua_State *L)
{
    struct graph *g = lua_touserdata(L, lua_upvalueindex(1));
    const char *two = lua_tostring(L, lua_upvalueindex(2)), *by = lua_tostring(L, lua_upvalueindex(3));
    struct call c = { .n = 0 };
    if (lua_type(L, 1) == LUA_TUSERDATA && lua_type(L, 2) == LUA_TUSERDATA) {
        take(L, &c, "x", 1);
        take(L, &c, "y", 2);
        return make(L, g, two, &c);
    }
    bool first = lua_type(L, 1) == LUA_TNUMBER;
    double number = luaL_checknumber(L, first ? 1 : 2);
    bool less = strcmp(two, "subtract") == 0, over = strcmp(two, "divide") == 0;
    if (first && (less || over)) return luaL_error(L, "a number cannot stand before %s here", less ? "-" : "/");
    lua_pushnumber(L, less ? -number : over ? 1 / number : number);
    take(L, &c, "x", first ? 2 : 1);
    take(L, &c, "p", lua_gettop(L));
    return make(L, g, by, &c);
}

static void set_sign(lua_State *L, struct graph *g, const char *sign, const char *two, const char *by)
{
    lua_pushlightuserdata(L, g);
    lua_pushstring(L, two);
    lua_pushstring(L, by);
    lua_pushcclosure(L, call_sign, 3);
    lua_setfield(L, -2, sign);
}

void lua_graph_open(lua_State *L, struct graph *g)
{
    luaL_newmetatable(L, node_type);
    lua_pushcfunction(L, node_index);
    lua_setfield(L, -2, "__index");
    set_sign(L, g, "__add", "add", "offset");
    set_sign(L, g, "__sub", "subtract", "offset");
    set_sign(L, g, "__mul", "mul", "scale");
    set_sign(L, g, "__div", "divide", "scale");
    lua_pop(L, 1);
    lua_newtable(L);
    for (int i = 0; op_all[i]; i++) {
        lua_pushlightuserdata(L, g);
        lua_pushlightuserdata(L, (void *)op_all[i]);
        lua_pushcclosure(L, call_op, 2);
        lua_setfield(L, -2, op_all[i]->name);
    }
}
