/* The bits of floats, and their logarithm in plain arithmetic, which every compiler and
   instruction set rounds alike. */
#ifndef SLUICE_FLOAT_LOG_H
#define SLUICE_FLOAT_LOG_H

#include <stdint.h>

/* Functions for the processor, and for a GPU where nvcc compiles its side. */
#ifdef __CUDA_ARCH__
#define PLAIN static __device__ inline
#else
#define PLAIN static inline __attribute__((always_inline))
#endif

PLAIN float float_of_bits(uint32_t bits) { union { uint32_t bits; float value; } u = { bits }; return u.value; }
PLAIN uint32_t bits_of_float(float value) { union { float value; uint32_t bits; } u = { value }; return u.bits; }

/* ln x = n ln 2 + ln(1 + f), with 1 + f in [sqrt(1/2), sqrt 2), for normal x > 0. */
PLAIN float float_log(float x)
{
    uint32_t bits = bits_of_float(x) - 0x3F3504F3u;
    float n = (float)((int32_t)bits >> 23);
    float f = float_of_bits((bits & 0x7FFFFFu) + 0x3F3504F3u) - 1.0f, z = f * f;
    float p = 7.0376836292e-2f;
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    return n * 0.693359375f + (f - 0.5f * z + p * f * z - n * 2.12194440e-4f);
}

#endif
