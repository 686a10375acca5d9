/* A donor that lies in a file, for start.c. */
#ifndef SLUICE_DONOR_H
#define SLUICE_DONOR_H

#include "safetensors.h"
#include "study/study.h"

/* path: the file's, or the checkpoint's that it is in, which is of a step. What is found lives in the arena; scores of
   experts that were asked for are kept, by layers. */
struct donor_file {
    struct arena *arena;
    const struct safetensors *file; const char *path; int64_t step;
    bool average;
    double **score[EXPERT_NORM + 1];
};
/* Its tensors, and what judges its experts while the file is open. */
int donor_open(struct donor_file *f, struct donor *d, struct err *e);
/* malloc'd. average: those of the tensor's average, where it has one. NULL: e says why there are none. */
float *donor_values(const struct safetensors *file, const struct donated *t, bool average, struct err *e);

#endif
