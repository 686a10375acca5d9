/* Products of bf16 matrices by the dot product of AVX512_BF16: a tile of C stays in registers while pairs of
   depths of some rows of A (broadcast) meet a panel of B, which stays in the first-level cache while rows pass by.
   Bound by the dot products.

   VDPBF16PS takes and makes no denormals, whatever the thread's settings, and adds the even depth of a
   pair before the odd one. */
#include "avx512bf16.h"
#include <immintrin.h>

#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#define ONE_MORE(rows) + 1
enum { ROWS = TILES(ONE_MORE), LANES = 16 };
#define INLINE static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 16")

typedef uint32_t pair __attribute__((aligned(2)));

/* `low` and `high` are the columns of C that are there. */
INLINE void tile(int rows, int64_t k, const uint16_t *a, int64_t a_row, const uint16_t *b, float *c, int64_t c_row,
                 __mmask16 low, __mmask16 high, bool add)
{
    __m512 sum[ROWS][2];
    const uint16_t *a5 = a + 5 * a_row, *a10 = a + 10 * a_row;    /* addresses are sums of two registers */
    UNROLLED for (int i = 0; i < rows; i++) {
        sum[i][0] = add ? _mm512_maskz_loadu_ps(low, c + i * c_row) : _mm512_setzero_ps();
        sum[i][1] = add ? _mm512_maskz_loadu_ps(high, c + i * c_row + LANES) : _mm512_setzero_ps();
    }
    for (int64_t p = 0; p < k; p += 2, b += 2 * DOT_COLS, a += 2, a5 += 2, a10 += 2) {
        __m512bh left = (__m512bh)_mm512_loadu_si512(b), right = (__m512bh)_mm512_loadu_si512(b + 2 * LANES);
        UNROLLED for (int i = 0; i < rows; i++) {
            const uint16_t *from = i < 5 ? a + i * a_row : i < 10 ? a5 + (i - 5) * a_row : a10 + (i - 10) * a_row;
            __m512bh all = (__m512bh)_mm512_set1_epi32((int)*(const pair *)from);
            sum[i][0] = _mm512_dpbf16_ps(sum[i][0], all, left);
            sum[i][1] = _mm512_dpbf16_ps(sum[i][1], all, right);
        }
    }
    UNROLLED for (int i = 0; i < rows; i++) {
        _mm512_mask_storeu_ps(c + i * c_row, low, sum[i][0]);
        _mm512_mask_storeu_ps(c + i * c_row + LANES, high, sum[i][1]);
    }
}

typedef void tile_function(int64_t k, const uint16_t *a, int64_t a_row, const uint16_t *b, float *c, int64_t c_row,
                           __mmask16 low, __mmask16 high, bool add);
#define TILE(rows) \
    static void tile_##rows(int64_t k, const uint16_t *a, int64_t a_row, const uint16_t *b, float *c, int64_t c_row, \
                            __mmask16 low, __mmask16 high, bool add) \
    { \
        tile(rows, k, a, a_row, b, c, c_row, low, high, add); \
    }
TILES(TILE)
#define ENTRY(rows) tile_##rows,
static tile_function *const tile_of[] = { TILES(ENTRY) };

void dot_avx512bf16(int64_t m, int64_t n, int64_t k, const uint16_t *a, int64_t a_row, const uint16_t *b, int64_t panel,
                    float *c, int64_t c_row, bool add)
{
    int64_t high = blocks_of(m, blocks_of(m, ROWS));        /* rows shared out evenly */
    for (int64_t j = 0; j < n; j += DOT_COLS) {
        int64_t cols = n - j < DOT_COLS ? n - j : DOT_COLS;
        uint32_t there = (uint32_t)((1ull << cols) - 1);
        for (int64_t i = 0; i < m; i += high) {
            for (int64_t r = i + high; r < i + 2 * high && r < m; r++)
                for (int64_t at = 0; at < DOT_COLS; at += LANES) __builtin_prefetch(c + r * c_row + j + at, 1);
            tile_of[(m - i < high ? m - i : high) - 1](k, a + i * a_row, a_row, b + j / DOT_COLS * panel,
                                                       c + i * c_row + j, c_row, (__mmask16)there,
                                                       (__mmask16)(there >> LANES), add);
        }
    }
}
