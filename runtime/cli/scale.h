/* Layouts of a variant over devices, simulated: sluice plan --devices. */
#ifndef SLUICE_CLI_SCALE_H
#define SLUICE_CLI_SCALE_H

#include "cluster.h"
#include "layout.h"

/* A layout and what came of it. rank, bytes: of each pipeline position, the rank that has most to keep. */
enum fate { FATE_FITS, FATE_TOO_LARGE, FATE_REFUSED, FATES };
struct trial {
    struct layout layout;
    enum fate fate;
    char *why;                                              /* it was refused */
    int positions; size_t *bytes, most;
    struct simulated step;
};
/* drawn: with lanes. */
void trial_run(struct trial *t, const json_t *config, const struct cluster *c, bool drawn);
void trial_free(struct trial *t);

struct scale {
    const struct cluster *cluster;
    const char *variant;
    int devices; double tokens;                             /* of a step */
    int n; struct trial *trial; int count[FATES];           /* those that fit first, by their time; then by memory */
};
void scale_print(const struct scale *s, int top, bool refused);
json_t *scale_json(const struct scale *s);
/* A row for each pipeline position, as SVG. */
int scale_draw(const struct scale *s, const struct trial *t, const char *path, struct err *e);

#endif
