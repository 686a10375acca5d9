/* Texts that the program carries, put into it by embed.cmake: the files of the Lua library, and what the modules' files
   say of themselves. */
#ifndef SLUICE_EMBEDDED_H
#define SLUICE_EMBEDDED_H

#include <stddef.h>

struct embedded { const char *path, *text; size_t size; };  /* path: "sluice/init.lua", "ffn_moe" */
extern const struct embedded embedded_lua[], module_notes[];            /* each ends in a row of zeros */

#endif
