/* Preloaded into the program by tests: calls fail, or the process is killed or held at them, as FAULT says:
   "CALL:N:WHAT,..." with the number of the call, and an errno (from that call on), or at that call kill, term, or hold:
   until there is a file `go`. What has a descriptor counts for regular files that are open for writing; `tmpfile` is
   open with O_TMPFILE, `create` with O_CREAT. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST = 8 };

static int act(const char *what, int number, int wanted)
{
    if (number == wanted && !strcmp(what, "kill")) raise(SIGKILL);
    if (number == wanted && !strcmp(what, "term")) raise(SIGTERM);
    for (int i = 0; number == wanted && !strcmp(what, "hold") && i < 2000 && access("go", F_OK); i++) usleep(10000);
    errno = number >= wanted ? atoi(what) : 0;
    return errno != 0;
}

/* Whether this call of CALL fails; errno then says how. */
static int fault(const char *call)
{
    static int count[MOST];
    int before = errno, wanted, used;
    char name[16], what[16];
    const char *at = strcmp(program_invocation_short_name, "sluice") ? NULL : getenv("FAULT");
    for (int i = 0; at && i < MOST && sscanf(at, "%15[^:]:%d:%15[^,]%n", name, &wanted, what, &used) == 3; i++) {
        if (!strcmp(name, call) && act(what, ++count[i], wanted)) return 1;
        at += used;
        if (*at == ',') at++;
    }
    errno = before;
    return 0;
}

static int fault_of_file(const char *call, int fd)
{
    struct stat s;
    int before = errno, how = fcntl(fd, F_GETFL),
        counts = fd > 2 && how >= 0 && (how & O_ACCMODE) != O_RDONLY && fstat(fd, &s) == 0 && S_ISREG(s.st_mode);
    errno = before;
    return counts && fault(call);
}

/* The next function of this name: the C library's. */
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int rename(const char *from, const char *to) { return fault("rename") ? -1 : NEXT(rename)(from, to); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
    return flags && fault("renameat2") ? -1 : NEXT(renameat2)(a, from, b, to, flags);
}
int linkat(int a, const char *from, int b, const char *to, int flags)
{
    return fault("linkat") ? -1 : NEXT(linkat)(a, from, b, to, flags);
}
int mkdir(const char *path, mode_t mode) { return fault("mkdir") ? -1 : NEXT(mkdir)(path, mode); }
int fsync(int fd) { return fault_of_file("fsync", fd) ? -1 : NEXT(fsync)(fd); }
int fdatasync(int fd) { return fault_of_file("fsync", fd) ? -1 : NEXT(fdatasync)(fd); }
int close(int fd) { return fault_of_file("close", fd) ? -1 : NEXT(close)(fd); }
ssize_t write(int fd, const void *bytes, size_t n)
{
    return fault_of_file("write", fd) ? -1 : NEXT(write)(fd, bytes, n);
}
ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
    return fault_of_file("pwrite", fd) ? -1 : NEXT(pwrite)(fd, bytes, n, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at)
{
    return fault_of_file("pwrite", fd) ? -1 : NEXT(pwrite64)(fd, bytes, n, at);
}

#define OPEN(name) \
    int name(const char *path, int how, ...) \
    { \
        va_list list; \
        va_start(list, how); \
        mode_t mode = how & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; \
        va_end(list); \
        if ((how & O_TMPFILE) == O_TMPFILE ? fault("tmpfile") : (how & O_CREAT) && fault("create")) return -1; \
        return NEXT(name)(path, how, mode); \
    }
OPEN(open)
OPEN(open64)
