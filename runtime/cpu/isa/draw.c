/* Normals of a key in vectors, a block at a time. Bound by the multiplications of Philox. */
#include "backend/kernel.h"
#include "base/draw.h"

static void block(uint64_t mixed, uint64_t number, uint64_t step, float *restrict to)
{
    for (uint32_t i = 0; i < DRAW_INDICES; i++) {
        philox4x32_ctr_t bits = draw_bits(mixed, number * DRAW_INDICES + i, step);
        draw_normals(bits.v[0], bits.v[1], &to[i], &to[DRAW_INDICES + i]);
        draw_normals(bits.v[2], bits.v[3], &to[2 * DRAW_INDICES + i], &to[3 * DRAW_INDICES + i]);
    }
}

/* Redraws what lies beyond the cut, until nothing does. */
static void trim(uint64_t mixed, uint64_t number, uint64_t step, float cut, float *to)
{
    for (;;) {
        float redrawn[DRAW_BLOCK];
        int beyond = 0;
        for (int i = 0; i < DRAW_BLOCK; i++) beyond |= fabsf(to[i]) > cut;
        if (!beyond) return;
        block(mixed, number, ++step, redrawn);
        for (int i = 0; i < DRAW_BLOCK; i++) to[i] = fabsf(to[i]) > cut ? redrawn[i] : to[i];
    }
}

void key_normals(struct key k, uint64_t first, int64_t n, float cut, float *to)
{
    uint64_t mixed = key_mixed(k), end = first + (uint64_t)n;
    for (uint64_t number = first / DRAW_BLOCK; number * DRAW_BLOCK < end; number++) {
        float x[DRAW_BLOCK];
        uint64_t begin = number * DRAW_BLOCK, beyond = begin + DRAW_BLOCK;
        uint64_t from = begin < first ? first : begin, until = beyond < end ? beyond : end;
        block(mixed, number, k.step, x);
        if (cut > 0) trim(mixed, number, k.step, cut, x);
        memcpy(to + (from - first), x + (from - begin), (until - from) * sizeof *x);
    }
}
