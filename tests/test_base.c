/* XXH128 and Philox against its published vectors, names, arenas, the pool, placing of tensors, shared objects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <Random123/philox.h>
#include "base/object.h"
#include "backend/backend.h"
#include "plan/offsets.h"
#include "cpu/pool.h"

/* What Python's xxhash.xxh128_hexdigest and xxh128sum say of these bytes; and in files the canonical bytes
   backwards. */
static void hashes_are_xxh128(void **state)
{
    (void)state;
    static const struct { const char *bytes, *text; } known[] = { { "", "99aa06d3014798d86001c324468d497f" },
                                                                  { "sluice", "adbab6796a85b84128d6b41d9413a19d" } };
    for (int i = 0; i < COUNT(known); i++) {
        struct hash h = hash_bytes(known[i].bytes, strlen(known[i].bytes));
        char text[33], backwards[33] = "";
        hash_print(h, text);
        assert_string_equal(text, known[i].text);
        for (int k = sizeof h - 1; k >= 0; k--)
            snprintf(backwards + strlen(backwards), 3, "%02x", ((const unsigned char *)&h)[k]);
        assert_string_equal(backwards, known[i].text);
    }
}

/* Known answer of Random123's own kat_vectors. */
static void philox_is_philox(void **state)
{
    (void)state;
    philox4x32_ctr_t zero = { { 0 } }, got = philox4x32(zero, (philox4x32_key_t){ { 0 } });
    const uint32_t want[] = { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 };
    assert_memory_equal(got.v, want, sizeof want);
}

static void draws_depend_on_their_key_alone(void **state)
{
    (void)state;
    struct key a = { 1, PURPOSE_INIT, hash_name("w"), 0 }, b = a;
    uint32_t x[4], y[4];
    key_bits(a, 7, x);
    key_bits(a, 8, y);
    key_bits(b, 7, y);
    assert_memory_equal(x, y, sizeof x);
    for (int change = 0; change < 4; change++) {
        b = a;
        *(change == 0 ? &b.seed : change == 1 ? &b.name : &b.step) += 1;
        if (change == 3) { b = a; b.purpose = PURPOSE_DATA; }
        key_bits(b, 7, y);
        assert_memory_not_equal(x, y, sizeof x);
    }
}

static void whole_numbers_stay_below_their_bound(void **state)
{
    (void)state;
    int seen[7] = { 0 };
    for (uint64_t i = 0; i < 7000; i++) {
        uint64_t n = key_below((struct key){ 3, PURPOSE_TEST, 1, 0 }, i, 7);
        assert_true(n < 7);
        seen[n]++;
    }
    for (int n = 0; n < 7; n++) assert_true(abs(seen[n] - 1000) < 5 * 30);
}

static void names_are_suggested(void **state)
{
    (void)state;
    const char *const names[] = { "top_k", "experts", "d_ff", NULL };
    assert_string_equal(nearest_name("topk", names), "top_k");
    assert_string_equal(nearest_name("exprets", names), "experts");
    assert_null(nearest_name("zzzzzzzz", names));
}

static void arenas_give_zeroed_aligned_memory(void **state)
{
    (void)state;
    struct arena *a = arena_new();
    for (int i = 1; i < 200; i++) {
        char *p = arena_alloc(a, (size_t)i * 997);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (int k = 0; k < i * 997; k++) assert_int_equal(p[k], 0);
        memset(p, 1, (size_t)i * 997);
    }
    assert_string_equal(arena_text(a, "%d-%s", 4, "x"), "4-x");
    arena_free(a);
}

/* ---- the pool ---- */

static _Atomic int64_t total;
static void count_items(const struct args *a, int64_t from, int64_t to)
{
    int *seen = (int *)(uintptr_t)a->attr;
    for (int64_t i = from; i < to; i++) seen[i]++;
    atomic_fetch_add(&total, to - from);
}

static void every_item_once(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 5; threads++) {
        struct pool *p = pool_new(threads);
        for (int64_t items = 0; items < 400; items += 13)
            for (int64_t grain = 1; grain < 50; grain += 9) {
                int *seen = xcalloc((size_t)items + 1, sizeof *seen);
                struct args a = { .attr = seen, .device = p };
                total = 0;
                each(&a, items, grain, count_items);
                assert_int_equal(total, items);
                for (int64_t i = 0; i < items; i++) assert_int_equal(seen[i], 1);
                free(seen);
            }
        pool_free(p);
    }
}

/* All threads ask for a block more than there are, and as many as a region can hold are asked for. */
static void many_threads_and_blocks(void **state)
{
    (void)state;
    const int64_t items = (1 << 20) + 100;
    struct pool *p = pool_new(130);
    int *seen = xcalloc((size_t)items, sizeof *seen);
    struct args a = { .attr = seen, .device = p };
    total = 0;
    each(&a, items, 1, count_items);
    assert_int_equal(total, items);
    for (int64_t i = 0; i < items; i++) assert_int_equal(seen[i], 1);
    free(seen);
    pool_free(p);
}

/* What lies behind what is cleared stays, on the page as well. */
static void cleared_to_the_byte(void **state)
{
    (void)state;
    const size_t size = 3 * 4096;
    char *memory = backend_cpu.alloc(NULL, size);
    for (size_t bytes = 0; bytes < size; bytes += 64 * 13) {
        memset(memory, 1, size);
        backend_cpu.clear(NULL, memory, bytes);
        for (size_t i = 0; i < size; i++) assert_int_equal(memory[i], i >= bytes);
    }
    backend_cpu.release(NULL, memory, size);
}

static void nested(const struct args *a, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i++) each(a, 10, 3, count_items);
}

static void a_region_inside_a_region_runs_alone(void **state)
{
    (void)state;
    struct pool *p = pool_new(3);
    int seen[10] = { 0 };
    struct args a = { .attr = seen, .device = p };
    total = 0;
    each(&a, 1, 1, nested);
    assert_int_equal(total, 10);
    for (int i = 0; i < 10; i++) assert_int_equal(seen[i], 1);
    pool_free(p);
}

/* ---- placing ---- */

static void tensors_alive_together_do_not_overlap(void **state)
{
    (void)state;
    enum { N = 300 };
    struct span s[N];
    struct key k = { 9, PURPOSE_TEST, 2, 0 };
    size_t sum = 0;
    for (int i = 0; i < N; i++) {
        int from = (int)key_below(k, (uint64_t)(3 * i), 100);
        s[i] = (struct span){ .bytes = (size_t)key_below(k, (uint64_t)(3 * i + 1), 5000), .from = from,
                              .to = from + (int)key_below(k, (uint64_t)(3 * i + 2), 20) };
        sum += s[i].bytes;
    }
    size_t end = offsets_assign(s, N);
    assert_true(end < sum / 2);
    for (int i = 0; i < N; i++) {
        assert_int_equal(s[i].offset % OFFSETS_ALIGNMENT, 0);
        assert_true(s[i].offset + s[i].bytes <= end);
        for (int j = 0; j < i; j++) {
            bool together = s[i].from <= s[j].to && s[j].from <= s[i].to;
            bool overlap = s[i].offset < s[j].offset + s[j].bytes && s[j].offset < s[i].offset + s[i].bytes;
            assert_false(together && overlap);
        }
    }
}

/* ---- shared objects ---- */

static void objects_of_another_build_are_refused(void **state)
{
    (void)state;
    struct object o = { "stale.so", "fresh_entry", "object", "build it", "find them" };
    struct err e = { 0 };
    assert_non_null(object_load(&o, &e));
    for (int i = 0; i < 2; i++) {
        o.symbol = i ? "no_entry" : "stale_entry";
        assert_null(object_load(&o, &e));
        assert_non_null(strstr(e.text, "stale.so belongs to another build of sluice: build again"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_xxh128), cmocka_unit_test(philox_is_philox),
        cmocka_unit_test(draws_depend_on_their_key_alone), cmocka_unit_test(whole_numbers_stay_below_their_bound),
        cmocka_unit_test(names_are_suggested), cmocka_unit_test(arenas_give_zeroed_aligned_memory),
        cmocka_unit_test(every_item_once), cmocka_unit_test(many_threads_and_blocks),
        cmocka_unit_test(a_region_inside_a_region_runs_alone), cmocka_unit_test(cleared_to_the_byte),
        cmocka_unit_test(tensors_alive_together_do_not_overlap),
        cmocka_unit_test(objects_of_another_build_are_refused),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
