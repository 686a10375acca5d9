/* What a run needs of a disk, from its configuration alone: nothing is allocated for tensors. */
#ifndef SLUICE_DISK_H
#define SLUICE_DISK_H

#include "train.h"

/* file: run.h5 of all steps; checkpoint: one of them; kept: how many stay; more: what a run needs on top of `total`
   while it goes on. */
struct disk { double file, checkpoint, total, more; int kept; };
int disk_of(const struct study *s, const struct variant *v, struct disk *out, struct err *e);

#endif
