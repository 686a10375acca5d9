/* Conversion between real and bf16. */
#include "backend/kernel.h"

const real *row_widen(const struct tensor *t, int64_t at, int64_t n, real *restrict scratch)
{
    const uint16_t *restrict from = (const uint16_t *)t->data + at;
    for (int64_t i = 0; i < n; i++) {
        union { uint32_t bits; float value; } u = { (uint32_t)from[i] << 16 };
        scratch[i] = (real)u.value;
    }
    return scratch;
}

/* Round to nearest, ties to even; NaN stays NaN. */
static inline uint16_t bf16_of(float value)
{
    union { float value; uint32_t bits; } u = { value };
    uint32_t rounded = (u.bits + 0x7fff + (u.bits >> 16 & 1)) >> 16;
    return value == value ? (uint16_t)rounded : (uint16_t)(u.bits >> 16 | 0x40);
}

void row_narrow(const struct tensor *t, int64_t at, int64_t n, const real *restrict row)
{
    uint16_t *restrict to = (uint16_t *)t->data + at;
    for (int64_t i = 0; i < n; i++) to[i] = bf16_of((float)row[i]);
}
