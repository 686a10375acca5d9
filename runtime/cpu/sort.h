/* A stable sort of positions by a key in [0, below): least significant byte first, so it can follow
   a sort by a minor key. */
#ifndef SLUICE_SORT_H
#define SLUICE_SORT_H

#include "backend/kernel.h"

/* order[0..n) holds the positions and gets them sorted; spare is scratch of the same size. */
static inline void sort_positions(int32_t *order, int32_t *spare, int64_t n, const int32_t *key, int64_t below)
{
    for (int shift = 0; shift < 32 && (below - 1) >> shift > 0; shift += 8) {
        int64_t offset[257] = { 0 };
        for (int64_t i = 0; i < n; i++) offset[((uint32_t)key[order[i]] >> shift & 255) + 1]++;
        for (int d = 0; d < 256; d++) offset[d + 1] += offset[d];
        for (int64_t i = 0; i < n; i++) spare[offset[(uint32_t)key[order[i]] >> shift & 255]++] = order[i];
        memcpy(order, spare, (size_t)n * sizeof *order);
    }
}

static inline void all_positions(int32_t *order, int64_t n) { for (int64_t i = 0; i < n; i++) order[i] = (int32_t)i; }

#endif
