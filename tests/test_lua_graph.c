/* Ops in Lua: a graph that a script builds is the graph that C builds, and mistakes are errors of the script's line. */
#include "graph.h"
#include "graph/ops.h"
#include <lauxlib.h>
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

enum { TOKENS = 6, WIDTH = 8, EXPERTS = 5, CHOSEN = 2 };
struct model { struct leaves *leaves; struct graph *graph; struct node *x, *w; };

static struct model model_new(void)
{
    struct leaves *l = leaves_new();
    struct graph *g = graph_new(l);
    struct init init = { .kind = INIT_NORMAL, .std = 0.02 };
    return (struct model){ l, g, graph_input(g, "x", DTYPE_ACT, SHAPE(TOKENS, WIDTH)),
                           graph_weight(g, "w", ROLE_ROUTER, SHAPE(EXPERTS, WIDTH), init) };
}

static void model_free(struct model *m)
{
    graph_free(m->graph);
    leaves_free(m->leaves);
}

/* A state in which `op`, `x` and `w` are there. */
static lua_State *state_new(struct model *m)
{
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    lua_graph_open(L, m->graph);
    lua_setglobal(L, "op");
    lua_node_push(L, m->x);
    lua_setglobal(L, "x");
    lua_node_push(L, m->w);
    lua_setglobal(L, "w");
    return L;
}

static void runs(lua_State *L, const char *text)
{
    if (luaL_loadbuffer(L, text, strlen(text), "@router.lua") || lua_pcall(L, 0, LUA_MULTRET, 0))
        fail_msg("%s", lua_tostring(L, -1));
}

static void test_router(void **state)
{
    (void)state;
    struct model c = model_new(), lua = model_new();
    struct graph *g = c.graph;
    struct node *p = softmax(g, scale(g, matmul(g, c.x, c.w, DTYPE_REAL), 0.5));
    struct node *index = topk(g, p, CHOSEN), *gate = normalize(g, pick(g, p, index), 1e-9);
    struct node *row = dispatch(g, index, EXPERTS, 0), *order = graph_result(g, row, 1), *at = graph_result(g, row, 2);
    struct node *y = combine(g, gather(g, c.x, order, at), order, at, gate);
    graph_loss(g, "lm", dot(g, y, y), 1, false);

    lua_State *L = state_new(&lua);
    runs(L, "local logits = op.matmul(x, w, { out = 'real' }) * 0.5\n"
            "local p = op.softmax(logits)\n"
            "assert(#p.shape == 2 and p.shape[2] == 5 and p.dtype == 'REAL')\n"
            "local index, margin = op.topk(p, { k = 2 })\n"
            "local gate = op.normalize(op.pick { x = p, index = index }, { eps = 1e-9 })\n"
            "local offsets, order, inverse, counts = op.dispatch(index, { experts = 5 })\n"
            "assert(margin.shape[1] == 6 and offsets.shape[1] == 6 and counts.dtype == 'I32')\n"
            "local y = op.combine(op.gather(x, order, inverse), order, inverse, gate)\n"
            "return op.dot(y, y)\n");
    graph_loss(lua.graph, "lm", lua_node_check(L, -1), 1, false);
    struct hash a = graph_fingerprint(c.graph, 1000), b = graph_fingerprint(lua.graph, 1000);
    assert_false(c.graph->failed || lua.graph->failed);
    assert_true(hash_equal(a, b));
    lua_close(L);
    model_free(&c);
    model_free(&lua);
}

/* Every op is there, those of any number of inputs and of absent ones too; signs are ops. */
static void test_calls(void **state)
{
    (void)state;
    struct model m = model_new();
    lua_State *L = state_new(&m);
    int before = m.graph->n;
    runs(L, "local y = op.concat({ x, x, x })\n"
            "assert(y.shape[2] == 24)\n"
            "assert(op.rmsnorm(x, nil, { eps = 1e-6 }).shape[2] == 8)\n"
            "local z = (x + x - 1) / 2 - x * (2 * x)\n"
            "assert(z.shape[1] == 6 and (z / x).dtype == 'ACT')\n");
    static const char *const made[] = { "concat", "rmsnorm", "add", "offset", "scale", "scale", "mul", "subtract",
                                        "divide" };
    assert_int_equal(m.graph->n - before, COUNT(made));
    for (int i = 0; i < COUNT(made); i++) assert_string_equal(m.graph->node[before + i]->op->name, made[i]);
    for (int i = 0; op_all[i]; i++) {
        lua_getglobal(L, "op");
        assert_int_equal(lua_getfield(L, -1, op_all[i]->name), LUA_TFUNCTION);
        lua_pop(L, 2);
    }
    lua_close(L);
    model_free(&m);
}

static void test_mistakes(void **state)
{
    (void)state;
    static const struct { const char *script, *words; } mistake[] = {
        { "\nop.topk(x, { k = 2 })", "router.lua:2: : topk: 'key' is ACT, REAL is needed" },
        { "op.softmax(x, x)", "router.lua:1: softmax: 2 inputs are too many" },
        { "op.topk(op.softmax(x), { k = 2.5 })", "'k' must be an integer" },
        { "op.topk(op.softmax(x), { kk = 2 })", "no input or attribute 'kk' (did you mean 'k'?)" },
        { "op.softmax(x, { x = x })", "'x' is given twice" },
        { "op.softmax({ 1, 2 })", "sluice.node expected, got number" },
        { "op.add(x, op.columns(x, { from = 0, n = 4 }))",
          "'y' is [6,4], [..] is needed: .. is [6,8] in 'x', not [6,4]" },
        { "return 1 - x", "a number cannot stand before -" },
        { "return x.rank", "a node has 'shape' and 'dtype', no 'rank'" },
    };
    for (int i = 0; i < COUNT(mistake); i++) {
        struct model m = model_new();
        lua_State *L = state_new(&m);
        const char *text = mistake[i].script;
        assert_int_equal(luaL_loadbuffer(L, text, strlen(text), "@router.lua"), LUA_OK);
        if (lua_pcall(L, 0, LUA_MULTRET, 0) == LUA_OK) fail_msg("'%s' is no mistake", text);
        if (!strstr(lua_tostring(L, -1), mistake[i].words))
            fail_msg("'%s' says nothing of '%s'", lua_tostring(L, -1), mistake[i].words);
        lua_close(L);
        model_free(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_router), cmocka_unit_test(test_calls), cmocka_unit_test(test_mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
