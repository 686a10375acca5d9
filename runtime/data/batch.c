/* Batches as pure functions of (seed, sample): a split is cut into windows, an epoch is a keyed permutation of them.
   Text is cut anywhere; of data with answers windows hold whole documents (layout.c), of a task to train on one sample
   each. */
#include "corpus.h"
#include "task.h"

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
    if (c->generated) return (int64_t)c->info.samples;
    if (c->answer) return tokens ? corpus_layout(c, 0, tokens - 1, seq)->n : 0;
    return tokens ? (int64_t)((tokens - 1) / (uint64_t)seq) : 0;
}

/* How many tokens follow `first` up to the last of so many that count. */
static uint64_t reach(const struct corpus *c, uint64_t first, uint64_t targets)
{
    uint64_t token = first;
    while (targets) targets -= corpus_counts(c, ++token);
    return token - first;
}

struct eval_set corpus_eval_set(const struct corpus *c, int64_t most)
{
    const struct corpus_info *i = &c->info;
    uint64_t held = i->held_out_tokens, all = c->answer ? i->answers - i->train_answers : held ? held - 1 : 0;
    struct eval_set s = { .first = i->train_tokens, .targets = most && (uint64_t)most < all ? (uint64_t)most : all };
    s.span = c->answer ? reach(c, s.first, s.targets) : s.targets;
    uint64_t words[] = { i->hash.low, i->hash.high, s.first, s.targets };
    s.hash = hash_bytes(words, sizeof words);
    return s;
}

int64_t eval_windows(const struct corpus *c, const struct eval_set *s, int seq)
{
    return c->answer ? corpus_layout(c, s->first, s->span, seq)->n
                     : (int64_t)((s->span + (uint64_t)seq - 1) / (uint64_t)seq);
}

/* What a model reads: in a task's blind form no answers; and what fills up a sample of a task is not there. */
static void read_token(const struct corpus *c, int32_t id, bool counts, int at, struct inputs to)
{
    to.ids[at] = counts && generated_blind(c) ? TOKEN_BLANK : id;
    to.present[at] = !c->generated || id != TOKEN_PAD;
}

/* A row for each token from row `at` on, while there are rows; the last token has no target. Gives the row behind. */
static int put(const struct corpus *c, struct piece p, int at, int rows, struct inputs to)
{
    int32_t *ids = xmalloc((size_t)p.tokens * sizeof *ids), begin = at;
    uint64_t document = corpus_document(c, p.from);
    c->read(c, p.from, p.tokens, ids);
    for (int s = 0; s < p.tokens && at < rows; s++, at++) {
        uint64_t next = p.from + (uint64_t)s + 1;
        bool last = s + 1 == p.tokens, ends = next == c->bound[document + 1];
        read_token(c, ids[s], c->answer && corpus_counts(c, next - 1), at, to);
        to.target[at] = last ? 0 : ids[s + 1];
        to.weight[at] = !last && !ends && corpus_counts(c, next);
        to.start[at] = begin;
        if (ends) { document++; begin = at + 1; }
    }
    free(ids);
    return at;
}

/* The rest is a document of nothing. */
static void fill_up(int at, int seq, struct inputs to)
{
    for (int32_t begin = at; at < seq; at++) {
        to.ids[at] = to.target[at] = 0;
        to.weight[at] = to.present[at] = 0;
        to.start[at] = begin;
    }
}

/* Behind the last window all is filled up. */
static void fill(const struct corpus *c, const struct eval_set *s, uint64_t number, int seq, struct inputs to)
{
    int at = 0;
    if (c->answer) {
        const struct layout *l = corpus_layout(c, s->first, s->span, seq);
        if (number < (uint64_t)l->n)
            for (int64_t i = l->begin[number]; i < l->begin[number + 1]; i++) at = put(c, l->piece[i], at, seq, to);
    } else {
        uint64_t before = number * (uint64_t)seq, left = before < s->span ? s->span - before : 0;
        int targets = left < (uint64_t)seq ? (int)left : seq;
        if (targets) at = put(c, (struct piece){ s->first + before, targets + 1 }, 0, targets, to);
    }
    fill_up(at, seq, to);
}

static void fill_sample(const struct corpus *c, uint64_t number, int seq, struct inputs to)
{
    struct item item = { 0 };
    generated_sample(c, PURPOSE_DATA, number, &item);
    const struct item_row *r = item.row;
    int n = r->n < seq ? r->n : seq;
    for (int at = 0; at < n; at++) {
        bool last = at + 1 == r->n;
        read_token(c, r->id[at], r->counts[at], at, to);
        to.target[at] = last ? 0 : r->id[at + 1];
        to.weight[at] = !last && r->counts[at + 1];
        to.start[at] = 0;
    }
    fill_up(n, seq, to);
    item_free(&item);
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
    struct eval_set all = { .span = c->info.train_tokens - 1 };
    for (int b = 0; b < batch; b++) {
        uint64_t sample = (uint64_t)(first + b);
        struct key key = { seed, PURPOSE_DATA, hash_name("windows"), sample / windows };
        uint64_t number = corpus_permute(key, sample % windows, windows);
        if (c->generated) fill_sample(c, number, seq, row_of(to, b, seq));
        else fill(c, &all, number, seq, row_of(to, b, seq));
    }
    inputs_noise(to, seed, first, batch);
}

void corpus_eval_batch(const struct corpus *c, const struct eval_set *s, int64_t first, int batch, int seq,
                       struct inputs to)
{
    for (int b = 0; b < batch; b++)
        fill(c, s, (uint64_t)(first + b), seq, row_of(to, b, seq));
}
