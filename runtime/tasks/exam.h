/* Questions put to a trained model, and what it made of each choice. */
#ifndef SLUICE_EXAM_H
#define SLUICE_EXAM_H

#include "questions.h"
#include "score.h"

/* alone: of the choice without what stands before it; tokens 0: was not asked. counted: bytes that count; bytes,
   characters: of the choice as it is given; 0: there are no words. */
struct answer { struct score score, alone; int counted, bytes, characters; };
struct answered { const struct question *question; int shots; bool cut; struct answer *answer; };

/* n: questions that are asked, the first ones. How many of them lost: cut: the left of what stands before; shortened:
   examples. */
struct exam { int n, cut, shortened; struct answered *of; struct arena *arena; };

/* pool: of examples, NULL: from the questions themselves; limit: 0: all questions. longest: tokens of a row; 0: as many
   as the model takes. -1: e names file and line. */
struct exam_how { const struct questions *pool; int shots, limit, longest; };
int exam_take(struct exam *to, const struct questions *q, const struct exam_how *how, struct scorer *s, struct err *e);
void exam_free(struct exam *x);

#endif
