/* Opening and verifying Sluice's own token files. */
#include "corpus.h"
#include "tokens.h"

#include <string.h>

#define AT(field) offsetof(struct token_header, field)

bool tokens_magic(const struct map *m) { return m->size >= 8 && !memcmp(m->bytes, TOKENS_MAGIC, 8); }

static int check_header(const struct token_header *h, size_t size, struct err *e)
{
    if (size < sizeof *h) return err_set(e, "%zu bytes: a token file's header alone takes %zu", size, sizeof *h);
    if (h->version != TOKENS_TEXT && h->version != TOKENS_ANSWERS)
        return err_set(e, "offset %zu: version %u: this program reads versions %d and %d", AT(version), h->version,
                       TOKENS_TEXT, TOKENS_ANSWERS);
    if (!hash_equal(h->self, hash_bytes(h, AT(self))))
        return err_set(e, "offset %zu: the header does not match its own hash: the file is damaged", AT(self));
    if (h->token_bytes != 1 && h->token_bytes != 2 && h->token_bytes != 4)
        return err_set(e, "offset %zu: %u bytes a token: must be 1, 2 or 4", AT(token_bytes), h->token_bytes);
    bool byte = !strncmp(h->tokenizer, "byte", sizeof h->tokenizer);
    if (!byte && strncmp(h->tokenizer, "unknown", sizeof h->tokenizer))
        return err_set(e, "offset %zu: tokenizer '%.16s': must be 'byte' or 'unknown'", AT(tokenizer), h->tokenizer);
    uint32_t most = h->token_bytes == 4 ? VOCAB_MOST : 65536;
    if (h->vocab < 1 || h->vocab > most)
        return err_set(e, "offset %zu: vocabulary %u: must be 1 to %u", AT(vocab), h->vocab, most);
    if (byte && (h->vocab != 256 || h->token_bytes != 1 || h->text_bytes != h->tokens))
        return err_set(e, "offset %zu: vocabulary %u, %u bytes a token, %llu bytes of text: the byte tokenizer has "
                          "256, 1 and as many as tokens",
                       AT(vocab), h->vocab, h->token_bytes, (unsigned long long)h->text_bytes);
    if (h->reserved) return err_set(e, "offset %zu: reserved field is %u: must be 0", AT(reserved), h->reserved);
    return 0;
}

/* Bounds the counts by the size before anything is computed from them. */
static int check_counts(const struct token_header *h, size_t size, struct err *e)
{
    if (h->tokens < 1 || h->tokens > size)
        return err_set(e, "offset %zu: %llu tokens: must be 1 or more and fit in the file's %zu bytes", AT(tokens),
                       (unsigned long long)h->tokens, size);
    if (h->documents < 1 || h->documents > h->tokens)
        return err_set(e, "offset %zu: %llu documents: must be 1 to the number of tokens, %llu", AT(documents),
                       (unsigned long long)h->documents, (unsigned long long)h->tokens);
    if (h->train_documents > h->documents)
        return err_set(e, "offset %zu: %llu training documents of %llu", AT(train_documents),
                       (unsigned long long)h->train_documents, (unsigned long long)h->documents);
    uint64_t want = tokens_bounds_at(h) + tokens_tables_bytes(h);
    if (size != want)
        return err_set(e, "%zu bytes: %llu tokens of %u bytes and %llu documents take %llu", size,
                       (unsigned long long)h->tokens, h->token_bytes, (unsigned long long)h->documents,
                       (unsigned long long)want);
    return 0;
}

static int check_bounds(const struct token_header *h, const uint64_t *bound, struct err *e)
{
    unsigned long long at = tokens_bounds_at(h);
    if (!hash_equal(h->tables, hash_bytes(bound, tokens_tables_bytes(h))))
        return err_set(e, "offset %llu: the table of documents%s does not match its hash: the file is damaged", at,
                       h->version == TOKENS_ANSWERS ? " and answers" : "");
    if (bound[0] != 0)
        return err_set(e, "offset %llu: document 0 begins at %llu: must be 0", at, (unsigned long long)bound[0]);
    for (uint64_t d = 0; d < h->documents; d++)
        if (bound[d + 1] <= bound[d])
            return err_set(e, "offset %llu: document %llu ends at %llu: must be beyond its beginning, %llu",
                           at + (d + 1) * sizeof *bound, (unsigned long long)d, (unsigned long long)bound[d + 1],
                           (unsigned long long)bound[d]);
    if (bound[h->documents] != h->tokens)
        return err_set(e, "offset %llu: the last document ends at %llu: must be the number of tokens, %llu",
                       at + h->documents * sizeof *bound, (unsigned long long)bound[h->documents],
                       (unsigned long long)h->tokens);
    if (bound[h->train_documents] != h->train_tokens)
        return err_set(e, "offset %zu: %llu training tokens: the training documents hold %llu", AT(train_tokens),
                       (unsigned long long)h->train_tokens, (unsigned long long)bound[h->train_documents]);
    return 0;
}

/* That no first token of a document counts, and none beyond the last; in all at least one. */
static int check_answers(const struct corpus *c, const struct token_header *h, struct err *e)
{
    unsigned long long at = tokens_bounds_at(h) + tokens_bounds_words(h) * sizeof(uint64_t);
    if (h->tokens % 64 && c->answer[h->tokens / 64] >> h->tokens % 64)
        return err_set(e, "offset %llu: answers beyond the last of %llu tokens", at + h->tokens / 64 * sizeof(uint64_t),
                       (unsigned long long)h->tokens);
    for (uint64_t d = 0; d < h->documents; d++)
        if (corpus_counts(c, c->bound[d]))
            return err_set(e, "offset %llu: the first token of document %llu counts: nothing predicts it",
                           at + c->bound[d] / 64 * sizeof(uint64_t), (unsigned long long)d);
    if (corpus_answers(c, 0, h->tokens) == 0) return err_set(e, "offset %llu: no token counts as an answer", at);
    return 0;
}

int tokens_open(struct corpus *c, struct given given, struct err *e)
{
    const struct token_header *h = (const void *)c->map.bytes;
    if (given.vocab)
        return err_set(e, "':vocab=%d' is for files without a vocabulary; this one states its own", given.vocab);
    if (given.token_bytes)
        return err_set(e, "':u%d' is for raw tokens; this file's header states their width", 8 * given.token_bytes);
    if (check_header(h, c->map.size, e) || check_counts(h, c->map.size, e)) return -1;
    const uint64_t *bound = (const void *)(c->map.bytes + tokens_bounds_at(h));
    if (check_bounds(h, bound, e)) return -1;
    c->bound = bound;
    c->train_documents = h->train_documents;
    c->info = (struct corpus_info){
        .path = c->info.path, .format = "sluice-tokens",
        .tokenizer = strncmp(h->tokenizer, "byte", 4) ? "unknown" : "byte",
        .vocab = (int)h->vocab, .tokens = h->tokens, .documents = h->documents,
        .train_tokens = h->train_tokens, .held_out_tokens = h->tokens - h->train_tokens,
        .bytes_per_token = (double)h->text_bytes / (double)h->tokens, .hash = h->self,
    };
    if (h->version == TOKENS_ANSWERS) {
        c->answer = bound + tokens_bounds_words(h);
        if (check_answers(c, h, e)) return -1;
        c->info.answers = corpus_answers(c, 0, h->tokens);
        c->info.train_answers = corpus_answers(c, 0, h->train_tokens);
    }
    return corpus_take_tokens(c, sizeof *h, (int)h->token_bytes, e);
}

int tokens_verify(const struct corpus *c, struct err *e)
{
    const struct token_header *h = (const void *)c->map.bytes;
    struct hash found = hash_bytes(c->map.bytes + sizeof *h, c->map.size - sizeof *h);
    if (hash_equal(found, h->content)) return 0;
    char is[33], was[33];
    hash_print(found, is);
    hash_print(h->content, was);
    return err_set(e, "offset %zu: the content's hash is %s, the header says %s: the file is damaged", sizeof *h, is,
                   was);
}
