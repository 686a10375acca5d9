/* How so many ranks could divide a run: every product of axes, with each schedule, number of micro-batches and level of
   ZeRO. */
#ifndef SLUICE_CLI_LAYOUT_H
#define SLUICE_CLI_LAYOUT_H

#include "base/mesh.h"
#include <jansson.h>

/* schedule, chunks: of a pipeline, else as the configuration says. room: less than 0: as it says. */
struct layout { struct mesh mesh; int schedule, chunks, zero, micro; double room; };
enum { LAYOUT_FREE = -1 };                                  /* what is not said */
struct layouts { int n, room; struct layout *layout; };

/* What is said of all: "pp=16 ep=64 schedule=zb_v zero=1 micro=120 room=1.5". The rest is free. */
int layout_read(struct layout *out, const char *text, struct err *e);
/* Of a configuration all that agree with what is said; malloc'd. */
struct layouts layouts_all(const json_t *config, int devices, const struct layout *said);
json_t *layout_config(const json_t *config, const struct layout *l);        /* that divided so; new reference */
const char *layout_text(const struct layout *l, char out[128]);      /* "pp2.ep2 1f1b micro 8 zero 1" */

#endif
