/* What scripts print. */
#ifndef SLUICE_PRINT_H
#define SLUICE_PRINT_H

#include "sandbox.h"

/* say: takes a line; NULL: to stderr, after "| ". */
struct print { void (*say)(const char *line); int lines; size_t bytes; bool full; };

/* Puts `print` in place of Lua's own, which writes to stdout: harmless text, up to a limit, then one line that says so.
   p must outlive the state. */
void print_open(lua_State *L, struct print *p);

#endif
