/* What counting alone reaches on the text that a study's runs saw and are measured on. */
#ifndef SLUICE_COUNTING_H
#define SLUICE_COUNTING_H

#include "study/study.h"

/* Nats a byte of a unigram and a bigram model, fitted on what the baseline's first replicate read in so many steps. */
struct counting { double unigram, bigram; int64_t tokens; };            /* tokens: measured on */
/* -1 where the tokens are not bytes, or the data is not there or not what the study was made with. */
int counting_of(const struct study *s, int64_t steps, struct counting *out, struct err *e);

#endif
