/* A Lua state for scripts from anywhere: what they can reach, and how much memory and time they may take. */
#ifndef SLUICE_SANDBOX_H
#define SLUICE_SANDBOX_H

#include "base/base.h"
#include <lua.h>
#include <lauxlib.h>
#include <lualib.h>

enum { SANDBOX_MEMORY = 256 << 20, SANDBOX_WORK = 200000000, SANDBOX_SECONDS = 5, SANDBOX_LOCATION = 512 };

/* work: instructions of Lua, and one for each 64 bytes of memory that is asked for; location: of the last one that was
   refused. */
struct sandbox {
    bool trust, spent;
    size_t used;
    int64_t work, most_work;
    double start;
    char location[SANDBOX_LOCATION];
    lua_State *state;
};

/* A state whose memory is counted in `box`, which must outlive it; NULL: none left. The caller sets trust and
   most_work. */
lua_State *sandbox_new(struct sandbox *box);
void sandbox_close(lua_State *L);
/* "x.lua:12", where the script that is running stands; "" when none is. Also for a signal's handler that ends the
   process. */
void sandbox_location(char out[SANDBOX_LOCATION]);
/* Opens the libraries: all of them in trust; otherwise base, math, string, table, utf8 and the clocks of os, without
   what loads code, and with bounds where the count of instructions sees nothing. May raise. */
void sandbox_open(lua_State *L);
/* Undeclared globals become errors, with the nearest name in sight. May raise. */
void sandbox_strict(lua_State *L);

#endif
