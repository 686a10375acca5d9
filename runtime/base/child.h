/* Work in a child process, with limits that the kernel keeps: whatever the work is led to do, it ends, and leaves
   nothing behind in its parent. Both speak through a socket. */
#ifndef SLUICE_CHILD_H
#define SLUICE_CHILD_H

#include "base.h"
#include <sys/types.h>

/* silence: seconds without a word after which it is late; 0: any time is right. */
struct child { pid_t pid; int end, silence; bool late; };

/* Forks a child that does work(end, with), where end is its end of the socket, and leaves with code 0. No core. */
int child_begin(struct child *c, void (*work)(int end, void *with), void *with, struct err *e);
/* -1 when the child has died or is late. */
int child_send(struct child *c, const void *from, size_t bytes);
int child_receive(struct child *c, void *to, size_t bytes);
/* Waits until it has ended, which it is made to at once when it is late or `kill`; returns its status of waitpid. */
int child_end(struct child *c, bool kill);

/* Does work(with) in a child whose output goes to stderr. Returns its text (both malloc'd), or NULL, and *why how it
   ended: its own words, or "ended ...". */
char *child_run(char *(*work)(void *with), void *with, struct err *why);

/* ---- for the work ---- */

int child_write(int end, const void *from, size_t bytes);
int child_read(int end, void *to, size_t bytes);            /* -1: the parent asks no more */
/* Of child_run: ends with words of its own; also in a handler of a signal. */
_Noreturn void child_give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Holds nothing of the parent's but the socket, whose new number it returns: locks and pipes end with the parent, not
   with the last child. What is printed is nobody's. */
int child_seal(int end);
/* Memory beyond what it has now; xmalloc then ends as `large` says, NULL: as ever. */
void child_memory(size_t bytes, void (*large)(size_t wanted));
/* Seconds of processor time from now on, and at most `most` in all; then the handler is called, which must end it;
   SIG_DFL does. */
void child_seconds(int seconds, int most, void (*late)(int signal));

#endif
