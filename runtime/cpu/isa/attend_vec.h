/* What attention does with vectors: exponentials, the larger of two, rows transposed, scaled and multiplied. */
#ifndef SLUICE_ATTEND_VEC_H
#define SLUICE_ATTEND_VEC_H

#include "vector.h"
#include "cpu/vec_math.h"
#if defined __x86_64__
#include <immintrin.h>
#endif

enum { CHAINS = 4 };                                        /* vectors that are worked on side by side */
#define EACH(count) UNROLLED for (int k = 0; k < (count); k++)

#ifdef SLUICE_DOUBLE
typedef int64_t lane_int;
#define KIND(name) name##d
#else
typedef int32_t lane_int;                                   /* a key's number, as wide as a lane */
#define KIND(name) name##s
#endif
typedef lane_int lane_ints __attribute__((vector_size(VECTOR_BYTES)));

INLINE vec vec_load(const real *x) { return *(const vec *)x; }
INLINE void vec_store(real *x, vec v) { *(vec *)x = v; }
INLINE vec choose(lane_ints mask, vec yes, vec no) { return (vec)((mask & (lane_ints)yes) | (~mask & (lane_ints)no)); }

/* The larger of both; b where one is no number. */
INLINE vec larger(vec a, vec b)
{
#if defined __AVX512F__
    return (vec)KIND(_mm512_max_p)(a, b);
#elif defined __AVX2__
    return (vec)KIND(_mm256_max_p)(a, b);
#elif defined __x86_64__
    return (vec)KIND(_mm_max_p)(a, b);
#else
    return choose(a > b, a, b);
#endif
}

/* t := 2^t for t < 127, exactly 1 at 0, 0 below -126.5: 2^n 2^f with |f| <= 1/2. Adding 1.5*2^23 rounds to n and
   leaves it in the low bits. Relative error < 1e-7. Several vectors at once, step by step, because one is a
   chain of some 40 cycles. */
INLINE void powers_of_two(int count, vec *t)
{
#ifdef SLUICE_DOUBLE
    real *each = (real *)t;
    for (int i = 0; i < count * LANES; i++) each[i] = exp2(each[i]);
#else
    static const float factor[] = { 1.33908634e-3f, 9.61808256e-3f, 5.55035711e-2f, 2.40226508e-1f, 6.93147188e-1f, 1 };
    const float shifter = 12582912.0f;
    vec shifted[CHAINS], p[CHAINS];
    EACH(count) t[k] = larger(splat(-127), t[k]);
    EACH(count) shifted[k] = t[k] + shifter;
    EACH(count) t[k] -= shifted[k] - shifter;
    EACH(count) p[k] = splat(1.54531629e-4f);
    UNROLLED
    for (int i = 0; i < COUNT(factor); i++) EACH(count) p[k] = multiply_add(p[k], t[k], splat(factor[i]));
    EACH(count) t[k] = p[k] * (vec)(((lane_ints)shifted[k] - (0x4B400000 - 127)) << 23);
#endif
}

/* tanh of several vectors at once, within 2e-7; of a small x the fraction would lose digits. */
INLINE void tanhs(int count, vec *t)
{
#ifdef SLUICE_DOUBLE
    real *each = (real *)t;
    for (int i = 0; i < count * LANES; i++) each[i] = tanh(each[i]);
#else
    vec x[CHAINS];
    EACH(count) x[k] = t[k];
    EACH(count) t[k] = -larger(splat(-10), -t[k]) * 2.88539008f;
    powers_of_two(count, t);
    EACH(count) t[k] = 1 - 2 / (1 + t[k]);
    EACH(count) {
        vec w = x[k] * x[k], near = x[k] * (1 - w * (0.33333333f - w * (0.13333333f - w * 0.05396825f)));
        t[k] = choose(w < 0.01f, near, t[k]);
    }
#endif
}

/* to [cols, rows] = from [rows, cols]; both multiples of LANES. */
static void transpose_matrix(int64_t rows, int64_t cols, const real *from, real *to)
{
    for (int64_t r = 0; r < rows; r += LANES)
        for (int64_t c = 0; c < cols; c += LANES) {
            vec v[LANES];
            for (int i = 0; i < LANES; i++) v[i] = vec_load(from + (r + i) * cols + c);
            transpose(v);
            for (int i = 0; i < LANES; i++) vec_store(to + (c + i) * rows + r, v[i]);
        }
}

/* to = scale * from; both may be the same. */
static void scaled(int64_t n, real scale, const real *from, real *to)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) *(loose *)(to + i) = *(const loose *)(from + i) * scale;
    for (; i < n; i++) to[i] = from[i] * scale;
}

/* to += scale * from. */
static void add_scaled(int64_t n, real scale, const real *from, real *to)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        *(loose *)(to + i) = multiply_add(splat(scale), *(const loose *)(from + i), *(loose *)(to + i));
    for (; i < n; i++) to[i] += from[i] * scale;
}

/* The products x y, summed lane by lane; n is a multiple of LANES, and y is aligned. */
static vec products(int64_t n, const real *x, const real *y)
{
    vec sum = { 0 };
    for (int64_t i = 0; i < n; i += LANES) sum = multiply_add(*(const loose *)(x + i), vec_load(y + i), sum);
    return sum;
}

#endif
