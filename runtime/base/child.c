/* A fork, a socket, and the kernel's limits. */
#define _GNU_SOURCE
#include "child.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { GAVE_UP = 120, TEXT_MAX = 1000 };                    /* exit code that says that words came out, not a result */

static int own_end = -1;                                    /* of the socket, in a child */

/* ---- the parent's side ---- */

int child_begin(struct child *c, void (*work)(int end, void *with), void *with, struct err *e)
{
    int ends[2];
    *c = (struct child){ .pid = -1, .end = -1 };
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return err_set(e, "socketpair: %s", strerror(errno));
    c->end = ends[0];
    c->pid = process_fork(SIGKILL);
    if (c->pid == 0) {
        close(ends[0]);
        own_end = ends[1];
        memory_short = NULL;
        setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
        work(own_end, with);
        _exit(0);
    }
    int cause = errno;
    close(ends[1]);
    if (c->pid > 0) return 0;
    close(ends[0]);
    return err_set(e, "fork: %s", strerror(cause));
}

int child_send(struct child *c, const void *from, size_t bytes) { return child_write(c->end, from, bytes); }

int child_receive(struct child *c, void *to, size_t bytes)
{
    for (size_t done = 0; done < bytes; ) {
        int ready = poll(&(struct pollfd){ .fd = c->end, .events = POLLIN }, 1, c->silence ? c->silence * 1000 : -1);
        if (ready < 0 && errno == EINTR) continue;
        c->late = ready == 0;
        ssize_t n = ready > 0 ? read(c->end, (char *)to + done, bytes - done) : -1;
        if (n < 0 && ready > 0 && errno == EINTR) continue;
        if (n <= 0) return -1;
        done += (size_t)n;
    }
    return 0;
}

int child_end(struct child *c, bool now)
{
    int status = 0;
    if (c->late || now) kill(c->pid, SIGKILL);
    close(c->end);
    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR) { }
    return status;
}

struct job { char *(*work)(void *with); void *with; };

static void do_job(int end, void *with)
{
    struct job *job = with;
    dup2(STDERR_FILENO, STDOUT_FILENO);
    char *text = job->work(job->with);
    fflush(NULL);
    if (!text || child_write(end, text, strlen(text))) _exit(1);
}

/* All that comes, with a NUL behind it. */
static char *read_all(int end, size_t *size)
{
    size_t room = 1 << 16;
    char *text = xmalloc(room);
    ssize_t n;
    *size = 0;
    while ((n = read(end, text + *size, room - *size - 1)) > 0 || (n < 0 && errno == EINTR)) {
        if (n > 0) *size += (size_t)n;
        if (*size == room - 1) text = xrealloc(text, room *= 2);
    }
    text[*size] = 0;
    return text;
}

char *child_run(char *(*work)(void *with), void *with, struct err *why)
{
    struct child c;
    size_t size;
    if (child_begin(&c, do_job, &(struct job){ work, with }, why)) return NULL;
    char *text = read_all(c.end, &size);
    int status = child_end(&c, false), code = WEXITSTATUS(status);
    *why = (struct err){ "" };
    if (WIFEXITED(status) && code == 0 && size) return text;
    if (WIFSIGNALED(status)) err_set(why, "ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (code == GAVE_UP) err_set(why, "%s", text);
    else err_set(why, "ended with code %d before anything came of it", code);
    free(text);
    return NULL;
}

/* ---- the child's side ---- */

int child_write(int end, const void *from, size_t bytes)
{
    for (size_t done = 0; done < bytes; ) {
        ssize_t n = send(end, (const char *)from + done, bytes - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        done += (size_t)n;
    }
    return 0;
}

int child_read(int end, void *to, size_t bytes)
{
    for (size_t done = 0; done < bytes; ) {
        ssize_t n = read(end, (char *)to + done, bytes - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return -1;
        done += (size_t)n;
    }
    return 0;
}

void child_give_up(const char *format, ...)
{
    char text[TEXT_MAX];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    size_t size = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    _exit(child_write(own_end, text, size) == 0 ? GAVE_UP : 1);
}

int child_seal(int end)
{
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    end = fcntl(end, F_DUPFD, STDERR_FILENO + 1);
    for (int fd = 0; fd <= STDERR_FILENO; fd++) dup2(nowhere, fd);
    end = dup2(end, STDERR_FILENO + 1);
    if (nowhere < 0 || end < 0) _exit(1);
    closefrom(end + 1);
    return own_end = end;
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

void child_memory(size_t bytes, void (*large)(size_t wanted))
{
    long data = 0;
    FILE *self = fopen("/proc/self/statm", "r");
    INVARIANT(self && fscanf(self, "%*d %*d %*d %*d %*d %ld", &data) == 1,
              "/proc/self/statm does not say how much memory there is");
    fclose(self);
    rlim_t most = (rlim_t)data * (rlim_t)sysconf(_SC_PAGESIZE) + bytes;
    memory_short = large;
    lower(RLIMIT_DATA, most, most);
}

void child_seconds(int seconds, int most, void (*late)(int signal))
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    signal(SIGXCPU, late);
    lower(RLIMIT_CPU, (rlim_t)(used.tv_sec + 1 + seconds), (rlim_t)most);
}
