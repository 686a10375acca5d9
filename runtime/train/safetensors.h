/* safetensors: 8 bytes of header length, a JSON header, raw tensors. The reader trusts nothing. */
#ifndef SLUICE_SAFETENSORS_H
#define SLUICE_SAFETENSORS_H

#include "base/base.h"

enum { SAFETENSORS_RANK = 8 };

/* dtype as in the format: "F32", "BF16", "I32", … ; offset and bytes count from the first tensor. */
struct stored { const char *name, *dtype; int rank; int64_t dim[SAFETENSORS_RANK]; uint64_t offset, bytes; };

/* Opens and checks a file: header of at most 100 MB, no duplicate keys, byte count = shape x dtype, and tensors that
   cover the data without gap or overlap. The file is mapped; all pointers live until it is closed. */
struct safetensors;
int safetensors_open(struct safetensors **out, const char *path, struct err *e);
void safetensors_close(struct safetensors *s);
int safetensors_count(const struct safetensors *s);
const struct stored *safetensors_tensor(const struct safetensors *s, int i);          /* in the order of their data */
const struct stored *safetensors_find(const struct safetensors *s, const char *name);
const void *safetensors_data(const struct safetensors *s, const struct stored *t);
struct hash safetensors_hash(const struct safetensors *s);                            /* XXH128 of the whole file */
uint64_t safetensors_bytes(const struct safetensors *s);

/* The header, length included, for n tensors that follow one another; offsets are filled in. malloc'd. */
char *safetensors_header(int n, struct stored *tensor, size_t *bytes);

#endif
