/* The Lua files that the program carries; made by embed.cmake. */
#ifndef SLUICE_EMBEDDED_H
#define SLUICE_EMBEDDED_H

#include <stddef.h>

struct embedded { const char *path, *text; size_t size; };  /* path: "sluice/init.lua" */
extern const struct embedded embedded_lua[];                /* ends in a row of zeros */

#endif
