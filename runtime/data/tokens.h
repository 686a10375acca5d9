/* Sluice's token file, little-endian: version 1 of text, version 2 of text some of which is answers:

     header      128 bytes, below
     tokens      tokens * token_bytes; training documents first, then held-out ones
     padding     zeros up to a multiple of 8
     bounds      (documents + 1) * uint64: where each document begins; the last is `tokens`
     answers     of version 2: a bit for each token, in uint64, the lowest first: whether it counts as a target; the
                 first of a document never does; zeros up to a multiple of 64

   `tables` and `self` are checked at each opening, `content` only on demand: it costs a read of the whole file.
   `self` covers the header before it, thus the other two hashes: it is the identity of the corpus. */
#ifndef SLUICE_DATA_TOKENS_H
#define SLUICE_DATA_TOKENS_H

#include "base/base.h"

#define TOKENS_MAGIC "SLUICETK"
enum { TOKENS_TEXT = 1, TOKENS_ANSWERS = 2 };                 /* versions */

struct token_header {
    char magic[8];
    uint32_t version, token_bytes;          /* 1, 2 or 4 */
    char tokenizer[16];                     /* "byte" or "unknown", filled with zeros */
    uint32_t vocab, reserved;               /* reserved: 0 */
    uint64_t tokens, documents, train_tokens, train_documents;
    uint64_t text_bytes;                    /* 0: not known */
    struct hash content;                    /* of all that follows the header */
    struct hash tables;                     /* of bounds and answers */
    struct hash self;                       /* of the header before this field */
};
_Static_assert(sizeof(struct token_header) == 128, "the header is part of the format");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "token files are little-endian");

/* Where the table of bounds begins. */
static inline uint64_t tokens_bounds_at(const struct token_header *h)
{
    return (sizeof *h + h->tokens * h->token_bytes + 7) / 8 * 8;
}

/* uint64 of the tables, which lie one behind the other. */
static inline uint64_t tokens_bounds_words(const struct token_header *h) { return h->documents + 1; }

static inline uint64_t tokens_answers_words(const struct token_header *h)
{
    return h->version == TOKENS_ANSWERS ? (h->tokens + 63) / 64 : 0;
}

static inline uint64_t tokens_tables_bytes(const struct token_header *h)
{
    return (tokens_bounds_words(h) + tokens_answers_words(h)) * sizeof(uint64_t);
}

#endif
