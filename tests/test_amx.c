/* Products by tiles against a plain double sum: everywhere with stand-ins for the tile instructions, which check what
   the processor checks and more, and with the instructions themselves where the processor has them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include <float.h>
#include <immintrin.h>
#include <math.h>
#include "cpu/dot/amx.h"

/* ---- the tile instructions in C, after Intel's manual ---- */

static struct { int rows, row_bytes; uint8_t row[16][64]; } tile[8];
static struct { const uint8_t *from, *to; } readable[3];    /* A, B, C */

static void tile_config(const void *at)
{
    const uint8_t *byte = at;
    assert_int_equal(byte[0], 1);                           /* palette */
    for (int i = 1; i < 64; i++)
        if (i < 16 || (i >= 32 && i < 48) || i >= 56) assert_int_equal(byte[i], 0);
    memset(tile, 0, sizeof tile);
    for (int t = 0; t < 8; t++) {
        tile[t].rows = byte[48 + t];
        tile[t].row_bytes = byte[16 + 2 * t] + 256 * byte[17 + 2 * t];
        assert_in_range(tile[t].rows, 1, 16);
        assert_in_range(tile[t].row_bytes, 1, 64);
    }
}

static void tile_release(void) { memset(tile, 0, sizeof tile); }

static void tile_zero(int t)
{
    assert_int_not_equal(tile[t].rows, 0);                 /* not configured */
    memset(tile[t].row, 0, sizeof tile[t].row);
}

static void tile_load(int t, const void *base, int64_t stride)
{
    tile_zero(t);
    for (int r = 0; r < tile[t].rows; r++) {
        const uint8_t *from = (const uint8_t *)base + r * stride, *to = from + tile[t].row_bytes;
        bool inside = false;
        for (int i = 0; i < 3; i++) inside |= from >= readable[i].from && to <= readable[i].to;
        assert_true(inside);
        memcpy(tile[t].row[r], from, (size_t)(to - from));
    }
}

static void tile_store(int t, void *base, int64_t stride)
{
    assert_int_not_equal(tile[t].rows, 0);
    for (int r = 0; r < tile[t].rows; r++)
        memcpy((uint8_t *)base + r * stride, tile[t].row[r], (size_t)tile[t].row_bytes);
}

static float flushed(float x) { return fabsf(x) < FLT_MIN ? copysignf(0, x) : x; }

static float wide(uint16_t x)
{
    float y;
    memcpy(&y, &(uint32_t){ (uint32_t)x << 16 }, 4);
    return flushed(y);
}

static void tile_dot(int to, int left, int right)
{
    assert_true(to != left && to != right && left != right);
    assert_int_not_equal(tile[to].rows, 0);
    assert_int_equal(tile[to].rows, tile[left].rows);
    assert_int_equal(tile[to].row_bytes, tile[right].row_bytes);
    assert_int_equal(tile[left].row_bytes, tile[right].rows * 4);
    assert_int_equal(tile[to].row_bytes % 4, 0);
    for (int m = 0; m < tile[to].rows; m++)
        for (int n = 0; n < tile[to].row_bytes / 4; n++) {
            float sum[2] = { 0, 0 }, c;
            for (int k = 0; k < tile[right].rows; k++)
                for (int odd = 0; odd < 2; odd++) {
                    uint16_t a, b;
                    memcpy(&a, tile[left].row[m] + 4 * k + 2 * odd, 2);
                    memcpy(&b, tile[right].row[k] + 4 * n + 2 * odd, 2);
                    sum[odd] = flushed(fmaf(wide(a), wide(b), sum[odd]));
                }
            memcpy(&c, tile[to].row[m] + 4 * n, 4);
            c = flushed(flushed(c) + flushed(sum[0] + sum[1]));
            memcpy(tile[to].row[m] + 4 * n, &c, 4);
        }
}

/* The same source once more, on these. */
#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig tile_config
#define _tile_release tile_release
#define _tile_zero tile_zero
#define _tile_loadd tile_load
#define _tile_stored tile_store
#define _tile_dpbf16ps tile_dot
#define dot_amx dot_stand_in
#define amx_available available_stand_in
dot_product dot_stand_in;
bool available_stand_in(void);
#include "cpu/dot/amx.c"
#undef dot_amx
#undef amx_available

/* ---- products ---- */

enum { MOST = 1 << 18, BF16_NAN = 0x7fc0, GUARD = 0x4b1dface };
static _Alignas(64) uint16_t left[MOST], right[MOST];
static _Alignas(64) float result[MOST];
static double want[MOST], size[MOST];
static uint64_t draws;

static int64_t draw(int64_t below)
{
    return (int64_t)key_below((struct key){ 3, PURPOSE_TEST, 2, 0 }, draws++, (uint64_t)below);
}

/* Whole: small integers, whose sums are exact in any order. Otherwise of many sizes. */
static uint16_t value(bool whole)
{
    float x = (float)(draw(17) - 8);
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return whole ? (uint16_t)(bits >> 16) : (uint16_t)(draw(2) << 15 | (112 + draw(16)) << 7 | draw(128));
}

/* A [m,k], B [k,n] in panels and C [m,n] with gaps between all rows and panels. What must not be used is NaN. */
static void try_product(dot_product *multiply, int64_t m, int64_t n, int64_t k, bool add, bool whole)
{
    int64_t deep = blocks_of(k, DOT_DEPTH) * DOT_DEPTH, a_row = deep + draw(3) * 17,
            panel = deep * DOT_COLS + draw(3) * 33, c_row = n + draw(20);
    int64_t panels = blocks_of(n, DOT_COLS), a_at = draw(40), b_at = draw(40), c_at = draw(40);
    uint16_t *a = left + a_at, *b = right + b_at;
    float *c = result + c_at;
    assert_true(a_at + m * a_row <= MOST && b_at + panels * panel <= MOST && c_at + m * c_row + 64 <= MOST);
    for (int64_t i = 0; i < a_at + m * a_row; i++) left[i] = BF16_NAN;
    for (int64_t i = 0; i < b_at + panels * panel; i++) right[i] = BF16_NAN;
    for (int64_t i = 0; i < c_at + m * c_row + 64; i++) memcpy(result + i, &(uint32_t){ GUARD }, 4);
    for (int64_t i = 0; i < m; i++)
        for (int64_t p = 0; p < deep; p++) a[i * a_row + p] = p < k ? value(whole) : 0;
    for (int64_t j = 0; j < n; j++)
        for (int64_t p = 0; p < deep; p++)
            b[j / DOT_COLS * panel + p / 2 * 2 * DOT_COLS + j % DOT_COLS * 2 + p % 2] = p < k ? value(whole) : 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float *at = &c[i * c_row + j];
            *at = !add ? NAN : wide(value(whole));
            double sum = add ? *at : 0, sizes = fabs(sum);
            for (int64_t p = 0; p < k; p++) {
                double term = (double)wide(a[i * a_row + p]) *
                              wide(b[j / DOT_COLS * panel + p / 2 * 2 * DOT_COLS + j % DOT_COLS * 2 + p % 2]);
                sum += term;
                sizes += fabs(term);
            }
            want[i * n + j] = sum;
            size[i * n + j] = sizes;
        }
    readable[0].from = (uint8_t *)a;
    readable[0].to = (uint8_t *)(a + m * a_row);
    readable[1].from = (uint8_t *)b;
    readable[1].to = (uint8_t *)(b + panels * panel);
    readable[2].from = (uint8_t *)c;
    readable[2].to = (uint8_t *)(c + m * c_row);
    multiply(m, n, k, a, a_row, b, panel, c, c_row, add);
    for (int64_t i = 0; i < c_at + m * c_row + 64; i++) {
        int64_t row = i < c_at ? m : (i - c_at) / (c_row ? c_row : 1),
                col = i < c_at ? n : (i - c_at) % (c_row ? c_row : 1);
        if (row >= m || col >= n) {
            if (memcmp(result + i, &(uint32_t){ GUARD }, 4))
                fail_msg("m %ld n %ld k %ld: written at %ld,%ld", m, n, k, row, col);
            continue;
        }
        double bound = whole ? 0 : (double)(k + 1) * FLT_EPSILON / 2 * size[row * n + col];     /* any order of sums */
        if (!(fabs(result[i] - want[row * n + col]) <= bound))
            fail_msg("m %ld n %ld k %ld add %d: value %ld,%ld is %.9g, expected %.9g", m, n, k, add, row, col,
                     result[i], want[row * n + col]);
    }
}

/* The instructions themselves, where the processor has them. */
static dot_product *unit(void **state)
{
    if (!*state && !amx_available()) skip();
    return *state ? dot_stand_in : dot_amx;
}

static void test_edges(void **state)
{
    static const int64_t extents[] = { 0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 48, 64, 65 },
                         depths[] = { 0, 1, 2, 31, 32, 33, 64, 97 };
    dot_product *multiply = unit(state);
    for (int i = 0; i < COUNT(extents); i++)
        for (int j = 0; j < COUNT(extents); j++)
            for (int p = 0; p < COUNT(depths); p++) {
                try_product(multiply, extents[i], extents[j], depths[p], false, (i + j + p) % 2);
                try_product(multiply, extents[i], extents[j], depths[p], true, (i + j + p) % 2);
            }
}

static void test_larger(void **state)
{
    dot_product *multiply = unit(state);
    for (int i = 0; i < 30; i++) {
        bool add = draw(2), whole = draw(2);
        try_product(multiply, 1 + draw(200), 1 + draw(200), 1 + draw(600), add, whole);
    }
}

/* Rows whose distance is a multiple of the page size, as wide weights have. */
static void test_far_rows(void **state)
{
    dot_product *multiply = unit(state);
    readable[0].from = (uint8_t *)left;
    readable[0].to = (uint8_t *)(left + MOST);
    readable[1].from = (uint8_t *)right;
    readable[1].to = (uint8_t *)(right + MOST);
    readable[2].from = (uint8_t *)result;
    readable[2].to = (uint8_t *)(result + MOST);
    for (int64_t i = 0; i < MOST; i++) left[i] = right[i] = 0x3f80;
    multiply(40, 40, 64, left, 2048, right, 64 * DOT_COLS, result, 4096, false);
    for (int64_t i = 0; i < 40; i++)
        for (int64_t j = 0; j < 40; j++) assert_true(result[i * 4096 + j] == 64);
}

/* Denormals count as zero, in operands and in sums, whatever the thread's own setting. */
static void test_denormals(void **state)
{
    static const struct { uint16_t a, b; float c, want; } cases[] = {
        { 0x0040, 0x7e80, 0, 0 },                           /* 2^-127 * 2^126 */
        { 0x2000, 0x1f00, 0, 0 },                           /* 2^-63 * 2^-65 */
        { 0x0080, 0x3f80, 0, 0x1p-126f },
        { 0, 0, 0x1p-130f, 0 },
        { 0x3f80, 0x0080, -0x1.8p-126f, 0 },                /* 2^-126 - 1.5 * 2^-126 */
    };
    dot_product *multiply = unit(state);
    readable[0].from = (uint8_t *)left;
    readable[0].to = (uint8_t *)(left + DOT_DEPTH);
    readable[1].from = (uint8_t *)right;
    readable[1].to = (uint8_t *)(right + DOT_DEPTH * DOT_COLS);
    readable[2].from = (uint8_t *)result;
    readable[2].to = (uint8_t *)(result + 1);
    memset(left, 0, DOT_DEPTH * sizeof *left);
    memset(right, 0, DOT_DEPTH * DOT_COLS * sizeof *right);
    for (int i = 0; i < COUNT(cases); i++) {
        left[0] = cases[i].a;
        right[0] = cases[i].b;
        result[0] = cases[i].c;
        multiply(1, 1, 1, left, DOT_DEPTH, right, DOT_DEPTH * DOT_COLS, result, 1, true);
        if (result[0] != cases[i].want) fail_msg("case %d: %g, expected %g", i, result[0], cases[i].want);
    }
}

#define ON(name, stand_in) { #name " " #stand_in, name, NULL, NULL, stand_in }
static char stand_ins[] = "", *const instructions = NULL;

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON(test_edges, stand_ins), ON(test_larger, stand_ins), ON(test_far_rows, stand_ins),
        ON(test_denormals, stand_ins), ON(test_edges, instructions), ON(test_larger, instructions),
        ON(test_far_rows, instructions), ON(test_denormals, instructions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
