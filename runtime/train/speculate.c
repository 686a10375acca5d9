/* Speculative decoding. Of a draft x with chance q(x) that the model gives p(x):
       stays with chance min(1, p(x) / q(x)); else there stands a token by (p - q)+ / sum (p - q)+
   p is what plain decoding draws from, filters and all. With temperature 0 both are one token. */
#include "speculate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double speculate_tau(const struct gain *g)
{
    double more = 0;
    for (int j = 0; j < SPECULATE_MOST; j++) more += (double)g->accepted[j];
    return g->rounds ? 1 + more / (double)g->rounds : NAN;
}

/* ---- one round ---- */

bool speculate_accepts(const double *chance, const double *draft, int32_t token, double u)
{
    return u * draft[token] < chance[token];
}

/* Where rounding leaves nothing of p - q, p itself. */
void speculate_instead(const double *chance, const double *draft, int64_t vocab, double *instead)
{
    double all = 0;
    for (int64_t v = 0; v < vocab; v++) all += instead[v] = fmax(chance[v] - draft[v], 0);
    for (int64_t v = 0; v < vocab; v++) instead[v] = all > 0 ? instead[v] / all : chance[v];
}

static bool add(struct text *t, const struct writing *w, int32_t token)
{
    bool on = generate_add(t, token, w->limits);
    if (w->told) w->told(w->context, t);
    return on;
}

/* A token of the model's own: where draft j was refused, else behind all drafts. */
static int32_t own_token(const struct text *t, const double *chance, int64_t vocab, const struct drafts *drafts, int j)
{
    if (j == drafts->n) return generate_pick(chance, vocab, generate_lot(t, t->n, LOT_TOKEN));
    double *instead = xmalloc((size_t)vocab * sizeof *instead);
    speculate_instead(chance, drafts->chance + j * vocab, vocab, instead);
    int32_t token = generate_pick(instead, vocab, generate_lot(t, t->n, LOT_INSTEAD));
    free(instead);
    return token;
}

int speculate_judge(struct text *t, const struct writing *w, const real *logits, int64_t vocab,
                    const struct drafts *drafts)
{
    double *chance = xmalloc((size_t)vocab * sizeof *chance);
    int accepted = 0;
    for (int j = 0; t->ending == ENDING_NONE; j++, accepted++) {
        generate_chances(w->filter, logits + j * vocab, vocab, t, chance);
        bool stays = j < drafts->n && speculate_accepts(chance, drafts->chance + j * vocab, drafts->token[j],
                                                        generate_lot(t, t->n, LOT_TEST));
        add(t, w, stays ? drafts->token[j] : own_token(t, chance, vocab, drafts, j));
        if (!stays) break;
    }
    free(chance);
    return accepted;
}

/* ---- a text ---- */

/* The chunk from `read` on: the text, then drafts, then nothing. */
static void put_chunk(const struct text *t, const struct drafts *drafts, int64_t read, int64_t seq, int32_t *ids)
{
    for (int64_t i = 0; i < seq; i++) {
        int64_t at = read + i, draft = at - t->n;
        ids[i] = draft < 0 ? t->ids[at] : draft < drafts->n ? drafts->token[draft] : 0;
    }
}

static void count_round(struct gain *g, const struct drafts *drafts, int accepted)
{
    g->rounds++;
    for (int j = 0; j < drafts->n && j <= accepted; j++) g->tried[j]++;
    for (int j = 0; j < accepted; j++) g->accepted[j]++;
}

void speculate_write(struct decoder *d, const struct writing *w, const struct drafter *drafter, struct text *t,
                     struct gain *gain)
{
    int64_t vocab = decoder_vocab(d), seq = decoder_size(d)->seq, end = generate_most(t, w->limits);
    struct drafts drafts = { .chance = xmalloc((size_t)(SPECULATE_MOST * vocab) * sizeof *drafts.chance) };
    real *logits = xmalloc((size_t)(seq * vocab) * sizeof *logits);
    int32_t ids[SPECULATE_MOST + 1];
    INVARIANT(seq == drafter->ahead + 1 && seq <= COUNT(ids), "chunks of %lld for %d drafts", (long long)seq,
              drafter->ahead);
    gain->tokens -= t->n;
    for (int64_t read = texts_begin(d, t, 1), from = read, most = 0; t->ending == ENDING_NONE; from = read) {
        put_chunk(t, &drafts, read, seq, ids);
        decoder_feed(d, read, ids, logits);
        gain->forwards++;
        if (t->n <= read + seq) {
            int accepted = speculate_judge(t, w, logits + (t->n - 1 - read) * vocab, vocab, &drafts);
            if (most == drafter->ahead && t->ending == ENDING_NONE) count_round(gain, &drafts, accepted);
        }
        read = t->n - 1 < read + seq ? t->n - 1 : read + seq;
        most = read < t->n - 1 ? 0 : end - t->n - 1 < drafter->ahead ? end - t->n - 1 : drafter->ahead;
        drafts.n = 0;
        drafter->draft(drafter->context, t, from, read, (int)most, &drafts);
    }
    gain->tokens += t->n;
    free(logits);
    free(drafts.chance);
}

/* ---- drafters ---- */

/* Logits of a block for the last position that was read. Behind the prompt, positions that it looked at drafts for are
   drafted anew, now that their tokens are known. */
static void draft_positions(struct decoder *d, int depth, const struct text *t, const struct drafts *drafts,
                            int64_t from, int64_t read, real *logits)
{
    int64_t seq = decoder_size(d)->seq, vocab = decoder_vocab(d), last = read - 1, first = decoder_prompt(d),
            pos = from - depth + 1 > first ? from - depth + 1 : first;
    int32_t own[SPECULATE_MOST + 1], ahead[SPECULATE_MOST + 1];
    for (;; pos = pos + seq < last - seq + 1 ? pos + seq : last - seq + 1) {
        put_chunk(t, drafts, pos, seq, own);
        put_chunk(t, drafts, pos + depth, seq, ahead);
        decoder_draft(d, depth, pos, own, ahead, logits);
        if (pos + seq > last) break;
    }
    memmove(logits, logits + (last - pos) * vocab, (size_t)vocab * sizeof *logits);
}

void speculate_by_blocks(void *speculate_blocks, const struct text *t, int64_t from, int64_t read, int most,
                         struct drafts *to)
{
    const struct speculate_blocks *s = speculate_blocks;
    struct decoder *d = s->decoder;
    int64_t vocab = decoder_vocab(d), seq = decoder_size(d)->seq;
    real *logits = xmalloc((size_t)(seq * vocab) * sizeof *logits);
    struct text so_far = *t;
    so_far.ids = xmalloc((size_t)(t->n + SPECULATE_MOST) * sizeof *so_far.ids);
    memcpy(so_far.ids, t->ids, (size_t)t->n * sizeof *so_far.ids);
    for (int k = 1; k < seq; k++) {
        draft_positions(d, k, t, to, from, read, logits);
        if (k > most) continue;
        double *chance = to->chance + to->n * vocab;
        generate_chances(s->filter, logits, vocab, &so_far, chance);
        int32_t token = generate_pick(chance, vocab, generate_lot(&so_far, so_far.n, LOT_DRAFT));
        so_far.ids[so_far.n++] = to->token[to->n++] = token;
    }
    free(so_far.ids);
    free(logits);
}

/* Where the last place begins, before the end, that has the text's last `length` tokens; -1: there is none. */
static int64_t like_end(const struct text *t, int64_t length)
{
    for (int64_t at = t->n - length - 1; at >= 0; at--)
        if (memcmp(t->ids + at, t->ids + t->n - length, (size_t)length * sizeof *t->ids) == 0) return at;
    return -1;
}

void speculate_by_suffix(void *vocab, const struct text *t, int64_t from, int64_t read, int most, struct drafts *to)
{
    int64_t v = *(const int64_t *)vocab, at = -1, length = 4;
    (void)from; (void)read;
    while (at < 0 && --length > 0) at = like_end(t, length);
    for (int64_t next = at + length; at >= 0 && to->n < most && next < t->n; next++) {
        double *chance = to->chance + to->n * v;
        memset(chance, 0, (size_t)v * sizeof *chance);
        chance[t->ids[next]] = 1;
        to->token[to->n++] = t->ids[next];
    }
}
