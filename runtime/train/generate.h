/* Which token comes next: from logits to chances, from these to a token, and when a text has ended. */
#ifndef SLUICE_GENERATE_H
#define SLUICE_GENERATE_H

#include "base/base.h"

/* What becomes of logits before a token is drawn, in this order. Of equal logits the lowest id comes first. */
struct filter {
    const bool *forbidden;          /* of each token, whether it is never drawn; NULL: none is */
    double repetition;              /* of what the text has, prompt and all, logits above 0 are divided by it, others
                                       multiplied; 1: nothing */
    double frequency, presence;     /* taken off what stands behind the prompt: for each time, and once; 0: nothing */
    double temperature;             /* logits are divided by it; 0: the largest alone */
    int64_t top_k;                  /* so many of the largest; 0: all */
    double top_p;                   /* of these as few of the largest as have this share of their chances; 1: all */
    double min_p;                   /* of these what has this share of the likeliest one's chance; 0: all */
};
extern const struct filter generate_plain;                  /* temperature 1, and nothing else */

/* When a text ends: behind so many tokens, where the sequence ends, with a token of its own (-1: none has this
   meaning), or where one of some strings stands behind the prompt, which are bytes and so are tokens then (NULL, or
   ends in NULL). */
struct limits { int64_t tokens, context; int32_t eos; const char *const *stop; };

enum ending { ENDING_NONE, ENDING_TOKENS, ENDING_CONTEXT, ENDING_EOS, ENDING_STOP };
extern const char *const ending_name[];

/* A text that is written: its prompt, and what was drawn behind it. seed, number: of its draws, the number being that
   of the prompt in its set, so that a text does not depend on which others are written beside it. kept: tokens before
   what ended it. */
struct text {
    int32_t *ids; int64_t n, prompt, kept;
    uint64_t seed, number;
    enum ending ending;
};

/* The most tokens that it can have. */
int64_t generate_most(const struct text *t, const struct limits *l);

/* The chance of each token to stand behind the text, [V]; 0 of what was filtered away. */
void generate_chances(const struct filter *f, const real *logits, int64_t vocab, const struct text *t, double *chance);

/* What a position draws: the token itself; whether a drafted one stays, and what stands there instead; a draft. */
enum lot { LOT_TOKEN, LOT_TEST, LOT_INSTEAD, LOT_DRAFT, LOT_COUNT };
double generate_lot(const struct text *t, int64_t position, enum lot lot);                      /* (0,1) */

/* The token at share u of the chances, by id; those that have none are never it. */
int32_t generate_pick(const double *chance, int64_t vocab, double u);

/* Appends a token; there is room for it. False: with it the text has ended. Of strings that end with the same byte the
   longest is cut off. */
bool generate_add(struct text *t, int32_t token, const struct limits *l);

/* Of a text's last tokens those that may yet turn out to be cut off: what a string begins with, and a character of
   UTF-8 that is not complete. */
int64_t generate_held(const struct text *t, const struct limits *l);

#endif
