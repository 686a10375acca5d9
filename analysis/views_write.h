/* What routers do, for programs: JSON, and CSV in long form. */
#ifndef SLUICE_VIEWS_WRITE_H
#define SLUICE_VIEWS_WRITE_H

#include "views.h"
#include <stdio.h>

json_t *views_write_json(const struct run *r, const struct views *v);   /* new reference; what is no number is null */
/* Columns: step, layer, router, metric, expert, other, value. */
void views_write_csv(const struct views *v, FILE *to);

#endif
