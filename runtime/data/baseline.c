/* Cross-entropy of unigram and bigram byte models, from tables of counts of the two splits. */
#include "corpus.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct counts { uint64_t bytes[256], pairs[256][256], after[256]; };   /* pairs lie within a document; after[a] = sum of pairs[a] */

static void tally(const struct corpus *c, uint64_t document, uint64_t end, struct counts *n)
{
    enum { BLOCK = 1 << 14 };
    int32_t ids[BLOCK];
    for (; document < end; document++) {
        int previous = -1;
        for (uint64_t at = c->bound[document], stop = c->bound[document + 1]; at < stop; at += BLOCK) {
            int some = stop - at < BLOCK ? (int)(stop - at) : BLOCK;
            c->read(c, at, some, ids);
            for (int i = 0; i < some; previous = ids[i++]) {
                n->bytes[ids[i]]++;
                if (previous < 0) continue;
                n->pairs[previous][ids[i]]++;
                n->after[previous]++;
            }
        }
    }
}

int corpus_baselines(const struct corpus *c, double *unigram, double *bigram, struct err *e)
{
    if (strcmp(c->info.tokenizer, "byte")) return err_set(e, "%s: baselines are of bytes; the tokenizer is '%s'", c->info.path, c->info.tokenizer);
    struct counts *fit = xcalloc(2, sizeof *fit), *held = fit + 1;
    double one = 0, two = 0, total = (double)c->info.train_tokens, count = 0;
    tally(c, 0, c->train_documents, fit);
    tally(c, c->train_documents, c->info.documents, held);
    for (int a = 0; a < 256; a++)
        for (int b = 0; b < 256; b++) {
            double n = (double)held->pairs[a][b];
            if (n == 0) continue;
            one -= n * log(((double)fit->bytes[b] + 1) / (total + 256));
            two -= n * log(((double)fit->pairs[a][b] + 1) / ((double)fit->after[a] + 256));
            count += n;
        }
    free(fit);
    if (count == 0) return err_set(e, "%s: nothing to measure on: no held-out document of two bytes or more", c->info.path);
    *unigram = one / count;
    *bigram = two / count;
    return 0;
}
