/* Approximations: as far off as the manual allows. */
#include "value.h"

#define ONE(op, T, ulps, absolute, f) \
    ABOUT1(80, op ".approx.f32", f32, T, ulps, absolute, (f32)f((f64)a)) \
    ABOUT1(80, op ".approx.ftz.f32", f32, T, ulps, absolute, flushed((f32)f((f64)flushed(a))))
static f64 inverse(f64 x) { return 1 / x; }
static f64 inverse_root(f64 x) { return 1 / sqrt(x); }
ONE("ex2", f32, 2, 0, exp2)
ONE("lg2", f32, 3, 0x1p-22, log2)
ONE("rcp", f32, 1, 0, inverse)
ONE("sqrt", f32, 2, 0, sqrt)
ONE("rsqrt", f32, 2, 0, inverse_root)
ONE("sin", angle_f32, 2, 0x1p-20, sin)
ONE("cos", angle_f32, 2, 0x1p-20, cos)
ABOUT1(80, "tanh.approx.f32", f32, f32, 1 << 13, 0, (f32)tanh((f64)a))

#define DIV(kind) \
    ABOUT2(80, "div." kind ".f32", f32, near_f32, near_f32, 2, 0, (f32)((f64)a / b)) \
    ABOUT2(80, "div." kind ".ftz.f32", f32, near_f32, near_f32, 2, 0, flushed((f32)((f64)flushed(a) / flushed(b))))
DIV("approx") DIV("full")

FORMS(approximate)
