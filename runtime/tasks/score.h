/* A trained model that says how likely rows of tokens are. */
#ifndef SLUICE_SCORE_H
#define SLUICE_SCORE_H

#include "data/item.h"
#include "train/checkpoint.h"

struct scorer;
/* Of a run's folder, a checkpoint or a model file; averages of weights where there are any. */
int score_open(struct scorer **out, const char *path, struct err *e);
void score_close(struct scorer *s);
const struct checkpoint *score_from(const struct scorer *s);
bool score_averages(const struct scorer *s);
int score_longest(const struct scorer *s);                  /* most tokens of a row: one more than of a sequence */
int score_vocab(const struct scorer *s);

/* Of what counts in a row: sum of log p in nat, how many tokens that is, whether each was the likeliest. */
struct score { double ll; int tokens; bool greedy; };
/* Rows lie in windows as documents of their own. `to` is written when a batch is full, at the latest by score_flush. */
void score_put(struct scorer *s, const struct item_row *row, struct score *to);
void score_flush(struct scorer *s);

#endif
