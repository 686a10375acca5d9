/* A token file while it is written. */
#ifndef SLUICE_DATA_PACKER_H
#define SLUICE_DATA_PACKER_H

#include "inputs.h"
#include "tokens.h"

#include <stdio.h>

struct packer {
    struct sink sink;
    FILE *file;
    const struct pack_options *options;
    struct packed *made;
    struct token_header header;             /* what it says of the tokens, and of those to train on */
    bool holding;                           /* what comes is held out */
    uint64_t end;                           /* tokens written */
    struct buffer bounds;                   /* uint64_t: 0, and the ends of the documents written */
    struct buffer answers;                  /* bits of the tokens written, where there are answers */
    struct buffer held, text, counts;       /* struct held, and what they point into */
    struct buffer seen, words;              /* struct seen, one for each document; the words of the last */
};

struct seen { uint64_t words, text, prompt, held; };        /* hashes, prompt: of the words up to the first answer;
                                                               whether it is held out */

void packer_emit(struct packer *p, const void *bytes, size_t n);
/* Whether tokens of the document that is written count, from its token number `at` on; counts NULL: all do. */
void packer_mark(struct packer *p, const char *counts, uint64_t at, size_t n);
void packer_end_document(struct packer *p, uint64_t tokens);    /* of so many tokens, which are written */
void packer_end_training(struct packer *p);                 /* what follows is held out */

/* Token files one after the other: those to train on, then those held out; without the latter each keeps its split. */
int join_inputs(struct packer *p, const struct walk *w, const char *const *inputs, int n, struct err *e);

#endif
