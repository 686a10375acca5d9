/* HDF5 promises nothing about damaged files: what may crash, hang or ask for all memory is done by a child process. */
#include "private.h"
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* Of silence; of computing, from one step to the next; of memory beyond the parent's. */
enum { LIMIT_SECONDS = 300, LIMIT_PROCESSOR_SECONDS = 1, LIMIT_MEGABYTES = 4096 };

struct guarded { void (*work)(int end, void *state); void *state; };

static void start(int end, void *with)
{
    struct guarded *g = with;
    end = child_seal(end);
    child_memory((size_t)LIMIT_MEGABYTES << 20, NULL);
    guard_step();
    g->work(end, g->state);
}

int guard_begin(struct child *c, void (*work)(int end, void *state), void *state, struct err *e)
{
    h5_begin();                                             /* once, not in each child */
    int failed = child_begin(c, start, &(struct guarded){ work, state }, e);
    c->silence = LIMIT_SECONDS;
    return failed;
}

/* HDF5 loops forever over some damaged files. */
void guard_step(void) { child_seconds(LIMIT_PROCESSOR_SECONDS, INT_MAX, SIG_DFL); }

void guard_end(struct child *c, char why[96])
{
    int status = child_end(c, !why), number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (!why) return;
    if (c->late || number == SIGXCPU) snprintf(why, 96, "HDF5 comes to no end with it");
    else if (number) snprintf(why, 96, "HDF5 crashed on it (signal %d, %s)", number, strsignal(number));
    else snprintf(why, 96, "reading it ended with code %d", WEXITSTATUS(status));
}
