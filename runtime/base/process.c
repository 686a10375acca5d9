/* Children, signals, locks. */
#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { TRIES = 5, PAUSE = 20000 };                          /* who looks at a lock has it for a moment; microseconds */

pid_t process_fork(int orphaned)
{
    pid_t parent = getpid();
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, orphaned);
        if (getppid() != parent) raise(orphaned);
    }
    return child;
}

sigset_t process_hear(void (*handler)(int))
{
    static const int asking[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXCPU };
    struct sigaction hear = { .sa_handler = handler }, before;
    sigset_t heard;
    sigemptyset(&heard);
    for (size_t i = 0; i < sizeof asking / sizeof *asking; i++) {
        sigaction(asking[i], NULL, &before);
        if (asking[i] == SIGHUP && before.sa_handler == SIG_IGN) continue;
        sigaction(asking[i], &hear, NULL);
        sigaddset(&heard, asking[i]);
    }
    return heard;
}

char *process_signal(int number, char out[16])
{
    const char *name = sigabbrev_np(number);
    if (name) snprintf(out, 16, "SIG%s", name);
    else snprintf(out, 16, "signal %d", number);
    return out;
}

int process_lock(const char *path)
{
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    for (int tries = TRIES; lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) != 0; ) {
        if (errno == EINTR || (errno == EWOULDBLOCK && tries-- > 0 && usleep(PAUSE) <= 0)) continue;
        int cause = errno;
        close(lock);
        errno = cause;
        return -1;
    }
    return lock;
}

int process_join(const char *path)
{
    int lock = open(path, O_RDONLY | O_CLOEXEC);
    while (lock >= 0 && flock(lock, LOCK_SH) != 0) {
        if (errno == EINTR) continue;
        int cause = errno;
        close(lock);
        errno = cause;
        return -1;
    }
    return lock;
}

static bool refuses(const char *path, int lock)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    bool held = flock(file, lock | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(file);
    return held;
}

bool process_is_locked(const char *path) { return refuses(path, LOCK_SH); }
bool process_is_joined(const char *path) { return refuses(path, LOCK_EX); }
