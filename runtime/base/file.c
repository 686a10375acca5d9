/* Files without a name (O_TMPFILE) where the file system has them: of these not even kill -9 leaves anything.
   Elsewhere, and for the moment before it takes its place, a file has a name of its own and a lock on it: a
   signal removes it, and after kill -9 the next writer of the same file does, to whom the missing lock says
   that its writer is dead. */
#define _GNU_SOURCE
#include "file.h"
#include "text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STREAM_BUFFER = 1 << 16, RANDOM_DIGITS = 16, LONGEST_BASE = NAME_MAX - RANDOM_DIGITS - 6 };

struct file {
    FILE *stream; int fd;
    int cause;                                              /* errno of the first failure, or 0 */
    char *given;
    /* where its links lead: folder and base; folder NULL: it has no place to take */
    char *path, *folder; const char *base;
    char *temporary;                                        /* its name until then; NULL: it has none */
    struct file *next;
};

bool file_is_full(int cause) { return cause == ENOSPC || cause == EDQUOT || cause == EFBIG; }

/* Not every file system can do it, and a folder that only takes files in cannot be opened for it. */
int file_sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), status = fd < 0 ? -1 : fsync(fd), cause = errno;
    if (fd >= 0) close(fd);
    errno = cause;
    return status < 0 && cause != EINVAL && cause != ENOSYS && cause != ENOTSUP && cause != EACCES ? -1 : 0;
}

/* ---- names until the end ---- */

static _Atomic(struct file *) named;                        /* those that have one */

static void remove_named(int number)
{
    for (struct file *f = named; f; f = f->next) unlink(f->temporary);
    signal(number, SIG_DFL);
    raise(number);
}

/* Signals that somebody else hears do not end the process here. */
static void hear_signals(void)
{
    static const int numbers[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGXCPU };
    struct sigaction now, action = { .sa_handler = remove_named };
    for (int i = 0; i < COUNT(numbers); i++)
        if (sigaction(numbers[i], NULL, &now) == 0 && now.sa_handler == SIG_DFL) sigaction(numbers[i], &action, NULL);
}

static void drop_name(struct file *f)
{
    if (!f->temporary) return;
    if (named == f) named = f->next;
    for (struct file *at = named; at; at = at->next) if (at->next == f) at->next = f->next;
    free(f->temporary);
    f->temporary = NULL;
}

/* Of an open file description: HDF5, which opens a file again and closes that, does not let go of it. */
static bool lock(int fd, int how)
{
    struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    return fcntl(fd, how, &whole) == 0;
}

static bool is_remains(const struct file *f, const char *name)
{
    size_t n = strnlen(f->base, LONGEST_BASE), length = strlen(name);
    return length == n + RANDOM_DIGITS + 6 && name[0] == '.' && !strncmp(name + 1, f->base, n) && name[n + 1] == '.' &&
           !strcmp(name + length - 4, ".tmp");
}

/* What dead writers of the same file left. */
static void tidy(const struct file *f)
{
    DIR *d = opendir(f->folder);
    for (struct dirent *entry; d && (entry = readdir(d)); ) {
        if (!is_remains(f, entry->d_name)) continue;
        int fd = openat(dirfd(d), entry->d_name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 && lock(fd, F_OFD_SETLK)) unlinkat(dirfd(d), entry->d_name, 0);
        if (fd >= 0) close(fd);
    }
    if (d) closedir(d);
}

/* Known to the signal handler before it exists. */
static int choose_name(struct file *f)
{
    unsigned long long number;
    drop_name(f);
    if (getrandom(&number, sizeof number, 0) != sizeof number) return -1;
    f->temporary = text_new("%s.%.*s.%0*llx.tmp", f->folder, LONGEST_BASE, f->base, RANDOM_DIGITS, number);
    f->next = named;
    named = f;
    hear_signals();
    return 0;
}

/* Another writer may take it for remains before it is locked: then anew. */
static int open_named(struct file *f)
{
    struct stat now = { 0 };
    tidy(f);
    while (now.st_nlink == 0) {
        if (f->fd >= 0) close(f->fd);
        f->fd = -1;
        if (choose_name(f) || (f->fd = open(f->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) < 0) return -1;
        lock(f->fd, F_OFD_SETLKW);                          /* where there are no locks nobody takes it for remains */
        if (fstat(f->fd, &now)) return -1;
    }
    return 0;
}

/* ---- files without a name ---- */

static void descriptor_path(int fd, char out[32]) { snprintf(out, 32, "/proc/self/fd/%d", fd); }

static int open_unnamed(struct file *f)
{
    char self[32];
    f->fd = open(f->folder, O_RDWR | O_TMPFILE | O_CLOEXEC, 0666);
    descriptor_path(f->fd, self);
    if (f->fd >= 0 && access(self, F_OK) == 0) {            /* without /proc it could not be named */
        lock(f->fd, F_OFD_SETLK);
        return 0;
    }
    if (f->fd >= 0) close(f->fd);
    f->fd = -1;
    return -1;
}

static int give_name(struct file *f)
{
    char self[32];
    tidy(f);
    descriptor_path(f->fd, self);
    return choose_name(f) || linkat(AT_FDCWD, self, AT_FDCWD, f->temporary, AT_SYMLINK_FOLLOW) ? -1 : 0;
}

/* ---- begin ---- */

/* The open descriptor that a path stands for, or -1. */
static int own_descriptor(const char *path)
{
    int number, used = 0;
    if (!strcmp(path, "/dev/stdout")) return STDOUT_FILENO;
    if (!strcmp(path, "/dev/stderr")) return STDERR_FILENO;
    bool is = sscanf(path, "/dev/fd/%d%n", &number, &used) == 1 ||
              sscanf(path, "/proc/self/fd/%d%n", &number, &used) == 1;
    return is && !path[used] ? number : -1;
}

/* Where the links of a path lead in the end, whether there is a file or not (malloc'd), and the open
   descriptor that this is. */
static char *follow(const char *path, int *own)
{
    char *at = xstrdup(path), *next, target[PATH_MAX];
    for (ssize_t n; (*own = own_descriptor(at)) < 0 && (n = readlink(at, target, sizeof target - 1)) >= 0; at = next) {
        const char *slash = *target == '/' ? NULL : strrchr(at, '/');
        target[n] = 0;
        next = text_new("%.*s%s", slash ? (int)(slash - at + 1) : 0, at, target);
        free(at);
    }
    return at;
}

static int keep_mode(const struct file *f, mode_t old)
{
    struct stat now;
    if (fstat(f->fd, &now)) return -1;
    return ((now.st_mode ^ old) & 0777) ? fchmod(f->fd, old & 0777) : 0;
}

static int open_temporary(struct file *f, bool is_named)
{
    char *slash = strrchr(f->path, '/');
    f->base = slash ? slash + 1 : f->path;
    f->folder = text_new("%.*s", slash ? (int)(slash - f->path + 1) : 2, slash ? f->path : "./");
    return (is_named || open_unnamed(f)) && open_named(f) ? -1 : 0;
}

static int refuse(int cause)
{
    errno = cause;
    return -1;
}

static int open_stream(struct file *f, enum file_kind kind, int own)
{
    if (kind != FILE_ANY) return refuse(ESPIPE);
    f->fd = own < 0 ? open(f->given, O_WRONLY | O_NOCTTY | O_CLOEXEC) : fcntl(own, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return f->fd < 0 ? -1 : 0;
}

static int open_file(struct file *f, enum file_kind kind)
{
    struct stat old;
    int own;
    if (!*f->given) return refuse(ENOENT);
    if (!strcmp(f->given, "-")) return open_stream(f, kind, STDOUT_FILENO);
    bool there = stat(f->given, &old) == 0;
    if (!there && errno != ENOENT) return -1;
    if (there ? S_ISDIR(old.st_mode) : f->given[strlen(f->given) - 1] == '/') return refuse(EISDIR);
    f->path = follow(f->given, &own);
    if (own >= 0 || (there && !S_ISREG(old.st_mode))) return open_stream(f, kind, own);
    if ((there && euidaccess(f->path, W_OK)) || open_temporary(f, kind == FILE_NAMED)) return -1;
    return there ? keep_mode(f, old.st_mode) : 0;
}

/* ---- the stream ---- */

static ssize_t put(void *cookie, const char *bytes, size_t n)
{
    struct file *f = cookie;
    for (size_t done = 0; done < n && !f->cause; ) {
        ssize_t k = write(f->fd, bytes + done, n - done);
        if (k > 0) done += (size_t)k;
        else if (k == 0 || errno != EINTR) f->cause = k ? errno : EIO;
    }
    return f->cause ? 0 : (ssize_t)n;
}

static int seek(void *cookie, off64_t *at, int whence)
{
    struct file *f = cookie;
    off64_t now = lseek64(f->fd, *at, whence);
    if (now >= 0) *at = now;
    return now < 0 ? -1 : 0;
}

/* ---- from begin to end ---- */

static void end(struct file *f)
{
    if (!f->cause) f->cause = ECANCELED;                    /* what the stream still holds goes nowhere */
    if (f->stream) fclose(f->stream);
    if (f->fd >= 0) close(f->fd);
    if (f->temporary) unlink(f->temporary);
    drop_name(f);
    free(f->given);
    free(f->path);
    free(f->folder);
    free(f);
}

static void say(const struct file *f, int cause, struct err *e)
{
    const char *why = cause == ESPIPE ? "it must be a regular file, whose beginning is written last" : strerror(cause);
    err_set(e, "%s: cannot be written: %s", strcmp(f->given, "-") ? f->given : "standard output", why);
}

struct file *file_begin(const char *path, enum file_kind kind, struct err *e)
{
    struct file *f = xcalloc(1, sizeof *f);
    f->given = xstrdup(path);
    f->fd = -1;
    int failure = open_file(f, kind), cause = errno;
    if (!failure) f->stream = fopencookie(f, "w", (cookie_io_functions_t){ .write = put, .seek = seek });
    if (f->stream && setvbuf(f->stream, NULL, _IOFBF, STREAM_BUFFER) == 0) return f;
    if (!failure) cause = ENOMEM;
    say(f, cause, e);
    end(f);
    errno = cause;
    return NULL;
}

FILE *file_stream(const struct file *f) { return f->stream; }
int file_descriptor(const struct file *f) { return f->fd; }
const char *file_name(const struct file *f) { return f->temporary; }

int file_flush(struct file *f)
{
    fflush(f->stream);                                      /* put() keeps what failed */
    errno = f->cause;
    return f->cause ? -1 : 0;
}

/* Some file systems say only when a file is closed that it could not be written. The other
   descriptor holds the lock. */
static int close_checked(struct file *f)
{
    int held = fcntl(f->fd, F_DUPFD_CLOEXEC, 0), failure = held < 0 ? -1 : close(f->fd);
    if (held >= 0) f->fd = held;
    return failure;
}

static int replace(struct file *f)
{
    if (fsync(f->fd) || (!f->temporary && give_name(f)) || close_checked(f) || rename(f->temporary, f->path)) return -1;
    drop_name(f);
    return file_sync_folder(f->folder);
}

int file_commit(struct file *f, struct err *e)
{
    if (file_flush(f) == 0 && (f->folder ? replace(f) : close_checked(f))) f->cause = errno;
    int cause = f->cause;
    if (cause) say(f, cause, e);
    end(f);
    errno = cause;
    return cause ? -1 : 0;
}

void file_abandon(struct file *f) { end(f); }
