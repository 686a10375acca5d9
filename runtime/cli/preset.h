/* The presets of the library and its routers by name, as text for reference pages and editors. */
#ifndef SLUICE_CLI_PRESET_H
#define SLUICE_CLI_PRESET_H

#include "embedded.h"

/* The next preset of the library at or after `from`, or NULL. */
const struct embedded *preset_next(const struct embedded *from);
void preset_name(const struct embedded *preset, char name[64]);
void preset_write_anchor(const char *heading);             /* as headings of a page are linked to */
void preset_write_about(const struct embedded *preset);     /* what its file says of itself */
/* Markdown: all presets with their counts, then every setting of each as the sl.model call that makes the same
   model. */
void preset_write_all(void);
/* Markdown: a table of the routers by name; and their names for editors. */
void preset_write_routers(void);
void preset_write_router_names(void);
void preset_write_mixers(void);
void preset_write_mixer_names(void);

#endif
