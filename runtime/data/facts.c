/* What a corpus is made of: lengths of its documents, ids that occur. */
#include "corpus.h"

#include <stdlib.h>

static int by_length(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void measure_documents(const struct corpus *c, struct corpus_facts *out)
{
    uint64_t n = c->info.documents, *length = xmalloc(n * sizeof *length);
    for (uint64_t d = 0; d < n; d++) length[d] = c->bound[d + 1] - c->bound[d];
    qsort(length, n, sizeof *length, by_length);
    out->shortest = length[0];
    out->median = length[n / 2];
    out->longest = length[n - 1];
    free(length);
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
