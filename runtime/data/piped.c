/* Text that comes through a pipe which the caller names: "-", /dev/stdin, a shell's <(...), a named pipe. It is spread
   out in a file without a name and mapped from there, so that no input has to fit in memory. */
#define _GNU_SOURCE
#include "corpus.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 1 << 16 };

static bool is_standard_input(const char *path) { return !strcmp(path, "-"); }

bool piped_is(const char *path)
{
    struct stat s;
    return is_standard_input(path) || (stat(path, &s) == 0 && S_ISFIFO(s.st_mode));
}

static int open_pipe(const char *path, struct err *e)
{
    bool own = is_standard_input(path);
    int file = own ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)
                   : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return file < 0 ? err_set(e, "cannot be opened: %s", strerror(errno)) : file;
}

static int no_room(int *cause, struct err *e)
{
    *cause = errno;
    return err_set(e, "does not fit into a temporary file: %s", strerror(*cause));
}

/* Waits for a writer that is there, also for one that itself waits to be read. Returns how many bytes came, or -1. */
static int64_t spool(int from, FILE *to, int *cause, struct err *e)
{
    char block[BLOCK];
    int64_t all = 0;
    for (ssize_t n = 1; n; all += n > 0 ? n : 0) {
        n = read(from, block, sizeof block);
        if (n < 0 && errno == EAGAIN && fcntl(from, F_SETFL, 0) == 0) continue;
        if (n < 0 && errno != EINTR) return err_set(e, "cannot be read: %s", strerror(errno));
        if (n > 0 && fwrite(block, 1, (size_t)n, to) != (size_t)n) return no_room(cause, e);
    }
    if (all == 0) return err_set(e, "nothing comes through it; a named pipe is read while somebody writes to it");
    return fflush(to) ? no_room(cause, e) : all;
}

int piped_map(struct map *m, const char *path, int *cause, struct err *e)
{
    *m = (struct map){ 0 };
    int from = open_pipe(path, e);
    if (from < 0) return -1;
    FILE *to = tmpfile();
    if (!to) *cause = errno;
    int64_t size = to ? spool(from, to, cause, e) : err_set(e, "no temporary file: %s", strerror(*cause));
    void *bytes = size < 0 ? NULL : mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fileno(to), 0);
    if (bytes == MAP_FAILED) size = err_set(e, "cannot be mapped: %s", strerror(errno));
    else if (bytes) *m = (struct map){ bytes, (size_t)size };
    if (to) fclose(to);
    close(from);
    return size < 0 ? -1 : 0;
}
