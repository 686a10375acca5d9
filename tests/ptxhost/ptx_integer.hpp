// Integers and bits. Shifts by the width or more give zero, or the sign; fields reach beyond the ends of a register.
#pragma once

template <class T> INLINE T clamp_to(__int128 x, __int128 least, __int128 most) { return (T)(x < least ? least : x > most ? most : x); }
template <class T> constexpr __int128 least_of = std::is_signed<T>::value ? -((__int128)1 << (8 * sizeof(T) - 1)) : 0;
template <class T> constexpr __int128 most_of = ((__int128)1 << (8 * sizeof(T) - std::is_signed<T>::value)) - 1;
template <class T> INLINE T clamp(__int128 x) { return clamp_to<T>(x, least_of<T>, most_of<T>); }

INLINE u32 bits(f32 x) { u32 b; memcpy(&b, &x, sizeof b); return b; }
INLINE u64 bits(f64 x) { u64 b; memcpy(&b, &x, sizeof b); return b; }
INLINE f32 f32_of(u32 b) { f32 x; memcpy(&x, &b, sizeof x); return x; }
INLINE f64 f64_of(u64 b) { f64 x; memcpy(&x, &b, sizeof x); return x; }

INLINE u32 joined(u16 low, u16 high) { return (u32)high << 16 | low; }
INLINE u64 joined(u32 low, u32 high) { return (u64)high << 32 | low; }
INLINE u64 joined(u16 a, u16 b, u16 c, u16 d) { return joined(joined(a, b), joined(c, d)); }

template <class T> INLINE T mul_hi(T a, T b)
{
    if (sizeof(T) == 8) return std::is_signed<T>::value ? (T)((__int128)a * b >> 64) : (T)((unsigned __int128)a * b >> 64);
    typedef typename std::conditional<std::is_signed<T>::value, s64, u64>::type wide;
    return (T)((wide)a * (wide)b >> 8 * sizeof(T));
}

// Division by zero has no defined result: a mistake of the program.
template <class T> INLINE T quotient(T a, T b)
{
    if (b == 0) { ph_report("an integer divided by zero"); return (T)-1; }
    return std::is_signed<T>::value && b == (T)-1 ? (T)(0 - (u64)a) : (T)(a / b);
}
template <class T> INLINE T residue(T a, T b)
{
    if (b == 0) { ph_report("an integer divided by zero"); return a; }
    return std::is_signed<T>::value && b == (T)-1 ? 0 : (T)(a % b);
}

template <class A, class B> INLINE u32 dp4a(u32 a, u32 b, u32 sum)
{
    typedef typename std::conditional<std::is_signed<A>::value, s8, u8>::type left;
    typedef typename std::conditional<std::is_signed<B>::value, s8, u8>::type right;
    for (int i = 0; i < 32; i += 8) sum += (u32)((s32)(left)(a >> i) * (s32)(right)(b >> i));
    return sum;
}

template <class T> INLINE T shl(T x, u32 n) { return n < 8 * sizeof(T) ? (T)((u64)x << n) : 0; }
template <class T> INLINE T shr(T x, u32 n) { return n < 8 * sizeof(T) ? (T)(x >> n) : (T)(x < 0 ? -1 : 0); }
INLINE u32 at_most_32(u32 n) { return n < 32 ? n : 32; }
INLINE u32 funnel_left(u32 low, u32 high, u32 n) { return (u32)(joined(low, high) << n >> 32); }
INLINE u32 funnel_right(u32 low, u32 high, u32 n) { return (u32)(joined(low, high) >> n); }

INLINE u32 leading_zeros(u32 x) { return x ? (u32)__builtin_clz(x) : 32; }
INLINE u32 leading_zeros(u64 x) { return x ? (u32)__builtin_clzll(x) : 64; }
INLINE u64 reversed(u64 x)
{
    x = (x >> 1 & 0x5555555555555555) | (x & 0x5555555555555555) << 1;
    x = (x >> 2 & 0x3333333333333333) | (x & 0x3333333333333333) << 2;
    x = (x >> 4 & 0x0f0f0f0f0f0f0f0f) | (x & 0x0f0f0f0f0f0f0f0f) << 4;
    return __builtin_bswap64(x);
}
INLINE u32 reversed(u32 x) { return (u32)(reversed((u64)x) >> 32); }

// The position of the highest bit that is not the sign, and how far left it could move.
template <class T> INLINE u32 top_bit_shift(T x)
{
    typedef typename std::make_unsigned<T>::type plain;
    plain p = x < 0 ? ~(plain)x : (plain)x;
    return p ? leading_zeros(p) : ~0u;
}
template <class T> INLINE u32 top_bit(T x) { u32 n = top_bit_shift(x); return n == ~0u ? n : 8 * sizeof(T) - 1 - n; }

template <class T> static T extract(T x, u32 from, u32 count)
{
    const u32 width = 8 * sizeof(T), last = width - 1;
    from &= 255; count &= 255;
    if (count == 0) return 0;
    typedef typename std::make_unsigned<T>::type plain;
    u32 top = from + count - 1 < last ? from + count - 1 : last;
    bool sign = std::is_signed<T>::value && ((plain)x >> top & 1);
    plain field = from < width ? (plain)x >> from : 0;
    u32 kept = from < width ? (count < width - from ? count : width - from) : 0;
    plain mask = kept == 0 ? 0 : (plain)~(plain)0 >> (width - kept);
    return (T)((field & mask) | (sign ? (plain)~mask : 0));
}
template <class T> static T insert(T field, T into, u32 at, u32 count)
{
    const u32 width = 8 * sizeof(T);
    at &= 255; count &= 255;
    if (count == 0 || at >= width) return into;
    T mask = (T)(~(T)0 >> (width - (count < width - at ? count : width - at))) << at;
    return (T)((into & ~mask) | ((field << at) & mask));
}
INLINE u32 bit_mask_clamp(u32 at, u32 count)
{
    if (at > 31 || count == 0) return 0;
    return ~0u >> (32 - (count < 32 - at ? count : 32 - at)) << at;
}
INLINE u32 bit_mask_wrap(u32 at, u32 count) { return bit_mask_clamp(at & 31, count & 31); }

// Each result byte: one of the eight in (b, a), or its sign.
INLINE u32 permute(u32 a, u32 b, u32 selectors)
{
    u64 all = joined(a, b);
    u32 result = 0;
    for (int i = 0; i < 4; i++) {
        u32 selector = selectors >> 4 * i, byte = (u32)(all >> 8 * (selector & 7)) & 255;
        if (selector & 8) byte = byte & 128 ? 255 : 0;
        result |= byte << 8 * i;
    }
    return result;
}
