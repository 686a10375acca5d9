/* What an open corpus of any format answers. */
#include "corpus.h"

#include <stdio.h>
#include <string.h>

static void read_u8(const struct corpus *c, uint64_t first, int64_t count, int32_t *ids)
{
    const uint8_t *from = (const uint8_t *)c->tokens + first;
    for (int64_t i = 0; i < count; i++) ids[i] = from[i];
}

static void read_u16(const struct corpus *c, uint64_t first, int64_t count, int32_t *ids)
{
    const uint16_t *from = (const uint16_t *)c->tokens + first;
    for (int64_t i = 0; i < count; i++) ids[i] = from[i];
}

static void read_u32(const struct corpus *c, uint64_t first, int64_t count, int32_t *ids)
{
    memcpy(ids, (const uint32_t *)c->tokens + first, (size_t)count * sizeof *ids);
}

int corpus_take_tokens(struct corpus *c, size_t offset, int token_bytes, struct err *e)
{
    enum { BLOCK = 4096 };
    int32_t ids[BLOCK];
    c->tokens = c->map.bytes + offset;
    c->token_bytes = token_bytes;
    c->read = token_bytes == 1 ? read_u8 : token_bytes == 2 ? read_u16 : read_u32;
    if (c->info.vocab >= 1LL << 8 * token_bytes) return 0;
    for (uint64_t first = 0; first < c->info.tokens; first += BLOCK) {
        int n = c->info.tokens - first < BLOCK ? (int)(c->info.tokens - first) : BLOCK;
        c->read(c, first, n, ids);
        for (int i = 0; i < n; i++)
            if ((uint32_t)ids[i] >= (uint32_t)c->info.vocab)
                return err_set(e, "offset %llu: token %u: must be below the vocabulary, %d",
                               (unsigned long long)(offset + (first + (uint64_t)i) * (uint64_t)token_bytes),
                               (uint32_t)ids[i], c->info.vocab);
    }
    return 0;
}

void corpus_keep_tokens(struct corpus *c, const int32_t *id)
{
    c->tokens = id;
    c->token_bytes = 4;
    c->read = read_u32;
}

uint64_t corpus_document(const struct corpus *c, uint64_t token)
{
    uint64_t low = 0, high = c->info.documents;     /* bound[low] <= token < bound[high] */
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (c->bound[middle] <= token) low = middle; else high = middle;
    }
    return low;
}

uint64_t corpus_answers(const struct corpus *c, uint64_t first, uint64_t end)
{
    uint64_t n = 0;
    for (; first < end && first % 64; first++) n += corpus_counts(c, first);
    for (; first + 64 <= end; first += 64) n += (uint64_t)__builtin_popcountll(c->answer[first / 64]);
    for (; first < end; first++) n += corpus_counts(c, first);
    return n;
}

void corpus_close(struct corpus *c)
{
    if (!c) return;
    regular_unmap(&c->map);
    arena_free(c->arena);
}

const struct corpus_info *corpus_info(const struct corpus *c) { return &c->info; }

int corpus_whole(const struct corpus *c, struct err *e) { return regular_whole(&c->map, e); }

int corpus_token_text(const struct corpus *c, int token, char out[16])
{
    INVARIANT(token >= 0 && token < c->info.vocab, "token %d of a vocabulary of %d", token, c->info.vocab);
    if (strcmp(c->info.tokenizer, "byte")) return snprintf(out, 16, "<%d>", token);
    out[0] = (char)token;
    return 1;
}
