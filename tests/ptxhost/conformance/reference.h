/* Scalar C for the instructions, written from the PTX manual. Rounding to a narrow format searches its values. */
#ifndef SLUICE_CONFORMANCE_REFERENCE_H
#define SLUICE_CONFORMANCE_REFERENCE_H

#include "conformance.h"
#include <fenv.h>
#include <math.h>
#include <string.h>

enum reference_rounding { RN, RNA, RZ, RM, RP };

/* A narrow format: its codes without sign are in the order of their values. */
struct narrow_format { int exponent_bits, fraction_bits; u32 most, infinity, nan; };
static const struct narrow_format format_f16 = { 5, 10, 0x7bff, 0x7c00, 0x7fff }, format_bf16 = { 8, 7, 0x7f7f, 0x7f80, 0x7fff },
    format_e4m3 = { 4, 3, 0x7e, 0x7f, 0x7f }, format_e5m2 = { 5, 2, 0x7b, 0x7c, 0x7f }, format_tf32 = { 8, 10, 0x3fbff, 0x3fc00, 0x3ffff };

static inline long double narrow_size(const struct narrow_format *f, u32 code)
{
    int bias = (1 << (f->exponent_bits - 1)) - 1, exponent = (int)(code >> f->fraction_bits);
    u32 fraction = code & ((1u << f->fraction_bits) - 1);
    return exponent ? ldexpl((long double)(fraction | 1u << f->fraction_bits), exponent - bias - f->fraction_bits)
                    : ldexpl((long double)fraction, 1 - bias - f->fraction_bits);
}

/* The code of x + rest, where rest is smaller than half of x's last place. */
static inline u32 narrow_from(const struct narrow_format *f, long double x, long double rest, enum reference_rounding mode, bool saturate)
{
    if (isnan(x)) return f->nan;
    bool negative = signbit(x);
    u32 sign = negative ? 1u << (f->exponent_bits + f->fraction_bits) : 0;
    if (negative) { x = -x; rest = -rest; }
    if (isinf(x)) return sign | (saturate ? f->most : f->infinity);
    u32 low = 0, high = f->most + 1;                    /* value(low) <= x < value(high); the code after the greatest continues the scale */
    if (x > narrow_size(f, high) || (x == narrow_size(f, high) && rest >= 0)) low = high;
    else
        while (high - low > 1) {
            u32 middle = (low + high) / 2;
            long double v = narrow_size(f, middle);
            if (v < x || (v == x && rest >= 0)) low = middle;
            else high = middle;
        }
    if (low == f->most + 1) {
        bool stays = saturate || mode == RZ || (mode == RM && !negative) || (mode == RP && negative);
        return sign | (stays ? f->most : f->infinity);
    }
    long double below = x - narrow_size(f, low), above = narrow_size(f, low + 1) - x;
    bool exact = below == 0 && rest == 0, tie = below == above && rest == 0;
    bool nearer_above = below > above || (below == above && rest > 0);
    bool up = mode == RN ? nearer_above || (tie && (low & 1)) : mode == RNA ? nearer_above || tie : mode == RP ? !exact && !negative : mode == RM ? !exact && negative : false;
    u32 code = low + up;
    if (code > f->most) {
        bool stays = saturate || mode == RZ || (mode == RM && !negative) || (mode == RP && negative);
        code = stays ? f->most : f->infinity;
    }
    return sign | code;
}
static inline f32 narrow_value(const struct narrow_format *f, u32 code)
{
    u32 sign = 1u << (f->exponent_bits + f->fraction_bits), size = code & (sign - 1);
    f32 x = size <= f->most ? (f32)narrow_size(f, size) : size == f->infinity && f->infinity != f->nan ? INFINITY : NAN;
    return code & sign ? -x : x;
}

static inline u16 reference_f16(f32 x) { return (u16)narrow_from(&format_f16, x, 0, RN, false); }
static inline u16 reference_bf16(f32 x) { return (u16)narrow_from(&format_bf16, x, 0, RN, false); }

/* a * b + c of two formats' values, rounded once. */
static inline u16 narrow_fma(const struct narrow_format *f, u16 a, u16 b, u16 c)
{
    long double p = (long double)narrow_value(f, a) * narrow_value(f, b), q = narrow_value(f, c), s = p + q, part = s - p;
    long double rest = isfinite(s) ? (p - (s - part)) + (q - part) : 0;
    return (u16)narrow_from(f, s, rest, RN, false);
}

/* An expression in another rounding mode of the host. */
#define ROUNDED(mode, T, expression) ([&]() -> T { fesetround(mode); volatile T r_ = (T)(expression); fesetround(FE_TONEAREST); return r_; }())
template <class T> static inline T kept(T x) { volatile T v = x; return v; }

static inline f32 flushed(f32 x) { return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x; }
static inline f32 saturated(f32 x) { return x >= 1 ? 1 : x > 0 ? x : 0; }

#endif
