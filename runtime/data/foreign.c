/* Token files of other programs: nanoGPT's raw .bin of uint16 (or uint32), Megatron's, whose index says how wide its
   tokens are, numpy's .npy, and llm.c's shards (a header, then uint16 of GPT-2 or uint32 of Llama 3). Their documents
   are not known: all but the last twentieth is one for training, the rest one held out. */
#define _GNU_SOURCE
#include "corpus.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LLMC_EVAL_MAGIC = 20240522, LLMC_HEADER = 256 * 4, SIDECAR_MOST = 1 << 26 };
static const struct llmc { int32_t magic, version; int token_bytes, vocab; const char *format; } llmc[] = {
    { 20240520, 1, 2, 50257, "llmc-shard" }, { 20240801, 7, 4, 128256, "llmc-shard-llama3" },
};

static int32_t word(const struct map *m, int i)
{
    int32_t value;
    memcpy(&value, m->bytes + 4 * i, sizeof value);
    return value;
}

static const struct llmc *llmc_kind(const struct map *m)
{
    for (int k = 0; k < COUNT(llmc); k++) if (word(m, 0) == llmc[k].magic) return &llmc[k];
    return NULL;
}

bool llmc_magic(const struct map *m) { return m->size >= 4 && (llmc_kind(m) || word(m, 0) == LLMC_EVAL_MAGIC); }

bool npy_magic(const struct map *m) { return m->size >= 10 && !memcmp(m->bytes, "\x93NUMPY", 6); }

/* {"vocab_size": N} in meta.json beside the file; 0 when there is none. */
static int sidecar_vocab(struct arena *arena, const char *path, int *vocab, struct err *e)
{
    const char *slash = strrchr(path, '/');
    char *name = arena_text(arena, "%.*smeta.json", slash ? (int)(slash - path + 1) : 0, path);
    json_error_t error;
    *vocab = 0;
    if (access(name, F_OK)) return 0;
    size_t bytes;
    char *content = regular_text(name, SIDECAR_MOST, &bytes, e);
    if (!content) return err_prefix(e, "%s: ", name);
    json_t *meta = json_loadb(content, bytes, JSON_REJECT_DUPLICATES, &error);
    free(content);
    if (!meta) return err_set(e, "%s:%d: %s", name, error.line, error.text);
    json_t *size = json_object_get(meta, "vocab_size");
    json_int_t value = json_integer_value(size);
    int failed = 0;
    if (!json_is_integer(size)) failed = err_set(e, "%s: no whole number 'vocab_size'", name);
    else if (value < 1 || value > VOCAB_MOST)
        failed = err_set(e, "%s: vocab_size = %lld: must be 1 to %d", name, (long long)value, VOCAB_MOST);
    else *vocab = (int)value;
    json_decref(meta);
    return failed;
}

static int find_vocab(const struct corpus *c, const char *path, struct given *given, struct err *e)
{
    if (!given->vocab && sidecar_vocab(c->arena, path, &given->vocab, e)) return -1;
    if (given->vocab) return 0;
    return err_set(e, "raw tokens carry no vocabulary: put {\"vocab_size\": N} into meta.json beside the file, or name "
                      "it %s:vocab=N", path);
}

static int take(struct corpus *c, const char *format, size_t offset, int token_bytes, int vocab, struct err *e)
{
    uint64_t tokens = (c->map.size - offset) / (size_t)token_bytes, *bound = arena_alloc(c->arena, 3 * sizeof *bound);
    uint64_t identity[] = { (uint64_t)vocab, (uint64_t)token_bytes };
    if (vocab > 1LL << 8 * token_bytes)
        return err_set(e, "a vocabulary of %d does not fit in the %d byte%s of a token", vocab, token_bytes,
                       token_bytes > 1 ? "s" : "");
    if (tokens < 20)
        return err_set(e, "%llu tokens: at least 20 are needed, one in twenty is held out", (unsigned long long)tokens);
    bound[1] = tokens - tokens / 20;
    bound[2] = tokens;
    c->bound = bound;
    c->train_documents = 1;
    c->info = (struct corpus_info){
        .path = c->info.path, .format = format, .tokenizer = "unknown", .vocab = vocab, .tokens = tokens,
        .documents = 2,
        .train_tokens = bound[1], .held_out_tokens = tokens - bound[1], .hash = hash_bytes(c->map.bytes, c->map.size),
    };
    if (token_bytes == 2) c->info.hash = hash_more(c->info.hash, &vocab, sizeof vocab);
    else c->info.hash = hash_more(c->info.hash, identity, sizeof identity);
    return corpus_take_tokens(c, offset, token_bytes, e);
}

/* Read two bytes at a time, the upper halves of uint32 are all 0, or nearly all small while the lower ones are not. */
static bool looks_wide(const struct map *m)
{
    enum { SMALL = VOCAB_MOST >> 16 };
    uint64_t pairs = m->size / 4, zeros[2] = { 0 }, small[2] = { 0 };
    if (m->size % 4) return false;
    for (uint64_t i = 0; i < 2 * pairs; i++) {
        uint16_t half;
        memcpy(&half, m->bytes + 2 * i, sizeof half);
        zeros[i % 2] += half == 0;
        small[i % 2] += half < SMALL;
    }
    return (zeros[1] == pairs && zeros[0] < pairs) || (small[1] * 10 > pairs * 9 && small[0] * 2 < pairs);
}

/* Megatron's index beside FILE.bin is FILE.idx: a magic, a version, the type of a token. *token_bytes: 0: there is
   none. */
static int megatron_width(const struct corpus *c, const char *path, int *token_bytes, struct err *e)
{
    static const char *const names[] = { "", "uint8", "int8", "int16", "int32", "int64", "float64", "float32",
                                         "uint16" };
    static const int width[] = { 0, 1, 0, 0, 4, 0, 0, 0, 2 };
    enum { TYPE_AT = 17 };
    char *name = arena_text(c->arena, "%.*s.idx", (int)strlen(path) - 4, path);
    struct map m;
    *token_bytes = 0;
    if (access(name, F_OK)) return 0;
    if (regular_map(&m, name, e)) return err_prefix(e, "%s: ", name);
    bool megatron = m.size > TYPE_AT && !memcmp(m.bytes, "MMIDIDX\0\0", 9);
    int type = megatron ? m.bytes[TYPE_AT] : 0;
    regular_unmap(&m);
    if (!megatron) return 0;
    if (type < COUNT(width)) *token_bytes = width[type];
    return *token_bytes ? 0
                        : err_set(e, "%s: offset %d: tokens are %s (type %d): must be uint8, uint16 or int32", name,
                                  TYPE_AT, type < COUNT(names) ? names[type] : "of no known type", type);
}

int raw_open(struct corpus *c, const char *path, struct given given, struct err *e)
{
    int indexed, width = given.token_bytes;
    if (find_vocab(c, path, &given, e) || megatron_width(c, path, &indexed, e)) return -1;
    if (!width) width = indexed;
    if (!width && given.vocab <= 65536 && looks_wide(&c->map))
        return err_set(e, "tokens of uint16 are expected, but these look like uint32: name it %s:vocab=%d:u32 (or :u16 "
                          "if they are uint16)", path, given.vocab);
    if (!width) width = given.vocab <= 65536 ? 2 : 4;
    if (c->map.size % (size_t)width)
        return err_set(e, "%zu bytes: uint%d tokens take %d bytes each", c->map.size, 8 * width, width);
    return take(c, indexed ? "megatron-bin" : "nanogpt-bin", 0, width, given.vocab, e);
}

int llmc_open(struct corpus *c, const char *path, struct given given, struct err *e)
{
    const struct map *m = &c->map;
    const struct llmc *kind = llmc_kind(m);
    if (!kind)
        return err_set(e, "offset 0: magic %d: a multiple-choice file of llm.c, not a shard of tokens",
                       LLMC_EVAL_MAGIC);
    if (given.token_bytes)
        return err_set(e, "':u%d' is for raw tokens; this file's header states their width", 8 * given.token_bytes);
    if (m->size < LLMC_HEADER)
        return err_set(e, "%zu bytes: an llm.c shard's header alone takes %d", m->size, LLMC_HEADER);
    if (word(m, 1) != kind->version)
        return err_set(e, "offset 4: version %d: this program reads version %d of llm.c's shards", word(m, 1),
                       kind->version);
    int64_t tokens = word(m, 2);
    size_t width = (size_t)kind->token_bytes;
    if (tokens < 0 || m->size != LLMC_HEADER + width * (size_t)tokens)
        return err_set(e, "offset 8: %lld tokens: a file of %zu bytes holds %zu", (long long)tokens, m->size,
                       (m->size - LLMC_HEADER) / width);
    if (!given.vocab && sidecar_vocab(c->arena, path, &given.vocab, e)) return -1;
    return take(c, kind->format, LLMC_HEADER, kind->token_bytes, given.vocab ? given.vocab : kind->vocab, e);
}

/* numpy's own header: magic, version, length, then a dictionary as Python writes it, padded to a multiple of 16 or
   64. */
int npy_open(struct corpus *c, const char *path, struct given given, struct err *e)
{
    static const struct { const char *type; int token_bytes; } types[] = {
        { "'|u1'", 1 }, { "'<u2'", 2 }, { "'<u4'", 4 }, { "'<i4'", 4 },
    };
    const unsigned char *bytes = c->map.bytes;
    bool old = bytes[6] == 1;
    size_t begin = old ? 10 : 12, length = bytes[8] | (size_t)bytes[9] << 8;
    if (!old && c->map.size >= begin) length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (c->map.size < begin || c->map.size - begin < length)
        return err_set(e, "%zu bytes: the array's header alone takes %zu", c->map.size, begin + length);
    char *header = arena_text(c->arena, "%.*s", (int)length, (const char *)bytes + begin),
         *type = strstr(header, "'descr':");
    if (given.token_bytes)
        return err_set(e, "':u%d' is for raw tokens; this file's header states their width", 8 * given.token_bytes);
    if (!type || !strstr(header, "'fortran_order': False"))
        return err_set(e, "offset %zu: no array of numbers in C order: %.60s", begin, header);
    type += strlen("'descr':");
    type += strspn(type, " ");
    int k = 0;
    while (k < COUNT(types) && strncmp(type, types[k].type, strlen(types[k].type))) k++;
    if (k == COUNT(types))
        return err_set(e, "offset %zu: numbers of type %.*s: must be uint8, uint16, uint32 or int32; from Python: "
                          "numpy.save(FILE, numpy.load(FILE).astype(numpy.uint32))", begin, (int)strcspn(type, ","),
                          type);
    size_t at = begin + length, width = (size_t)types[k].token_bytes, count = 1;
    const char *shape = strstr(header, "'shape': (");
    for (const char *s = shape ? shape + strlen("'shape': (") : ")"; *s && *s != ')'; s += strspn(s, ", ")) {
        char *end;
        size_t n = strtoull(s, &end, 10);
        if (end == s || (n && count > c->map.size / n)) { count = 0; break; }
        count *= n;
        s = end;
    }
    if (!shape || at % width || count != (c->map.size - at) / width || (c->map.size - at) % width)
        return err_set(e, "offset %zu: the header and the file's %zu bytes do not agree: %.100s", begin, c->map.size,
                       header);
    if (find_vocab(c, path, &given, e)) return -1;
    return take(c, "numpy", at, types[k].token_bytes, given.vocab, e);
}
