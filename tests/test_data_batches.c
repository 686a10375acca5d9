/* Batches: windows of documents, each once per epoch, by seed and sample; the held-out set however it is cut. */
#include "data_fixture.h"

static void test_documents_in_windows(void **state)
{
    (void)state;
    const char *const documents[] = { "abc", "de", "fghijk", "x", "yz" };
    struct corpus *c = open_good(make_tokens("tiny.tok", documents, 3, 2));
    assert_int_equal(corpus_windows(c, 4), 2);
    assert_int_equal(corpus_windows(c, 5), 2);
    assert_int_equal(corpus_windows(c, 10), 1);
    assert_int_equal(corpus_windows(c, 11), 0);
    struct windows b = take(c, 1, 0, 2, 4);
    int first = b.ids[0] == 'a' ? 0 : 4, second = 4 - first;
    const int32_t ids[8] = { 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h' },
                  target[8] = { 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i' };
    const int32_t start[8] = { 0, 0, 0, 3, 0, 1, 1, 1 };
    const float weight[8] = { 1, 1, 0, 1, 0, 1, 1, 1 };
    for (int s = 0; s < 4; s++)
        for (int w = 0; w < 2; w++) {
            int at = (w ? second : first) + s, want = 4 * w + s;
            assert_int_equal(b.ids[at], ids[want]);
            assert_int_equal(b.target[at], target[want]);
            assert_int_equal(b.start[at], start[want]);
            assert_true(b.weight[at] == weight[want]);
        }
    b = held(c, 0, 0, 2, 3);    /* "xyz": two targets, and what fills the batch */
    const int32_t last[6] = { 'y', 'z', 0, 0, 0, 0 }, begins[6] = { 0, 1, 2, 0, 0, 0 };
    for (int i = 0; i < 6; i++) {
        assert_int_equal(b.target[i], last[i]);
        assert_int_equal(b.start[i], begins[i]);
        assert_true(b.weight[i] == (i == 1));
    }
    corpus_close(c);
}

static void test_every_window_once_per_epoch(void **state)
{
    (void)state;
    enum { SEQ = 7, MOST = 200 };
    for (int tokens = 40; tokens < 1400; tokens += 97) {
        struct corpus *c = counting(tokens);
        int64_t n = corpus_windows(c, SEQ);
        assert_int_equal(n, (tokens - tokens / 20 - 1) / SEQ);
        int32_t order[3][MOST];
        for (int epoch = 0; epoch < 3; epoch++) {
            bool seen[MOST] = { false };
            for (int64_t i = 0; i < n; i++) {
                struct windows b = take(c, 5, epoch * n + i, 1, SEQ);
                int w = b.ids[0] / SEQ;
                assert_int_equal(b.ids[0] % SEQ, 0);
                assert_in_range(w, 0, n - 1);
                assert_false(seen[w]);
                seen[w] = true;
                order[epoch][i] = w;
                for (int s = 0; s < SEQ; s++) assert_int_equal(b.target[s], b.ids[0] + s + 1);
            }
        }
        if (n > 20) {
            assert_memory_not_equal(order[0], order[1], (size_t)n * sizeof order[0][0]);
            assert_memory_not_equal(order[1], order[2], (size_t)n * sizeof order[0][0]);
        }
        corpus_close(c);
    }
}

/* However a held-out set is cut into sequences, batches and ranks, it is the same targets, each once. */
static void test_held_out_is_one_set(void **state)
{
    (void)state;
    enum { TOKENS = 4001, HELD = TOKENS / 20 };
    static const struct { int seq, batch, ranks; } cuts[] = { { 1, 1, 1 }, { 7, 1, 1 }, { 7, 3, 1 }, { 16, 4, 1 },
                                                              { 32, 4, 1 }, { 32, 2, 3 }, { 128, 2, 2 },
                                                              { 250, 1, 1 } };
    static const int asked[] = { 0, 1, 31, 128, HELD - 2, HELD - 1, HELD, 100000 };
    struct corpus *c = counting(TOKENS);
    for (int a = 0; a < COUNT(asked); a++) {
        struct eval_set s = corpus_eval_set(c, asked[a]);
        int targets = asked[a] && asked[a] < HELD - 1 ? asked[a] : HELD - 1;
        assert_int_equal(s.targets, targets);
        for (int k = 0; k < COUNT(cuts); k++) {
            int seq = cuts[k].seq, batch = cuts[k].batch, seen[HELD] = { 0 };
            for (int64_t first = 0; first < eval_windows(c, &s, seq); first += batch * cuts[k].ranks)
                for (int rank = 0; rank < cuts[k].ranks; rank++) {
                    struct windows w = held(c, asked[a], first + rank * batch, batch, seq);
                    for (int i = 0; i < batch * seq; i++) {
                        assert_true(w.present[i] == w.weight[i]);           /* it is one document */
                        if (w.weight[i] == 0) continue;
                        assert_true(w.weight[i] == 1);
                        assert_int_equal(w.target[i], w.ids[i] + 1);
                        seen[w.target[i] - (TOKENS - HELD)]++;
                    }
                }
            assert_int_equal(seen[0], 0);
            for (int i = 1; i < HELD; i++) assert_int_equal(seen[i], i <= targets);
        }
    }
    struct eval_set all = corpus_eval_set(c, 0), same = corpus_eval_set(c, HELD + 5),
                    less = corpus_eval_set(c, HELD - 2);
    assert_true(hash_equal(all.hash, same.hash) && !hash_equal(all.hash, less.hash));
    corpus_close(c);
}

static void test_batch_is_a_function_of_seed_and_sample(void **state)
{
    (void)state;
    enum { SEQ = 16, BATCH = 8 };
    struct corpus *c = counting(4000);
    int differs = 0;
    for (int first = 0; first < 400; first += BATCH) {
        struct windows whole = take(c, 3, first, BATCH, SEQ), other = take(c, 4, first, BATCH, SEQ);
        differs += memcmp(whole.ids, other.ids, sizeof whole.ids) != 0;
        for (int b = BATCH - 1; b >= 0; b--) {
            struct windows one = take(c, 3, first + b, 1, SEQ);
            assert_memory_equal(one.ids, whole.ids + b * SEQ, SEQ * sizeof(int32_t));
            assert_memory_equal(one.target, whole.target + b * SEQ, SEQ * sizeof(int32_t));
            assert_memory_equal(one.noise_key, whole.noise_key + 2 * b, 2 * sizeof(int32_t));
            assert_memory_not_equal(one.noise_key, other.noise_key + 2 * b, 2 * sizeof(int32_t));
            assert_memory_not_equal(one.noise_key, whole.noise_key + 2 * ((b + 1) % BATCH), 2 * sizeof(int32_t));
        }
    }
    assert_true(differs > 40);
    corpus_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_documents_in_windows),
        cmocka_unit_test(test_every_window_once_per_epoch),
        cmocka_unit_test(test_held_out_is_one_set),
        cmocka_unit_test(test_batch_is_a_function_of_seed_and_sample),
    };
    return RUN_DATA_TESTS(tests);
}
