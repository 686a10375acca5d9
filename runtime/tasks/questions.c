/* Questions that were read. */
#include "questions.h"

#include <stdlib.h>

bool question_is_pair(const struct question *q) { return q->n > 1 && !q->tokens && !*q->choice[0].before; }

struct question *questions_add(struct questions *to)
{
    if (to->n == to->room) to->question = arena_more(to->arena, to->question, &to->room, sizeof *to->question);
    struct question *q = &to->question[to->n++];
    *q = (struct question){ .id = "", .group = "", .opening = "", .delimiter = " " };
    return q;
}

void questions_free(struct questions *q)
{
    for (int i = 0; q->item && i < q->n; i++) item_free(&q->item[i]);
    free(q->item);
    arena_free(q->arena);
    *q = (struct questions){ 0 };
}
