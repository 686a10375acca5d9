/* Values in four bits, for weights that do not change: NF4, 16 levels that are as likely as each other where values are
   normal (Dettmers 2023, QLoRA, arXiv 2305.14314, 3 and appendix E). 64 values that follow each other are a block,
   divided by the largest size in it, and each is the number of the nearest level; two numbers a byte, the first in the
   high bits.

   With double quantisation the sizes are bytes too: the mean of all is taken off, and of each 256 the largest size of
   what is left stands for 127. So a value takes 4 + 8 / 64 + 32 / (64 * 256) = 4.127 bits, and 4.5 without. What is
   kept of n values lies one after the other: numbers, mean, scales, and sizes as bytes or as floats. */
#ifndef SLUICE_NF4_H
#define SLUICE_NF4_H

#include "base.h"
#include "float_log.h"

enum { NF4_BLOCK = 64, NF4_BLOCKS = 256, NF4_LEVELS = 16, NF4_ZERO = 7 };

/* The table of bitsandbytes, to which appendix E's agrees in all digits of a float. */
#define NF4_TABLE { \
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, \
    -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f, \
    0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f }

/* Where parts begin, in bytes; mean and scales of double quantisation alone. */
struct nf4 { int64_t values, mean, scales, sizes, bytes; bool twice; };
static inline struct nf4 nf4_places(enum kept_as kept, int64_t values)
{
    int64_t blocks = (values + NF4_BLOCK - 1) / NF4_BLOCK, mean = ((values + 1) / 2 + 3) / 4 * 4;
    bool twice = kept == KEPT_NF4_DOUBLE;
    int64_t scales = mean + (twice ? 4 : 0), sizes = scales + (twice ? (blocks + NF4_BLOCKS - 1) / NF4_BLOCKS * 4 : 0);
    return (struct nf4){ values, mean, scales, sizes, sizes + blocks * (twice ? 1 : 4), twice };
}

/* What a size is whose byte is this, in a block of sizes of this scale; no size is below 0. */
PLAIN float nf4_size(float mean, float scale, signed char byte)
{
    float size = mean + (float)byte * scale;
    return size > 0 ? size : 0;
}

/* The size by which a block's levels are multiplied. */
PLAIN float nf4_size_of(const struct nf4 *p, const unsigned char *kept, int64_t block)
{
    const float *floats = (const float *)(const void *)kept;
    if (!p->twice) return floats[p->sizes / 4 + block];
    return nf4_size(floats[p->mean / 4], floats[p->scales / 4 + block / NF4_BLOCKS],
                    (signed char)kept[p->sizes + block]);
}

/* The number of value i. */
PLAIN int nf4_number(const unsigned char *kept, int64_t i) { return i % 2 ? kept[i / 2] & 15 : kept[i / 2] >> 4; }

/* n values into the nf4_places(..).bytes that keep them, and back, on the host. */
void nf4_quantise(enum kept_as kept, int64_t n, const float *values, unsigned char *to);
void nf4_values(enum kept_as kept, int64_t n, const unsigned char *from, float *to);

#endif
