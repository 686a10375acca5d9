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
int64_t corpus_windows(const struct corpus *c, int seq)
{
    uint64_t tokens = c->info.train_tokens;
    return tokens ? (int64_t)((tokens - 1) / (uint64_t)seq) : 0;
}

struct eval_set corpus_eval_set(const struct corpus *c, int64_t most)
{
    uint64_t held = c->info.held_out_tokens, all = held ? held - 1 : 0;
    struct eval_set s = { c->info.train_tokens, most && (uint64_t)most < all ? (uint64_t)most : all, { 0, 0 } };
    uint64_t words[] = { c->info.hash.low, c->info.hash.high, s.first, s.targets };
    s.hash = hash_bytes(words, sizeof words);
    return s;
}

int64_t eval_windows(const struct eval_set *s, int seq)
{
    return (int64_t)((s->targets + (uint64_t)seq - 1) / (uint64_t)seq);
}

/* A window whose first token is `from`, of which `targets` count; the rest is a document of nothing. */
static void fill(const struct corpus *c, uint64_t from, int targets, int seq, struct inputs to)
{
    size_t bytes = (size_t)targets * sizeof(int32_t);
    int32_t *window = xmalloc(bytes + sizeof *window), begin = 0;               /* [targets+1] */
    if (targets) c->read(c, from, targets + 1, window);
    memcpy(to.ids, window, bytes);
    memcpy(to.target, window + 1, bytes);
    free(window);
    uint64_t document = targets ? corpus_document(c, from) : 0;
    for (int s = 0; s < targets; s++) {
        bool last = from + (uint64_t)s + 1 == c->bound[document + 1];
        to.weight[s] = last ? 0 : 1;
        to.present[s] = 1;
        to.start[s] = begin;
        if (last) { document++; begin = s + 1; }
    }
    for (int s = targets; s < seq; s++) {
        to.ids[s] = to.target[s] = 0;
        to.weight[s] = to.present[s] = 0;
        to.start[s] = targets;
    }
}

static struct inputs row_of(struct inputs in, int64_t row, int seq)
{
    int64_t at = row * seq;
    return (struct inputs){ .ids = in.ids + at, .target = in.target + at, .start = in.start + at,
                            .weight = in.weight + at, .present = in.present + at };
}

void corpus_batch(const struct corpus *c, uint64_t seed, int64_t first, int batch, int seq, struct inputs to)
{
    uint64_t windows = (uint64_t)corpus_windows(c, seq);
    INVARIANT(windows > 0 && first >= 0, "sample %lld of %llu windows", (long long)first, (unsigned long long)windows);
    for (int b = 0; b < batch; b++) {
        uint64_t sample = (uint64_t)(first + b);
        struct key key = { seed, PURPOSE_DATA, hash_name("windows"), sample / windows };
        fill(c, corpus_permute(key, sample % windows, windows) * (uint64_t)seq, seq, seq, row_of(to, b, seq));
    }
    inputs_noise(to, seed, first, batch);
}

void corpus_eval_batch(const struct corpus *c, const struct eval_set *s, int64_t first, int batch, int seq,
                       struct inputs to)
{
    for (int b = 0; b < batch; b++) {
        uint64_t before = (uint64_t)(first + b) * (uint64_t)seq, left = before < s->targets ? s->targets - before : 0;
        fill(c, s->first + before, left < (uint64_t)seq ? (int)left : seq, seq, row_of(to, b, seq));
    }
}
