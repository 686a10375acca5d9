/* Data files for tests in a folder of their own: written, opened, packed, refused with the words that are expected. */
#ifndef DATA_FIXTURE_H
#define DATA_FIXTURE_H

#define _GNU_SOURCE                     /* include this file first */

#include "data/data.h"
#include "data/tokens.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/sluice-data-XXXXXX";

/* A path in the test's folder; eight may be held at once. */
static inline const char *in(const char *name)
{
    static char path[8][256];
    static int next;
    char *p = path[next++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static inline const char *write_bytes(const char *name, const void *bytes, size_t n)
{
    FILE *f = fopen(in(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return in(name);
}

static inline const char *write_text(const char *name, const char *text)
{
    return write_bytes(name, text, strlen(text));
}

static inline unsigned char *read_bytes(const char *path, size_t *n)
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

static inline struct corpus *open_good(const char *path)
{
    struct corpus *c;
    struct err e;
    if (corpus_open(&c, path, &e)) fail_msg("%s", e.text);
    return c;
}

/* The file is refused with these words, after its name. */
static inline void refused(const char *path, const char *words)
{
    struct corpus *c;
    struct err e;
    if (!corpus_open(&c, path, &e)) fail_msg("%s was accepted; expected: %s", path, words);
    assert_null(c);
    if (strncmp(e.text, path, strlen(path)) || !strstr(e.text, words)) fail_msg("'%s'\n  lacks '%s'", e.text, words);
}

/* Its counts; the list of files is gone. */
static inline struct packed pack(const char *const *inputs, int n, const char *out, double held_out,
                                 bool split_blank_lines)
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
static inline void seal(unsigned char *bytes, size_t size)
{
    struct token_header h;
    memcpy(&h, bytes, sizeof h);
    h.content = hash_bytes(bytes + sizeof h, size - sizeof h);
    if (h.tokens <= size && h.documents <= size && h.token_bytes <= 2) {
        uint64_t at = tokens_bounds_at(&h), n = tokens_tables_bytes(&h);
        if (at + n <= size) h.tables = hash_bytes(bytes + at, n);
    }
    h.self = hash_bytes(&h, offsetof(struct token_header, self));
    memcpy(bytes, &h, sizeof h);
}

/* A token file of exactly these documents. */
static inline const char *make_tokens(const char *name, const char *const *document, int train, int held)
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

static inline int baselines(const struct corpus *c, const struct samples *fit, double *unigram, double *bigram,
                            struct err *e)
{
    struct eval_set all = corpus_eval_set(c, 0);
    return corpus_baselines(c, fit, &all, unigram, bigram, e);
}

/* ---- batches ---- */

struct windows { int32_t ids[512], target[512], start[512], noise_key[512]; float weight[512], present[512]; };

static inline struct inputs inputs_of(struct windows *w)
{
    return (struct inputs){ .ids = w->ids, .target = w->target, .start = w->start, .weight = w->weight,
                            .present = w->present, .noise_key = w->noise_key };
}

static inline struct windows held(const struct corpus *c, int64_t most, int64_t first, int batch, int seq)
{
    struct windows b;
    struct eval_set s = corpus_eval_set(c, most);
    memset(&b, 0xff, sizeof b);
    corpus_eval_batch(c, &s, first, batch, seq, inputs_of(&b));
    return b;
}

static inline struct windows take(const struct corpus *c, uint64_t seed, int64_t first, int batch, int seq)
{
    struct windows b;
    memset(&b, 0, sizeof b);
    corpus_batch(c, seed, first, batch, seq, inputs_of(&b));
    return b;
}

/* A nanoGPT file whose ids count up: the first id of a window tells where it lies. */
static inline struct corpus *counting(int tokens)
{
    uint16_t *ids = xmalloc((size_t)tokens * 2);
    for (int i = 0; i < tokens; i++) ids[i] = (uint16_t)i;
    write_bytes("counting.bin", ids, (size_t)tokens * 2);
    free(ids);
    char path[300];
    snprintf(path, sizeof path, "%s:vocab=65536", in("counting.bin"));
    return open_good(path);
}

/* ---- packing ---- */

/* Documents that differ, so that no text of one lies in another by chance. */
static inline const char *write_many(const char *name, int n)
{
    FILE *f = fopen(in(name), "wb");
    for (int d = 0; d < n; d++) fprintf(f, "document %d says %d twice: %d\n\n", d, d * 7919 % 10007, d * d);
    /* Again */
    for (int d = 0; d < n; d += 3) fprintf(f, "document %d says %d twice: %d\n\n", d, d * 7919 % 10007, d * d);
    fclose(f);
    return in(name);
}

/* ---- the folder ---- */

static inline int make_folder(void **state) { (void)state; return mkdtemp(folder) ? 0 : -1; }

static inline int remove_folder(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

#define RUN_DATA_TESTS(tests) cmocka_run_group_tests(tests, make_folder, remove_folder)

#endif
