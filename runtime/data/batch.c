/* Batches as pure functions of (seed, sample): a split is cut into windows, an epoch is a keyed permutation of them. */
#include "corpus.h"

#include <stdlib.h>
#include <string.h>

/* A Feistel network over the next power of four, walked until it lands below count: on average under four walks. */
uint64_t corpus_permute(struct key key, uint64_t index, uint64_t count)
{
    enum { ROUNDS = 6 };
    int half = 1;
    while (half < 31 && 1ULL << 2 * half < count) half++;
    uint64_t mask = (1ULL << half) - 1;
    do {
        uint64_t left = index >> half, right = index & mask;
        for (uint64_t round = 0; round < ROUNDS; round++) {
            uint32_t bits[4];
            key_bits(key, round << 32 | right, bits);
            uint64_t mixed = left ^ (bits[0] & mask);
            left = right;
            right = mixed;
        }
        index = left << half | right;
    } while (index >= count);
    return index;
}

/* Neighbouring windows share one token: the last target of one is the first input of the next. */
int64_t corpus_windows(const struct corpus *c, enum split split, int seq)
{
    uint64_t tokens = split == SPLIT_TRAIN ? c->info.train_tokens : c->info.held_out_tokens;
    return tokens ? (int64_t)((tokens - 1) / (uint64_t)seq) : 0;
}

static uint64_t window_of(enum split split, uint64_t seed, uint64_t sample, uint64_t windows)
{
    struct key key = { seed, PURPOSE_DATA, hash_name("windows"), sample / windows };
    return split == SPLIT_TRAIN ? corpus_permute(key, sample % windows, windows) : sample % windows;
}

struct batch batch_new(int64_t tokens)
{
    size_t n = (size_t)tokens;
    struct batch b = { xcalloc(n, sizeof *b.ids), xcalloc(n, sizeof *b.target), xcalloc(n, sizeof *b.start), xmalloc(n * sizeof *b.weight) };
    for (size_t i = 0; i < n; i++) b.weight[i] = 1;
    return b;
}

void batch_free(struct batch b)
{
    free(b.ids);
    free(b.target);
    free(b.start);
    free(b.weight);
}

void corpus_batch(const struct corpus *c, enum split split, uint64_t seed, int64_t first, int batch, int seq, struct batch to)
{
    int64_t windows = corpus_windows(c, split, seq);
    INVARIANT(windows > 0 && first >= 0, "sample %lld of %lld windows", (long long)first, (long long)windows);
    size_t row_bytes = (size_t)seq * sizeof(int32_t);
    int32_t *window = xmalloc(row_bytes + sizeof *window);                      /* [S+1] */
    for (int b = 0; b < batch; b++, to.ids += seq, to.target += seq, to.weight += seq, to.start += seq) {
        uint64_t from = window_of(split, seed, (uint64_t)first + (uint64_t)b, (uint64_t)windows) * (uint64_t)seq;
        if (split == SPLIT_HELD_OUT) from += c->info.train_tokens;
        c->read(c, from, seq + 1, window);
        memcpy(to.ids, window, row_bytes);
        memcpy(to.target, window + 1, row_bytes);
        uint64_t document = corpus_document(c, from);
        int32_t begin = 0;
        for (int s = 0; s < seq; s++) {
            bool last = from + (uint64_t)s + 1 == c->bound[document + 1];
            to.weight[s] = last ? 0 : 1;
            to.start[s] = begin;
            if (last) { document++; begin = s + 1; }
        }
    }
    free(window);
}
