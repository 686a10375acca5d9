/* Numbers of 8 bits, as floats that hold no others: E4M3, three bits of mantissa, normal from 2^-6, no infinity; E5M2,
   two bits, normal from 2^-14 (Micikevicius 2022, arXiv 2209.05433). Plain float arithmetic, which every compiler,
   instruction set and GPU rounds alike. */
#ifndef SLUICE_FP8_H
#define SLUICE_FP8_H

#include "base.h"
#include "float_log.h"

#include <float.h>

PLAIN float fp8_largest(enum fp8_format f) { return f == FP8_E5M2 ? 57344.0f : 448.0f; }

/* The nearest number of the format, of two the one whose code is even; the largest for what is beyond it. NaN stays.
   Adding 1.5 * 2^23 steps, of which the format has one between neighbours there, rounds to whole steps. */
PLAIN float fp8_round(enum fp8_format f, float x)
{
    const uint32_t sign = bits_of_float(x) & 1u << 31, mantissa = f == FP8_E5M2 ? 2 : 3,
                   normal = (f == FP8_E5M2 ? 127u - 14 : 127u - 6) << 23;
    float size = float_of_bits(bits_of_float(x) ^ sign), most = fp8_largest(f);
    if (size > most) size = most;
    uint32_t binade = bits_of_float(size) & 0x7F800000u;
    if (binade < normal) binade = normal;
    float steps = float_of_bits(binade + ((23 - mantissa) << 23 | 1u << 22)), near = (size + steps) - steps;
    return f == FP8_NONE || x != x ? x : float_of_bits(bits_of_float(near) | sign);
}

/* amax / largest, rounded once; a GPU, whose division would be a call, mends a product by what is left. */
PLAIN float fp8_share(enum fp8_format f, float amax)
{
#ifdef __CUDA_ARCH__
    float inverse = f == FP8_E5M2 ? 1 / 57344.0f : 1 / 448.0f, near = amax * inverse;
    return amax <= FLT_MAX ? __fmaf_rn(__fmaf_rn(-near, fp8_largest(f), amax), inverse, near) : amax;
#else
    return amax / fp8_largest(f);
#endif
}

/* What values are multiplied by on their way into the format, and back. */
struct fp8_scale { float into, back; };

/* Of values of which the largest has size amax, which becomes the format's largest; power: or half of that, by powers
   of two. Values below 2^-100 become 0; where one is infinite, all become NaN. */
PLAIN struct fp8_scale fp8_scale_of(enum fp8_format f, float amax, bool power)
{
    struct fp8_scale s = { 0, 0 };
    if (f == FP8_NONE) s.into = s.back = 1;
    if (f == FP8_NONE || !(amax >= 0x1p-100f)) return s;
    s.back = fp8_share(f, amax);
    if (power && amax <= FLT_MAX)    /* both formats end at 1.75 times a power of two */
        s.back = float_of_bits(((bits_of_float(amax) + 0x1FFFFFu) & 0x7F800000u) - ((f == FP8_E5M2 ? 15u : 8u) << 23));
#ifdef __CUDA_ARCH__
    s.into = __frcp_rn(s.back);
#else
    s.into = 1 / s.back;
#endif
    return s;
}

PLAIN float fp8_quantized(enum fp8_format f, struct fp8_scale s, float x) { return fp8_round(f, x * s.into) * s.back; }

#endif
