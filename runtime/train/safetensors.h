/* safetensors: 8 bytes of header length, a JSON header, raw tensors. The reader trusts nothing. */
#ifndef SLUICE_SAFETENSORS_H
#define SLUICE_SAFETENSORS_H

#include "box.h"
#include "base/shape.h"
#include <jansson.h>

enum { SAFETENSORS_RANK = BOX_RANK };

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
/* Of its values those in a box; NULL: all of them. */
void safetensors_read(const struct safetensors *s, const struct stored *t, const struct box *of, void *to);
struct hash safetensors_hash(const struct safetensors *s);                            /* XXH128 of the whole file */
uint64_t safetensors_bytes(const struct safetensors *s);

/* Files of pieces, each of which says of what tensor and which piece, as the one file that would have these tensors
   whole, with its bytes and its hash. They become part of it; where they are no such files, or do not hold each place
   of each tensor once, they are closed. */
int safetensors_join(struct safetensors **out, int n, struct safetensors *const *file, struct err *e);
bool safetensors_is_part(const struct safetensors *s);      /* a file of pieces, by itself */
/* What such a file says of its pieces; whole: their tensors, with offsets in the one file. New reference. */
json_t *safetensors_about_pieces(int n, const struct stored *whole, const struct box *piece);

struct stored stored_new(const char *name, const char *dtype, struct shape shape);    /* without a place in a file */
struct box stored_box(const struct stored *t);               /* all of it */
struct shape stored_shape(const struct stored *t);                           /* rank 0: it has more than SHAPE_RANK */
const char *stored_text(const struct stored *t, char out[192]);              /* "F32 [256,128]" */
const char *safetensors_about(const struct safetensors *s, const char *key);          /* of its metadata; NULL */
/* The values of a tensor of F32, BF16 or F16, malloc'd; NULL: it is of another type. */
float *safetensors_floats(const struct safetensors *s, const struct stored *t, struct err *e);

/* The header, length included, for n tensors that follow one another; offsets are filled in. about: metadata, texts by
   name, or NULL. malloc'd. */
char *safetensors_header(int n, struct stored *tensor, const json_t *about, size_t *bytes);
/* n floats as one of the three types, rounded to nearest, ties to even; to: as many bytes as the tensor has. The first
   finite value that it is too narrow for, -1: none. */
int64_t safetensors_narrow(const char *dtype, const float *from, int64_t n, void *to);

#endif
