/* What a corpus says of itself: unigram and bigram losses, facts. */
#include "data_fixture.h"

#include <math.h>

static void test_baselines(void **state)
{
    (void)state;
    double unigram, bigram;
    struct err e;
    const char *const documents[] = { "aab", "aba", "ab", "b", "aa" };
    struct corpus *c = open_good(make_tokens("tiny.tok", documents, 2, 3));
    assert_int_equal(baselines(c, NULL, &unigram, &bigram, &e), 0);
    assert_true(fabs(unigram + log(3. / 260)) < 1e-12);    /* targets of training: a 2, b 2; of held out: b, a */
    assert_true(fabs(bigram + (log(3. / 259) + log(2. / 259)) / 2) < 1e-12);        /* aa 1, ab 2 of 3 */
    corpus_close(c);
    c = open_good(make_tokens("tiny.tok", documents, 5, 0));
    assert_int_equal(baselines(c, NULL, &unigram, &bigram, &e), -1);
    assert_non_null(strstr(e.text, "tiny.tok: nothing to measure on"));
    corpus_close(c);
}

/* Fitted on what training read: one window knows less than all, a complete epoch is the split whatever the seed, and
   more adds nothing. */
static void test_baselines_of_samples(void **state)
{
    (void)state;
    enum { SEQ = 5 };
    const char *input = write_many("counted.txt", 3000);
    pack(&input, 1, in("counted.tok"), 0.1, true);
    struct corpus *c = open_good(in("counted.tok"));
    int64_t windows = corpus_windows(c, SEQ);
    double whole[2], one[2], epoch[2], more[2];
    struct err e;
    assert_int_equal(baselines(c, NULL, &whole[0], &whole[1], &e), 0);
    assert_int_equal(baselines(c, &(struct samples){ 7, 1, SEQ }, &one[0], &one[1], &e), 0);
    assert_int_equal(baselines(c, &(struct samples){ 7, windows, SEQ }, &epoch[0], &epoch[1], &e), 0);
    assert_int_equal(baselines(c, &(struct samples){ 9, 3 * windows, SEQ }, &more[0], &more[1], &e), 0);
    for (int k = 0; k < 2; k++) {
        assert_true(one[k] > epoch[k] + 0.5 && one[k] < log(256) + 0.1);
        assert_true(fabs(epoch[k] - whole[k]) < 1e-3);      /* the end of the split fills no window */
        assert_true(epoch[k] == more[k]);
    }
    corpus_close(c);
}

static void test_facts(void **state)
{
    (void)state;
    const char *const documents[] = { "abc", "de", "fghijk", "x", "yz" };
    struct corpus *c = open_good(make_tokens("tiny.tok", documents, 3, 2));
    struct corpus_facts f = corpus_facts(c);
    assert_true(f.shortest == 1 && f.median == 2 && f.longest == 6);
    assert_true(f.ids == 14 && f.largest_id == 'z');
    corpus_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_baselines),
        cmocka_unit_test(test_baselines_of_samples),
        cmocka_unit_test(test_facts),
    };
    return RUN_DATA_TESTS(tests);
}
