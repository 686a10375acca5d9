/* Texts that the program carries: the files of the Lua library, made by embed.cmake, and what the modules' files say of
   themselves, made by modules/notes.cmake. */
#ifndef SLUICE_EMBEDDED_H
#define SLUICE_EMBEDDED_H

#include <stddef.h>

struct embedded { const char *path, *text; size_t size; };  /* path: "sluice/init.lua", "ffn_moe" */
extern const struct embedded embedded_lua[], module_notes[];            /* each ends in a row of zeros */

#endif
