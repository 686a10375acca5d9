/* The 16-bit numbers of the GPU on the host, for the library stand-ins: widening is exact, narrowing rounds to nearest even. */
#ifndef SLUICE_PTXHOST_NARROW_H
#define SLUICE_PTXHOST_NARROW_H

#include <stdint.h>
#include <string.h>

static inline float float_of(uint32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
static inline uint32_t bits_of(float x) { uint32_t bits; memcpy(&bits, &x, 4); return bits; }

static inline float bf16_widen(uint16_t x) { return float_of((uint32_t)x << 16); }

static inline uint16_t bf16_narrow(float x)
{
    uint32_t bits = bits_of(x);
    if (x != x) return 0x7fff;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Denormals go through a float product, which is exact: 2^-24 times an integer below 1024. */
static inline float f16_widen(uint16_t x)
{
    uint32_t sign = (uint32_t)(x & 0x8000) << 16, exponent = x >> 10 & 31, mantissa = x & 1023;
    if (exponent == 0) return float_of(bits_of((float)mantissa * 0x1p-24f) | sign);
    return float_of(sign | (exponent == 31 ? 0x7f800000 : (exponent + 112) << 23) | mantissa << 13);
}

/* Below 2^-14 the steps are 2^-24: adding 0.5, whose last place is that, makes the float unit round there. */
static inline uint16_t f16_narrow(float x)
{
    uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000) return 0x7fff;
    if (size >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
    if (size < 0x38800000) return (uint16_t)(sign | (bits_of(float_of(size) + 0.5f) - bits_of(0.5f)));
    return (uint16_t)(sign | ((size + 0xfff + (size >> 13 & 1) - (112u << 23)) >> 13));
}

/* Ten bits of mantissa, ties away from zero: cvt.rna.tf32.f32. */
static inline float tf32_round(float x)
{
    uint32_t bits = bits_of(x);
    return (bits & 0x7f800000) == 0x7f800000 ? x : float_of((bits + 0x1000) & ~0x1fffu);
}
#endif
