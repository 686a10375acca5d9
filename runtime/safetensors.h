/* The safetensors format: 8 bytes of header length, a JSON header, tensors one after another. Strict: a header of at
   most 100 MB, offsets inside the file without gap or overlap, bytes that equal shape times type, no key twice. */
#ifndef SLUICE_SAFETENSORS_H
#define SLUICE_SAFETENSORS_H

#include "base.h"
#include <jansson.h>

struct stored { const char *name, *dtype; int rank; int64_t dim[8]; uint64_t bytes; const void *data; };     /* dtype: "F32", "I32", "U8", … */

struct safetensors { int n; struct stored *tensor; json_t *header; void *map; size_t size; };

int safetensors_open(struct safetensors *s, const char *path, struct err *e);          /* maps the file */
void safetensors_close(struct safetensors *s);
const struct stored *safetensors_find(const struct safetensors *s, const char *name);

/* Writes and syncs a file. fetch gives the bytes of tensor i into memory of tensor[i].bytes. Returns the hash of the file. */
int safetensors_write(const char *path, int n, const struct stored *tensor, void (*fetch)(void *state, int i, void *to), void *state, uint64_t *bytes, struct hash *hash, struct err *e);

/* XXH128 and size of a whole file. */
int file_hash(const char *path, uint64_t *bytes, struct hash *hash, struct err *e);

#endif
