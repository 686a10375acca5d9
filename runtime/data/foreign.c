/* Token files of other programs: nanoGPT's raw uint16 .bin, and llm.c's shards (a header, then uint16). Neither has
   documents, so all but the last twentieth is one for training, the rest one held out. */
#include "corpus.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LLMC_MAGIC = 20240520, LLMC_EVAL_MAGIC = 20240522, LLMC_VERSION = 1, LLMC_HEADER = 256 * 4, LLMC_VOCAB = 50257 };
enum { SIDECAR_MOST = 1 << 26 };

static int32_t word(const struct map *m, int i)
{
    int32_t value;
    memcpy(&value, m->bytes + 4 * i, sizeof value);
    return value;
}

bool llmc_magic(const struct map *m) { return m->size >= 4 && (word(m, 0) == LLMC_MAGIC || word(m, 0) == LLMC_EVAL_MAGIC); }

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
    else if (value < 1 || value > 65536) failed = err_set(e, "%s: vocab_size = %lld: must be 1 to 65536", name, (long long)value);
    else *vocab = (int)value;
    json_decref(meta);
    return failed;
}

static int take(struct corpus *c, const char *format, size_t offset, int vocab, struct err *e)
{
    uint64_t tokens = (c->map.size - offset) / 2, *bound = arena_alloc(c->arena, 3 * sizeof *bound);
    if (tokens < 20) return err_set(e, "%llu tokens: at least 20 are needed, one in twenty is held out", (unsigned long long)tokens);
    bound[1] = tokens - tokens / 20;
    bound[2] = tokens;
    c->bound = bound;
    c->train_documents = 1;
    c->info = (struct corpus_info){
        .path = c->info.path, .format = format, .tokenizer = "unknown", .vocab = vocab, .tokens = tokens, .documents = 2,
        .train_tokens = bound[1], .held_out_tokens = tokens - bound[1],
        .hash = hash_more(hash_bytes(c->map.bytes, c->map.size), &vocab, sizeof vocab),
    };
    return corpus_take_tokens(c, offset, 2, e);
}

int nanogpt_open(struct corpus *c, const char *path, int vocab, struct err *e)
{
    if (!vocab && sidecar_vocab(c->arena, path, &vocab, e)) return -1;
    if (!vocab)
        return err_set(e, "raw uint16 tokens carry no vocabulary: put {\"vocab_size\": N} into meta.json beside the file, or name it %s:vocab=N",
                       path);
    if (c->map.size % 2) return err_set(e, "%zu bytes: uint16 tokens take two bytes each", c->map.size);
    return take(c, "nanogpt-bin", 0, vocab, e);
}

int llmc_open(struct corpus *c, const char *path, int vocab, struct err *e)
{
    const struct map *m = &c->map;
    if (word(m, 0) == LLMC_EVAL_MAGIC)
        return err_set(e, "offset 0: magic %d: a multiple-choice file of llm.c, not a shard of tokens", LLMC_EVAL_MAGIC);
    if (m->size < LLMC_HEADER) return err_set(e, "%zu bytes: an llm.c shard's header alone takes %d", m->size, LLMC_HEADER);
    if (word(m, 1) != LLMC_VERSION)
        return err_set(e, "offset 4: version %d: this program reads version %d of llm.c's shards", word(m, 1), LLMC_VERSION);
    int64_t tokens = word(m, 2);
    if (tokens < 0 || m->size != LLMC_HEADER + 2 * (size_t)tokens)
        return err_set(e, "offset 8: %lld tokens: a file of %zu bytes holds %zu", (long long)tokens, m->size, (m->size - LLMC_HEADER) / 2);
    if (!vocab && sidecar_vocab(c->arena, path, &vocab, e)) return -1;
    return take(c, "llmc-shard", LLMC_HEADER, vocab ? vocab : LLMC_VOCAB, e);      /* version 1 is GPT-2's tokens */
}
