/* The metrics that a variant's runs will write, known before there is a run. */
#ifndef SLUICE_DECLARED_H
#define SLUICE_DECLARED_H

#include "metric.h"
#include "study/study.h"

/* malloc'd; returns how many, or -1 */
int declared_list(const struct variant *v, struct metric **list, struct err *e);

/* Adds a problem when the baseline will not have the study's primary metric; of others that will not it says so on
   stderr. */
void declared_check(const struct study *s, struct problems *problems);

#endif
