/* setp, set, testp. */
#include "value.h"

/* A relation of the manual as an expression of x and y. */
enum relation { eq, ne, lt, le, gt, ge, lo, ls, hi, hs, equ, neu, ltu, leu, gtu, geu, num, nan_ };
template <class T> static bool related(enum relation r, T x, T y)
{
    bool unordered = x != x || y != y;
    switch (r) {
    case eq: return !unordered && x == y;
    case ne: return !unordered && x != y;
    case lt: case lo: return x < y;
    case le: case ls: return x <= y;
    case gt: case hi: return x > y;
    case ge: case hs: return x >= y;
    case equ: return unordered || x == y;
    case neu: return unordered || x != y;
    case ltu: return unordered || x < y;
    case leu: return unordered || x <= y;
    case gtu: return unordered || x > y;
    case geu: return unordered || x >= y;
    case num: return !unordered;
    default: return unordered;
    }
}
#define SAME(x) (x)
#define H(x) narrow_value(&format_f16, x)
#define B(x) narrow_value(&format_bf16, x)

/* One relation, plain and combined with a predicate, read as `view` of its operands. */
#define SETP(arch, name, relation, modifiers, T, view) \
    FORM2(arch, "setp." name modifiers "." #T, pred, T, T, "", related(relation, view(a), view(b))) \
    FORM3(arch, "setp." name ".and" modifiers "." #T, pred, T, T, pred, "", related(relation, view(a), view(b)) && c) \
    FORM3(arch, "setp." name ".or" modifiers "." #T, pred, T, T, pred, "", related(relation, view(a), view(b)) || c) \
    FORM3(arch, "setp." name ".xor" modifiers "." #T, pred, T, T, pred, "", related(relation, view(a), view(b)) != c)
#define EQUAL(T) SETP(80, "eq", eq, "", T, SAME) SETP(80, "ne", ne, "", T, SAME)
#define ORDER(T) SETP(80, "lt", lt, "", T, SAME) SETP(80, "le", le, "", T, SAME) SETP(80, "gt", gt, "", T, SAME) SETP(80, "ge", ge, "", T, SAME)
#define PLAIN(T) SETP(80, "lo", lo, "", T, SAME) SETP(80, "ls", ls, "", T, SAME) SETP(80, "hi", hi, "", T, SAME) SETP(80, "hs", hs, "", T, SAME)
#define FLOAT(arch, modifiers, T, view) \
    SETP(arch, "eq", eq, modifiers, T, view) SETP(arch, "ne", ne, modifiers, T, view) SETP(arch, "lt", lt, modifiers, T, view) SETP(arch, "le", le, modifiers, T, view) \
    SETP(arch, "gt", gt, modifiers, T, view) SETP(arch, "ge", ge, modifiers, T, view) SETP(arch, "equ", equ, modifiers, T, view) SETP(arch, "neu", neu, modifiers, T, view) \
    SETP(arch, "ltu", ltu, modifiers, T, view) SETP(arch, "leu", leu, modifiers, T, view) SETP(arch, "gtu", gtu, modifiers, T, view) SETP(arch, "geu", geu, modifiers, T, view) \
    SETP(arch, "num", num, modifiers, T, view) SETP(arch, "nan", nan_, modifiers, T, view)

EQUAL(b16) EQUAL(b32) EQUAL(b64)
EQUAL(s16) ORDER(s16) EQUAL(s32) ORDER(s32) EQUAL(s64) ORDER(s64)
EQUAL(u16) ORDER(u16) PLAIN(u16) EQUAL(u32) ORDER(u32) PLAIN(u32) EQUAL(u64) ORDER(u64) PLAIN(u64)
FLOAT(80, "", f32, SAME) FLOAT(80, "", f64, SAME) FLOAT(80, ".ftz", f32, flushed) FLOAT(80, "", f16, H) FLOAT(90, "", bf16, B)

#define SET(name, relation, T) \
    FORM2(80, "set." name ".u32." #T, u32, T, T, "", related(relation, a, b) ? ~0u : 0) \
    FORM2(80, "set." name ".s32." #T, s32, T, T, "", related(relation, a, b) ? ~0u : 0)
#define SET_F32(name, relation, T) FORM2(80, "set." name ".f32." #T, f32, T, T, "", related(relation, a, b) ? 1.0f : 0.0f)
#define SET_FLOAT(name, relation) SET(name, relation, f32) SET(name, relation, f64) SET_F32(name, relation, f32) SET_F32(name, relation, f64)
SET_FLOAT("eq", eq) SET_FLOAT("ne", ne) SET_FLOAT("lt", lt) SET_FLOAT("le", le) SET_FLOAT("gt", gt) SET_FLOAT("ge", ge) SET_FLOAT("equ", equ)
SET_FLOAT("neu", neu) SET_FLOAT("ltu", ltu) SET_FLOAT("leu", leu) SET_FLOAT("gtu", gtu) SET_FLOAT("geu", geu) SET_FLOAT("num", num) SET_FLOAT("nan", nan_)
#define SET_INTEGER(name, relation) SET(name, relation, u32) SET(name, relation, s32)
SET_INTEGER("eq", eq) SET_INTEGER("ne", ne) SET_INTEGER("lt", lt) SET_INTEGER("le", le) SET_INTEGER("gt", gt) SET_INTEGER("ge", ge)

#define TESTP(T) \
    FORM1(80, "testp.finite." #T, pred, T, "", isfinite(a)) FORM1(80, "testp.infinite." #T, pred, T, "", isinf(a)) \
    FORM1(80, "testp.number." #T, pred, T, "", !isnan(a)) FORM1(80, "testp.notanumber." #T, pred, T, "", isnan(a)) \
    FORM1(80, "testp.normal." #T, pred, T, "", fpclassify(a) == FP_NORMAL) FORM1(80, "testp.subnormal." #T, pred, T, "", fpclassify(a) == FP_SUBNORMAL)
TESTP(f32) TESTP(f64)

FORMS(compare)
