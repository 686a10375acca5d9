/* Which format a file is, and opening it. */
#include "inputs.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char synthetic[] = "synthetic";

/* A number as people write it: digits and nothing else. */
static bool number(const char *text, uint64_t *value)
{
    char *end;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && !errno;
}

static bool built_in(const char *path)
{
    const char *rest = path + strlen(synthetic);
    return corpus_is_task(path) || (!strncmp(path, synthetic, strlen(synthetic)) && (!*rest || *rest == ':'));
}

int corpus_path_length(const char *path)
{
    static const char *const options[] = { ":vocab=", ":u16", ":u32" };
    for (const char *colon = path; (colon = strchr(colon, ':')); colon++)
        for (int i = 0; i < COUNT(options); i++) {
            size_t n = strlen(options[i]);
            if (!strncmp(colon, options[i], n) && (i == 0 || !colon[n] || colon[n] == ':')) return (int)(colon - path);
        }
    return (int)strlen(path);
}

static int read_given(char *options, struct given *given, struct err *e)
{
    uint64_t vocab;
    *given = (struct given){ 0 };
    for (char *word = strtok(options, ":"); word; word = strtok(NULL, ":")) {
        const char *value = word + strlen("vocab=");
        if (!strcmp(word, "u16") || !strcmp(word, "u32")) given->token_bytes = word[1] == '1' ? 2 : 4;
        else if (strncmp(word, "vocab=", strlen("vocab=")))
            return err_set(e, "':%s': known are :vocab=N, :u16 and :u32", word);
        else if (!number(value, &vocab) || vocab < 1 || vocab > VOCAB_MOST)
            return err_set(e, "the vocabulary '%s' must be a whole number of 1 to %d", value, VOCAB_MOST);
        else given->vocab = (int)vocab;
    }
    return 0;
}

/* The whole path of folder/name with what is given behind it, or NULL where there is no such file. */
static char *whole(const char *folder, int length, const char *name)
{
    int file = corpus_path_length(name);
    char *path = text_new("%.*s%.*s", length, folder, file, name), *full = realpath(path, NULL),
         *out = full ? text_new("%s%s", full, name + file) : NULL;
    free(path);
    free(full);
    return out;
}

char *corpus_find(const char *path, const char *script)
{
    const char *slash = script ? strrchr(script, '/') : NULL;
    char *found = NULL;
    if (built_in(path) || *path == '/') return xstrdup(path);
    if (slash) found = whole(script, (int)(slash - script + 1), path);
    if (!found) found = whole("", 0, path);
    return found ? found : xstrdup(path);
}

static int open_built_in(struct corpus *c, const char *path, struct err *e)
{
    const char *seed_text = path + strlen(synthetic);
    uint64_t seed = 1;
    if (corpus_is_task(path)) return generated_open(c, arena_text(c->arena, "%s", path), e);
    if (*seed_text && !number(seed_text + 1, &seed))
        return err_set(e, "the seed '%s' must be a whole number of 0 to 2^64-1", seed_text + 1);
    synthetic_open(c, seed);
    return 0;
}

static bool raw(const struct map *m, const char *path, const struct given *given)
{
    size_t length = strlen(path);
    return length > 4 && !strcmp(path + length - 4, ".bin") &&
           (given->token_bytes || (!sniff_magic(m, 4) && sniff_other(m)));
}

static int open_file(struct corpus *c, char *path, struct err *e)
{
    struct given given;
    int length = corpus_path_length(path);
    if (read_given(path + length, &given, e)) return -1;
    path[length] = 0;
    if (piped_is(path))
        return err_set(e, "is %s, and tokens are read more than once: pack its text into a file, with "
                          "sluice data pack %s -o FILE.tok", strcmp(path, "-") ? "a named pipe" : "standard input",
                          path);
    if (regular_map(&c->map, path, e)) return -1;
    if (c->map.size == 0) return err_set(e, "is empty");
    if (tokens_magic(&c->map)) return tokens_open(c, given, e);
    if (llmc_magic(&c->map)) return llmc_open(c, path, given, e);
    if (npy_magic(&c->map)) return npy_open(c, path, given, e);
    if (raw(&c->map, path, &given)) return raw_open(c, path, given, e);
    const char *other = sniff_magic(&c->map, 4);
    if (other) return err_set(e, "is %s", other);
    return err_set(e, "offset 0: neither a token file (starts with SLUICETK), an llm.c shard (starts with 20240520 or "
                      "20240801), a numpy array nor raw tokens (named *.bin, and no text); 'sluice data pack' makes a "
                      "token file of text");
}

bool corpus_holds_tokens(const char *path)
{
    int length = corpus_path_length(path);
    struct given given = { 0 };
    struct map m;
    struct err e;
    if (path[length]) return true;
    if (regular_map(&m, path, &e)) return false;
    bool holds = tokens_magic(&m) || llmc_magic(&m) || npy_magic(&m) || raw(&m, path, &given);
    regular_unmap(&m);
    return holds;
}

int corpus_open(struct corpus **out, const char *path, struct err *e)
{
    struct arena *arena = arena_new();
    struct corpus *c = arena_alloc(arena, sizeof *c);
    c->arena = arena;
    c->layouts = arena_alloc(arena, sizeof *c->layouts);
    c->info.path = arena_text(arena, "%s", path);
    *out = NULL;
    int failed = built_in(path) ? open_built_in(c, path, e)
                                : open_file(c, arena_text(arena, "%s", path), e);
    if (failed) {
        err_prefix(e, "%s: ", path);
        corpus_close(c);
        return -1;
    }
    *out = c;
    return 0;
}

int corpus_verify(const struct corpus *c, struct err *e)
{
    if (strcmp(c->info.format, "sluice-tokens")) return 0;
    return tokens_verify(c, e) ? err_prefix(e, "%s: ", c->info.path) : 0;
}
