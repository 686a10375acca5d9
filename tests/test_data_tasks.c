/* Tasks: draws and samples are those of the published vectors, and what a model reads of them. */
#include "data_fixture.h"

#include "data/corpus.h"
#include "data/task.h"

#include <xxhash.h>

/* ---- draws ---- */

static void test_draws(void **state)
{
    (void)state;
    struct key key = { 1, PURPOSE_DATA, hash_name("probe.mqar"), 0 };
    static const int below[] = { 240, 112, 198, 208, 208, 8, 112, 2 };
    struct draws d = { key, 0 };
    assert_true(key.name == 0xac9d27b8d71287ac);
    assert_true(key_mixed(key) == 0x550e0acfee4bae1d);
    for (int i = 0; i < COUNT(below); i++) assert_int_equal(draws_below(&d, 256 - i), below[i]);
    assert_true(key_uniform(key, 16) == .75865804975972706);
    key.purpose = PURPOSE_EVAL;
    assert_true(key_mixed(key) == 0x4e703899397027b2);
}

/* ---- samples ---- */

enum { SAMPLES = 64 };

struct golden { const char *path, *train, *eval; int tokens, answers; };

static void hash_samples(const struct golden *p, enum purpose purpose, const char *wanted)
{
    struct corpus *c = open_good(p->path);
    int tokens = corpus_info(c)->sample_tokens, answers = 0;
    XXH3_state_t *hash = XXH3_createState();
    struct item item = { 0 };
    XXH3_64bits_reset(hash);
    for (int g = 0; g < SAMPLES; g++) {
        generated_sample(c, purpose, (uint64_t)g, &item);
        assert_in_range(item.row->n, 2, tokens);
        while (item.row->n < tokens) item_put(&item, TOKEN_PAD, false);
        for (int i = 0; i < tokens; i++) {
            assert_in_range(item.row->id[i], 0, corpus_info(c)->vocab - 1);
            answers += item.row->counts[i];
        }
        XXH3_64bits_update(hash, item.row->id, (size_t)tokens * sizeof *item.row->id);
        XXH3_64bits_update(hash, item.row->counts, (size_t)tokens);
    }
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)XXH3_64bits_digest(hash));
    if (strcmp(text, wanted)) fail_msg("%s, purpose %d: %s in place of %s", p->path, (int)purpose, text, wanted);
    if (purpose == PURPOSE_DATA) {
        assert_int_equal(SAMPLES * tokens, p->tokens);
        assert_int_equal(answers, p->answers);
    }
    item_free(&item);
    XXH3_freeState(hash);
    corpus_close(c);
}

static void test_samples_are_the_published_ones(void **state)
{
    (void)state;
    static const struct golden golden[] = {
        { "task:mqar", "ad19b787aaefb106", "4741e0410409dafd", 4160, 512 },
        { "task:recall", "ff9484fe3f5bb4dc", "5d6d8dde304bdaed", 8256, 3584 },
        { "task:recall:noise=0.2", "166a5a4cf99e9a32", "3125d4fd046f58fb", 8256, 2777 },
        { "task:fuzzy", "9c9a3f752bcbdcac", "ee2bfd6aec807a83", 8256, 952 },
        { "task:selcopy", "3132fd304606b5f1", "8c25be9fefcbc476", 16448, 1024 },
        { "task:memorize", "7cd978fc251b485b", "0d54f9f3fb662d47", 2112, 1024 },
        { "task:induction", "eb504f845a501934", "afffc42a9b634668", 4160, 64 },
        { "task:repeat", "3b85b3fc15f08468", "f489947fef08eabe", 4160, 1984 },
        { "task:copy", "bb681bf355ad2ee7", "f77ca9e3928758af", 4160, 1054 },
        { "task:markov", "28cb403cadac27d1", "437c2efb65ed019c", 8256, 8128 },
        { "task:regular", "64568d6389ead877", "964c64884c88d9ac", 16448, 15785 },
        { "task:dyck", "049cec558f71f89f", "509710c116ec93b4", 8256, 4002 },
        { "task:modadd", "86e27bc80284878f", "0ba48cf704ac3ef2", 320, 64 },
        { "task:addition", "2460348cbf6e3e31", "6c8380c1dda9f5b6", 2112, 350 },
        { "task:sorting", "3c272e5920a8cef7", "3403d9e025cef9a2", 2112, 595 },
        { "task:track", "c7c905d893c74f63", "d74ae3dcabe95eef", 4160, 2048 },
    };
    for (int i = 0; i < COUNT(golden); i++) {
        hash_samples(&golden[i], PURPOSE_DATA, golden[i].train);
        hash_samples(&golden[i], PURPOSE_EVAL, golden[i].eval);
    }
}

/* Ids, with * behind those that count. */
static char *said(const char *path)
{
    static char text[1000];
    struct corpus *c = open_good(path);
    struct item item = { 0 };
    int n = 0;
    generated_sample(c, PURPOSE_DATA, 0, &item);
    for (int i = 0; i < item.row->n; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s%d%s", i ? " " : "", item.row->id[i],
                      item.row->counts[i] ? "*" : "");
    item_free(&item);
    corpus_close(c);
    return text;
}

static void test_small_samples(void **state)
{
    (void)state;
    assert_string_equal(said("task:recall:length=16"), "1 12 20 15 20 15 20* 14 21 14 21* 8 19 11 18 8 19*");
    assert_string_equal(said("task:fuzzy:length=32"),
                        "1 0 0 0 0 8 10 13 19 13 8 19 20 18 13 19 20 10 18 22 13 14 15 20 10 12 14 19 13 8 19* 20* "
                        "18*");
    assert_string_equal(said("task:selcopy:length=24:tokens=4"),
                        "1 5 5 5 5 13 5 5 5 5 5 5 5 5 9 5 5 13 18 5 3 13* 9* 13* 18*");
    assert_string_equal(said("task:regular:length=24"),
                        "1 16* 17* 15* 16* 12* 23* 16* 12* 16* 8* 11* 14* 12* 19* 16* 11* 14* 12* 19* 16* 11* 14* 12* "
                        "23*");
    assert_string_equal(said("task:markov:symbols=4:length=16"),
                        "1 10 11* 11* 11* 11* 10* 11* 10* 9* 9* 8* 8* 8* 8* 8* 8*");
    assert_string_equal(said("task:dyck:length=16"), "1 10 15 23* 15 23* 18* 13 21* 13 21* 12 20* 15 8 16* 15");
    assert_string_equal(said("task:addition"), "1 14 12 15 9 8 12 18 11 16 13 16 12 14 3 17* 10* 11* 8* 13* 8* 9* 4*");
    assert_string_equal(said("task:track:group=s3:length=8"), "1 13 19* 9 18* 10 15* 12 16*");
    assert_string_equal(said("task:track:length=12"), "1 9 11* 8 11* 8 11* 9 10* 9 11* 8 11*");
}

/* ---- what a model reads ---- */

static void test_windows(void **state)
{
    (void)state;
    enum { SEQ = 16 };
    struct corpus *c = open_good("task:copy:least=2:most=5:length=12:held_out=4"),
                  *blind = open_good("task:copy:least=2:most=5:length=12:held_out=4:form=blind"),
                  *all = open_good("task:copy:least=2:most=5:length=12:held_out=4:loss=all");
    for (int64_t first = 0; first < 8; first++) {
        struct windows w = take(c, 1, first, 1, SEQ), b = take(blind, 1, first, 1, SEQ),
                       a = take(all, 1, first, 1, SEQ);
        int answers = 0, counted = 0, here = 0;
        for (int s = 0; s < SEQ; s++) {
            bool answered = s && w.weight[s - 1] == 1;
            if (w.weight[s] == 1 && w.target[s] != TOKEN_EOS) assert_int_equal(w.target[s], w.ids[s + 1]);
            assert_int_equal(b.ids[s], answered ? TOKEN_BLANK : w.ids[s]);
            assert_int_equal(b.target[s], w.target[s]);
            assert_int_equal(a.ids[s], w.ids[s]);
            answers += w.weight[s] == 1;
            counted += a.weight[s] == 1;
            here += w.present[s] == 1;
        }
        assert_int_equal(here, 2 * answers + 1);            /* BOS, n tokens, ANS, n tokens, EOS */
        assert_int_equal(counted, here - 1);
    }
    struct eval_set s = corpus_eval_set(c, 0), of_all = corpus_eval_set(all, 0);
    assert_int_equal(s.targets, of_all.targets);            /* answers alone are measured */
    assert_int_equal(s.targets, corpus_info(c)->answers);
    assert_false(hash_equal(corpus_info(c)->hash, corpus_info(blind)->hash));
    corpus_close(c); corpus_close(blind); corpus_close(all);
}

/* Pairs of a finite task are trained on or held out, all of them once. */
static void test_finite_task(void **state)
{
    (void)state;
    struct corpus *c = open_good("task:modadd:modulus=7:share=0.5:held_out=100");
    int seen[64 + 64] = { 0 };
    assert_int_equal(corpus_windows(c, 4), 24);
    assert_int_equal(corpus_info(c)->documents, 25);
    for (int64_t i = 0; i < 24; i++) {
        struct windows w = take(c, 3, i, 1, 4);
        seen[(w.ids[1] - TOKEN_FIRST) * 7 + w.ids[2] - TOKEN_FIRST]++;
    }
    for (int64_t i = 0; i < 25; i++) {
        struct windows w = held(c, 0, i, 1, 4);
        seen[(w.ids[1] - TOKEN_FIRST) * 7 + w.ids[2] - TOKEN_FIRST]++;
        assert_int_equal(w.target[3], TOKEN_FIRST + (w.ids[1] + w.ids[2] - 2 * TOKEN_FIRST) % 7);
    }
    for (int pair = 0; pair < 49; pair++) assert_int_equal(seen[pair], 1);
    corpus_close(c);
}

static void test_wrong_tasks(void **state)
{
    (void)state;
    refused("task:mqr", "data: no module named 'mqr' (did you mean 'mqar'?)");
    refused("task:", "data: no module named ''");
    refused("task:mqar:pairs", "'pairs': must be KEY=VALUE");
    refused("task:mqar:pair=4", "data.pair: no parameter 'pair' (did you mean 'pairs'?)");
    refused("task:mqar:pairs=many", "data.pairs: \"many\": must be an integer");
    refused("task:mqar:pairs=17", "data.pairs: 17: pairs and questions do not fit in a length of 64: at most 16");
    refused("task:copy:most=32", "data.length: 64: 32 tokens and their copy need at least 66");
    refused("task:memorize:symbols=20", "data.symbols: 20: a sample of length 32 has 16 keys; at least 32");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_samples_are_the_published_ones),
        cmocka_unit_test(test_small_samples),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_finite_task),
        cmocka_unit_test(test_wrong_tasks),
    };
    return RUN_DATA_TESTS(tests);
}
