/* Hashed n-grams: published rows, what a row depends on, chunks, documents, collisions. */
#include "op_check.h"

enum { VOCAB = 151936, LONG = 40 };

static int32_t token(int64_t i) { return (int32_t)(i * i * 7919 % 101 + 1); }
static int32_t whole(int64_t i) { (void)i; return 0; }
static int32_t parts(int64_t i) { return i < 13 ? 0 : i < 14 ? 13 : 14; }

#define FIVE int_in(g, SHAPE(1, 5), 17, 42, 9999, 0, 150000), int_in(g, SHAPE(1, 5), 0, 0, 0, 0, 0), NULL
#define TEXT(start) count_in(g, SHAPE(1, LONG), token), count_in(g, SHAPE(1, LONG), start), NULL
#define HERE(CASE) \
    CASE(ngram, mul32_a, ngram(g, FIVE, GRAM(2, VOCAB, 1000003, HASH_MUL32))) \
    CASE(ngram, mul32_b, ngram(g, FIVE, GRAM(2, VOCAB, 1000033, HASH_MUL32))) \
    CASE(ngram, mul32_c, ngram(g, FIVE, GRAM(3, VOCAB, 1000037, HASH_MUL32))) \
    CASE(ngram, mul32_d, ngram(g, FIVE, GRAM(3, VOCAB, 1000039, HASH_MUL32))) \
    CASE(ngram, mod_a, ngram(g, FIVE, GRAM(2, VOCAB, 1000003, HASH_MOD))) \
    CASE(ngram, mod_b, ngram(g, FIVE, GRAM(2, VOCAB, 1000033, HASH_MOD))) \
    CASE(ngram, mod_c, ngram(g, FIVE, GRAM(3, VOCAB, 1000037, HASH_MOD))) \
    CASE(ngram, mod_d, ngram(g, FIVE, GRAM(3, VOCAB, 1000039, HASH_MOD))) \
    CASE(ngram, whole, ngram(g, TEXT(whole), GRAM(3, 103, 1000003, HASH_MUL32))) \
    CASE(ngram, parts, ngram(g, TEXT(parts), GRAM(3, 103, 1000003, HASH_MUL32))) \
    CASE(ngram, pairs, ngram(g, TEXT(whole), GRAM(2, 103, 103 * 103, HASH_MOD))) \
    CASE(ngram, chunk, ngram(g, count_in(g, SHAPE(1, LONG), token), int_in(g, SHAPE(1, 4), 0, 0, 0, 0), \
                             int_in(g, SHAPE(1), 20), GRAM(3, 103, 1000003, HASH_MUL32))) \
    CASE(collision_rate, some, collision_rate(g, int_in(g, SHAPE(1, 6), 1, 2, 1, 2, 3, 1), \
                                              int_in(g, SHAPE(1, 6), 0, 0, 0, 0, 0, 0), \
                                              int_in(g, SHAPE(1, 6), 4, 9, 4, 9, 9, 7), 2)) \
    CASE(collision_rate, unigrams, collision_rate(g, int_in(g, SHAPE(2, 2), 1, 2, 1, 3), \
                                                  int_in(g, SHAPE(2, 2), 0, 0, 0, 0), \
                                                  int_in(g, SHAPE(2, 2), 5, 6, 5, 7), 1))
HERE(BENCH_BUILD)

#define ROWS(name, ...) \
    do { OPEN(b_, ngram, name); bench_forward(&b_); SEE(b_.out[0], 0, __VA_ARGS__); bench_close(&b_); } while (0)

static void test_golden(void **state)
{
    (void)state;
    ROWS(mul32_a, 728452, 741892, 404374, 321949, 973060);
    ROWS(mul32_b, 663202, 695752, 350524, 253759, 960460);
    ROWS(mul32_c, 654502, 689600, 529364, 231173, 546919);
    ROWS(mul32_d, 650152, 686524, 525686, 228935, 539069);
    ROWS(mod_a, 17, 582948, 391293, 203507, 150000);
    ROWS(mod_b, 17, 582888, 391113, 157937, 150000);
    ROWS(mod_c, 17, 582880, 189070, 299838, 449232);
    ROWS(mod_d, 17, 582876, 404251, 357848, 839538);
}

/* A 3-gram reads its token and the two before. */
static void test_history(void **state)
{
    (void)state;
    OPEN(b, ngram, whole);
    OPEN(c, ngram, whole);
    bench_forward(&b);
    tensor_set(&c.in[0], 20, 102);
    bench_forward(&c);
    for (int t = 0; t < LONG; t++) assert_int_equal(ints(&b.out[0])[t] != ints(&c.out[0])[t], t >= 20 && t <= 22);
    bench_close(&b);
    bench_close(&c);
}

static void test_documents(void **state)
{
    (void)state;
    OPEN(b, ngram, whole);
    OPEN(c, ngram, parts);
    bench_forward(&b);
    bench_forward(&c);
    for (int t = 0; t < LONG; t++) assert_int_equal(ints(&b.out[0])[t] != ints(&c.out[0])[t], t >= 13 && t <= 15);
    tensor_set(&b.in[0], 0, tensor_get(&b.in[0], 14));      /* a document begins as a sequence does */
    tensor_set(&b.in[0], 1, tensor_get(&b.in[0], 15));
    bench_forward(&b);
    assert_memory_equal(b.out[0].data, ints(&c.out[0]) + 14, 2 * sizeof(int32_t));
    bench_close(&b);
    bench_close(&c);
}

static void test_chunk(void **state)
{
    (void)state;
    OPEN(b, ngram, whole);
    OPEN(c, ngram, chunk);
    bench_forward(&b);
    bench_forward(&c);
    assert_memory_equal(ints(&b.out[0]) + 20, c.out[0].data, 4 * sizeof(int32_t));
    bench_close(&b);
    bench_close(&c);
}

/* With a row for every pair nothing is hashed away. */
static void test_table_of_pairs(void **state)
{
    (void)state;
    OPEN(b, ngram, pairs);
    bench_forward(&b);
    for (int t = 0; t < LONG; t++) assert_int_equal(ints(&b.out[0])[t], token(t) + 103 * (t ? token(t - 1) : 0));
    bench_close(&b);
}

/* 2-grams 01 12 21 12 23 31 in rows 4 9 4 9 9 7: distinct are 01 12 21 23 31, and only 31 is alone. */
static void test_collisions(void **state)
{
    (void)state;
    OPEN(b, collision_rate, some);
    bench_forward(&b);
    SEE(b.out[0], 1e-7, .8);
    bench_close(&b);
    OPEN(c, collision_rate, unigrams);
    bench_forward(&c);
    SEE(c.out[0], 0, 0);
    bench_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden), cmocka_unit_test(test_history), cmocka_unit_test(test_documents),
        cmocka_unit_test(test_chunk), cmocka_unit_test(test_table_of_pairs), cmocka_unit_test(test_collisions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
