/* Offsets for tensors that live for a while, so that those alive together do not overlap. */
#ifndef SLUICE_OFFSETS_H
#define SLUICE_OFFSETS_H

#include "base/base.h"

enum { OFFSETS_ALIGNMENT = 64 };
struct span { size_t bytes, offset; int from, to; };        /* alive at times from..to inclusive */
size_t offsets_assign(struct span *s, int n);                  /* fills offset; returns the size of the arena */
static inline size_t offsets_round(size_t bytes)
{
    return (bytes + OFFSETS_ALIGNMENT - 1) / OFFSETS_ALIGNMENT * OFFSETS_ALIGNMENT;
}

#endif
