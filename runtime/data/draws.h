/* Draws one after the other: number i of a sample is a function of (seed, purpose, name, sample, i). Golden vectors of
   the tasks hang on each of these; no function of them rounds otherwise than a processor must. */
#ifndef SLUICE_DRAWS_H
#define SLUICE_DRAWS_H

#include "base/base.h"

struct draws { struct key key; uint64_t next; };

int draws_below(struct draws *d, int n);                    /* 0 .. n-1 */
int draws_from(struct draws *d, int low, int high);         /* low .. high */
uint32_t draws_word(struct draws *d);                       /* 0 .. 2^32-1 */
bool draws_chance(struct draws *d, double share);
void draws_shuffle(struct draws *d, int *value, int n);
/* k different ones of 0 .. n-1, in the order drawn. */
void draws_choose(struct draws *d, int n, int k, int *out);
/* An index of n weights, by them: never of one that is 0. */
int draws_weighted(struct draws *d, const double *weight, int n);

#endif
