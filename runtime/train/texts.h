/* Texts that a trained model writes, several at once. */
#ifndef SLUICE_TEXTS_H
#define SLUICE_TEXTS_H

#include "decoder.h"
#include "generate.h"

/* How tokens are chosen, when texts end, and who is told of each token, or NULL. */
struct writing {
    const struct filter *filter;
    const struct limits *limits;
    void (*told)(void *context, const struct text *t);
    void *context;
};

/* A text that begins with a prompt of so many tokens; the limits' worth of them is behind it. */
struct text texts_new(const int32_t *prompt, int64_t n, const struct limits *l, uint64_t seed, uint64_t number);

/* Begins texts, a decoder's batch of them at most, which end at the same position, and reads all of their prompts but
   the last token, or those that MTP blocks look ahead to, as far as chunks go. Gives how many positions these are. */
int64_t texts_begin(struct decoder *d, const struct text *text, int n);
int64_t texts_longest(const struct text *text, int n);      /* prompt */

/* Writes texts to their ends, by a decoder of chunks of one token, which has context for the longest prompt and the
   most tokens. */
void texts_write(struct decoder *d, const struct writing *w, struct text *text, int n);

#endif
