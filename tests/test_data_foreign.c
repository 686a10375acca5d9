/* Token files of other programs: llm.c, nanoGPT, NumPy, Megatron; how wide raw tokens are. */
#include "data_fixture.h"

#include <sys/stat.h>

struct shard { int32_t header[256]; uint16_t ids[100]; };

static struct shard good_shard(void)
{
    struct shard s = { .header = { 20240520, 1, 100 } };
    for (int i = 0; i < 100; i++) s.ids[i] = (uint16_t)(i * 502);
    return s;
}

static void test_llmc_shards(void **state)
{
    (void)state;
    struct shard s = good_shard();
    struct corpus *c = open_good(write_bytes("shard.bin", &s, sizeof s));
    const struct corpus_info *i = corpus_info(c);
    assert_string_equal(i->format, "llmc-shard");
    assert_string_equal(i->tokenizer, "unknown");
    assert_int_equal(i->vocab, 50257);
    assert_int_equal(i->tokens, 100);
    assert_int_equal(i->train_tokens, 95);
    assert_int_equal(i->held_out_tokens, 5);
    assert_int_equal(i->documents, 2);
    assert_true(i->bytes_per_token == 0);
    struct windows b = held(c, 0, 0, 1, 4);
    for (int t = 0; t < 4; t++) {
        assert_int_equal(b.ids[t], (95 + t) * 502);
        assert_true(b.weight[t] == 1 && b.start[t] == 0);
    }
    char text[16];
    assert_int_equal(corpus_token_text(c, 50256, text), 7);
    assert_memory_equal(text, "<50256>", 7);
    double unigram, bigram;
    struct err e;
    assert_int_equal(baselines(c, NULL, &unigram, &bigram, &e), -1);
    assert_non_null(strstr(e.text, "shard.bin: baselines are of bytes; the tokenizer is 'unknown'"));
    struct hash first = i->hash;
    corpus_close(c);
    s.ids[50]++;
    c = open_good(write_bytes("shard.bin", &s, sizeof s));
    assert_false(hash_equal(first, corpus_info(c)->hash));
    corpus_close(c);

    s = good_shard(); s.header[1] = 2;
    refused(write_bytes("shard.bin", &s, sizeof s), "offset 4: version 2: this program reads version 1");
    s = good_shard(); s.header[2] = 99;
    refused(write_bytes("shard.bin", &s, sizeof s), "offset 8: 99 tokens: a file of 1224 bytes holds 100");
    s = good_shard(); s.header[2] = -1;
    refused(write_bytes("shard.bin", &s, sizeof s), "offset 8: -1 tokens");
    s = good_shard();
    refused(write_bytes("shard.bin", &s, sizeof s - 1), "offset 8: 100 tokens: a file of 1223 bytes holds 99");
    refused(write_bytes("shard.bin", &s, 1023), "1023 bytes: an llm.c shard's header alone takes 1024");
    s.header[2] = 19;
    refused(write_bytes("shard.bin", &s, 1024 + 2 * 19), "19 tokens: at least 20 are needed");
    s = good_shard(); s.ids[70] = 50257;
    refused(write_bytes("shard.bin", &s, sizeof s), "offset 1164: token 50257: must be below the vocabulary, 50257");
    s = good_shard(); s.header[0] = 20240522;
    refused(write_bytes("shard.bin", &s, sizeof s), "magic 20240522: a multiple-choice file of llm.c");
}

static void test_nanogpt_files(void **state)
{
    (void)state;
    uint16_t ids[60];
    for (int i = 0; i < 60; i++) ids[i] = (uint16_t)(64 - i);
    assert_int_equal(mkdir(in("nano"), 0755), 0);
    const char *bin = write_bytes("nano/train.bin", ids, sizeof ids);
    char path[300];
    refused(bin, "raw tokens carry no vocabulary: put {\"vocab_size\": N} into meta.json");
    snprintf(path, sizeof path, "%s:vocab=65", bin);
    struct corpus *c = open_good(path);
    assert_string_equal(corpus_info(c)->format, "nanogpt-bin");
    assert_int_equal(corpus_info(c)->vocab, 65);
    assert_int_equal(corpus_info(c)->train_tokens, 57);
    struct hash first = corpus_info(c)->hash;
    corpus_close(c);
    write_text("nano/meta.json", "{\"vocab_size\": 65, \"note\": \"characters\"}");
    c = open_good(bin);
    assert_true(hash_equal(first, corpus_info(c)->hash));
    corpus_close(c);

    refused(write_bytes("nano/train.bin", ids, sizeof ids - 1), "119 bytes: uint16 tokens take 2 bytes each");
    refused(write_bytes("nano/train.bin", ids, 38), "19 tokens: at least 20 are needed");
    ids[59] = 65;
    refused(write_bytes("nano/train.bin", ids, sizeof ids), "offset 118: token 65: must be below the vocabulary, 65");
    write_text("nano/meta.json", "{\"vocab\": 65}");
    refused(bin, "nano/meta.json: no whole number 'vocab_size'");
    write_text("nano/meta.json", "{\"vocab_size\": 2000000}");
    refused(bin, "nano/meta.json: vocab_size = 2000000: must be 1 to 1048576");
    write_text("nano/meta.json", "{\n\"vocab_size\": }");
    refused(bin, "nano/meta.json:2: ");
    static const char *const wrong[] = { "0", "1048577", "", "6e1", "-3", "65 " };
    for (int i = 0; i < COUNT(wrong); i++) {
        snprintf(path, sizeof path, "%s:vocab=%s", bin, wrong[i]);
        char words[100];
        snprintf(words, sizeof words, "the vocabulary '%s' must be a whole number of 1 to 1048576", wrong[i]);
        refused(path, words);
    }
}

static void test_llama_shards(void **state)
{
    (void)state;
    struct { int32_t header[256]; uint32_t ids[100]; } s = { .header = { 20240801, 7, 100 } };
    for (int i = 0; i < 100; i++) s.ids[i] = (uint32_t)i * 1282;
    struct corpus *c = open_good(write_bytes("llama.bin", &s, sizeof s));
    assert_string_equal(corpus_info(c)->format, "llmc-shard-llama3");
    assert_int_equal(corpus_info(c)->vocab, 128256);
    assert_int_equal(corpus_info(c)->tokens, 100);
    struct windows b = held(c, 0, 0, 1, 4);
    for (int t = 0; t < 4; t++) assert_int_equal(b.ids[t], (95 + t) * 1282);
    corpus_close(c);
    s.ids[70] = 1u << 31;
    refused(write_bytes("llama.bin", &s, sizeof s),
            "offset 1304: token 2147483648: must be below the vocabulary, 128256");
    s.header[1] = 1;
    refused(write_bytes("llama.bin", &s, sizeof s), "offset 4: version 1: this program reads version 7");
    s.header[1] = 7, s.header[2] = 200;
    refused(write_bytes("llama.bin", &s, sizeof s), "offset 8: 200 tokens: a file of 1424 bytes holds 100");
}

/* How wide raw tokens are is told, or known beyond doubt: uint32 is never read as uint16. */
static void test_width_of_raw_tokens(void **state)
{
    (void)state;
    enum { N = 200 };
    static const struct { const char *name; int width, vocab, ids_below; const char *given, *words; } cases[] = {
        { "as they are", 2, 50257, 50257, "", NULL },
        { "uint32 of a small vocabulary", 4, 50257, 50257, "", "these look like uint32: name it " },
        { "uint32 of four letters", 4, 4, 4, "", "these look like uint32: name it " },
        { "uint32 of a large vocabulary, a small one given", 4, 65536, 128256, "", "these look like uint32: name it " },
        { "uint16 of four letters", 2, 4, 4, "", NULL },
        { "a vocabulary that needs uint32", 4, 128256, 128256, "", NULL },
        { "uint16 with a vocabulary that needs uint32", 2, 128256, 50257, "", "must be below the vocabulary, 128256" },
        { "uint32 as is told", 4, 50257, 50257, ":u32", NULL },
        { "uint16 as is told", 2, 50257, 50257, ":u16", NULL },
        { "a vocabulary that does not fit", 2, 70000, 50257, ":u16",
          "a vocabulary of 70000 does not fit in the 2 bytes of a token" },
        { "uint16 told to be uint32", 2, 50257, 50257, ":u32", "must be below the vocabulary, 50257" },
        { "no such width", 2, 50257, 50257, ":u16:u64", "':u64': known are :vocab=N, :u16 and :u32" },
    };
    struct key key = { 5, PURPOSE_TEST, hash_name("widths"), 0 };
    for (int i = 0; i < COUNT(cases); i++) {
        unsigned char bytes[4 * N];
        char path[300];
        for (int t = 0; t < N; t++) {
            uint32_t id = (uint32_t)key_below(key, (uint64_t)t, (uint64_t)cases[i].ids_below);
            memcpy(bytes + cases[i].width * t, &id, (size_t)cases[i].width);
        }
        const char *bin = write_bytes("width.bin", bytes, (size_t)(cases[i].width * N));
        snprintf(path, sizeof path, "%s:vocab=%d%s", bin, cases[i].vocab, cases[i].given);
        if (cases[i].words) { refused(path, cases[i].words); continue; }
        struct corpus *c = open_good(path);
        assert_int_equal(corpus_info(c)->tokens, N);
        struct windows b = held(c, 0, 0, 1, 1);
        assert_int_equal(b.ids[0], key_below(key, N - N / 20, (uint64_t)cases[i].ids_below));
        corpus_close(c);
    }
    const char *const documents[] = { "abc", "def" };
    char path[300];
    snprintf(path, sizeof path, "%s:u32", make_tokens("own.tok", documents, 1, 1));
    refused(path, "':u32' is for raw tokens");
}

/* What other tools write beside and into their token files says how wide they are. */
static void test_numpy_and_megatron(void **state)
{
    (void)state;
    enum { N = 100 };
    uint32_t ids[N];
    unsigned char npy[128 + 4 * N];
    static const struct { const char *header; const char *words; } cases[] = {
        { "{'descr': '<u4', 'fortran_order': False, 'shape': (100,), }", NULL },
        { "{'descr': '<i4', 'fortran_order': False, 'shape': (20, 5), }", NULL },
        { "{'descr': '<u2', 'fortran_order': False, 'shape': (200,), }",
          "a vocabulary of 100000 does not fit in the 2 bytes of a token" },
        { "{'descr': '<i8', 'fortran_order': False, 'shape': (50,), }",
          "numbers of type '<i8': must be uint8, uint16, uint32 or int32; from Python:" },
        { "{'descr': '>u4', 'fortran_order': False, 'shape': (100,), }", "numbers of type '>u4'" },
        { "{'descr': '<u4', 'fortran_order': True, 'shape': (20, 5), }", "no array of numbers in C order" },
        { "{'descr': '<u4', 'fortran_order': False, 'shape': (99,), }", "do not agree" },
        { "{'descr': '<u4', 'fortran_order': False, 'shape': (18446744073709551615, 100), }", "do not agree" },
        { "{'descr': [('a', '<u4')], 'fortran_order': False, 'shape': (100,), }", "numbers of type [('a'" },
        { "", "no array of numbers" },
    };
    for (int i = 0; i < N; i++) ids[i] = (uint32_t)(i * 997);
    for (int i = 0; i < COUNT(cases); i++) {
        memset(npy, ' ', 128);
        memcpy(npy, "\x93NUMPY\1\0\x76\0", 10);
        memcpy(npy + 10, cases[i].header, strlen(cases[i].header));
        memcpy(npy + 128, ids, sizeof ids);
        char path[300];
        snprintf(path, sizeof path, "%s:vocab=100000", write_bytes("ids.npy", npy, sizeof npy));
        if (cases[i].words) { refused(path, cases[i].words); continue; }
        struct corpus *c = open_good(path);
        assert_string_equal(corpus_info(c)->format, "numpy");
        struct windows b = held(c, 0, 0, 1, 1);
        assert_int_equal(b.ids[0], 95 * 997);
        corpus_close(c);
    }
    for (size_t n = 1; n < sizeof npy; n += 7) {
        char path[300];
        snprintf(path, sizeof path, "%s:vocab=100000", write_bytes("cut.npy", npy, n));
        refused(path, ": ");
    }

    char path[300], index[40] = "MMIDIDX";
    snprintf(path, sizeof path, "%s:vocab=65000", write_bytes("meg.bin", ids, sizeof ids / 2));
    index[9] = 1, index[17] = 4;
    write_bytes("meg.idx", index, sizeof index);
    struct corpus *c = open_good(path);
    assert_string_equal(corpus_info(c)->format, "megatron-bin");
    assert_int_equal(corpus_info(c)->tokens, N / 2);
    corpus_close(c);
    index[17] = 5;
    write_bytes("meg.idx", index, sizeof index);
    refused(path, "meg.idx: offset 17: tokens are int64 (type 5): must be uint8, uint16 or int32");
    refused(in("meg.idx"), "is the index of a Megatron data set");
    refused(write_text("words.bin", "only words, and no tokens"),
            "nor raw tokens (named *.bin, and no text); 'sluice data pack' makes");
    refused(write_text("table.parquet", "PAR1....PAR1"), "table.parquet: is Parquet; from Python:");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llmc_shards),
        cmocka_unit_test(test_nanogpt_files),
        cmocka_unit_test(test_llama_shards),
        cmocka_unit_test(test_width_of_raw_tokens),
        cmocka_unit_test(test_numpy_and_megatron),
    };
    return RUN_DATA_TESTS(tests);
}
