/* What a model is asked: an item of one or more rows of tokens, of which some count. Of one row it is right where all
   that counts is the likeliest; of several it chooses one, and `gold` is right. */
#ifndef SLUICE_ITEM_H
#define SLUICE_ITEM_H

#include "base/base.h"

/* counts[i]: token i is a target that counts, never the first. bytes, characters: of the text that counts, 0: it is
   none. */
struct item_row { int n, room; int32_t *id; unsigned char *counts; int bytes, characters; };
struct item { int rows, room, gold; struct item_row *row; };

/* A row more, to which `item_put` adds. An item is used again after item_clear, with the memory that it has. */
void item_begin(struct item *it);
void item_put(struct item *it, int32_t id, bool counts);
void item_clear(struct item *it);
void item_free(struct item *it);

#endif
