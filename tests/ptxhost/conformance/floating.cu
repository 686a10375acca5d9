/* Arithmetic of f32 and f64, correctly rounded. */
#include "value.h"

static f32 kept_sum(f32 a, f32 b) { return kept(a) + kept(b); }
static f64 kept_sum(f64 a, f64 b) { return kept(a) + kept(b); }
#define PLUS(T, a, b) kept_sum((T)(a), (T)(b))
#define MINUS(T, a, b) kept_sum((T)(a), -(T)(b))
#define TIMES(T, a, b) (kept((T)(a)) * kept((T)(b)))
#define OVER(T, a, b) (kept((T)(a)) / kept((T)(b)))
static f32 fused(f32 a, f32 b, f32 c) { return fmaf(kept(a), kept(b), kept(c)); }
static f64 fused(f64 a, f64 b, f64 c) { return fma(kept(a), kept(b), kept(c)); }
#define FUSED(T, a, b, c) fused((T)(a), (T)(b), (T)(c))
static f32 root(f32 a) { return sqrtf(kept(a)); }
static f64 root(f64 a) { return sqrt(kept(a)); }
#define ROOT(T, a) root((T)(a))
#define INVERSE(T, a) (1 / kept((T)(a)))

/* With each rounding, then flushed and saturated. `mode` is the host's. */
#define TWO(op, f, rounding, mode) \
    FORM2(80, op rounding ".f32", f32, f32, f32, "", ROUNDED(mode, f32, f(f32, a, b))) \
    FORM2(80, op rounding ".ftz.f32", f32, f32, f32, "", flushed(ROUNDED(mode, f32, f(f32, flushed(a), flushed(b))))) \
    FORM2(80, op rounding ".f64", f64, f64, f64, "", ROUNDED(mode, f64, f(f64, a, b)))
#define TWO_SAT(op, f, rounding, mode) \
    FORM2(80, op rounding ".sat.f32", f32, f32, f32, "", saturated(ROUNDED(mode, f32, f(f32, a, b)))) \
    FORM2(80, op rounding ".ftz.sat.f32", f32, f32, f32, "", saturated(flushed(ROUNDED(mode, f32, f(f32, flushed(a), flushed(b))))))
#define DIRECTIONS(X, op, f) X(op, f, ".rn", FE_TONEAREST) X(op, f, ".rz", FE_TOWARDZERO) X(op, f, ".rm", FE_DOWNWARD) X(op, f, ".rp", FE_UPWARD)
#define SUMS(op, f) DIRECTIONS(TWO, op, f) DIRECTIONS(TWO_SAT, op, f) TWO(op, f, "", FE_TONEAREST) TWO_SAT(op, f, "", FE_TONEAREST)
SUMS("add", PLUS) SUMS("sub", MINUS) SUMS("mul", TIMES)
DIRECTIONS(TWO, "div", OVER)

#define THREE(op, f, rounding, mode) \
    FORM3(80, op rounding ".f32", f32, f32, f32, f32, "", ROUNDED(mode, f32, f(f32, a, b, c))) \
    FORM3(80, op rounding ".ftz.f32", f32, f32, f32, f32, "", flushed(ROUNDED(mode, f32, f(f32, flushed(a), flushed(b), flushed(c))))) \
    FORM3(80, op rounding ".sat.f32", f32, f32, f32, f32, "", saturated(ROUNDED(mode, f32, f(f32, a, b, c)))) \
    FORM3(80, op rounding ".ftz.sat.f32", f32, f32, f32, f32, "", saturated(flushed(ROUNDED(mode, f32, f(f32, flushed(a), flushed(b), flushed(c)))))) \
    FORM3(80, op rounding ".f64", f64, f64, f64, f64, "", ROUNDED(mode, f64, f(f64, a, b, c)))
DIRECTIONS(THREE, "fma", FUSED)

#define ONE(op, f, rounding, mode) \
    FORM1(80, op rounding ".f32", f32, f32, "", ROUNDED(mode, f32, f(f32, a))) \
    FORM1(80, op rounding ".ftz.f32", f32, f32, "", flushed(ROUNDED(mode, f32, f(f32, flushed(a))))) \
    FORM1(80, op rounding ".f64", f64, f64, "", ROUNDED(mode, f64, f(f64, a)))
DIRECTIONS(ONE, "rcp", INVERSE) DIRECTIONS(ONE, "sqrt", ROOT)

/* The number if there is one; -0 is below 0. */
template <class T> static T least(T a, T b) { return isnan(a) ? b : isnan(b) ? a : a < b || (a == b && signbit(a)) ? a : b; }
template <class T> static T greatest(T a, T b) { return isnan(a) ? b : isnan(b) ? a : a > b || (a == b && !signbit(a)) ? a : b; }
static f32 or_nan(f32 a, f32 b, f32 x) { return isnan(a) || isnan(b) ? NAN : x; }
#define PICK(op, f) \
    FORM2(80, op ".f32", f32, f32, f32, "", f(a, b)) FORM2(80, op ".ftz.f32", f32, f32, f32, "", f(flushed(a), flushed(b))) \
    FORM2(80, op ".NaN.f32", f32, f32, f32, "", or_nan(a, b, f(a, b))) \
    FORM2(80, op ".ftz.NaN.f32", f32, f32, f32, "", or_nan(a, b, f(flushed(a), flushed(b)))) \
    FORM2(80, op ".f64", f64, f64, f64, "", f(a, b))
PICK("min", least) PICK("max", greatest)

FORM1(80, "abs.f32", f32, f32, "", fabsf(a))
FORM1(80, "abs.ftz.f32", f32, f32, "", flushed(fabsf(a)))
FORM1(80, "abs.f64", f64, f64, "", fabs(a))
FORM1(80, "neg.f32", f32, f32, "", -a)
FORM1(80, "neg.ftz.f32", f32, f32, "", flushed(-a))
FORM1(80, "neg.f64", f64, f64, "", -a)
FORM2(80, "copysign.f32", f32, f32, f32, "", copysignf(b, a))
FORM2(80, "copysign.f64", f64, f64, f64, "", copysign(b, a))

FORMS(floating)
