/* Values on the command line, as a script would write them. */
#ifndef SLUICE_LITERAL_H
#define SLUICE_LITERAL_H

#include "base/base.h"
#include <lua.h>

/* Pushes the value of `text`: a number, true, false, a quoted text, a table or a function of the layer is Lua's,
   anything else is a text as it stands. Returns 0, or -1 with why it is none; then nothing is pushed. */
int literal_push(lua_State *L, const char *text, struct err *e);

#endif
