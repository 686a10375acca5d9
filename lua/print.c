/* print for scripts: stdout is the program's, and a script may print without end, or what a terminal obeys. */
#include "print.h"
#include "base/terminal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINES_MAX = 1000, BYTES_MAX = 64 << 10 };

static void say(struct print *p, const char *line)
{
    if (p->say) p->say(line);
    else fprintf(stderr, "| %s\n", line);
}

static void print_line(struct print *p, const char *line, size_t size)
{
    size_t left = BYTES_MAX - p->bytes;
    char *text = terminal_text(line, size < left ? size : left);
    p->bytes += strlen(text) + 1;
    p->full = size > left || ++p->lines > LINES_MAX || p->bytes > BYTES_MAX;
    if (!p->full) say(p, text);
    else say(p, "(what else the script prints is left out: 1000 lines or 64 KiB are shown)");
    free(text);
}

static int print_values(lua_State *L)
{
    struct print *p = lua_touserdata(L, lua_upvalueindex(1));
    int n = lua_gettop(L);
    luaL_Buffer all;
    if (p->full) return 0;
    luaL_buffinit(L, &all);
    for (int i = 1; i <= n; i++) {
        if (i > 1) luaL_addchar(&all, '\t');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&all);
    }
    luaL_pushresult(&all);
    size_t size;
    const char *text = lua_tolstring(L, -1, &size), *end = text + size;
    for (const char *line = text; !p->full; ) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        print_line(p, line, (size_t)((next ? next : end) - line));
        if (!next) break;
        line = next + 1;
    }
    return 0;
}

void print_open(lua_State *L, struct print *p)
{
    lua_pushlightuserdata(L, p);
    lua_pushcclosure(L, print_values, 1);
    lua_setglobal(L, "print");
}
