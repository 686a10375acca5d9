/* Token files, foreign formats, packing, batches, the synthetic language: good files, bad files and their messages. */
#define _GNU_SOURCE
#include "data/data.h"
#include "data/tokens.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/sluice-data-XXXXXX";

/* A path in the test's folder; eight may be held at once. */
static const char *in(const char *name)
{
    static char path[8][256];
    static int next;
    char *p = path[next++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static const char *write_bytes(const char *name, const void *bytes, size_t n)
{
    FILE *f = fopen(in(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return in(name);
}

static const char *write_text(const char *name, const char *text) { return write_bytes(name, text, strlen(text)); }

static unsigned char *read_bytes(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    unsigned char *bytes = xmalloc(*n + 1);
    assert_int_equal(fread(bytes, 1, *n, f), *n);
    fclose(f);
    return bytes;
}

static struct corpus *open_good(const char *path)
{
    struct corpus *c;
    struct err e;
    if (corpus_open(&c, path, &e)) fail_msg("%s", e.text);
    return c;
}

/* The file is refused with these words, after its name. */
static void refused(const char *path, const char *words)
{
    struct corpus *c;
    struct err e;
    if (!corpus_open(&c, path, &e)) fail_msg("%s was accepted; expected: %s", path, words);
    assert_null(c);
    if (strncmp(e.text, path, strlen(path)) || !strstr(e.text, words)) fail_msg("'%s'\n  lacks '%s'", e.text, words);
}

static void pack_refused(const char *input, double held_out, const char *words)
{
    struct pack_options o = { .held_out = held_out, .strict = true };
    struct packed made;
    struct err e;
    if (!corpus_pack(&input, 1, in("refused.tok"), &o, &made, &e)) fail_msg("%s was packed; expected: %s", input, words);
    packed_free(&made);
    if (!strstr(e.text, words)) fail_msg("'%s'\n  lacks '%s'", e.text, words);
    assert_int_not_equal(access(in("refused.tok"), F_OK), 0);
}

/* Its counts; the list of files is gone. */
static struct packed pack(const char *const *inputs, int n, const char *out, double held_out, bool split_blank_lines)
{
    struct pack_options o = { .held_out = held_out, .split_blank_lines = split_blank_lines };
    struct packed made;
    struct err e;
    if (corpus_pack(inputs, n, out, &o, &made, &e)) fail_msg("%s", e.text);
    struct packed counts = made;
    packed_free(&made);
    return counts;
}

/* Brings the hashes of a token file in memory up to date, as far as its counts allow. */
static void seal(unsigned char *bytes, size_t size)
{
    struct token_header h;
    memcpy(&h, bytes, sizeof h);
    h.content = hash_bytes(bytes + sizeof h, size - sizeof h);
    if (h.tokens <= size && h.documents <= size && h.token_bytes <= 2) {
        uint64_t at = tokens_bounds_at(&h), n = (h.documents + 1) * sizeof(uint64_t);
        if (at + n <= size) h.bounds = hash_bytes(bytes + at, n);
    }
    h.self = hash_bytes(&h, offsetof(struct token_header, self));
    memcpy(bytes, &h, sizeof h);
}

/* A token file of exactly these documents. */
static const char *make_tokens(const char *name, const char *const *document, int train, int held)
{
    unsigned char file[4096] = { 0 };
    struct token_header h = { .magic = TOKENS_MAGIC, .version = 1, .token_bytes = 1, .tokenizer = "byte", .vocab = 256,
                              .documents = (uint64_t)(train + held), .train_documents = (uint64_t)train };
    uint64_t bound[16] = { 0 };
    for (int d = 0; d < train + held; d++) {
        memcpy(file + sizeof h + h.tokens, document[d], strlen(document[d]));
        h.tokens = bound[d + 1] = h.tokens + strlen(document[d]);
        if (d < train) h.train_tokens = h.tokens;
    }
    h.text_bytes = h.tokens;
    size_t at = tokens_bounds_at(&h), size = at + (h.documents + 1) * sizeof *bound;
    memcpy(file + at, bound, (h.documents + 1) * sizeof *bound);
    memcpy(file, &h, sizeof h);
    seal(file, size);
    return write_bytes(name, file, size);
}

static int baselines(const struct corpus *c, const struct samples *fit, double *unigram, double *bigram, struct err *e)
{
    struct eval_set all = corpus_eval_set(c, 0);
    return corpus_baselines(c, fit, &all, unigram, bigram, e);
}

/* ---- batches ---- */

struct windows { int32_t ids[512], target[512], start[512], noise_key[512]; float weight[512], present[512]; };

static struct inputs inputs_of(struct windows *w)
{
    return (struct inputs){ .ids = w->ids, .target = w->target, .start = w->start, .weight = w->weight, .present = w->present, .noise_key = w->noise_key };
}

static struct windows held(const struct corpus *c, int64_t most, int64_t first, int batch, int seq)
{
    struct windows b;
    struct eval_set s = corpus_eval_set(c, most);
    memset(&b, 0xff, sizeof b);
    corpus_eval_batch(c, &s, first, batch, seq, inputs_of(&b));
    return b;
}

static struct windows take(const struct corpus *c, uint64_t seed, int64_t first, int batch, int seq)
{
    struct windows b;
    memset(&b, 0, sizeof b);
    corpus_batch(c, seed, first, batch, seq, inputs_of(&b));
    return b;
}

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
    const int32_t ids[8] = { 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h' }, target[8] = { 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i' };
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
    b = held(c, 0, 0, 2, 3);                                                /* "xyz": two targets, and what fills the batch */
    const int32_t last[6] = { 'y', 'z', 0, 0, 0, 0 }, begins[6] = { 0, 1, 2, 0, 0, 0 };
    for (int i = 0; i < 6; i++) {
        assert_int_equal(b.target[i], last[i]);
        assert_int_equal(b.start[i], begins[i]);
        assert_true(b.weight[i] == (i == 1));
    }
    corpus_close(c);
}

/* A nanoGPT file whose ids count up: the first id of a window tells where it lies. */
static struct corpus *counting(int tokens)
{
    uint16_t *ids = xmalloc((size_t)tokens * 2);
    for (int i = 0; i < tokens; i++) ids[i] = (uint16_t)i;
    write_bytes("counting.bin", ids, (size_t)tokens * 2);
    free(ids);
    char path[300];
    snprintf(path, sizeof path, "%s:vocab=65536", in("counting.bin"));
    return open_good(path);
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
    static const struct { int seq, batch, ranks; } cuts[] = { { 1, 1, 1 }, { 7, 1, 1 }, { 7, 3, 1 }, { 16, 4, 1 }, { 32, 4, 1 }, { 32, 2, 3 }, { 128, 2, 2 }, { 250, 1, 1 } };
    static const int asked[] = { 0, 1, 31, 128, HELD - 2, HELD - 1, HELD, 100000 };
    struct corpus *c = counting(TOKENS);
    for (int a = 0; a < COUNT(asked); a++) {
        struct eval_set s = corpus_eval_set(c, asked[a]);
        int targets = asked[a] && asked[a] < HELD - 1 ? asked[a] : HELD - 1;
        assert_int_equal(s.targets, targets);
        for (int k = 0; k < COUNT(cuts); k++) {
            int seq = cuts[k].seq, batch = cuts[k].batch, seen[HELD] = { 0 };
            for (int64_t first = 0; first < eval_windows(&s, seq); first += batch * cuts[k].ranks)
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
    struct eval_set all = corpus_eval_set(c, 0), same = corpus_eval_set(c, HELD + 5), less = corpus_eval_set(c, HELD - 2);
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

/* ---- packing ---- */

static void test_pack_inputs(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in("texts"), 0755), 0);
    assert_int_equal(mkdir(in("texts/b"), 0755), 0);
    write_text("texts/c.txt", "third\n\n");
    write_text("texts/a.jsonl", "{\"text\": \"first\\u00e9\", \"id\": 3}\n\n{\"text\": \"\"}\r\n{\"text\": \"second\"}");
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
    assert_true(hash_equal(i->hash, made.info.hash) && made.info.tokens == i->tokens && made.info.documents == i->documents);
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

/* Documents that differ, so that no text of one lies in another by chance. */
static const char *write_many(const char *name, int n)
{
    FILE *f = fopen(in(name), "wb");
    for (int d = 0; d < n; d++) fprintf(f, "document %d says %d twice: %d\n\n", d, d * 7919 % 10007, d * d);
    for (int d = 0; d < n; d += 3) fprintf(f, "document %d says %d twice: %d\n\n", d, d * 7919 % 10007, d * d);    /* again */
    fclose(f);
    return in(name);
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
    unsigned char *bytes = read_bytes(out, &size), *train = bytes + sizeof(struct token_header), *held = train + i.train_tokens;
    int measured = 0;
    for (unsigned char *line = held, *end; line < held + i.held_out_tokens; line = end + 1, measured++) {
        end = memchr(line, '\n', (size_t)(held + i.held_out_tokens - line));
        assert_non_null(end);
        assert_null(memmem(train, i.train_tokens, line, (size_t)(end - line + 1)));
    }
    assert_true(measured > 100);
    free(bytes);
}

/* Texts that differ in line ends, blanks, the file they came in: each with its like on one side, though the bytes are kept. */
static void test_alike_on_one_side(void **state)
{
    (void)state;
    enum { MANY = 100, WAYS = 7 };
    static const char *const way[WAYS] = { "%d is one\n\n%d more\n", "%d is one\n\n%d more", "%d is one\r\n\r\n%d more\r\n", "%d is one\r\r%d more\r", "%d is one  \n\n%d more\t\n\n\n",
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
    assert_int_equal(made.repeated, MANY);                                  /* the lines of JSON are the first way's files */
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
    pack_refused(write_text("l.jsonl", "{\"text\": \"a\"}\n{\"words\": \"b\"}\n"), 0, "l.jsonl:2: no string 'text'; there is words");
    pack_refused(write_text("l.jsonl", "{\"text\": 5}\n"), 0, "l.jsonl:1: no string 'text'; there is text");
    pack_refused(write_text("l.jsonl", "[\"text\"]\n"), 0, "l.jsonl:1: neither a string nor an object with a string 'text'");
    pack_refused(write_text("l.jsonl", "{\"text\": \"\xff\"}\n"), 0, "l.jsonl:1: column");
    pack_refused(in("no such file"), 0, "no such file: No such file or directory");
    pack_refused(write_text("empty.txt", ""), 0, "the inputs hold no text");
    pack_refused(write_text("one.txt", "one document"), 0.05, "1 documents, 0 of them held out: a share of 0.05 needs more documents");
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
    const char *input = write_bytes("long.txt", memset(text, 'a', 100000), 100000), *out = write_text("full.tok", "older");
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
        { "both.tok", "beside/script.lua", "%s/beside/both.tok" }, { "both.tok", "script.lua", "%s/both.tok" }, { "both.tok", NULL, "%s/both.tok" },
        { "working.tok", "beside/script.lua", "%s/working.tok" }, { "../working.tok:vocab=65", "beside/script.lua", "%s/working.tok:vocab=65" },
        { "nowhere.tok", "beside/script.lua", "nowhere.tok" }, { "/nowhere.tok", "beside/script.lua", "/nowhere.tok" }, { "synthetic:3", "beside/script.lua", "synthetic:3" },
    };
    for (int i = 0; i < COUNT(cases); i++) {
        char *found = corpus_find(cases[i].path, cases[i].script);
        const char *form = cases[i].found;
        snprintf(want, sizeof want, "%s%s", strncmp(form, "%s", 2) == 0 ? full : "", strncmp(form, "%s", 2) == 0 ? form + 2 : form);
        assert_string_equal(found, want);
        free(found);
    }
    assert_int_equal(chdir(here), 0);
    free(here);
    free(full);
}

/* ---- damaged token files ---- */

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
    BAD("offset 8: version 2: this program reads version 1", h->version = 2);
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
    BAD("offset 141: token 97: must be below the vocabulary, 97", strcpy(h->tokenizer, "unknown"), h->vocab = 97, memset(bad + 128, 1, 39), bad[141] = 97);
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
            if (at < sizeof(struct token_header) || at >= 168) fail_msg("a flipped bit at %zu was not found at opening", at);
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
            bad[at] = (unsigned char)(small ? (uint64_t)bad[at] + key_below(key, (uint64_t)(3 * i + 3), 5) - 2 : key_below(key, (uint64_t)(3 * i + 3), 256));
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

/* ---- foreign formats ---- */

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
    refused(write_bytes("llama.bin", &s, sizeof s), "offset 1304: token 2147483648: must be below the vocabulary, 128256");
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
        { "a vocabulary that does not fit", 2, 70000, 50257, ":u16", "a vocabulary of 70000 does not fit in the 2 bytes of a token" },
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
        { "{'descr': '<u2', 'fortran_order': False, 'shape': (200,), }", "a vocabulary of 100000 does not fit in the 2 bytes of a token" },
        { "{'descr': '<i8', 'fortran_order': False, 'shape': (50,), }", "numbers of type '<i8': must be uint8, uint16, uint32 or int32; from Python:" },
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
    refused(write_text("words.bin", "only words, and no tokens"), "nor raw tokens (named *.bin, and no text); 'sluice data pack' makes");
    refused(write_text("table.parquet", "PAR1....PAR1"), "table.parquet: is Parquet; from Python:");
}

/* ---- baselines ---- */

static void test_baselines(void **state)
{
    (void)state;
    double unigram, bigram;
    struct err e;
    const char *const documents[] = { "aab", "aba", "ab", "b", "aa" };
    struct corpus *c = open_good(make_tokens("tiny.tok", documents, 2, 3));
    assert_int_equal(baselines(c, NULL, &unigram, &bigram, &e), 0);
    assert_true(fabs(unigram + log(3. / 260)) < 1e-12);                             /* targets of training: a 2, b 2; of held out: b, a */
    assert_true(fabs(bigram + (log(3. / 259) + log(2. / 259)) / 2) < 1e-12);        /* aa 1, ab 2 of 3 */
    corpus_close(c);
    c = open_good(make_tokens("tiny.tok", documents, 5, 0));
    assert_int_equal(baselines(c, NULL, &unigram, &bigram, &e), -1);
    assert_non_null(strstr(e.text, "tiny.tok: nothing to measure on"));
    corpus_close(c);
}

/* Fitted on what training read: one window knows less than all, a complete epoch is the split whatever the seed, and more adds nothing. */
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

/* ---- the synthetic language ---- */

/* Held-out text from its first document, as one string. */
static char *held_out_text(const struct corpus *c, int bytes)
{
    enum { SEQ = 500 };
    char *text = xcalloc(1, (size_t)bytes + SEQ + 1);
    for (int at = 0; at < bytes; at += SEQ) {
        struct windows b = held(c, 0, at / SEQ, 1, SEQ);
        for (int s = 0; s < SEQ; s++) text[at + s] = (char)b.ids[s];
    }
    return text;
}

static void test_synthetic_is_a_function_of_its_seed(void **state)
{
    (void)state;
    double begin = clock_seconds();
    struct corpus *c = open_good("synthetic"), *same = open_good("synthetic:1"), *other = open_good("synthetic:2");
    assert_true(clock_seconds() - begin < 3 * 0.15);
    const struct corpus_info *i = corpus_info(c);
    assert_true(hash_equal(i->hash, corpus_info(same)->hash));
    assert_false(hash_equal(i->hash, corpus_info(other)->hash));
    assert_in_range(i->tokens, 7500000, 8500000);
    assert_int_equal(i->vocab, 256);
    assert_string_equal(i->format, "synthetic");
    char *a = held_out_text(c, 100000), *b = held_out_text(same, 100000), *o = held_out_text(other, 100000);
    assert_string_equal(a, b);
    assert_int_not_equal(strcmp(a, o), 0);
    for (int64_t first = 0; first < 50; first++) {                          /* random access gives what reading in order gives */
        struct windows one = take(c, 7, first, 1, 300), two = take(same, 7, first, 1, 300);
        assert_memory_equal(&one, &two, sizeof one);
    }
    /* The identity names the version of the language: a change of the text must change LANGUAGE_VERSION, and this. */
    char hash[33];
    hash_print(hash_bytes(a, 100000), hash);
    assert_string_equal(hash, "7e39ea2c8c80131500008332af85cca7");
    free(a); free(b); free(o);
    corpus_close(c); corpus_close(same); corpus_close(other);
}

struct reach { int documents, people, recur, far, facts, brackets, lists; };

/* Who has what is said in the first sentence, "NAME has the QUALITY THING and NAME has ..", and stays true. */
static void check_facts(const char *text, const char *end, struct reach *r)
{
    char name[16], has[16], the[16], quality[16], thing[16], claim[64];
    int used = 0;
    for (const char *at = text; sscanf(at, "%15s %15s %15s %15s %15[a-z]%n", name, has, the, quality, thing, &used) == 5; at += used + 4) {
        snprintf(claim, sizeof claim, "%s %s %s ", name, has, the);
        size_t length = strlen(claim);
        const char *again = strstr(at + used, name);
        r->people++;
        r->recur += again != NULL;
        r->far += again && again - at > 100;
        for (const char *said = at; (said = strstr(said + 1, claim)); r->facts++) {
            if (end - said < 32) break;                                     /* perhaps cut */
            size_t n = strlen(quality);
            assert_memory_equal(said + length, quality, n);
            assert_memory_equal(said + length + n + 1, thing, strlen(thing));
        }
        if (at[used] == '.') break;
    }
}

static void check_brackets(const char *text, struct reach *r)
{
    char closing[8];
    int depth = 0;
    for (; *text; text++) {
        const char *open = strchr("([{", *text);
        if (open) {
            closing[depth++] = ")]}"[open - "([{"];
            assert_true(depth < 8);
        } else if (strchr(")]}", *text)) {
            assert_true(depth > 0 && closing[--depth] == *text);
            r->brackets++;
        } else if (*text == '.') assert_int_equal(depth, 0);
    }
}

/* "NUMERAL things: a, b and c.": a numeral always stands before equally long lists. */
static void check_lists(const char *text, int items[26][26], struct reach *r)
{
    for (const char *colon = text; (colon = strchr(colon + 1, ':'));) {
        const char *dot = strchr(colon, '.'), *numeral = colon;
        if (!dot) return;                                                   /* cut */
        for (int words = 0; words < 2; words++) while (numeral > text && *--numeral != ' ' && *numeral != '\n') { }
        numeral += numeral > text;
        int n = 2, *known = &items[numeral[0] - 'a'][numeral[1] - 'a'];
        for (const char *at = colon; at < dot; at++) n += *at == ',';
        if (*known) assert_int_equal(*known, n);
        *known = n;
        r->lists++;
    }
}

static void test_synthetic_reaches_far(void **state)
{
    (void)state;
    enum { SEQ = 500 };
    struct corpus *c = open_good("synthetic:3");
    struct reach r = { 0 };
    int items[26][26] = { { 0 } }, size = 0;
    char text[4001];
    struct eval_set all = corpus_eval_set(c, 0);
    for (int64_t w = 0; w < (int64_t)all.targets / SEQ; w++) {
        struct windows b = held(c, 0, w, 1, SEQ);
        for (int s = 0; s < SEQ; s++) {
            assert_in_range(size, 0, 3999);
            text[size++] = (char)b.ids[s];
            if (b.weight[s] == 1) continue;                                 /* a document ends here */
            assert_in_range(size, 500, 4000);
            text[size] = 0;
            check_facts(text, text + size, &r);
            check_brackets(text, &r);
            check_lists(text, items, &r);
            r.documents++;
            size = 0;
        }
    }
    corpus_close(c);
    assert_in_range(r.documents, 178, 180);
    assert_in_range(r.people, 2 * r.documents + 1, 4 * r.documents);
    assert_true(r.recur > r.people * 97 / 100 && r.far > r.people / 4);
    assert_true(r.facts > 2 * r.documents && r.brackets > 5 * r.documents && r.lists > 3 * r.documents);
}

static void test_synthetic_baselines(void **state)
{
    (void)state;
    struct corpus *c = open_good("synthetic");
    double unigram, bigram;
    struct err e;
    assert_int_equal(baselines(c, NULL, &unigram, &bigram, &e), 0);
    assert_true(unigram > bigram + 0.5 && bigram > 1.8);
    corpus_close(c);
}

static int make_folder(void **state) { (void)state; return mkdtemp(folder) ? 0 : -1; }

static int remove_folder(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_documents_in_windows),
        cmocka_unit_test(test_every_window_once_per_epoch),
        cmocka_unit_test(test_held_out_is_one_set),
        cmocka_unit_test(test_batch_is_a_function_of_seed_and_sample),
        cmocka_unit_test(test_pack_inputs),
        cmocka_unit_test(test_split_is_by_document),
        cmocka_unit_test(test_alike_on_one_side),
        cmocka_unit_test(test_bad_inputs),
        cmocka_unit_test(test_data_is_found),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_bad_paths),
        cmocka_unit_test(test_rules_of_the_header),
        cmocka_unit_test(test_damage_is_found),
        cmocka_unit_test(test_random_headers),
        cmocka_unit_test(test_llmc_shards),
        cmocka_unit_test(test_nanogpt_files),
        cmocka_unit_test(test_llama_shards),
        cmocka_unit_test(test_width_of_raw_tokens),
        cmocka_unit_test(test_numpy_and_megatron),
        cmocka_unit_test(test_baselines),
        cmocka_unit_test(test_baselines_of_samples),
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_synthetic_is_a_function_of_its_seed),
        cmocka_unit_test(test_synthetic_reaches_far),
        cmocka_unit_test(test_synthetic_baselines),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
