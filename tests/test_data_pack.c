/* Packing: documents of every kind of input, their split, what is refused, a full disk; where data is found. */
#include "data_fixture.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void pack_refused(const char *input, double held_out, const char *words)
{
    struct pack_options o = { .held_out = held_out, .strict = true };
    struct packed made;
    struct err e;
    if (!corpus_pack(&input, 1, in("refused.tok"), &o, &made, &e))
        fail_msg("%s was packed; expected: %s", input, words);
    packed_free(&made);
    if (!strstr(e.text, words)) fail_msg("'%s'\n  lacks '%s'", e.text, words);
    assert_int_not_equal(access(in("refused.tok"), F_OK), 0);
}

static void test_pack_inputs(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in("texts"), 0755), 0);
    assert_int_equal(mkdir(in("texts/b"), 0755), 0);
    write_text("texts/c.txt", "third\n\n");
    write_text("texts/a.jsonl",
               "{\"text\": \"first\\u00e9\", \"id\": 3}\n\n{\"text\": \"\"}\r\n{\"text\": \"second\"}");
    write_text("texts/b/x.fortune", "%\none\nline\n%\n%% two\n%\n%\n");
    write_text("texts/b/empty.txt", "");
    write_text("texts/.hidden", "no");
    const char *const inputs[] = { in("texts"), write_text("d.txt", "p\nq\n\n \t\n\nr\n") };
    const char *out = in("packed.tok");
    struct packed made = pack(inputs, 2, out, 0, false);
    size_t size;
    unsigned char *bytes = read_bytes(out, &size);
    const char want[] = "first\xc3\xa9second" "one\nline\n%% two\n" "third\n\n" "p\nq\n\n \t\n\nr\n";
    assert_memory_equal(bytes + sizeof(struct token_header), want, sizeof want - 1);
    free(bytes);
    struct corpus *c = open_good(out);
    struct err e;
    const struct corpus_info *i = corpus_info(c);
    assert_int_equal(corpus_verify(c, &e), 0);
    assert_int_equal(i->tokens, sizeof want - 1);
    assert_int_equal(i->documents, 6);
    assert_int_equal(i->train_tokens, i->tokens);
    assert_int_equal(i->vocab, 256);
    assert_true(i->bytes_per_token == 1);
    assert_string_equal(i->tokenizer, "byte");
    assert_string_equal(i->format, "sluice-tokens");
    assert_string_equal(i->path, out);
    assert_true(hash_equal(i->hash, made.info.hash) && made.info.tokens == i->tokens &&
                made.info.documents == i->documents);
    char text[16];
    assert_int_equal(corpus_token_text(c, 0xe9, text), 1);
    assert_int_equal((unsigned char)text[0], 0xe9);
    corpus_close(c);

    made = pack(inputs + 1, 1, out, 0, true);                               /* replaces the old file */
    assert_int_equal(made.info.documents, 2);
    bytes = read_bytes(out, &size);
    assert_memory_equal(bytes + sizeof(struct token_header), "p\nq\nr\n", 6);
    free(bytes);
}

static void test_split_is_by_document(void **state)
{
    (void)state;
    enum { MANY = 3000 };
    const char *input = write_many("many.txt", MANY), *out = in("many.tok");
    struct packed made = pack(&input, 1, out, 0.05, true), again = pack(&input, 1, in("again.tok"), 0.05, true);
    struct corpus_info i = made.info;
    assert_true(hash_equal(i.hash, again.info.hash));
    assert_int_equal(i.documents, MANY + MANY / 3);
    assert_true(made.repeated == MANY / 3 && made.alike == 0);
    assert_int_equal(i.train_tokens + i.held_out_tokens, i.tokens);
    double share = (double)i.held_out_tokens / (double)i.tokens;
    assert_true(share > 0.03 && share < 0.07);
    size_t size;
    unsigned char *bytes = read_bytes(out, &size), *train = bytes + sizeof(struct token_header),
                  *held = train + i.train_tokens;
    int measured = 0;
    for (unsigned char *line = held, *end; line < held + i.held_out_tokens; line = end + 1, measured++) {
        end = memchr(line, '\n', (size_t)(held + i.held_out_tokens - line));
        assert_non_null(end);
        assert_null(memmem(train, i.train_tokens, line, (size_t)(end - line + 1)));
    }
    assert_true(measured > 100);
    free(bytes);
}

/* Texts that differ in line ends, blanks, the file they came in: each with its like on one side, though the bytes are
   kept. */
static void test_alike_on_one_side(void **state)
{
    (void)state;
    enum { MANY = 100, WAYS = 7 };
    static const char *const way[WAYS] = { "%d is one\n\n%d more\n", "%d is one\n\n%d more",
                                           "%d is one\r\n\r\n%d more\r\n", "%d is one\r\r%d more\r",
                                           "%d is one  \n\n%d more\t\n\n\n",
                                           "\xef\xbb\xbf%d is one\n\n%d more\n", "%d is\none %d\nmore" };
    assert_int_equal(mkdir(in("alike"), 0755), 0);
    FILE *lines = fopen(in("alike/lines.jsonl"), "wb");
    for (int d = 0; d < MANY; d++) fprintf(lines, "{\"text\": \"%d is one\\n\\n%d more\\n\"}\n", d, 7 * d);
    fclose(lines);
    for (int w = 0; w < WAYS; w++)
        for (int d = 0; d < MANY; d++) {
            char text[100], name[48];
            snprintf(text, sizeof text, way[w], d, 7 * d);
            snprintf(name, sizeof name, "alike/%d-%d.txt", d, w);
            write_text(name, text);
        }
    const char *input = in("alike");
    struct packed made = pack(&input, 1, in("alike.tok"), 0.2, false);
    assert_int_equal(made.info.documents, MANY * (WAYS + 1));
    assert_int_equal(made.repeated, MANY);    /* the lines of JSON are the first way's files */
    assert_int_equal(made.alike, MANY * (WAYS - 1));
    size_t size;
    unsigned char *bytes = read_bytes(in("alike.tok"), &size);
    struct token_header h;
    memcpy(&h, bytes, sizeof h);
    const uint64_t *bound = (const void *)(bytes + tokens_bounds_at(&h));
    int sides[MANY][2] = { { 0 } };
    for (uint64_t d = 0; d < h.documents; d++) {
        const char *text = (const char *)bytes + sizeof h + bound[d];
        sides[atoi(text[0] == '\xef' ? text + 3 : text)][d >= h.train_documents]++;
    }
    for (int d = 0; d < MANY; d++) assert_true(sides[d][0] == WAYS + 1 || sides[d][1] == WAYS + 1);
    assert_in_range(h.documents - h.train_documents, MANY * (WAYS + 1) / 10, MANY * (WAYS + 1) * 3 / 10);
    free(bytes);
}

static void test_bad_inputs(void **state)
{
    (void)state;
    struct err e;
    pack_refused(write_text("l.jsonl", "{\"text\": \"a\"}\n\n{\"text\": }\n"), 0, "l.jsonl:3: column");
    pack_refused(write_text("l.jsonl", "{\"text\": \"a\"}\n{\"words\": \"b\"}\n"), 0,
                 "l.jsonl:2: no string 'text'; there is words");
    pack_refused(write_text("l.jsonl", "{\"text\": 5}\n"), 0, "l.jsonl:1: no string 'text'; there is text");
    pack_refused(write_text("l.jsonl", "[\"text\"]\n"), 0,
                 "l.jsonl:1: neither a string nor an object with a string 'text'");
    pack_refused(write_text("l.jsonl", "{\"text\": \"\xff\"}\n"), 0, "l.jsonl:1: column");
    pack_refused(in("no such file"), 0, "no such file: No such file or directory");
    pack_refused(write_text("empty.txt", ""), 0, "the inputs hold no text");
    pack_refused(write_text("one.txt", "one document"), 0.05,
                 "1 documents, 0 of them held out: a share of 0.05 needs more documents");
    pack_refused(in("one.txt"), 1, "held_out = 1: must be 0 or more and below 1");
    pack_refused(in("one.txt"), NAN, "held_out = nan");
    pack_refused("/dev/null", 0, "/dev/null: is a device, not a file");
    assert_int_equal(symlink(".", in("texts/loop")), 0);
    pack_refused(in("texts"), 0, "a link that leads back?");

    struct pack_options o = { 0 };
    struct packed made;
    const char *input = in("one.txt");
    assert_int_equal(corpus_pack(&input, 1, in("absent/out.tok"), &o, &made, &e), -1);
    packed_free(&made);
    assert_non_null(strstr(e.text, "absent/out.tok: cannot be written: No such file"));
    char command[300];
    snprintf(command, sizeof command, "test -z \"$(ls -A %s | grep '^[.]')\"", folder);
    assert_int_equal(system(command), 0);                                   /* no temporary file is left */
}

/* A full disk is told as such, and leaves what was there. */
static void test_disk_full(void **state)
{
    (void)state;
    struct pack_options o = { 0 };
    struct packed made;
    struct err e;
    struct rlimit before;
    char *text = xmalloc(100000);
    const char *input = write_bytes("long.txt", memset(text, 'a', 100000), 100000),
               *out = write_text("full.tok", "older");
    free(text);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    for (rlim_t most = 0; most < 100000; most += 33333) {
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ most, before.rlim_max }), 0);
        int status = corpus_pack(&input, 1, out, &o, &made, &e), cause = errno;
        packed_free(&made);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(status, -1);
        assert_int_equal(cause, EFBIG);
        assert_non_null(strstr(e.text, "full.tok: cannot be written: File too large"));
    }
    size_t left;
    unsigned char *bytes = read_bytes(out, &left);
    assert_int_equal(left, 5);
    assert_memory_equal(bytes, "older", 5);
    free(bytes);
}

/* Beside the script first, then in the working folder; the whole path, with the vocabulary that was given. */
static void test_data_is_found(void **state)
{
    (void)state;
    char *here = getcwd(NULL, 0), *full = realpath(folder, NULL), want[600];
    assert_int_equal(mkdir(in("beside"), 0755), 0);
    write_text("both.tok", "");
    write_text("beside/both.tok", "");
    write_text("working.tok", "");
    assert_int_equal(chdir(folder), 0);
    static const struct { const char *path, *script, *found; } cases[] = {
        { "both.tok", "beside/script.lua", "%s/beside/both.tok" }, { "both.tok", "script.lua", "%s/both.tok" },
        { "both.tok", NULL, "%s/both.tok" },
        { "working.tok", "beside/script.lua", "%s/working.tok" },
        { "../working.tok:vocab=65", "beside/script.lua", "%s/working.tok:vocab=65" },
        { "nowhere.tok", "beside/script.lua", "nowhere.tok" }, { "/nowhere.tok", "beside/script.lua", "/nowhere.tok" },
        { "synthetic:3", "beside/script.lua", "synthetic:3" },
    };
    for (int i = 0; i < COUNT(cases); i++) {
        char *found = corpus_find(cases[i].path, cases[i].script);
        const char *form = cases[i].found;
        snprintf(want, sizeof want, "%s%s", strncmp(form, "%s", 2) == 0 ? full : "",
                 strncmp(form, "%s", 2) == 0 ? form + 2 : form);
        assert_string_equal(found, want);
        free(found);
    }
    assert_int_equal(chdir(here), 0);
    free(here);
    free(full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pack_inputs),
        cmocka_unit_test(test_split_is_by_document),
        cmocka_unit_test(test_alike_on_one_side),
        cmocka_unit_test(test_bad_inputs),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_data_is_found),
    };
    return RUN_DATA_TESTS(tests);
}
