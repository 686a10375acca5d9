/* What the files of safetensors share. */
#ifndef SLUICE_SAFETENSORS_PRIVATE_H
#define SLUICE_SAFETENSORS_PRIVATE_H

#include "safetensors.h"
#include "base/regular.h"

struct piece { struct box box; const char *data; };         /* of a tensor, where it lies */

/* A file, or parts joined, which have no map and no header of their own. */
struct safetensors {
    char *path;
    struct map map; json_t *header;
    const char *head; char *made_head; size_t head_bytes;   /* what comes before the data of the one file */
    int n; struct stored *tensor;
    struct piece *piece; int *first;                        /* of tensor i those from first[i] to first[i + 1] */
    int n_parts; struct safetensors **part;
};

int stored_read(struct stored *t, const char *name, const json_t *j, struct err *e);        /* as a header has it */
json_t *stored_json(const struct stored *t);
/* Laid end to end the tensors, in order, must be the data, to the byte. */
int safetensors_check_cover(const struct safetensors *s, uint64_t size, struct err *e);

#endif
