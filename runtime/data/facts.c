/* What a corpus is made of: lengths of its documents, ids that occur. */
#include "corpus.h"

#include <stdlib.h>

static int by_length(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The shortest, the median and the longest. */
static void spread(uint64_t *length, uint64_t n, uint64_t out[3])
{
    qsort(length, n, sizeof *length, by_length);
    out[0] = length[0];
    out[1] = length[n / 2];
    out[2] = length[n - 1];
}

static void measure_documents(const struct corpus *c, struct corpus_facts *out)
{
    uint64_t n = c->info.documents, all[3], *length = xmalloc(n * sizeof *length);
    for (uint64_t d = 0; d < n; d++) length[d] = c->bound[d + 1] - c->bound[d];
    spread(length, n, all);
    out->shortest = all[0];
    out->median = all[1];
    out->longest = all[2];
    free(length);
}

struct answers_facts corpus_answers_facts(const struct corpus *c, int seq)
{
    struct answers_facts f = { 0 };
    uint64_t n = c->info.documents, *prompt = xmalloc(2 * n * sizeof *prompt), *answer = prompt + n, filled = 0;
    for (uint64_t d = 0; d < n; d++) {
        uint64_t length = c->bound[d + 1] - c->bound[d];
        answer[d] = corpus_answers(c, c->bound[d], c->bound[d + 1]);
        prompt[d] = length - answer[d];
        f.longer += seq && length > (uint64_t)seq + 1;
    }
    spread(prompt, n, f.prompt);
    spread(answer, n, f.answer);
    free(prompt);
    if (!seq || !c->info.train_tokens) return f;
    const struct layout *l = corpus_layout(c, 0, c->info.train_tokens - 1, seq);
    for (int64_t w = 0; w < l->n; w++) {
        uint64_t tokens = 0;
        for (int64_t i = l->begin[w]; i < l->begin[w + 1]; i++) tokens += (uint64_t)l->piece[i].tokens;
        filled += tokens < (uint64_t)seq ? tokens : (uint64_t)seq;
    }
    f.windows = l->n;
    f.filled = (double)filled / ((double)l->n * seq);
    return f;
}

struct corpus_facts corpus_facts(const struct corpus *c)
{
    enum { BLOCK = 4096 };
    struct corpus_facts facts = { 0 };
    int32_t ids[BLOCK];
    bool *seen = xcalloc((size_t)c->info.vocab, sizeof *seen);
    for (uint64_t first = 0; first < c->info.tokens; first += BLOCK) {
        int n = c->info.tokens - first < BLOCK ? (int)(c->info.tokens - first) : BLOCK;
        c->read(c, first, n, ids);
        for (int i = 0; i < n; i++) seen[ids[i]] = true;
    }
    for (int id = 0; id < c->info.vocab; id++)
        if (seen[id]) { facts.ids++; facts.largest_id = id; }
    free(seen);
    measure_documents(c, &facts);
    return facts;
}
