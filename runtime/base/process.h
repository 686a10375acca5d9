/* What processes of this program owe each other: a child ends with its parent, a lock ends with its holder, and a
   signal that asks to end is heard. */
#ifndef SLUICE_PROCESS_H
#define SLUICE_PROCESS_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

/* fork, with output flushed before. The child gets the signal `orphaned` once this process is gone, whatever ended it;
   the signal stays with what the child executes. */
pid_t process_fork(int orphaned);

/* Has `handler` hear the signals that ask to end: SIGHUP (not under nohup), SIGINT, SIGQUIT, SIGTERM, SIGXCPU.
   Returns them. */
sigset_t process_hear(void (*handler)(int));
char *process_signal(int number, char out[16]);             /* its name: "SIGTERM" */

/* Locks (flock) lie on a file or a folder, are to be closed, and the kernel drops them with the last process that holds
   them. -1: errno says why; EWOULDBLOCK: another has it. */
int process_lock(const char *path);                         /* makes the file */
int process_join(const char *path);                         /* beside others that joined */
bool process_is_locked(const char *path);                   /* by a process that locked it */
bool process_is_joined(const char *path);                   /* by any that locked it or joined */

#endif
