// f32 and f64 with the rounding that the instruction names, approximations, and conversions between them and integers.
#pragma once

// Every NaN that arithmetic in f32 makes is this one.
INLINE f32 num(f32 x) { return x == x ? x : f32_of(0x7fffffff); }
INLINE f64 num(f64 x) { return x; }
INLINE f32 magnitude(f32 x) { return f32_of(bits(x) & 0x7fffffff); }
INLINE f64 magnitude(f64 x) { return f64_of(bits(x) & ~0ull >> 1); }
INLINE f32 ftz(f32 x) { return magnitude(x) < 0x1p-126f ? f32_of(bits(x) & 0x80000000) : x; }
INLINE f32 unit(f32 x) { return x > 0 ? x < 1 ? x : 1 : 0; }         // .sat; of a NaN: 0

INLINE f32 fused(f32 a, f32 b, f32 c) { return __builtin_fmaf(a, b, c); }
INLINE f64 fused(f64 a, f64 b, f64 c) { return __builtin_fma(a, b, c); }
INLINE f32 root(f32 x) { return __builtin_sqrtf(x); }
INLINE f64 root(f64 x) { return __builtin_sqrt(x); }

// ---- directed rounding: the host's own, switched for one operation; pin() keeps the operation between the switches ----

enum rounding { NEAREST = _MM_ROUND_NEAREST, DOWN = _MM_ROUND_DOWN, UP = _MM_ROUND_UP, TO_ZERO = _MM_ROUND_TOWARD_ZERO, AWAY = -1 /* ties away from zero: conversions only */ };

struct rounded {
    u32 before = _mm_getcsr();
    explicit rounded(rounding to) { _mm_setcsr((before & ~_MM_ROUND_MASK) | (u32)to); }
    ~rounded() { _mm_setcsr(before); }
};
template <class T> INLINE T pin(T x) { __asm__ volatile("" : "+x"(x)); return x; }
INLINE u64 pin(u64 x) { __asm__ volatile("" : "+r"(x)); return x; }
INLINE s64 pin(s64 x) { __asm__ volatile("" : "+r"(x)); return x; }

template <class T> static T add(T a, T b, rounding to) { rounded mode(to); return pin(pin(a) + pin(b)); }
template <class T> static T sub(T a, T b, rounding to) { rounded mode(to); return pin(pin(a) - pin(b)); }
template <class T> static T mul(T a, T b, rounding to) { rounded mode(to); return pin(pin(a) * pin(b)); }
template <class T> static T div(T a, T b, rounding to) { rounded mode(to); return pin(pin(a) / pin(b)); }
template <class T> static T rcp(T a, rounding to) { rounded mode(to); return pin(1 / pin(a)); }
template <class T> static T sqrt(T a, rounding to) { rounded mode(to); return pin(root(pin(a))); }
template <class T> static T fma(T a, T b, T c, rounding to) { rounded mode(to); return pin(fused(pin(a), pin(b), pin(c))); }
static inline f32 narrow(f64 x, rounding to) { rounded mode(to); return num(pin((f32)pin(x))); }
template <class T> static T from_integer(s64 x, rounding to) { rounded mode(to); return pin((T)pin(x)); }
template <class T> static T from_integer(u64 x, rounding to) { rounded mode(to); return pin((T)pin(x)); }
template <class T, class I> INLINE T from_integer(I x, rounding to) { return from_integer<T>((s64)x, to); }

// ---- selection ----

template <class T> INLINE T min_num(T a, T b) { return num(a != a ? b : b != b ? a : a < b || (a == b && std::signbit(a)) ? a : b); }
template <class T> INLINE T max_num(T a, T b) { return num(a != a ? b : b != b ? a : a > b || (a == b && !std::signbit(a)) ? a : b); }
INLINE f32 min_nan(f32 a, f32 b) { return a != a || b != b ? f32_of(0x7fffffff) : min_num(a, b); }
INLINE f32 max_nan(f32 a, f32 b) { return a != a || b != b ? f32_of(0x7fffffff) : max_num(a, b); }

template <class T> INLINE bool is_finite(T x) { return std::isfinite(x); }
template <class T> INLINE bool is_infinite(T x) { return std::isinf(x); }
template <class T> INLINE bool is_number(T x) { return x == x; }
template <class T> INLINE bool is_notanumber(T x) { return x != x; }
template <class T> INLINE bool is_normal(T x) { return std::isnormal(x); }
template <class T> INLINE bool is_subnormal(T x) { return x != 0 && std::isfinite(x) && !std::isnormal(x); }

// ---- approximations: the nearest value; under jitter off by up to as much as the PTX manual allows, always the same for the same operands ----

static const u32 jitter = ph_jitter();

static inline u32 jitter_bits(u64 operands)
{
    u64 h = (operands + jitter * 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9;
    h = (h ^ h >> 29) * 0x94d049bb133111eb;
    return (u32)(h >> 32);
}
// Moved by up to `ulps` units in the last place.
INLINE f32 approximately(f32 x, u64 operands, u32 ulps = 2)
{
    if (__builtin_expect(!jitter, 1) || !std::isnormal(x)) return num(x);
    f32 moved = f32_of(bits(x) + jitter_bits(operands) % (2 * ulps + 1) - ulps);
    return std::isnormal(moved) ? moved : x;
}

INLINE f32 ex2_approx(f32 x) { return approximately((f32)exp2((f64)x), bits(x)); }
INLINE f32 lg2_approx(f32 x) { return approximately(log2f(x), bits(x)); }
INLINE f32 rcp_approx(f32 x) { return approximately(1 / x, bits(x), 1); }
INLINE f32 sqrt_approx(f32 x) { return approximately(root(x), bits(x)); }
INLINE f32 rsqrt_approx(f32 x) { return approximately((f32)(1 / root((f64)x)), bits(x)); }
INLINE f32 sin_approx(f32 x) { return approximately(sinf(x), bits(x)); }
INLINE f32 cos_approx(f32 x) { return approximately(cosf(x), bits(x)); }
INLINE f32 tanh_approx(f32 x) { return approximately(tanhf(x), bits(x), 1u << 12); }         // relative error 2^-11
INLINE f32 div_full(f32 a, f32 b) { return approximately(a / b, joined(bits(a), bits(b))); }
INLINE f32 div_approx(f32 a, f32 b)
{
    f32 size = magnitude(b);
    return size > 0x1p126f && std::isfinite(b) ? num(a * (std::signbit(b) ? -0.0f : 0.0f)) : div_full(a, b);      // 1 / b is flushed
}

// ---- to and from integers ----

INLINE f32 nearest(f32 x) { return num(__builtin_rintf(x)); }
INLINE f32 truncated(f32 x) { return num(__builtin_truncf(x)); }
INLINE f32 floor_of(f32 x) { return num(__builtin_floorf(x)); }
INLINE f32 ceiling_of(f32 x) { return num(__builtin_ceilf(x)); }
INLINE f64 nearest(f64 x) { return __builtin_rint(x); }
INLINE f64 truncated(f64 x) { return __builtin_trunc(x); }
INLINE f64 floor_of(f64 x) { return __builtin_floor(x); }
INLINE f64 ceiling_of(f64 x) { return __builtin_ceil(x); }

// Clamped. A NaN gives 0; with 64 bits on either side only the top bit.
template <class T, class F> INLINE T to_integer(F x)
{
    const F least = (F)least_of<T>, beyond = (F)(most_of<T> + 1);
    if (x != x) return sizeof(T) == 8 || sizeof(F) == 8 ? (T)((u64)1 << (8 * sizeof(T) - 1)) : 0;
    return x < least ? (T)least_of<T> : x >= beyond ? (T)most_of<T> : (T)x;
}
