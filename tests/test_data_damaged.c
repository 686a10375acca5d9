/* Damaged token files: each rule of the header and each flipped bit is told. */
#include "data_fixture.h"

#include <math.h>

static const char *const three[] = { "the first", "and the second", "and one held out" };

static void test_bad_paths(void **state)
{
    (void)state;
    refused(in("nowhere.tok"), ": No such file or directory");
    refused(folder, ": is a folder, not a file");
    refused(write_text("nothing.tok", ""), ": is empty");
    refused(write_text("text.tok", "plain text"), ": offset 0: neither a token file");
    refused("synthetic:", "the seed '' must be a whole number");
    refused("synthetic:-1", "the seed '-1' must be a whole number");
    refused("synthetic:12x", "the seed '12x' must be a whole number");
    refused("synthetic:99999999999999999999", "must be a whole number of 0 to 2^64-1");
}

static void test_rules_of_the_header(void **state)
{
    (void)state;
    size_t size;
    unsigned char *good = read_bytes(make_tokens("good.tok", three, 2, 1), &size), *bad = xmalloc(size);
    struct corpus *c = open_good(in("good.tok"));
    corpus_close(c);
    char vocab[300];
    snprintf(vocab, sizeof vocab, "%s:vocab=256", in("good.tok"));
    refused(vocab, "':vocab=256' is for files without a vocabulary");
#define BAD(words, ...) do { \
        memcpy(bad, good, size); \
        struct token_header *h = (struct token_header *)(void *)bad; \
        uint64_t *bound = (uint64_t *)(void *)(bad + tokens_bounds_at(h)); \
        (void)h; (void)bound; \
        __VA_ARGS__; \
        seal(bad, size); \
        refused(write_bytes("bad.tok", bad, size), words); \
    } while (0)
    BAD("offset 8: version 3: this program reads versions 1 and 2", h->version = 3);
    BAD("200 bytes: 39 tokens of 1 bytes and 3 documents take 208", h->version = 2);
    BAD("offset 12: 3 bytes a token: must be 1, 2 or 4", h->token_bytes = 3);
    BAD("offset 16: tokenizer 'bytes': must be", strcpy(h->tokenizer, "bytes"));
    BAD("offset 16: tokenizer 'bbbbbbbbbbbbbbbb'", memset(h->tokenizer, 'b', 16));
    BAD("offset 32: vocabulary 0: must be 1 to 65536", h->vocab = 0);
    BAD("offset 32: vocabulary 65537: must be 1 to 65536", h->vocab = 65537);
    BAD("offset 32: vocabulary 255, 1 bytes a token, 39 bytes of text", h->vocab = 255);
    BAD("offset 32: vocabulary 256, 1 bytes a token, 40 bytes of text", h->text_bytes = 40);
    BAD("offset 36: reserved field is 1: must be 0", h->reserved = 1);
    BAD("offset 40: 0 tokens: must be 1 or more", h->tokens = h->text_bytes = 0);
    BAD("offset 40: 18446744073709551615 tokens", h->tokens = h->text_bytes = UINT64_MAX);
    BAD("200 bytes: 38 tokens of 1 bytes and 4 documents take 208", h->tokens = h->text_bytes = 38, h->documents = 4);
    BAD("offset 48: 0 documents: must be 1 to the number of tokens, 39", h->documents = 0);
    BAD("offset 48: 18446744073709551615 documents", h->documents = UINT64_MAX);
    BAD("offset 64: 4 training documents of 3", h->train_documents = 4);
    BAD("offset 56: 22 training tokens: the training documents hold 23", h->train_tokens = 22);
    BAD("offset 168: document 0 begins at 1: must be 0", bound[0] = 1);
    BAD("offset 184: document 1 ends at 9: must be beyond its beginning, 9", bound[2] = 9);
    BAD("offset 192: the last document ends at 40: must be the number of tokens, 39", bound[3] = 40);
    BAD("offset 141: token 97: must be below the vocabulary, 97", strcpy(h->tokenizer, "unknown"), h->vocab = 97,
        memset(bad + 128, 1, 39), bad[141] = 97);
#undef BAD
    free(good);
    free(bad);
}

static void test_damage_is_found(void **state)
{
    (void)state;
    size_t size;
    unsigned char *bytes = read_bytes(make_tokens("good.tok", three, 2, 1), &size);
    for (size_t n = 1; n < size; n++) refused(write_bytes("cut.tok", bytes, n), ": ");
    bytes = xrealloc(bytes, size + 1);
    bytes[size] = 0;
    refused(write_bytes("longer.tok", bytes, size + 1), "201 bytes: 39 tokens of 1 bytes and 3 documents take 200");
    for (size_t at = 0; at < size; at++)
        for (int bit = 0; bit < 8; bit++) {
            struct corpus *c;
            struct err e;
            bytes[at] ^= (unsigned char)(1 << bit);
            const char *path = write_bytes("flip.tok", bytes, size);
            bytes[at] ^= (unsigned char)(1 << bit);
            if (corpus_open(&c, path, &e)) continue;
            if (at < sizeof(struct token_header) || at >= 168)
                fail_msg("a flipped bit at %zu was not found at opening", at);
            if (!corpus_verify(c, &e)) fail_msg("a flipped bit at %zu was not found at all", at);
            assert_non_null(strstr(e.text, "flip.tok: offset 128: the content's hash is "));
            corpus_close(c);
        }
    free(bytes);
}

/* Headers and tables of random bytes with good hashes: refused, or as usable as any other file. */
static void test_random_headers(void **state)
{
    (void)state;
    size_t size;
    unsigned char *good = read_bytes(make_tokens("good.tok", three, 2, 1), &size), *bad = xmalloc(size);
    struct key key = { 11, PURPOSE_TEST, hash_name("headers"), 0 };
    int opened = 0;
    for (uint64_t n = 0; n < 3000; n++) {
        memcpy(bad, good, size);
        key.step = n;
        int changes = 1 + (int)key_below(key, 0, 4);
        for (int i = 0; i < changes; i++) {
            uint64_t at = 8 + key_below(key, (uint64_t)(3 * i + 1), size - 8);
            bool small = key_below(key, (uint64_t)(3 * i + 2), 2);
            bad[at] = (unsigned char)(small ? (uint64_t)bad[at] + key_below(key, (uint64_t)(3 * i + 3), 5) - 2
                                            : key_below(key, (uint64_t)(3 * i + 3), 256));
        }
        if (n % 3) seal(bad, size);
        struct corpus *c;
        struct err e;
        if (corpus_open(&c, write_bytes("fuzz.tok", bad, size), &e)) continue;
        opened++;
        struct windows train = { 0 }, eval = held(c, 0, 0, 4, 4);
        if (corpus_windows(c, 4)) train = take(c, n, (int64_t)n, 4, 4);
        for (int i = 0; i < 16; i++) {
            assert_in_range(train.ids[i], 0, corpus_info(c)->vocab - 1);
            assert_in_range(eval.ids[i], 0, corpus_info(c)->vocab - 1);
        }
        double unigram, bigram;
        if (!baselines(c, NULL, &unigram, &bigram, &e)) assert_true(isfinite(unigram) && isfinite(bigram));
        corpus_close(c);
    }
    assert_in_range(opened, 100, 2900);
    free(good);
    free(bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_paths),
        cmocka_unit_test(test_rules_of_the_header),
        cmocka_unit_test(test_damage_is_found),
        cmocka_unit_test(test_random_headers),
    };
    return RUN_DATA_TESTS(tests);
}
