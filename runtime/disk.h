/* What a run needs of a disk, from its configuration alone: nothing is allocated for tensors. */
#ifndef SLUICE_DISK_H
#define SLUICE_DISK_H

#include "train.h"

/* file: run.h5 of all steps; checkpoint: one of them; kept: how many stay. While one is written it comes on top of `total`. */
struct disk { double file, checkpoint, total; int kept; };
int disk_of(const struct study *s, const struct variant *v, struct disk *out, struct err *e);

#endif
