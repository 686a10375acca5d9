/* The graph in Lua: every op as a function, made of what the op says of itself; what a module written in Lua would be
   made of. So far tests alone ask for it. */
#ifndef SLUICE_LUA_GRAPH_H
#define SLUICE_LUA_GRAPH_H

#include "graph/signature.h"
#include <lua.h>

/* Pushes a table with a function for each op, which adds a node to `g`:

       local index, margin = op.topk(key, { k = 2 })

   Inputs come in their order, nil for an absent one; a table at the end gives attributes, and inputs, by name; an input
   of any number is a list. All outputs are returned. A node has `shape`, a list, and `dtype`; + - * / are ops, also
   with numbers. Mistakes are errors of the script's line. `g` must outlive the state. */
void lua_graph_open(lua_State *L, struct graph *g);

/* A node as a value of Lua, and back; node_check raises where there is none at `at`. */
void lua_node_push(lua_State *L, struct node *n);
struct node *lua_node_check(lua_State *L, int at);

#endif
