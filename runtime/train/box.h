/* Boxes of an array: so many places along each dimension, from `begin` on. Values of a box lie by themselves, the last
   dimension fastest. */
#ifndef SLUICE_BOX_H
#define SLUICE_BOX_H

#include "base/base.h"

enum { BOX_RANK = 8 };
struct box { int rank; int64_t begin[BOX_RANK], extent[BOX_RANK]; };

int64_t box_count(const struct box *b);
bool box_meets(const struct box *a, const struct box *b);    /* they have a place in common */
/* Of the values of one, those that the other has too, to where they lie there. */
void box_copy(const struct box *of, const void *from, const struct box *into, void *to, size_t element);

#endif
