/* Vectors of reals, as wide as the instruction set has them. */
#ifndef SLUICE_ATTEND_VEC_H
#define SLUICE_ATTEND_VEC_H

#include "ops/vec_math.h"
#if defined __x86_64__
#include <immintrin.h>
#endif

#if defined __AVX512F__
enum { BYTES = 64 };
#elif defined __AVX2__
enum { BYTES = 32 };
#else
enum { BYTES = 16 };
#endif
enum { SPAN = BYTES / sizeof(real), CHAINS = 4 };           /* values in a vector; vectors that are worked on side by side */
#define UNROLLED _Pragma("GCC unroll 16")
#define EACH(count) UNROLLED for (int k = 0; k < (count); k++)
#define INLINE static inline __attribute__((always_inline))

#ifdef SLUICE_DOUBLE
typedef int64_t place;
#define KIND(name) name##d
#else
typedef int32_t place;                                      /* a key's number, as wide as a lane */
#define KIND(name) name##s
#endif
typedef real vec __attribute__((vector_size(BYTES)));
typedef real loose __attribute__((vector_size(BYTES), aligned(sizeof(real))));
typedef place places __attribute__((vector_size(BYTES)));

INLINE vec splat(real x) { return x - (vec){ 0 }; }
INLINE vec vec_load(const real *x) { return *(const vec *)x; }
INLINE void vec_store(real *x, vec v) { *(vec *)x = v; }
INLINE vec choose(places mask, vec yes, vec no) { return (vec)((mask & (places)yes) | (~mask & (places)no)); }

/* a * b + c, rounded once where the instruction set can; never left to the compiler, so that bits do not depend on the tile. */
INLINE vec multiply_add(vec a, vec b, vec c)
{
#if defined __AVX512F__
    return (vec)KIND(_mm512_fmadd_p)(a, b, c);
#elif defined __FMA__
    return (vec)KIND(_mm256_fmadd_p)(a, b, c);
#else
    return a * b + c;
#endif
}

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

/* t := 2^t for t < 127, exactly 1 at 0, 0 below -126.5: 2^n 2^f with |f| <= 1/2. Adding 1.5*2^23 rounds to n and leaves it in the
   low bits. Relative error < 1e-7. Several vectors at once, step by step, because one is a chain of some 40 cycles. */
INLINE void powers_of_two(int count, vec *t)
{
#ifdef SLUICE_DOUBLE
    real *each = (real *)t;
    for (int i = 0; i < count * SPAN; i++) each[i] = exp2(each[i]);
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
    EACH(count) t[k] = p[k] * (vec)(((places)shifted[k] - (0x4B400000 - 127)) << 23);
#endif
}

/* Transposes SPAN x SPAN values: at distance s, lanes with bit s change places with lanes without it in the vector s further on. */
#define LOW(lane, s) ((lane) & (s) ? (lane) - (s) + SPAN : (lane))
#define HIGH(lane, s) ((lane) & (s) ? (lane) + SPAN : (lane) + (s))
#define LIST2(f, s) f(0, s), f(1, s)
#define LIST4(f, s) LIST2(f, s), f(2, s), f(3, s)
#define LIST8(f, s) LIST4(f, s), f(4, s), f(5, s), f(6, s), f(7, s)
#define LIST16(f, s) LIST8(f, s), f(8, s), f(9, s), f(10, s), f(11, s), f(12, s), f(13, s), f(14, s), f(15, s)
#define SWAP(list, s) \
    for (int i = 0; i < SPAN; i++) \
        if (!(i & (s))) { \
            vec x = v[i], y = v[i + (s)]; \
            v[i] = __builtin_shufflevector(x, y, list(LOW, s)); \
            v[i + (s)] = __builtin_shufflevector(x, y, list(HIGH, s)); \
        }
#if defined __AVX512F__ && !defined SLUICE_DOUBLE
#define TRANSPOSE SWAP(LIST16, 8) SWAP(LIST16, 4) SWAP(LIST16, 2) SWAP(LIST16, 1)
#elif defined __AVX512F__ || (defined __AVX2__ && !defined SLUICE_DOUBLE)
#define TRANSPOSE SWAP(LIST8, 4) SWAP(LIST8, 2) SWAP(LIST8, 1)
#elif defined __AVX2__ || !defined SLUICE_DOUBLE
#define TRANSPOSE SWAP(LIST4, 2) SWAP(LIST4, 1)
#else
#define TRANSPOSE SWAP(LIST2, 1)
#endif

/* to [cols, rows] = from [rows, cols]; both multiples of SPAN. */
static void turn(int64_t rows, int64_t cols, const real *from, real *to)
{
    for (int64_t r = 0; r < rows; r += SPAN)
        for (int64_t c = 0; c < cols; c += SPAN) {
            vec v[SPAN];
            for (int i = 0; i < SPAN; i++) v[i] = vec_load(from + (r + i) * cols + c);
            TRANSPOSE
            for (int i = 0; i < SPAN; i++) vec_store(to + (c + i) * rows + r, v[i]);
        }
}

/* to = scale * from; both may be the same. */
static void scaled(int64_t n, real scale, const real *from, real *to)
{
    int64_t i = 0;
    for (; i + SPAN <= n; i += SPAN) *(loose *)(to + i) = *(const loose *)(from + i) * scale;
    for (; i < n; i++) to[i] = from[i] * scale;
}

/* to += scale * from. */
static void add_scaled(int64_t n, real scale, const real *from, real *to)
{
    int64_t i = 0;
    for (; i + SPAN <= n; i += SPAN) *(loose *)(to + i) = multiply_add(splat(scale), *(const loose *)(from + i), *(loose *)(to + i));
    for (; i < n; i++) to[i] += from[i] * scale;
}

/* The products x y, summed lane by lane; n is a multiple of SPAN, and y is aligned. */
static vec products(int64_t n, const real *x, const real *y)
{
    vec sum = { 0 };
    for (int64_t i = 0; i < n; i += SPAN) sum = multiply_add(*(const loose *)(x + i), vec_load(y + i), sum);
    return sum;
}

#endif
