/* From keys to numbers: Philox4x32-10, and the transform of Box and Muller in plain float arithmetic, which every compiler and
   instruction set rounds alike. The weights that a seed draws hang on each constant here. */
#ifndef SLUICE_DRAW_H
#define SLUICE_DRAW_H

#include <Random123/philox.h>
#include <math.h>

static inline __attribute__((always_inline)) philox4x32_ctr_t draw_bits(uint64_t mixed, uint64_t index, uint64_t step)
{
    philox4x32_key_t key = { { (uint32_t)mixed, (uint32_t)(mixed >> 32) } };
    philox4x32_ctr_t counter = { { (uint32_t)index, (uint32_t)(index >> 32), (uint32_t)step, (uint32_t)(step >> 32) } };
    return philox4x32(counter, key);
}

union draw_float { float value; uint32_t bits; };

/* sqrt(-2 ln u), u the float nearest to (word + 1/2) / 2^32; at most 6.764. Relative error < 1.2e-7.
   ln u = n ln 2 + ln(1 + f), with 1 + f in [sqrt(1/2), sqrt 2). */
static inline __attribute__((always_inline)) float draw_radius(uint32_t word)
{
    union draw_float u = { ((float)word + 0.5f) * 0x1p-32f };
    uint32_t bits = u.bits - 0x3F3504F3u;
    u.bits = (bits & 0x7FFFFFu) + 0x3F3504F3u;
    float n = (float)((int32_t)bits >> 23), f = u.value - 1.0f, z = f * f;
    float p = 7.0376836292e-2f;
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    return sqrtf(-2.0f * (n * 0.693359375f + (f - 0.5f * z + p * f * z - n * 2.12194440e-4f)));
}

/* Two independent normals: a radius times cosine and sine of 2 pi second / 2^32. The polynomials take the angle from its nearest
   quarter turn, at most an eighth; quarter turns swap the two and change signs. Error < 7e-7. */
static inline __attribute__((always_inline)) void draw_normals(uint32_t first, uint32_t second, float *x, float *y)
{
    const uint32_t eighth = 1u << 29, half = 1u << 31;
    uint32_t turn = second + eighth;
    float r = (float)(int32_t)((turn & (2 * eighth - 1)) - eighth) * 1.46291807926716e-9f, z = r * r;
    float sine = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * r + r;
    float cosine = ((2.4433157118e-5f * z - 1.3887316255e-3f) * z + 4.1666645683e-2f) * z * z - 0.5f * z + 1.0f;
    union draw_float a = { turn & 2 * eighth ? sine : cosine }, b = { turn & 2 * eighth ? cosine : sine };
    a.bits ^= (turn ^ turn << 1) & half;
    b.bits ^= turn & half;
    float radius = draw_radius(first);
    *x = radius * a.value;
    *y = radius * b.value;
}

/* Normals are numbered in blocks: number 64 b + 16 w + i is made from word w of index 16 b + i. */
enum { DRAW_INDICES = 16, DRAW_BLOCK = 4 * DRAW_INDICES };

#endif
