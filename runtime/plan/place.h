/* Offsets for tensors that live for a while, so that those alive together do not overlap. */
#ifndef SLUICE_PLACE_H
#define SLUICE_PLACE_H

#include "base/base.h"

enum { PLACE_ALIGNMENT = 64 };
struct span { size_t bytes, offset; int from, to; };        /* alive at times from..to inclusive */
size_t place_spans(struct span *s, int n);                  /* fills offset; returns the size of the arena */
static inline size_t place_round(size_t bytes)
{
    return (bytes + PLACE_ALIGNMENT - 1) / PLACE_ALIGNMENT * PLACE_ALIGNMENT;
}

#endif
