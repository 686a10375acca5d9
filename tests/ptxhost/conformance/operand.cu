/* Edge values, random values, comparison. */
#include "operand.h"
#include "reference.h"

static int width_of(enum kind k)
{
    switch (k) {
    case NONE: case PRED: return 1;
    case U8: case S8: return 8;
    case U16: case S16: case F16: case BF16: case E4M3X2: case E5M2X2: case FULL_U16: case FULL_S16: return 16;
    case U64: case S64: case F64: case FULL_U64: case FULL_S64: return 64;
    default: return 32;
    }
}

static bool divisor(enum kind k) { return k >= FULL_U16; }
static u64 kept(enum kind k, u64 bits)
{
    int width = width_of(k);
    if (width < 64) bits &= (1ull << width) - 1;
    return divisor(k) && bits == 0 ? 1 : bits;
}

static const f32 float_edges[] = { 0, 1, 0.5f, 1.5f, 2.5f, 3.5f, 2, 3, 7, 0.1f, 0x1p-126f, 0x1.fffffcp-127f, 0x1p-149f, 0x1p-133f, 0x1.fffffep127f, 0x1p31f, 0x1p32f, 0x1p63f, 0x1p64f,
    0x1.fffffep30f, 0x1.fffffep31f, 127.5f, 255.5f, 32767.5f, 65519, 65520, 65504, 447, 448, 464, 465, 480, 57344, 61440, 0x1p-24f, 0x1p-25f, 0x1.8p-25f, 0x1p-14f, 0x1.ffcp-15f,
    0x1.01p0f, 0x1.03p0f, 0x1.008p0f, 0x1.018p0f, 0x1.002p0f, 0x1.006p0f, 0x1.002002p0f, 0x1.ffp127f, 0x1.fep127f, 0x1p126f, 0x1.8p126f, 0x1p-9f, 0x1p-10f, 0x1.8p-10f, 0x1p-17f, 2.71828f, 1e-5f,
    8388607.5f, 8388608, 16777216, 1e10f };

std::vector<u64> operand_edges(enum kind k)
{
    std::vector<u64> e;
    int width = width_of(k);
    switch (k) {
    case NONE: return { 0 };
    case PRED: return { 0, 1 };
    case F32: case F64:
        for (f32 x : float_edges)
            for (f32 s : { x, -x }) e.push_back(k == F32 ? to_bits(s) : to_bits((f64)s));
        if (k == F32) for (u64 b : { 0x7f800000ull, 0xff800000ull, 0x7fc00000ull, 0xffc00001ull, 0x7f800001ull }) e.push_back(b);
        else for (f64 x : { 0x1p-1074, 0x1.fffffffffffffp1023, 0x1.0000008p0, 0x1.0000018p0, 0x1.00000081p0, 2147483647.5, -2147483648.5, 4294967295.5, 0x1p-1022, 0x1p-150, 0x1.8p-150, (f64)INFINITY, -(f64)INFINITY, (f64)NAN }) e.push_back(to_bits(x));
        return e;
    case NEAR_F32: for (f32 x : { 1.f, 2.f, 0.75f, 3.14159f, 1e-3f, 12345.f, 1e8f, 1e-8f }) { e.push_back(to_bits(x)); e.push_back(to_bits(-x)); } return e;
    case ANGLE_F32: for (f32 x : { 0.f, 0.5f, 1.f, 1.5707963f, 3.f, 3.1415925f, 1e-4f }) { e.push_back(to_bits(x)); e.push_back(to_bits(-x)); } return e;
    case F16: case BF16: case F16X2: case BF16X2: {
        std::vector<u64> one;
        for (f32 x : float_edges)
            for (f32 s : { x, -x }) one.push_back(k == F16 || k == F16X2 ? reference_f16(s) : reference_bf16(s));
        for (u64 b : { 0x7c00, 0xfc00, 0x7e00, 0x7f80, 0xff80, 0x7fc0, 0x0001, 0x8001, 0x03ff, 0x007f }) one.push_back(b);
        if (k == F16 || k == BF16) return one;
        for (size_t i = 0; i < one.size(); i++) e.push_back(one[(i * 7 + 3) % one.size()] << 16 | one[i]);
        return e;
    }
    default:
        for (u64 x : { 0ull, 1ull, 2ull, 3ull, 7ull, 8ull, 15ull, 16ull, 31ull, 32ull, 33ull, 63ull, 64ull, 65ull, 127ull, 128ull, 255ull, 256ull, 0x1234ull, 0x7fffull, 0x8000ull, 0xffffull, 0x3210ull, 0xfedcba98ull,
                       0x7fffffffull, 0x80000000ull, 0xffffffffull, 0x0f0f0f0fcafebabeull, 0x7fffffffffffffffull, 0x8000000000000000ull })
            for (u64 s : { x, 0 - x }) e.push_back(kept(k, s));
        return width == 8 ? std::vector<u64>(e.begin(), e.begin() + 40) : e;
    }
}

u64 operand_random(enum kind k)
{
    u64 r = conform_random();
    if (k == NEAR_F32) return to_bits((f32)ldexp(1 + (f64)(r & 0xffffff) * 0x1p-24, (int)(r >> 32 & 63) - 32) * (r >> 63 ? -1 : 1));
    if (k == ANGLE_F32) return to_bits((f32)((f64)(s64)r * 0x1p-63 * 3.1415925));
    if (k == F32 && (r >> 62)) return to_bits((f32)ldexp((f64)(s32)r, (int)(r >> 32 & 63) - 50));
    if (k == F64 && (r >> 62)) return to_bits(ldexp((f64)(s64)(r * 0x9e3779b97f4a7c15), (int)(r & 127) - 110));
    if (k >= U8 && k <= S64 && (r >> 62) == 1) return kept(k, (r & 127) - 64);
    return kept(k, r);
}

static bool nan_of(enum kind k, u64 b)
{
    switch (k) {
    case F16: return (b & 0x7fff) > 0x7c00;
    case BF16: return (b & 0x7fff) > 0x7f80;
    case F64: return (b & ~0ull >> 1) > 0x7ff0000000000000;
    default: return (b & 0x7fffffff) > 0x7f800000;
    }
}

/* Floats in the order of the reals. */
static s64 rank_of(u64 b) { return b & 0x80000000 ? -(s64)(b & 0x7fffffff) : (s64)b; }

bool operand_same(enum kind k, u64 got, u64 want, f64 ulps, f64 absolute)
{
    if (got == want) return true;
    if (k == F16X2 || k == BF16X2) {
        enum kind half = k == F16X2 ? F16 : BF16;
        return operand_same(half, got & 0xffff, want & 0xffff, 0, 0) && operand_same(half, got >> 16, want >> 16, 0, 0);
    }
    if (k != F16 && k != BF16 && k != F32 && k != F64) return false;
    if (nan_of(k, got) || nan_of(k, want)) return nan_of(k, got) && nan_of(k, want);
    if (k != F32 || (ulps == 0 && absolute == 0)) return false;         /* zeroes have signs */
    return fabs((f64)(rank_of(got) - rank_of(want))) <= ulps || fabs((f64)from_bits<f32>(got) - from_bits<f32>(want)) <= absolute;
}
