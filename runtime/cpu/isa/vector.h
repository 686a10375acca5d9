/* Vectors of reals as wide as the instruction set has them: multiply-add, reading with zeros beyond
   the end, transposition. */
#ifndef SLUICE_VECTOR_H
#define SLUICE_VECTOR_H

#include "cpu/gemm.h"
#if defined __FMA__
#include <immintrin.h>
#endif

#if defined __AVX512F__
enum { VECTOR_BYTES = 64 };
#elif defined __AVX2__
enum { VECTOR_BYTES = 32 };
#else
enum { VECTOR_BYTES = 16 };
#endif

enum { LANES = VECTOR_BYTES / sizeof(real) };
#define INLINE static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 16")

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef real loose __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real))));
typedef float single __attribute__((vector_size(4 * LANES)));
typedef uint32_t word __attribute__((vector_size(4 * LANES)));
typedef uint16_t half __attribute__((vector_size(2 * LANES)));

INLINE vec splat(real x) { return x - (vec){ 0 }; }

/* a * b + c, rounded once where the instruction set can; never left to the compiler, so that a value's bits do not
   depend on the shape of its tile. */
INLINE vec multiply_add(vec a, vec b, vec c)
{
#if defined __AVX512F__ && defined SLUICE_DOUBLE
    return (vec)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined __AVX512F__
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined __FMA__ && defined SLUICE_DOUBLE
    return (vec)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined __FMA__
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

/* Whole vectors, or n < LANES values and zeros beyond. */
INLINE vec widened(half h) { return __builtin_convertvector((single)(__builtin_convertvector(h, word) << 16), vec); }
INLINE half halves(const uint16_t *at) { half h; memcpy(&h, at, sizeof h); return h; }
INLINE half some_halves(const uint16_t *at, int64_t n)
{
#if defined __AVX512F__ && !defined SLUICE_DOUBLE
    return (half)_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), at);
#else
    half h = { 0 };
    memcpy(&h, at, (size_t)n * sizeof *at);
    return h;
#endif
}
INLINE vec some_reals(const real *at, int64_t n)
{
#if defined __AVX512F__ && defined SLUICE_DOUBLE
    return (vec)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), at);
#elif defined __AVX512F__
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), at);
#else
    vec v = { 0 };
    memcpy(&v, at, (size_t)n * sizeof *at);
    return v;
#endif
}

/* n values from `at`, zeros beyond. */
INLINE vec values(const struct matrix *m, int64_t at, int64_t n)
{
    if (n <= 0) return (vec){ 0 };
    if (m->format == FORMAT_BF16) {
        const uint16_t *from = (const uint16_t *)m->data + at;
        return widened(n >= LANES ? halves(from) : some_halves(from, n));
    }
    const real *from = (const real *)m->data + at;
    return n >= LANES ? *(const loose *)from : some_reals(from, n);
}

/* Prefetches a cache line: operands come from far away in short pieces, which the processor does not foresee. */
INLINE void prefetch(const struct matrix *m, int64_t at)
{
    __builtin_prefetch((const char *)m->data + at * (m->format == FORMAT_BF16 ? 2 : (int64_t)sizeof(real)));
}

/* Transposes LANES x LANES values: at distance s, lanes with bit s are swapped with lanes without it in the vector
   s further on. */
#define SWAP(s, high, low) \
    UNROLLED for (int i = 0; i < LANES; i++) \
        if (!(i & (s))) { \
            vec x = v[i], y = v[i + (s)]; \
            v[i] = low; \
            v[i + (s)] = high; \
        }
#define LOW(lane, s) ((lane) & (s) ? (lane) - (s) + LANES : (lane))
#define HIGH(lane, s) ((lane) & (s) ? (lane) + LANES : (lane) + (s))
#define LIST2(f, s) f(0, s), f(1, s)
#define LIST4(f, s) LIST2(f, s), f(2, s), f(3, s)
#define LIST8(f, s) LIST4(f, s), f(4, s), f(5, s), f(6, s), f(7, s)
#define SHUFFLE(list, s) \
    SWAP(s, __builtin_shufflevector(x, y, list(HIGH, s)), __builtin_shufflevector(x, y, list(LOW, s)))
#define FOURS(to, mask, from, order) (vec)_mm512_mask_shuffle_f32x4((__m512)to, mask, (__m512)from, (__m512)from, order)
#define ONES(to, mask, from, order) (vec)_mm512_mask_permute_ps((__m512)to, mask, (__m512)from, order)
#if defined __AVX512F__ && !defined SLUICE_DOUBLE            /* one instruction where the general shuffle takes two */
#define TRANSPOSE \
    SWAP(8, FOURS(y, 0x00FF, x, 0x4E), FOURS(x, 0xFF00, y, 0x4E)) \
    SWAP(4, FOURS(y, 0x0F0F, x, 0xB1), FOURS(x, 0xF0F0, y, 0xB1)) \
    SWAP(2, ONES(y, 0x3333, x, 0x4E), ONES(x, 0xCCCC, y, 0x4E)) \
    SWAP(1, ONES(y, 0x5555, x, 0xB1), ONES(x, 0xAAAA, y, 0xB1))
#elif defined __AVX512F__ || (defined __AVX2__ && !defined SLUICE_DOUBLE)
#define TRANSPOSE SHUFFLE(LIST8, 4) SHUFFLE(LIST8, 2) SHUFFLE(LIST8, 1)
#elif defined __AVX2__ || !defined SLUICE_DOUBLE
#define TRANSPOSE SHUFFLE(LIST4, 2) SHUFFLE(LIST4, 1)
#else
#define TRANSPOSE SHUFFLE(LIST2, 1)
#endif

INLINE void transpose(vec v[LANES]) { TRANSPOSE }

#endif
