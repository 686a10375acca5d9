/* Work in a process of its own: a fork, a pipe for what comes out of it, and the kernel's limits. */
#define _GNU_SOURCE
#include "apart.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GAVE_UP = 120, TEXT_MAX = 1000 };                    /* exit code that says that words came out, not JSON */

static int out = -1;                                        /* the child's end of the pipe */

_Noreturn static void child(json_t *(*work)(void *), void *with, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    dup2(STDERR_FILENO, STDOUT_FILENO);
    json_t *result = work(with);
    fflush(NULL);
    _exit(json_dumpfd(result, out, JSON_COMPACT | JSON_REAL_PRECISION(17)) ? 1 : 0);
}

static char *read_all(int fd, size_t *size)
{
    size_t room = 1 << 16;
    char *text = xmalloc(room);
    ssize_t n;
    *size = 0;
    while ((n = read(fd, text + *size, room - *size)) > 0 || (n < 0 && errno == EINTR)) {
        if (n > 0) *size += (size_t)n;
        if (*size == room) text = xrealloc(text, room *= 2);
    }
    return text;
}

json_t *apart_run(json_t *(*work)(void *with), void *with, struct err *why)
{
    int ends[2], status;
    pid_t self = getpid();
    if (pipe(ends)) { err_set(why, "no pipe: %s", strerror(errno)); return NULL; }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        out = ends[1];
        child(work, with, self);
    }
    close(ends[1]);
    if (pid < 0) { close(ends[0]); err_set(why, "no process: %s", strerror(errno)); return NULL; }
    size_t size;
    char *text = read_all(ends[0], &size);
    close(ends[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) { }
    json_t *result = WIFEXITED(status) && WEXITSTATUS(status) == 0 ? json_loadb(text, size, 0, NULL) : NULL;
    if (result) *why = (struct err){ "" };
    else if (WIFSIGNALED(status)) err_set(why, "ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == GAVE_UP) err_set(why, "%.*s", (int)size, text);
    else err_set(why, "ended with code %d before anything came of it", WEXITSTATUS(status));
    free(text);
    return result;
}

void apart_give_up(const char *format, ...)
{
    char text[TEXT_MAX];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    size_t size = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    _exit(write(out, text, size) == (ssize_t)size ? GAVE_UP : 1);
}

/* Limits that are lower already stay. */
static void lower(int resource, rlim_t soft, rlim_t hard)
{
    struct rlimit now;
    int failure = getrlimit(resource, &now);
    if (hard > now.rlim_max) hard = now.rlim_max;           /* RLIM_INFINITY is the largest */
    now = (struct rlimit){ soft < hard ? soft : hard, hard };
    INVARIANT(failure == 0 && setrlimit(resource, &now) == 0, "no limit can be set: %s", strerror(errno));
}

void apart_memory(size_t bytes, void (*large)(size_t wanted))
{
    long data = 0;
    FILE *self = fopen("/proc/self/statm", "r");
    INVARIANT(self && fscanf(self, "%*d %*d %*d %*d %*d %ld", &data) == 1, "/proc/self/statm does not say how much memory there is");
    fclose(self);
    rlim_t most = (rlim_t)data * (rlim_t)sysconf(_SC_PAGESIZE) + bytes;
    memory_short = large;
    lower(RLIMIT_DATA, most, most);
}

void apart_seconds(int seconds, int most, void (*late)(int signal))
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    signal(SIGXCPU, late);
    lower(RLIMIT_CPU, (rlim_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec + 1 + seconds), (rlim_t)most);
}
