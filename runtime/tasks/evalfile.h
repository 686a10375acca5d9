/* llm.c's file of questions, in tokens. */
#ifndef SLUICE_EVALFILE_H
#define SLUICE_EVALFILE_H

#include "questions.h"

bool evalfile_is(const char *path);                         /* by its first four bytes */
int evalfile_read(struct questions *to, struct err *e);

#endif
