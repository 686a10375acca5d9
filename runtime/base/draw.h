/* From keys to numbers: Philox4x32-10, and the transform of Box and Muller in plain float arithmetic, which every
   compiler and instruction set rounds alike. The weights that a seed draws hang on each constant here. */
#ifndef SLUICE_DRAW_H
#define SLUICE_DRAW_H

#include "base.h"
#include "float_log.h"

#include <Random123/philox.h>
#include <math.h>

PLAIN philox4x32_ctr_t draw_bits(uint64_t mixed, uint64_t index, uint64_t step)
{
    philox4x32_key_t key = { { (uint32_t)mixed, (uint32_t)(mixed >> 32) } };
    philox4x32_ctr_t counter = { { (uint32_t)index, (uint32_t)(index >> 32), (uint32_t)step, (uint32_t)(step >> 32) } };
    return philox4x32(counter, key);
}

/* Philox's key of two numbers that are drawn. */
PLAIN uint64_t draw_key(float first, float second)
{
    return (uint64_t)bits_of_float(first) << 32 | bits_of_float(second);
}

/* sqrt(-2 ln u), u the float nearest to (word + 1/2) / 2^32; at most 6.764. Relative error < 1.2e-7. */
PLAIN float draw_radius(uint32_t word) { return sqrtf(-2.0f * float_log(((float)word + 0.5f) * 0x1p-32f)); }

/* Two independent normals: a radius times cosine and sine of 2 pi second / 2^32. The polynomials take the angle from
   its nearest multiple of pi/2, at most pi/4; these multiples swap the two and change signs. Error < 7e-7. */
PLAIN void draw_normals(uint32_t first, uint32_t second, float *x, float *y)
{
    const uint32_t eighth = 1u << 29, half = 1u << 31;
    uint32_t angle = second + eighth;
    float r = (float)(int32_t)((angle & (2 * eighth - 1)) - eighth) * 1.46291807926716e-9f, z = r * r;
    float sine = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * r + r;
    float cosine = ((2.4433157118e-5f * z - 1.3887316255e-3f) * z + 4.1666645683e-2f) * z * z - 0.5f * z + 1.0f;
    uint32_t a = bits_of_float(angle & 2 * eighth ? sine : cosine),
             b = bits_of_float(angle & 2 * eighth ? cosine : sine);
    float radius = draw_radius(first);
    *x = radius * float_of_bits(a ^ ((angle ^ angle << 1) & half));
    *y = radius * float_of_bits(b ^ (angle & half));
}

/* Normals are numbered in blocks: number 64 b + 16 w + i is made from word w of index 16 b + i. */
enum { DRAW_INDICES = 16, DRAW_BLOCK = 4 * DRAW_INDICES };

/* The middle of one of 2^23 equal parts of (0,1): as a float exact, and never 0 or 1. */
PLAIN float draw_uniform(uint32_t word) { return ((float)(int32_t)(word >> 9) + 0.5f) * 0x1p-23f; }

PLAIN float draw_gumbel(uint32_t word) { return -float_log(-float_log(draw_uniform(word))); }

/* Four numbers of one draw. */
PLAIN void draw_noise(enum noise_kind kind, philox4x32_ctr_t bits, float x[4])
{
    if (kind == NOISE_NORMAL) {
        draw_normals(bits.v[0], bits.v[1], &x[0], &x[1]);
        draw_normals(bits.v[2], bits.v[3], &x[2], &x[3]);
    } else
        for (int w = 0; w < 4; w++) x[w] = kind == NOISE_UNIFORM ? draw_uniform(bits.v[w]) : draw_gumbel(bits.v[w]);
}

#endif
