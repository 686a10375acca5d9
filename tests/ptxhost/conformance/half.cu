/* Arithmetic of f16 and bf16, alone and in pairs. */
#include "value.h"

#define H &format_f16
#define B &format_bf16
static u16 minus(u16 a) { return a ^ 0x8000; }
static u16 relu(u16 x, const narrow_format *f) { return (x & 0x7fff) > f->infinity ? x : x & 0x8000 ? 0 : x; }
static u16 picked(const narrow_format *f, u16 a, u16 b, bool least, bool nan)
{
    f32 x = narrow_value(f, a), y = narrow_value(f, b);
    if (isnan(x) || isnan(y)) return nan || (isnan(x) && isnan(y)) ? (u16)f->nan : isnan(x) ? b : a;
    bool a_below = x < y || (x == y && (a & 0x8000));
    return a_below == least ? a : b;
}
/* Sums and products as fused ones: a * 1 + b, a * b + -0. */
static u16 one(const narrow_format *f) { return f == H ? 0x3c00 : 0x3f80; }
static u16 sum(const narrow_format *f, u16 a, u16 b) { return narrow_fma(f, a, one(f), b); }
static u16 product(const narrow_format *f, u16 a, u16 b)
{
    return (u16)narrow_from(f, (long double)narrow_value(f, a) * narrow_value(f, b), 0, RN, false);
}

#define PAIR2(g, ...) ((u32)g(__VA_ARGS__, (u16)(a >> 16), (u16)(b >> 16)) << 16 | g(__VA_ARGS__, (u16)a, (u16)b))
#define PAIR3(g, ...) ((u32)g(__VA_ARGS__, (u16)(a >> 16), (u16)(b >> 16), (u16)(c >> 16)) << 16 | g(__VA_ARGS__, (u16)a, (u16)b, (u16)c))
static u16 difference(const narrow_format *f, u16 a, u16 b) { return sum(f, a, minus(b)); }
static u16 fused(const narrow_format *f, u16 a, u16 b, u16 c) { return narrow_fma(f, a, b, c); }
static u16 fused_relu(const narrow_format *f, u16 a, u16 b, u16 c) { return relu(narrow_fma(f, a, b, c), f); }
static u16 least(const narrow_format *f, u16 a, u16 b) { return picked(f, a, b, true, false); }
static u16 greatest(const narrow_format *f, u16 a, u16 b) { return picked(f, a, b, false, false); }
static u16 least_nan(const narrow_format *f, u16 a, u16 b) { return picked(f, a, b, true, true); }
static u16 greatest_nan(const narrow_format *f, u16 a, u16 b) { return picked(f, a, b, false, true); }

/* arch_sum: sums of bf16 came later than its products. */
#define ALL(T, P, F, arch_sum) \
    FORM2(arch_sum, "add." #T, T, T, T, "", sum(F, a, b)) FORM2(arch_sum, "add.rn." #T, T, T, T, "", sum(F, a, b)) \
    FORM2(arch_sum, "add." #P, P, P, P, "", PAIR2(sum, F)) FORM2(arch_sum, "add.rn." #P, P, P, P, "", PAIR2(sum, F)) \
    FORM2(arch_sum, "sub." #T, T, T, T, "", difference(F, a, b)) FORM2(arch_sum, "sub.rn." #T, T, T, T, "", difference(F, a, b)) \
    FORM2(arch_sum, "sub." #P, P, P, P, "", PAIR2(difference, F)) FORM2(arch_sum, "sub.rn." #P, P, P, P, "", PAIR2(difference, F)) \
    FORM2(arch_sum, "mul." #T, T, T, T, "", product(F, a, b)) FORM2(arch_sum, "mul.rn." #T, T, T, T, "", product(F, a, b)) \
    FORM2(arch_sum, "mul." #P, P, P, P, "", PAIR2(product, F)) FORM2(arch_sum, "mul.rn." #P, P, P, P, "", PAIR2(product, F)) \
    FORM3(80, "fma.rn." #T, T, T, T, T, "", fused(F, a, b, c)) FORM3(80, "fma.rn." #P, P, P, P, P, "", PAIR3(fused, F)) \
    FORM3(80, "fma.rn.relu." #T, T, T, T, T, "", fused_relu(F, a, b, c)) FORM3(80, "fma.rn.relu." #P, P, P, P, P, "", PAIR3(fused_relu, F)) \
    FORM2(80, "min." #T, T, T, T, "", least(F, a, b)) FORM2(80, "min." #P, P, P, P, "", PAIR2(least, F)) \
    FORM2(80, "max." #T, T, T, T, "", greatest(F, a, b)) FORM2(80, "max." #P, P, P, P, "", PAIR2(greatest, F)) \
    FORM2(80, "min.NaN." #T, T, T, T, "", least_nan(F, a, b)) FORM2(80, "min.NaN." #P, P, P, P, "", PAIR2(least_nan, F)) \
    FORM2(80, "max.NaN." #T, T, T, T, "", greatest_nan(F, a, b)) FORM2(80, "max.NaN." #P, P, P, P, "", PAIR2(greatest_nan, F)) \
    FORM1(80, "neg." #T, T, T, "", a ^ 0x8000) FORM1(80, "neg." #P, P, P, "", a ^ 0x80008000) \
    FORM1(80, "abs." #T, T, T, "", a & 0x7fff) FORM1(80, "abs." #P, P, P, "", a & 0x7fff7fff)
ALL(f16, f16x2, H, 80)
ALL(bf16, bf16x2, B, 90)

FORMS(half)
