/* What a step is simulated on: devices, their memory, and the links between them. */
#ifndef SLUICE_CLI_CLUSTER_H
#define SLUICE_CLI_CLUSTER_H

#include "backend/backend.h"
#include "model/config.h"
#include "plan/simulate.h"
#include "study/study.h"

struct cluster {
    char name[64], about[400];                              /* about: where its figures are from */
    struct machine machine;
    double memory;                                          /* bytes of a device */
    struct backend backend;                                 /* as which it plans */
    struct arena *arena;                                    /* all of it */
};

/* A file in JSON of the keys of cluster_schema; every mistake in it is told. */
extern const struct schema cluster_schema;
int cluster_read(struct cluster **out, const char *path, struct problems *problems, struct err *e);
/* This machine, as so many devices of one thread each: calls as they are timed in steps of a variant, here and now. */
int cluster_here(struct cluster **out, const struct variant *v, int devices, struct err *e);
void cluster_free(struct cluster *c);

#endif
