/* What a task asks: questions of several choices, in words or as tokens, as a file has them. */
#ifndef SLUICE_QUESTIONS_H
#define SLUICE_QUESTIONS_H

#include "data/item.h"

/* What stands before a choice, and the choice as it is given. */
struct choice { const char *before, *text; };
/* One choice: it is right where it is the likeliest text. Nothing before the first of several: a minimal pair. */
struct question {
    const char *id, *group;                 /* group: "", or what it is summed up with */
    const char *opening, *delimiter;        /* before everything; between the two of a choice */
    int line, n, gold;                      /* line: of the file, or the number of the example, from 1 */
    struct choice *choice;                  /* [n] */
    const struct item *tokens;              /* what it is where there are no words, else NULL */
};
bool question_is_pair(const struct question *q);

/* first_shots: examples for others are the first of their group, else drawn. */
struct questions {
    char *path; const char *form;
    bool first_shots;
    int n, room; struct question *question;
    struct arena *arena; struct item *item;
};

/* form: NULL: the one that the first line's fields are of. Mistakes name file, line and reason. */
int questions_read(struct questions *to, const char *path, const char *form, struct err *e);
void questions_free(struct questions *q);
struct question *questions_add(struct questions *to);

#endif
