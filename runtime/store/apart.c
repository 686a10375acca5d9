/* Work that may crash, hang or ask for all memory, because HDF5 promises nothing about damaged files: done by a child
   process with limits, which starts from this process' clean state and leaves nothing behind in it. */
#define _GNU_SOURCE
#include "private.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Of silence; of computing; of memory beyond the parent's. */
enum { LIMIT_SECONDS = 300, LIMIT_PROCESSOR_SECONDS = 1, LIMIT_MEGABYTES = 4096 };

/* HDF5 turns in circles over some damaged files. */
void apart_step(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    setrlimit(RLIMIT_CPU, &(struct rlimit){ (rlim_t)used.tv_sec + 1 + LIMIT_PROCESSOR_SECONDS, RLIM_INFINITY });
}

static void limit_memory(void)
{
    long pages = 0;
    FILE *self = fopen("/proc/self/statm", "r");
    if (self) { if (fscanf(self, "%ld", &pages) != 1) pages = 0; fclose(self); }
    rlim_t bytes = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (rlim_t)LIMIT_MEGABYTES * 1024 * 1024;
    setrlimit(RLIMIT_AS, &(struct rlimit){ bytes, bytes });
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
}

/* Nothing of the parent's is held but the socket: locks and pipes end with it, not with the last child. What libraries
   say as they crash is nobody's. */
_Noreturn static void child(int end, pid_t parent, void (*work)(int end, void *state), void *state)
{
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    end = fcntl(end, F_DUPFD, STDERR_FILENO + 1);
    for (int fd = 0; fd <= STDERR_FILENO; fd++) dup2(nowhere, fd);
    end = dup2(end, STDERR_FILENO + 1);
    close_range((unsigned)end + 1, ~0u, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (end < 0 || getppid() != parent) _exit(1);
    limit_memory();
    apart_step();
    work(end, state);
    _exit(0);
}

int apart_begin(struct apart *a, void (*work)(int end, void *state), void *state, struct err *e)
{
    int ends[2];
    pid_t parent = getpid();
    h5_begin();                                             /* once, not in each child */
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return err_set(e, "socketpair: %s", strerror(errno));
    fflush(NULL);
    *a = (struct apart){ .child = fork(), .end = ends[0] };
    if (a->child == 0) child(ends[1], parent, work, state);
    close(ends[1]);
    if (a->child > 0) return 0;
    int cause = errno;
    close(ends[0]);
    return err_set(e, "fork: %s", strerror(cause));
}

int apart_write(int end, const void *from, size_t bytes)
{
    for (size_t done = 0; done < bytes; ) {
        ssize_t n = send(end, (const char *)from + done, bytes - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        done += (size_t)n;
    }
    return 0;
}

int apart_read(int end, void *to, size_t bytes)
{
    for (size_t done = 0; done < bytes; ) {
        ssize_t n = read(end, (char *)to + done, bytes - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return -1;
        done += (size_t)n;
    }
    return 0;
}

int apart_send(struct apart *a, const void *from, size_t bytes) { return apart_write(a->end, from, bytes); }

int apart_receive(struct apart *a, void *to, size_t bytes)
{
    for (size_t done = 0; done < bytes; ) {
        int ready = poll(&(struct pollfd){ .fd = a->end, .events = POLLIN }, 1, LIMIT_SECONDS * 1000);
        if (ready < 0 && errno == EINTR) continue;
        a->late = ready == 0;
        ssize_t n = ready > 0 ? read(a->end, (char *)to + done, bytes - done) : -1;
        if (n < 0 && ready > 0 && errno == EINTR) continue;
        if (n <= 0) return -1;
        done += (size_t)n;
    }
    return 0;
}

void apart_end(struct apart *a, char why[96])
{
    int status = 0;
    if (a->late || !why) kill(a->child, SIGKILL);
    close(a->end);
    while (waitpid(a->child, &status, 0) < 0 && errno == EINTR) { }
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (!why) return;
    if (a->late || number == SIGXCPU) snprintf(why, 96, "HDF5 comes to no end with it");
    else if (number) snprintf(why, 96, "HDF5 crashed on it (signal %d, %s)", number, strsignal(number));
    else snprintf(why, 96, "reading it ended with code %d", WEXITSTATUS(status));
}
