/* NF4: the table, what a value becomes, and what it takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>
#include "base/nf4.h"

static const float level[NF4_LEVELS] = NF4_TABLE;
enum { MANY = 64 * 256 * 3 + 64 * 5 + 17 };

static float *drawn(int64_t n, double spread)
{
    float *x = xmalloc((size_t)n * sizeof *x);
    struct key key = { 3, PURPOSE_TEST, 5, 0 };
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(key_normal(key, (uint64_t)i) * (1 + spread * key_uniform(key, (uint64_t)(i / NF4_BLOCK) << 32)));
    return x;
}

struct kept { unsigned char *codes; float *values; };
static struct kept keep(enum kept_as as, int64_t n, const float *x)
{
    struct kept k = { xmalloc((size_t)nf4_places(as, n).bytes), xmalloc((size_t)n * sizeof(float)) };
    nf4_quantise(as, n, x, k.codes);
    nf4_values(as, n, k.codes, k.values);
    return k;
}
static void kept_free(struct kept k) { free(k.codes); free(k.values); }

/* The digits of QLoRA's appendix E. */
static void test_table(void **state)
{
    (void)state;
    static const double published[NF4_LEVELS] = {
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
        -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634,
        0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0 };
    for (int k = 0; k < NF4_LEVELS; k++) assert_true((double)level[k] == published[k]);
    assert_true(level[NF4_ZERO] == 0);
}

/* The first of two values is in the high bits. */
static void test_bits(void **state)
{
    (void)state;
    const float x[] = { 1, -1, 0, 0.5625f, 0.08f };
    struct kept k = keep(KEPT_NF4, 5, x);
    assert_int_equal(k.codes[0], 0xf0);
    assert_int_equal(k.codes[1], 0x7d);
    assert_int_equal(k.codes[2], 0x80);
    kept_free(k);
}

static float largest(const float *x, int64_t from, int64_t n)
{
    float most = 0;
    for (int64_t i = from; i < n && i < from + NF4_BLOCK; i++) most = fmaxf(most, fabsf(x[i]));
    return most;
}

/* The largest of a block stays, 0 stays, nothing moves by more than half of the widest gap; what was quantised once is
   not changed by it. */
static void test_floats(void **state)
{
    (void)state;
    float *x = drawn(MANY, 2);
    for (int i = 0; i < 100; i++) x[i * 37] = 0;
    for (int i = 128; i < 192; i++) x[i] = 0;
    struct kept once = keep(KEPT_NF4, MANY, x), twice = keep(KEPT_NF4, MANY, once.values);
    float half = (level[1] - level[0]) / 2;
    for (int64_t i = 0; i < MANY; i++) {
        float size = largest(x, i / NF4_BLOCK * NF4_BLOCK, MANY);
        if (x[i] == 0) assert_true(once.values[i] == 0);
        if (fabsf(x[i]) == size) assert_true(once.values[i] == x[i]);
        if (fabsf(once.values[i] - x[i]) > half * size * 1.000001f)
            fail_msg("%g becomes %g in a block of %g", (double)x[i], (double)once.values[i], (double)size);
    }
    assert_memory_equal(once.codes, twice.codes, (size_t)nf4_places(KEPT_NF4, MANY).bytes);
    kept_free(once);
    kept_free(twice);
    free(x);
}

/* The numbers are the same, and stay; sizes are right to half a step of their block. */
static void test_sizes_as_bytes(void **state)
{
    (void)state;
    float *x = drawn(MANY, 2);
    struct nf4 p = nf4_places(KEPT_NF4_DOUBLE, MANY), plain = nf4_places(KEPT_NF4, MANY);
    struct kept floats = keep(KEPT_NF4, MANY, x), bytes = keep(KEPT_NF4_DOUBLE, MANY, x),
                again = keep(KEPT_NF4_DOUBLE, MANY, bytes.values);
    assert_memory_equal(floats.codes, bytes.codes, (size_t)p.mean);
    assert_memory_equal(bytes.codes, again.codes, (size_t)p.mean);
    for (int64_t b = 0; b * NF4_BLOCK < MANY; b++) {
        float size = nf4_size_of(&plain, floats.codes, b), near = nf4_size_of(&p, bytes.codes, b), scale;
        memcpy(&scale, bytes.codes + p.scales + b / NF4_BLOCKS * 4, 4);
        if (fabsf(size - near) > 0.5001f * scale) fail_msg("a size of %g becomes %g", (double)size, (double)near);
    }
    for (int i = 0; i < MANY; i++) if (floats.values[i] == 0) assert_true(bytes.values[i] == 0);
    kept_free(floats);
    kept_free(bytes);
    kept_free(again);
    free(x);
}

/* Also where all is 0, or one value alone. */
static void test_edges(void **state)
{
    (void)state;
    const float zero[70] = { 0 }, one = -3;
    for (enum kept_as as = KEPT_NF4; as <= KEPT_NF4_DOUBLE; as++) {
        struct kept k = keep(as, 70, zero), single = keep(as, 1, &one);
        for (int i = 0; i < 70; i++) assert_true(k.values[i] == 0);
        assert_true(single.values[0] == one);
        kept_free(k);
        kept_free(single);
    }
}

static void test_bits_a_value(void **state)
{
    (void)state;
    const int64_t n = 4096LL * 4096;
    double floats = 8 * (double)nf4_places(KEPT_NF4, n).bytes / (double)n,
           bytes = 8 * (double)nf4_places(KEPT_NF4_DOUBLE, n).bytes / (double)n;
    assert_true(floats == 4.5);
    assert_true(fabs(bytes - (4 + 8.0 / 64 + 32.0 / (64 * 256))) < 1e-5 && fabs(bytes - 4.127) < 5e-4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table), cmocka_unit_test(test_bits), cmocka_unit_test(test_floats),
        cmocka_unit_test(test_sizes_as_bytes), cmocka_unit_test(test_edges), cmocka_unit_test(test_bits_a_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
