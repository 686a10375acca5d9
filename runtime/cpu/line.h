/* The line: a thread on which what ranks tell each other goes, one after the other, while kernels run beside it. It is
   there from the first errand on. MPI is called by one thread at a time: who calls it otherwise settles before. */
#ifndef SLUICE_LINE_H
#define SLUICE_LINE_H

#include "backend/backend.h"

/* A kernel, which runs on the line's thread alone; or a reduction of n numbers. */
struct errand {
    kernel *run; struct args args;
    float *data; int64_t n; enum reduction how; unsigned over;
};
int64_t line_put(struct errand e);                          /* its number, from 1 on; waits while many are under way */
void line_settle(int64_t number);                           /* returns when all up to this one are done */

#endif
