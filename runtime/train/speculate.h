/* Speculative decoding: a text's next tokens are drafted, and the model reads all of them at once. The distribution of
   texts stays that of plain decoding, whatever drafts. Leviathan 2022 (arXiv 2211.17192), Chen 2023 (arXiv 2302.01318).
   */
#ifndef SLUICE_SPECULATE_H
#define SLUICE_SPECULATE_H

#include "texts.h"

enum { SPECULATE_MOST = 16 };

/* Drafts behind a text's tokens, and of each the chances [V] that it was drawn by, which its history alone decides. */
struct drafts { int n; int32_t token[SPECULATE_MOST]; double *chance; };

/* What drafts up to `ahead` tokens. Is told after each chunk that positions from..read - 1 of the text are read for
   good, and drafts `most` of the tokens behind the text, or fewer. */
struct drafter {
    int ahead;
    void (*draft)(void *context, const struct text *t, int64_t from, int64_t read, int most, struct drafts *to);
    void *context;
};

/* What it brought. Of rounds that could draft all and that the text did not end in: how many, and how often draft j was
   tried and accepted. */
struct gain { int64_t forwards, tokens, rounds, tried[SPECULATE_MOST], accepted[SPECULATE_MOST]; };
double speculate_tau(const struct gain *g);                 /* tokens a round; NaN: there was none */

/* Whether a draft stays, by the chances that the model gives it and that it was drawn by; what else stands there,
   [V]. */
bool speculate_accepts(const double *chance, const double *draft, int32_t token, double u);
void speculate_instead(const double *chance, const double *draft, int64_t vocab, double *instead);

/* One round: logits [drafts + 1,V] of what follows the text and each draft. Adds those that are accepted and one token
   more, as far as the text goes. Gives how many were accepted. */
int speculate_judge(struct text *t, const struct writing *w, const real *logits, int64_t vocab,
                    const struct drafts *drafts);

/* Writes one text to its end, by a decoder of chunks of drafter->ahead + 1 tokens, which can be rolled back by a chunk
   and has context for one beyond the limits. */
void speculate_write(struct decoder *d, const struct writing *w, const struct drafter *drafter, struct text *t,
                     struct gain *gain);

/* The decoder's MTP blocks, by these chances. */
struct speculate_blocks { struct decoder *decoder; const struct filter *filter; };
void speculate_by_blocks(void *speculate_blocks, const struct text *t, int64_t from, int64_t read, int most,
                         struct drafts *to);

/* No model: what stood behind the last place of the text that is like its end, in 3 tokens, else 2, else 1. */
void speculate_by_suffix(void *vocab, const struct text *t, int64_t from, int64_t read, int most, struct drafts *to);

#endif
