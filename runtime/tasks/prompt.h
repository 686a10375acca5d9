/* A question as rows of tokens, with solved examples in front. Tokens are bytes. */
#ifndef SLUICE_PROMPT_H
#define SLUICE_PROMPT_H

#include "questions.h"

/* pool: what examples are taken from, NULL: none are; it may be `of` itself, whose question is none of its own
   examples. longest: tokens of a row. */
struct prompts { const struct questions *of, *pool; int shots, longest; };
int prompts_check(const struct prompts *p, struct err *e);

/* item: a row for each choice; alone: the same without what stands before, or no rows where that says nothing.
   shots: examples that are in it; cut: the left of what stands before was cut off, too. Starts as { 0 }. */
struct prompt { struct item item, alone; int shots; bool cut; };
/* -1: a choice alone is too long; e names file and line. */
int prompt_make(const struct prompts *p, int i, struct prompt *to, struct err *e);
void prompt_free(struct prompt *p);

#endif
