/* Cross-entropy of unigram and bigram byte models, from counts of the pairs of a byte and the next in one document. */
#include "corpus.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* first[a]: pairs (a, .); second[b]: pairs (., b) */
struct counts { uint64_t pairs[256][256], first[256], second[256], all; };

static void tally(struct counts *n, const struct inputs *b, int64_t tokens)
{
    for (int64_t i = 0; i < tokens; i++) {
        if (b->weight[i] == 0) continue;
        n->pairs[b->ids[i]][b->target[i]]++;
        n->first[b->ids[i]]++;
        n->second[b->target[i]]++;
        n->all++;
    }
}

static void tally_set(struct counts *n, const struct corpus *c, const struct eval_set *s)
{
    enum { SEQ = 1 << 14 };
    struct inputs b = inputs_new(1, SEQ);
    for (int64_t w = 0; w < eval_windows(c, s, SEQ); w++) {
        corpus_eval_batch(c, s, w, 1, SEQ, b);
        tally(n, &b, SEQ);
    }
    inputs_free(b);
}

/* Of an epoch that is complete every target is counted once. */
static void tally_samples(struct counts *n, const struct corpus *c, const struct samples *s)
{
    int64_t windows = corpus_windows(c, s->seq);
    if (s->n >= windows) {
        uint64_t span = c->answer ? c->info.train_tokens - 1 : (uint64_t)(windows * s->seq);
        tally_set(n, c, &(struct eval_set){ .span = span });
        return;
    }
    struct inputs b = inputs_new(1, s->seq);
    for (int64_t i = 0; i < s->n; i++) {
        corpus_batch(c, s->seed, i, 1, s->seq, b);
        tally(n, &b, s->seq);
    }
    inputs_free(b);
}

int corpus_baselines(const struct corpus *c, const struct samples *fit, const struct eval_set *on, double *unigram,
                     double *bigram, struct err *e)
{
    if (strcmp(c->info.tokenizer, "byte"))
        return err_set(e, "%s: baselines are of bytes; the tokenizer is '%s'", c->info.path, c->info.tokenizer);
    struct counts *seen = xcalloc(2, sizeof *seen), *held = seen + 1;
    double one = 0, two = 0;
    if (fit) tally_samples(seen, c, fit);
    else if (c->info.train_tokens) tally_set(seen, c, &(struct eval_set){ .span = c->info.train_tokens - 1 });
    tally_set(held, c, on);
    for (int a = 0; a < 256; a++)
        for (int b = 0; b < 256; b++) {
            double n = (double)held->pairs[a][b];
            one -= n * log(((double)seen->second[b] + 1) / ((double)seen->all + 256));
            two -= n * log(((double)seen->pairs[a][b] + 1) / ((double)seen->first[a] + 256));
        }
    double count = (double)held->all;
    free(seen);
    if (count == 0)
        return err_set(e, "%s: nothing to measure on: no held-out document of two bytes or more", c->info.path);
    *unigram = one / count;
    *bigram = two / count;
    return 0;
}
