/* Integers and bits. */
#include "value.h"

/* X(type, unsigned type) for each integer type. */
#define INTEGERS(X) X(u16, u16) X(s16, u16) X(u32, u32) X(s32, u32) X(u64, u64) X(s64, u64)
#define SIGNED(X) X(s16, u16) X(s32, u32) X(s64, u64)

typedef __int128 s128;
typedef unsigned __int128 u128;
static s128 distance(s128 a, s128 b) { return a < b ? b - a : a - b; }

#define ADD(T, U) FORM2(80, "add." #T, T, T, T, "", (U)a + (U)b)
INTEGERS(ADD)
#define SUB(T, U) FORM2(80, "sub." #T, T, T, T, "", (U)a - (U)b)
INTEGERS(SUB)
#define MUL_LO(T, U) FORM2(80, "mul.lo." #T, T, T, T, "", (u64)((u128)a * (u128)b))
INTEGERS(MUL_LO)
#define MUL_HI(T, U) FORM2(80, "mul.hi." #T, T, T, T, "", std::is_signed<T>::value ? (T)((s128)a * b >> 8 * sizeof(T)) : (T)((u128)a * b >> 8 * sizeof(T)))
INTEGERS(MUL_HI)
#define MAD_LO(T, U) FORM3(80, "mad.lo." #T, T, T, T, T, "", (u64)((u128)a * (u128)b + (u128)c))
INTEGERS(MAD_LO)
#define MAD_HI(T, U) FORM3(80, "mad.hi." #T, T, T, T, T, "", (U)(std::is_signed<T>::value ? (T)((s128)a * b >> 8 * sizeof(T)) : (T)((u128)a * b >> 8 * sizeof(T))) + (U)c)
INTEGERS(MAD_HI)
#define MIN(T, U) FORM2(80, "min." #T, T, T, T, "", std::min(a, b))
INTEGERS(MIN)
#define MAX(T, U) FORM2(80, "max." #T, T, T, T, "", std::max(a, b))
INTEGERS(MAX)
/* The least value by -1 wraps. */
#define DIV(T, U) FORM2(80, "div." #T, T, T, full_##T, "", (s128)a / (s128)b)
INTEGERS(DIV)
#define REM(T, U) FORM2(80, "rem." #T, T, T, full_##T, "", (s128)a % (s128)b)
INTEGERS(REM)
#define SAD(T, U) FORM3(80, "sad." #T, T, T, T, T, "", (U)distance(a, b) + (U)c)
INTEGERS(SAD)
#define ABS(T, U) FORM1(80, "abs." #T, T, T, "", distance(a, 0))
SIGNED(ABS)
#define NEG(T, U) FORM1(80, "neg." #T, T, T, "", 0 - (s128)a)
SIGNED(NEG)

#define WIDE(T, W) FORM2(80, "mul.wide." #T, W, T, T, "", (W)a * (W)b) FORM3(80, "mad.wide." #T, W, T, T, W, "", (u64)((s128)a * (s128)b + (s128)c))
WIDE(u16, u32) WIDE(s16, s32) WIDE(u32, u64) WIDE(s32, s64)

FORM2(80, "add.sat.s32", s32, s32, s32, "", std::clamp((s64)a + b, (s64)INT32_MIN, (s64)INT32_MAX))
FORM2(80, "sub.sat.s32", s32, s32, s32, "", std::clamp((s64)a - b, (s64)INT32_MIN, (s64)INT32_MAX))

template <class A, class B> static u32 dot(u32 a, u32 b, u32 c)
{
    for (int i = 0; i < 4; i++) c += (u32)((s32)(A)(a >> 8 * i) * (s32)(B)(b >> 8 * i));
    return c;
}
FORM3(80, "dp4a.u32.u32", u32, u32, u32, u32, "", (dot<u8, u8>(a, b, c)))
FORM3(80, "dp4a.u32.s32", s32, u32, u32, u32, "", (dot<u8, s8>(a, b, c)))
FORM3(80, "dp4a.s32.u32", s32, u32, u32, u32, "", (dot<s8, u8>(a, b, c)))
FORM3(80, "dp4a.s32.s32", s32, u32, u32, u32, "", (dot<s8, s8>(a, b, c)))

#define LOGIC(T) \
    FORM2(80, "and." #T, T, T, T, "", a & b) FORM2(80, "or." #T, T, T, T, "", a | b) FORM2(80, "xor." #T, T, T, T, "", a ^ b)
LOGIC(pred) LOGIC(b16) LOGIC(b32) LOGIC(b64)
FORM1(80, "not.pred", pred, pred, "", !a)
#define NOT(T) FORM1(80, "not." #T, T, T, "", ~a) FORM1(80, "cnot." #T, T, T, "", a == 0)
NOT(b16) NOT(b32) NOT(b64)

template <class T> static T shifted(T a, u32 n) { for (u32 i = 0; i < n && i < 64; i++) a = (T)(a + a); return a; }
template <class T> static T halved(T a, u32 n) { for (u32 i = 0; i < n && i < 64; i++) a = (T)(a >> 1); return a; }
#define SHL(T) FORM2(80, "shl." #T, T, T, b32, "", shifted(a, b))
SHL(b16) SHL(b32) SHL(b64)
#define SHR(T) FORM2(80, "shr." #T, T, T, b32, "", halved(a, b))
SHR(b16) SHR(b32) SHR(b64) SHR(u16) SHR(s16) SHR(u32) SHR(s32) SHR(u64) SHR(s64)
FORM3(80, "shf.l.wrap.b32", b32, b32, b32, b32, "", ((u64)b << 32 | a) << (c & 31) >> 32)
FORM3(80, "shf.l.clamp.b32", b32, b32, b32, b32, "", ((u64)b << 32 | a) << (c < 32 ? c : 32) >> 32)
FORM3(80, "shf.r.wrap.b32", b32, b32, b32, b32, "", ((u64)b << 32 | a) >> (c & 31))
FORM3(80, "shf.r.clamp.b32", b32, b32, b32, b32, "", ((u64)b << 32 | a) >> (c < 32 ? c : 32))

template <class T> static u32 counted(T a) { u32 n = 0; for (; a; a &= (T)(a - 1)) n++; return n; }
template <class T> static u32 zeros_above(T a) { u32 n = 0; while (n < 8 * sizeof a && !(a >> (8 * sizeof a - 1 - n) & 1)) n++; return n; }
template <class T> static T reversed(T a) { T r = 0; for (u32 i = 0; i < 8 * sizeof a; i++) r |= (T)(a >> i & 1) << (8 * sizeof a - 1 - i); return r; }
#define COUNTS(T) FORM1(80, "popc." #T, b32, T, "", counted(a)) FORM1(80, "clz." #T, b32, T, "", zeros_above(a)) FORM1(80, "brev." #T, T, T, "", reversed(a))
COUNTS(b32) COUNTS(b64)
/* The pseudocode of the manual. */
template <class T> static u32 found(T a, bool amount)
{
    int msb = 8 * sizeof a - 1;
    if (std::is_signed<T>::value && (s64)a < 0) a = ~a;
    for (int i = msb; i >= 0; i--) if ((u64)a >> i & 1) return (u32)(amount ? msb - i : i);
    return ~0u;
}
#define BFIND(T, U) FORM1(80, "bfind." #T, b32, T, "", found(a, false)) FORM1(80, "bfind.shiftamt." #T, b32, T, "", found(a, true))
BFIND(u32, u32) BFIND(s32, u32) BFIND(u64, u64) BFIND(s64, u64)

template <class T> static T field(T a, u32 b, u32 c)
{
    int msb = 8 * sizeof a - 1, at = b & 255, n = c & 255;
    bool sign = !std::is_signed<T>::value || n == 0 ? false : (u64)a >> std::min(at + n - 1, msb) & 1;
    u64 d = 0;
    for (int i = 0; i <= msb; i++) d |= (u64)(i < n && at + i <= msb ? (u64)a >> (at + i) & 1 : sign) << i;
    return (T)d;
}
template <class T> static T placed(T a, T into, u32 c, u32 n)
{
    int msb = 8 * sizeof a - 1, at = c & 255;
    n &= 255;
    for (int i = 0; i < (int)n && at + i <= msb; i++) into = (into & ~((T)1 << (at + i))) | (T)(a >> i & 1) << (at + i);
    return into;
}
#define BFE(T) FORM3(80, "bfe." #T, T, T, b32, b32, "", field(a, b, c))
BFE(u32) BFE(s32) BFE(u64) BFE(s64)
/* Widths 0, 5, 32, 255 at any position. */
#define BFI(T, width) FORM3(80, "bfi." #T, T, T, T, b32, ", " #width, placed(a, b, c, width))
BFI(b32, 0) BFI(b32, 5) BFI(b32, 32) BFI(b32, 255) BFI(b64, 0) BFI(b64, 5) BFI(b64, 32) BFI(b64, 255)

static u32 mask(u32 at, u32 n) { u32 d = 0; for (u64 i = at; i < (u64)at + n && i < 32; i++) d |= 1u << i; return d; }
FORM2(80, "bmsk.clamp.b32", b32, b32, b32, "", mask(a, b))
FORM2(80, "bmsk.wrap.b32", b32, b32, b32, "", mask(a & 31, b & 31))

static u32 bytes(u32 a, u32 b, u32 selector)
{
    u8 all[8], d[4];
    memcpy(all, &a, 4);
    memcpy(all + 4, &b, 4);
    for (int i = 0; i < 4; i++) {
        u32 s = selector >> 4 * i & 15;
        d[i] = s < 8 ? all[s] : all[s - 8] & 128 ? 255 : 0;
    }
    u32 r;
    memcpy(&r, d, 4);
    return r;
}
FORM3(80, "prmt.b32", b32, b32, b32, b32, "", bytes(a, b, c))

static u32 looked_up(u32 a, u32 b, u32 c, int table)
{
    u32 d = 0;
    for (int i = 0; i < 32; i++) d |= (u32)(table >> ((a >> i & 1) * 4 + (b >> i & 1) * 2 + (c >> i & 1)) & 1) << i;
    return d;
}
#define LOP3(table) FORM3(80, "lop3.b32", b32, b32, b32, b32, ", " #table, looked_up(a, b, c, table))
LOP3(0) LOP3(0x01) LOP3(0x1b) LOP3(0x96) LOP3(0xe8) LOP3(0x80) LOP3(0xfe) LOP3(0xff)

#define MOV(T) FORM1(80, "mov." #T, T, T, "", a)
MOV(pred) MOV(b16) MOV(u16) MOV(s16) MOV(b32) MOV(u32) MOV(s32) MOV(b64) MOV(u64) MOV(s64) MOV(f32) MOV(f64)
#define SELP(T) FORM3(80, "selp." #T, T, T, T, pred, "", c ? a : b)
SELP(b16) SELP(u16) SELP(s16) SELP(b32) SELP(u32) SELP(s32) SELP(b64) SELP(u64) SELP(s64) SELP(f32) SELP(f64)
#define SLCT(T) FORM3(80, "slct." #T ".s32", T, T, T, s32, "", c >= 0 ? a : b)
SLCT(b32) SLCT(u32) SLCT(s32) SLCT(b64) SLCT(u64) SLCT(s64) SLCT(f32) SLCT(f64)

FORMS(integer)
