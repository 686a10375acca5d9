/* The types of PTX as registers, host values and sets of edge values. */
#ifndef SLUICE_CONFORMANCE_OPERAND_H
#define SLUICE_CONFORMANCE_OPERAND_H

#include "conformance.h"
#include <math.h>
#include <string.h>
#include <algorithm>
#include <type_traits>
#include <vector>

/* What to draw and how to compare. FULL_: no zero (divisors); NEAR_: of moderate size; ANGLE_: within pi; SMALL_: a count. */
enum kind { NONE, PRED, U8, S8, U16, S16, U32, S32, U64, S64, F16, BF16, F16X2, BF16X2, E4M3X2, E5M2X2, F32, F64, NEAR_F32, ANGLE_F32, FULL_U16, FULL_S16, FULL_U32, FULL_S32, FULL_U64, FULL_S64 };

/* For each type: kind, host type, register, and how a register is taken from and given to 64 bits. */
#define TAKE(bits, r, i) "cvt.u" #bits ".u64 " r ", " i "; "
#define GIVE(bits, o, r) "cvt.u64.u" #bits " " o ", " r "; "
#define TYPE(name, kind, host, bits) \
    struct t_##name { enum { KIND = kind }; typedef host type; };
#define REG_16 ".reg .b16 "
#define REG_32 ".reg .b32 "
#define REG_64 ".reg .b64 "
#define REG_P ".reg .pred "
#define TAKE_16(r, i) TAKE(16, r, i)
#define TAKE_32(r, i) TAKE(32, r, i)
#define TAKE_64(r, i) "mov.b64 " r ", " i "; "
#define TAKE_P(r, i) "setp.ne.u64 " r ", " i ", 0; "
#define GIVE_16(o, r) GIVE(16, o, r)
#define GIVE_32(o, r) GIVE(32, o, r)
#define GIVE_64(o, r) "mov.b64 " o ", " r "; "
#define GIVE_P(o, r) "selp.u64 " o ", 1, 0, " r "; "

#define W_pred P
#define W_u8 16
#define W_s8 16
#define W_b8 16
#define W_u16 16
#define W_s16 16
#define W_b16 16
#define W_u32 32
#define W_s32 32
#define W_b32 32
#define W_u64 64
#define W_s64 64
#define W_b64 64
#define W_f16 16
#define W_bf16 16
#define W_f16x2 32
#define W_bf16x2 32
#define W_e4m3x2 16
#define W_e5m2x2 16
#define W_f32 32
#define W_tf32 32
#define W_f64 64
#define W_near_f32 32
#define W_angle_f32 32
#define W_full_u16 16
#define W_full_s16 16
#define W_full_u32 32
#define W_full_s32 32
#define W_full_u64 64
#define W_full_s64 64
#define W_none NONE

TYPE(pred, PRED, bool, P) TYPE(u8, U8, u8, 16) TYPE(s8, S8, s8, 16) TYPE(b8, U8, u8, 16) TYPE(u16, U16, u16, 16) TYPE(s16, S16, s16, 16)
TYPE(b16, U16, u16, 16) TYPE(u32, U32, u32, 32) TYPE(s32, S32, s32, 32) TYPE(b32, U32, u32, 32) TYPE(u64, U64, u64, 64)
TYPE(s64, S64, s64, 64) TYPE(b64, U64, u64, 64) TYPE(f16, F16, u16, 16) TYPE(bf16, BF16, u16, 16) TYPE(f16x2, F16X2, u32, 32)
TYPE(bf16x2, BF16X2, u32, 32) TYPE(e4m3x2, E4M3X2, u16, 16) TYPE(e5m2x2, E5M2X2, u16, 16) TYPE(f32, F32, f32, 32) TYPE(tf32, F32, f32, 32)
TYPE(f64, F64, f64, 64) TYPE(near_f32, NEAR_F32, f32, 32) TYPE(angle_f32, ANGLE_F32, f32, 32) TYPE(full_u16, FULL_U16, u16, 16)
TYPE(full_s16, FULL_S16, s16, 16) TYPE(full_u32, FULL_U32, u32, 32) TYPE(full_s32, FULL_S32, s32, 32) TYPE(full_u64, FULL_U64, u64, 64)
TYPE(full_s64, FULL_S64, s64, 64) TYPE(none, NONE, u64, 64)

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define REG(type, r) PASTE(REG_, W_##type) r "; "
#define TAKEN(type, r, i) PASTE(TAKE_, W_##type)(r, i)
#define GIVEN(type, o, r) PASTE(GIVE_, W_##type)(o, r)

template <class T> static inline T from_bits(u64 bits) { T x; memcpy(&x, &bits, sizeof x); return x; }
template <> inline bool from_bits<bool>(u64 bits) { return bits != 0; }
/* As a register holds it: 8 bits are extended to 16. */
static inline u64 to_bits(bool x) { return x; }
static inline u64 to_bits(u8 x) { return x; }
static inline u64 to_bits(s8 x) { return (u16)x; }
static inline u64 to_bits(u16 x) { return x; }
static inline u64 to_bits(s16 x) { return (u16)x; }
static inline u64 to_bits(u32 x) { return x; }
static inline u64 to_bits(s32 x) { return (u32)x; }
static inline u64 to_bits(u64 x) { return x; }
static inline u64 to_bits(s64 x) { return (u64)x; }
static inline u64 to_bits(f32 x) { u32 b; memcpy(&b, &x, sizeof b); return b; }
static inline u64 to_bits(f64 x) { u64 b; memcpy(&b, &x, sizeof b); return b; }

std::vector<u64> operand_edges(enum kind k);
u64 operand_random(enum kind k);
/* Equal, a NaN to every NaN; or as far apart as `ulps` of f32, or `absolute`. */
bool operand_same(enum kind k, u64 got, u64 want, f64 ulps, f64 absolute);

/* What the host knows of a form. */
struct form_row { const char *opcode; int needs; enum kind d, a, b, c; f64 ulps, absolute; u64 (*expect)(u64, u64, u64); };
void form_check(const struct form_row *row, int which, void (*launch)(int which, int n, u64 *d, const u64 *x, const u64 *y, const u64 *z));

#endif
