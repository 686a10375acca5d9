/* cvt: between integers, floats and the narrow formats. */
#include "value.h"

typedef __int128 s128;
#define SMALL(X, ...) X(u8, __VA_ARGS__) X(s8, __VA_ARGS__) X(u16, __VA_ARGS__) X(s16, __VA_ARGS__) X(u32, __VA_ARGS__) X(s32, __VA_ARGS__) X(u64, __VA_ARGS__) X(s64, __VA_ARGS__)
#define SMALL_OF(X, ...) X(u8, __VA_ARGS__) X(s8, __VA_ARGS__) X(u16, __VA_ARGS__) X(s16, __VA_ARGS__) X(u32, __VA_ARGS__) X(s32, __VA_ARGS__) X(u64, __VA_ARGS__) X(s64, __VA_ARGS__)

template <class T> static T clamped(s128 x)
{
    s128 least = std::is_signed<T>::value ? -((s128)1 << (8 * sizeof(T) - 1)) : 0, most = ((s128)1 << (8 * sizeof(T) - std::is_signed<T>::value)) - 1;
    return (T)(x < least ? least : x > most ? most : x);
}
#define INTEGER(S, D) FORM1(80, "cvt." #D "." #S, D, S, "", (D)a)
#define INTEGER_TO(D, ...) SMALL(INTEGER, D)
SMALL_OF(INTEGER_TO, 0)
/* Where the source can lie outside of the result's range. */
#define SAT(D, S) FORM1(80, "cvt.sat." #D "." #S, D, S, "", clamped<D>(a))
SAT(u8, s8) SAT(u8, u16) SAT(u8, s16) SAT(u8, u32) SAT(u8, s32) SAT(u8, u64) SAT(u8, s64) SAT(s8, u8) SAT(s8, u16) SAT(s8, s16) SAT(s8, u32) SAT(s8, s32) SAT(s8, u64) SAT(s8, s64)
SAT(u16, s8) SAT(u16, s16) SAT(u16, u32) SAT(u16, s32) SAT(u16, u64) SAT(u16, s64) SAT(s16, u16) SAT(s16, u32) SAT(s16, s32) SAT(s16, u64) SAT(s16, s64)
SAT(u32, s8) SAT(u32, s16) SAT(u32, s32) SAT(u32, u64) SAT(u32, s64) SAT(s32, u32) SAT(s32, u64) SAT(s32, s64) SAT(u64, s8) SAT(u64, s16) SAT(u64, s32) SAT(u64, s64) SAT(s64, u64)

/* By long double, which holds all integers here: exact, then one rounding in the host's mode. */
#define FLOAT_FROM(S, D, rounding, mode) FORM1(80, "cvt" rounding "." #D "." #S, D, S, "", ROUNDED(mode, D, kept((long double)a)))
#define FLOATS_FROM(D) SMALL(FLOAT_FROM, D, ".rn", FE_TONEAREST) SMALL(FLOAT_FROM, D, ".rz", FE_TOWARDZERO) SMALL(FLOAT_FROM, D, ".rm", FE_DOWNWARD) SMALL(FLOAT_FROM, D, ".rp", FE_UPWARD)
FLOATS_FROM(f32) FLOATS_FROM(f64)

static f64 nearest_even(f64 x) { f64 f = floor(x), r = x - f; return copysign(r > 0.5 || (r == 0.5 && fmod(f, 2) != 0) ? f + 1 : f, x); }
template <class T, class S> static T integer_from(S x, f64 rounded)
{
    if (isnan(x)) return sizeof(T) == 8 || sizeof(S) == 8 ? (T)((u64)1 << (8 * sizeof(T) - 1)) : 0;
    return isinf(rounded) || fabs(rounded) > 1e30 ? clamped<T>(rounded > 0 ? (s128)1 << 100 : -((s128)1 << 100)) : clamped<T>((s128)rounded);
}
#define INTEGER_FROM(D, S, rounding, f) FORM1(80, "cvt" rounding "." #D "." #S, D, S, "", (integer_from<D, S>(a, f((f64)a))))
#define INTEGER_FTZ(D, rounding, f) FORM1(80, "cvt" rounding ".ftz." #D ".f32", D, f32, "", (integer_from<D, f32>(a, f((f64)flushed(a)))))
#define INTEGER_HALF(D, rounding, f) FORM1(80, "cvt" rounding "." #D ".f16", D, f16, "", (integer_from<D, f32>(narrow_value(&format_f16, a), f((f64)narrow_value(&format_f16, a)))))
#define INTEGRAL(rounding, f) \
    SMALL(INTEGER_FROM, f32, rounding, f) SMALL(INTEGER_FROM, f64, rounding, f) SMALL(INTEGER_FTZ, rounding, f) SMALL(INTEGER_HALF, rounding, f) \
    FORM1(80, "cvt" rounding ".f32.f32", f32, f32, "", f(a)) FORM1(80, "cvt" rounding ".ftz.f32.f32", f32, f32, "", f(flushed(a))) \
    FORM1(80, "cvt" rounding ".sat.f32.f32", f32, f32, "", saturated((f32)f(a))) FORM1(80, "cvt" rounding ".ftz.sat.f32.f32", f32, f32, "", saturated((f32)f(flushed(a)))) \
    FORM1(80, "cvt" rounding ".f64.f64", f64, f64, "", f(a))
INTEGRAL(".rni", nearest_even) INTEGRAL(".rzi", trunc) INTEGRAL(".rmi", floor) INTEGRAL(".rpi", ceil)

FORM1(80, "cvt.sat.f32.f32", f32, f32, "", saturated(a))
FORM1(80, "cvt.ftz.sat.f32.f32", f32, f32, "", saturated(flushed(a)))
FORM1(80, "cvt.ftz.f32.f32", f32, f32, "", flushed(a))
FORM1(80, "cvt.f64.f32", f64, f32, "", a)
FORM1(80, "cvt.ftz.f64.f32", f64, f32, "", flushed(a))
#define NARROWED(rounding, mode) \
    FORM1(80, "cvt" rounding ".f32.f64", f32, f64, "", ROUNDED(mode, f32, kept(a))) FORM1(80, "cvt" rounding ".ftz.f32.f64", f32, f64, "", flushed(ROUNDED(mode, f32, kept(a)))) \
    FORM1(80, "cvt" rounding ".sat.f32.f64", f32, f64, "", saturated(ROUNDED(mode, f32, kept(a)))) \
    FORM1(80, "cvt" rounding ".ftz.sat.f32.f64", f32, f64, "", saturated(flushed(ROUNDED(mode, f32, kept(a)))))
NARROWED(".rn", FE_TONEAREST) NARROWED(".rz", FE_TOWARDZERO) NARROWED(".rm", FE_DOWNWARD) NARROWED(".rp", FE_UPWARD)

/* ---- 16 bits ---- */

#define H &format_f16
#define B &format_bf16
static f32 relu(f32 x) { return x < 0 || x == 0 ? 0 : x; }
static u16 half_of(const narrow_format *f, f32 x, enum reference_rounding mode) { return (u16)narrow_from(f, x, 0, mode, false); }
static u32 pair_of(const narrow_format *f, f32 high, f32 low, enum reference_rounding mode) { return (u32)half_of(f, high, mode) << 16 | half_of(f, low, mode); }

FORM1(80, "cvt.f32.f16", f32, f16, "", narrow_value(H, a))
FORM1(80, "cvt.f64.f16", f64, f16, "", (f64)narrow_value(H, a))
FORM1(90, "cvt.f32.bf16", f32, bf16, "", narrow_value(B, a))
#define HALF(arch, T, F, rounding, mode) \
    FORM1(arch, "cvt" rounding "." #T ".f32", T, f32, "", half_of(F, a, mode)) \
    FORM1(80, "cvt" rounding ".relu." #T ".f32", T, f32, "", half_of(F, relu(a), mode)) \
    FORM2(80, "cvt" rounding "." #T "x2.f32", T##x2, f32, f32, "", pair_of(F, a, b, mode)) \
    FORM2(80, "cvt" rounding ".relu." #T "x2.f32", T##x2, f32, f32, "", pair_of(F, relu(a), relu(b), mode))
HALF(80, f16, H, ".rn", RN) HALF(80, f16, H, ".rz", RZ) HALF(80, bf16, B, ".rn", RN) HALF(80, bf16, B, ".rz", RZ)
#define HALF_FROM(S, rounding, mode) FORM1(80, "cvt" rounding ".f16." #S, f16, S, "", (u16)narrow_from(H, (long double)a, 0, mode, false))
SMALL(HALF_FROM, ".rn", RN) SMALL(HALF_FROM, ".rz", RZ)

FORM1(80, "cvt.rna.tf32.f32", tf32, f32, "", from_bits<f32>((u64)narrow_from(&format_tf32, a, 0, RNA, false) << 13))
FORM1(90, "cvt.rn.tf32.f32", tf32, f32, "", from_bits<f32>((u64)narrow_from(&format_tf32, a, 0, RN, false) << 13))
FORM1(90, "cvt.rn.relu.tf32.f32", tf32, f32, "", from_bits<f32>((u64)narrow_from(&format_tf32, relu(a), 0, RN, false) << 13))

/* ---- 8 bits ---- */

static u16 fp8_pair(const narrow_format *f, f32 high, f32 low) { return (u16)(narrow_from(f, high, 0, RN, true) << 8 | narrow_from(f, low, 0, RN, true)); }
#define LOW narrow_value(H, (u16)a)
#define HIGH narrow_value(H, (u16)(a >> 16))
#define FP8(T, F) \
    FORM2(89, "cvt.rn.satfinite." #T ".f32", T, f32, f32, "", fp8_pair(F, a, b)) \
    FORM2(89, "cvt.rn.satfinite.relu." #T ".f32", T, f32, f32, "", fp8_pair(F, relu(a), relu(b))) \
    FORM1(89, "cvt.rn.satfinite." #T ".f16x2", T, f16x2, "", fp8_pair(F, HIGH, LOW)) \
    FORM1(89, "cvt.rn.satfinite.relu." #T ".f16x2", T, f16x2, "", fp8_pair(F, relu(HIGH), relu(LOW))) \
    FORM1(89, "cvt.rn.f16x2." #T, f16x2, T, "", pair_of(H, narrow_value(F, a >> 8), narrow_value(F, a & 255), RN)) \
    FORM1(89, "cvt.rn.relu.f16x2." #T, f16x2, T, "", pair_of(H, relu(narrow_value(F, a >> 8)), relu(narrow_value(F, a & 255)), RN))
FP8(e4m3x2, &format_e4m3) FP8(e5m2x2, &format_e5m2)

FORMS(convert)
