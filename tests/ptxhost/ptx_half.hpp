// Formats of 16 and 8 bits. Arithmetic is exact in f64, rounded to odd there and once to the format.
#pragma once

// A format: bits of fraction, least exponent of a normal value, the codes of the greatest finite value, of infinity and of NaN.
struct f16 { enum { fraction = 10, least = -14, most = 0x7bff, infinity = 0x7c00, nan = 0x7fff, sign = 0x8000 }; };
struct bf16 { enum { fraction = 7, least = -126, most = 0x7f7f, infinity = 0x7f80, nan = 0x7fff, sign = 0x8000 }; };
struct e4m3 { enum { fraction = 3, least = -6, most = 0x7e, infinity = 0x7f, nan = 0x7f, sign = 0x80 }; };
struct e5m2 { enum { fraction = 2, least = -14, most = 0x7b, infinity = 0x7c, nan = 0x7f, sign = 0x80 }; };
struct tf32 { enum { fraction = 10, least = -126, most = 0x3fbff, infinity = 0x3fc00, nan = 0x3ffff, sign = 0x40000 }; };

template <class F> static u32 encode(f64 x, rounding to, bool saturate = false)
{
    if (x != x) return F::nan;
    bool negative = std::signbit(x);
    u32 sign = negative ? (u32)F::sign : 0;
    f64 size = magnitude(x);
    if (std::isinf(x)) return sign | (u32)(saturate ? F::most : F::infinity);
    int exponent = (int)(bits(size) >> 52) - 1023;
    if (exponent < F::least) exponent = F::least;
    f64 steps = size * f64_of((u64)(1023 + F::fraction - exponent) << 52);      // in units of the last place: exact
    f64 below = __builtin_floor(steps), rest = steps - below;
    u64 whole = (u64)below;
    bool up = to == NEAREST ? rest > 0.5 || (rest == 0.5 && (whole & 1)) : to == AWAY ? rest >= 0.5 : to == UP ? rest > 0 && !negative : to == DOWN ? rest > 0 && negative : false;
    // The leading one of a normal value adds itself to the exponent.
    u64 code = ((u64)(exponent - F::least) << F::fraction) + whole + up;
    if (code <= F::most) return sign | (u32)code;
    bool stays = saturate || to == TO_ZERO || (to == DOWN && !negative) || (to == UP && negative);
    return sign | (u32)(stays ? F::most : F::infinity);
}

INLINE f32 widen_bf16(u16 h) { return f32_of((u32)h << 16); }
INLINE f32 widen_f16(u16 h) { return _cvtsh_ss(h); }
template <class F> INLINE f32 widen(u16 h) { return std::is_same<F, bf16>::value ? widen_bf16(h) : widen_f16(h); }

INLINE u16 to_bf16(f32 x)
{
    u32 b = bits(x);
    return x == x ? (u16)((b + 0x7fff + (b >> 16 & 1)) >> 16) : (u16)bf16::nan;
}
INLINE u16 to_f16(f32 x) { return x == x ? (u16)_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT) : (u16)f16::nan; }
INLINE u16 to_bf16(f32 x, rounding to) { return (u16)encode<bf16>(x, to); }
INLINE u16 to_f16(f32 x, rounding to) { return (u16)encode<f16>(x, to); }
template <class... R> INLINE u16 to_bf16_relu(f32 x, R... to) { return to_bf16(max_nan(x, 0.0f), to...); }
template <class... R> INLINE u16 to_f16_relu(f32 x, R... to) { return to_f16(max_nan(x, 0.0f), to...); }
INLINE u32 to_tf32(f32 x, rounding to) { u32 code = encode<tf32>(x, to) << 13; return x == x ? code : 0x7fffffff; }
template <class F, class I> INLINE u16 integer_to(I x, rounding to) { return (u16)encode<F>(from_integer<f64>(x, TO_ZERO), to); }

// ---- arithmetic ----

// a + b, inexact sums made odd: a further rounding to fewer bits then is right.
static inline f64 sum_to_odd(f64 a, f64 b)
{
    f64 s = a + b;
    if (!std::isfinite(s)) return s;
    f64 of_b = s - a, rest = (a - (s - of_b)) + (b - of_b);
    if (rest == 0 || (bits(s) & 1)) return s;
    return f64_of(bits(s) + ((rest > 0) == (s > 0) ? 1 : -1));
}
template <class F> static u16 half_fma(u16 a, u16 b, u16 c)
{
    return (u16)encode<F>(sum_to_odd((f64)widen<F>(a) * (f64)widen<F>(b), widen<F>(c)), NEAREST);
}
template <class F> static u16 half_fma_relu(u16 a, u16 b, u16 c)
{
    u16 x = half_fma<F>(a, b, c);
    return x & F::sign ? 0 : x;
}
template <class F> static u16 half_add(u16 a, u16 b) { return (u16)encode<F>(sum_to_odd(widen<F>(a), widen<F>(b)), NEAREST); }
template <class F> static u16 half_sub(u16 a, u16 b) { return half_add<F>(a, b ^ 0x8000); }
template <class F> static u16 half_mul(u16 a, u16 b) { return (u16)encode<F>((f64)widen<F>(a) * (f64)widen<F>(b), NEAREST); }

template <class F> INLINE u16 half_pick(u16 a, u16 b, bool least)
{
    f32 x = widen<F>(a), y = widen<F>(b);
    if (x != x || y != y) return x == x ? a : y == y ? b : (u16)F::nan;
    bool a_below = x < y || (x == y && (a & 0x8000));
    return a_below == least ? a : b;
}
template <class F> static u16 half_min(u16 a, u16 b) { return half_pick<F>(a, b, true); }
template <class F> static u16 half_max(u16 a, u16 b) { return half_pick<F>(a, b, false); }
template <class F> INLINE bool half_nan(u16 a) { return widen<F>(a) != widen<F>(a); }
template <class F> static u16 half_min_nan(u16 a, u16 b) { return half_nan<F>(a) || half_nan<F>(b) ? (u16)F::nan : half_min<F>(a, b); }
template <class F> static u16 half_max_nan(u16 a, u16 b) { return half_nan<F>(a) || half_nan<F>(b) ? (u16)F::nan : half_max<F>(a, b); }

INLINE u32 in_pairs(u16 f(u16, u16), u32 a, u32 b) { return joined(f((u16)a, (u16)b), f((u16)(a >> 16), (u16)(b >> 16))); }
INLINE u32 in_pairs(u16 f(u16, u16, u16), u32 a, u32 b, u32 c)
{
    return joined(f((u16)a, (u16)b, (u16)c), f((u16)(a >> 16), (u16)(b >> 16), (u16)(c >> 16)));
}

// ---- 8 bits ----

template <class F> static u16 fp8_pair(f32 high, f32 low, bool relu)
{
    if (relu) { high = max_nan(high, 0.0f); low = max_nan(low, 0.0f); }
    return (u16)(encode<F>(high, NEAREST, true) << 8 | encode<F>(low, NEAREST, true));
}
template <class F> static f32 decode(u8 code)
{
    u32 size = code & (F::sign - 1);
    if (size > F::most) return size == F::infinity && F::infinity != F::nan ? (code & F::sign ? -INFINITY : INFINITY) : NAN;
    u32 exponent = size >> F::fraction, fraction = size & ((1u << F::fraction) - 1);
    f64 x = std::ldexp((f64)(exponent ? fraction | 1u << F::fraction : fraction), (int)(exponent ? exponent : 1) - 1 + F::least - F::fraction);
    return (f32)(code & F::sign ? -x : x);
}
template <class F> static u32 fp8_to_f16x2(u16 pair, bool relu)
{
    f32 low = decode<F>((u8)pair), high = decode<F>((u8)(pair >> 8));
    if (relu) { high = max_nan(high, 0.0f); low = max_nan(low, 0.0f); }
    return joined(to_f16(low), to_f16(high));
}
