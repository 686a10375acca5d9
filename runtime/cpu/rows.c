/* Conversion between real and bf16, and sizes of formats. */
#include "kernel.h"

size_t element_bytes(enum format f)
{
    switch (f) {
    case FORMAT_REAL: return sizeof(real);
    case FORMAT_BF16: return 2;
    case FORMAT_I32:  return 4;
    case FORMAT_U8:   return 1;
    }
    INVARIANT(false, "format %d", (int)f);
}

const real *row_widen(const struct tensor *t, int64_t at, int64_t n, real *scratch)
{
    const uint16_t *from = (const uint16_t *)t->data + at;
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

void row_narrow(const struct tensor *t, int64_t at, int64_t n, const real *row)
{
    uint16_t *to = (uint16_t *)t->data + at;
    for (int64_t i = 0; i < n; i++) to[i] = bf16_of((float)row[i]);
}
