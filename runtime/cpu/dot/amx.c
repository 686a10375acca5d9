/* Products of bf16 matrices by the tiles of AMX: 2 x 2 tiles of C, so that each tile of A and of B that is
   loaded meets two others. 32 rows of A stay in the first-level cache while all of B streams by. Bound by B's
   way from the second-level cache.

   TDPBF16PS takes and makes no denormals, whatever the thread's settings, and for each value of C sums the even and the
   odd depths of a step apart before both are added. */
#include "amx.h"
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

/* rows of a block; values of B in a step; bytes that caches move */
enum { ROWS = 32, STEP = DOT_DEPTH * DOT_COLS, LINE = 64 };

/* Tiles 0 1 over 2 3 are C, 4 over 5 A, 6 beside 7 B; `rows` and `cols` are those of one tile of C. */
static void configure(int64_t rows, int64_t cols)
{
    struct { uint8_t palette, start, none[14]; uint16_t row_bytes[16]; uint8_t rows[16]; } tiles = { .palette = 1 };
    for (int t = 0; t < 8; t++) {
        tiles.rows[t] = (uint8_t)(t < 6 ? rows : DOT_DEPTH / 2);
        tiles.row_bytes[t] = (uint16_t)(t == 4 || t == 5 ? DOT_DEPTH * 2 : cols * 4);
    }
    /* gcc takes the next line to read 8 bytes, and may not store the others */
    __asm__ volatile("" : : "r"(&tiles) : "memory");
    _tile_loadconfig(&tiles);
}

/* Prefetches quarter q of the step of B that follows. */
static inline void prefetch_b(const uint16_t *b, int q)
{
    for (int i = 0; i < STEP / 4; i += LINE / 2) __builtin_prefetch(b + STEP + q * (STEP / 4) + i);
}

/* Prefetches a block of C, to be written. */
static inline void prefetch_c(const float *c, int64_t c_row, int64_t rows)
{
    for (int64_t i = 0; i < rows; i++) {
        __builtin_prefetch(c + i * c_row, 1);
        __builtin_prefetch(c + i * c_row + LINE / 4, 1);
    }
}

/* One block of C. Its second tiles begin `down` rows and `right` columns after the first. */
static inline void block(int64_t down, int64_t right, int64_t k, const uint16_t *a, int64_t a_row, const uint16_t *b,
                         float *c, int64_t c_row, bool add)
{
    const uint16_t *a_low = a + down * a_row;
    float *c_low = c + down * c_row;
    int64_t a_line = a_row * 2, b_line = DOT_COLS * 4, c_line = c_row * 4;
    if (add) {
        _tile_loadd(0, c, c_line);
        _tile_loadd(1, c + right, c_line);
        _tile_loadd(2, c_low, c_line);
        _tile_loadd(3, c_low + right, c_line);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t at = 0; at < k; at += DOT_DEPTH, b += STEP) {
        _tile_loadd(6, b, b_line);
        _tile_loadd(4, a + at, a_line);
        prefetch_b(b, 0);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + right * 2, b_line);
        prefetch_b(b, 1);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a_low + at, a_line);
        prefetch_b(b, 2);
        _tile_dpbf16ps(2, 5, 6);
        prefetch_b(b, 3);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, c_line);
    _tile_stored(1, c + right, c_line);
    _tile_stored(2, c_low, c_line);
    _tile_stored(3, c_low + right, c_line);
}

/* Whole blocks first, then the edge, cut into halves that share the middle row or column of an odd one: it is
   computed twice, alike, and nothing outside C is touched. The configuration does not outlive the call, for whoever
   else in the process uses tiles. */
void dot_amx(int64_t m, int64_t n, int64_t k, const uint16_t *a, int64_t a_row, const uint16_t *b, int64_t panel,
             float *c, int64_t c_row, bool add)
{
    for (int64_t i = 0, rows_end; i < m; i = rows_end) {
        int64_t high = m - i < ROWS ? m - i : ROWS, rows = (high + 1) / 2;
        rows_end = m - (m - i) % high;
        for (int64_t j = 0, cols_end; j < n; j = cols_end) {
            int64_t wide = n - j < DOT_COLS ? n - j : DOT_COLS, cols = (wide + 1) / 2;
            cols_end = n - (n - j) % wide;
            configure(rows, cols);
            for (int64_t y = i; y < rows_end; y += high)
                for (int64_t x = j; x < cols_end; x += wide) {
                    float *here = c + y * c_row + x;
                    if (x + wide < cols_end) prefetch_c(here + wide, c_row, high);
                    block(high - rows, wide - cols, k, a + y * a_row, a_row, b + x / DOT_COLS * panel, here, c_row,
                          add);
                }
        }
    }
    _tile_release();
}

/* The state of tiles is large, so the kernel saves it only for a process that has asked. */
bool amx_available(void)
{
    enum {
        OSXSAVE = 1 << 27,
        BF16 = 1 << 22,
        TILE = 1 << 24,
        STATES = 1 << 17 | 1 << 18,
        REQUEST = 0x1023,
        TILE_DATA = 18
    };
    unsigned eax, ebx, ecx, edx, states, high;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & OSXSAVE)) return false;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(edx & BF16) || !(edx & TILE)) return false;
    __asm__ volatile("xgetbv" : "=a"(states), "=d"(high) : "c"(0));
    return (states & STATES) == STATES && syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}
