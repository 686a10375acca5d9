/* Opening, reading and mapping regular files. Reading beyond the end of a mapped file that became shorter is SIGBUS:
   zeros take the place of what is gone, so that the reader gets as far as to ask whether the file was whole. Reading
   into memory instead would need no handler, and as much memory as the corpus has bytes in every run. */
#include "regular.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CODE_INPUT = 4 };                                    /* of the program, when an input is rejected */

const char *regular_kind(unsigned mode)
{
    return S_ISDIR(mode) ? "a folder" : S_ISFIFO(mode) ? "a named pipe" : S_ISSOCK(mode) ? "a socket" : "a device";
}

static int check(int failed, const struct stat *s, struct err *e)
{
    if (failed) return err_set(e, "%s", strerror(errno));
    return S_ISREG(s->st_mode) ? 0 : err_set(e, "is %s, not a file", regular_kind(s->st_mode));
}

/* Looked at before it is opened, because opening alone sets some devices going, and after it, because it may have
   changed. */
int regular_open(const char *path, struct err *e)
{
    struct stat s;
    if (check(stat(path, &s), &s, e)) return -1;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (check(file < 0 || fstat(file, &s), &s, e) == 0) return file;
    if (file >= 0) close(file);
    return -1;
}

/* Until the end or until `room` is full; -1: errno says why. */
static ssize_t read_all(int file, char *to, size_t room)
{
    size_t used = 0;
    for (ssize_t n = 1; n && used < room;) {
        n = read(file, to + used, room - used);
        if (n < 0 && errno != EINTR) return -1;
        if (n > 0) used += (size_t)n;
    }
    return (ssize_t)used;
}

char *regular_text(const char *path, size_t most, size_t *size, struct err *e)
{
    struct stat s;
    int file = regular_open(path, e);
    if (file < 0) return NULL;
    size_t room = fstat(file, &s) == 0 && (size_t)s.st_size < most ? (size_t)s.st_size : most;
    char *text = xmalloc(room + 2);
    ssize_t n = read_all(file, text, room + 1);             /* one more shows a file that is too large or grows */
    if (n < 0) err_set(e, "cannot be read: %s", strerror(errno));
    else if ((size_t)n > most) err_set(e, "is larger than %zu MiB", most >> 20);
    else if ((size_t)n > room) err_set(e, "grew while it was read");
    close(file);
    if (n >= 0 && (size_t)n <= room) {
        text[*size = (size_t)n] = 0;
        return text;
    }
    free(text);
    return NULL;
}

/* ---- maps ---- */

struct mapping { struct mapping *next; struct map map; int file; volatile sig_atomic_t lost; bool told; char path[]; };
static struct mapping *mappings;

static struct mapping *mapping_at(const void *address)
{
    for (struct mapping *m = mappings; m; m = m->next)
        if ((size_t)((const unsigned char *)address - m->map.bytes) < m->map.size) return m;
    return NULL;
}

/* Any other address gets its signal again, and the process dies of it. */
static void fill_in(int number, siginfo_t *info, void *context)
{
    struct mapping *m = mapping_at(info->si_addr);
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)info->si_addr / page * page;
    (void)context;
    if (m) m->lost = 1;
    size_t rest = m ? (uintptr_t)m->map.bytes + m->map.size - first : 0;
    const int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    if (m && mmap((void *)first, rest, PROT_READ, how, -1, 0) != MAP_FAILED) return;
    signal(number, SIG_DFL);
    raise(number);
}

int regular_map(struct map *m, const char *path, struct err *e)
{
    *m = (struct map){ 0 };
    struct stat s;
    int file = regular_open(path, e);
    if (file < 0) return -1;
    int failed = check(fstat(file, &s), &s, e);
    size_t size = failed ? 0 : (size_t)s.st_size;
    void *bytes = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0) : NULL;
    if (bytes == MAP_FAILED) failed = err_set(e, "cannot be mapped: %s", strerror(errno));
    if (failed || !bytes) { close(file); return failed; }
    struct mapping *new = xmalloc(sizeof *new + strlen(path) + 1);
    *new = (struct mapping){ .next = mappings, .map = { bytes, size }, .file = file };
    strcpy(new->path, path);
    mappings = new;
    sigaction(SIGBUS, &(struct sigaction){ .sa_sigaction = fill_in, .sa_flags = SA_SIGINFO }, NULL);
    *m = new->map;
    return 0;
}

int regular_whole(const struct map *m, struct err *e)
{
    struct stat s;
    struct mapping *of = m->bytes ? mapping_at(m->bytes) : NULL;
    if (!of || (!of->lost && fstat(of->file, &s) == 0 && (size_t)s.st_size >= m->size)) return 0;
    of->told = true;
    return err_set(e, "%s: became shorter while it was read: nothing may write to a file that is in use", of->path);
}

/* What came of zeros is no result, whoever forgot to ask. */
static void insist(const struct mapping *of)
{
    struct err e;
    if (of->told || regular_whole(&of->map, &e) == 0) return;
    fprintf(stderr, "sluice: %s\n", e.text);
    exit(CODE_INPUT);
}

void regular_unmap(struct map *m)
{
    struct mapping **at = &mappings;
    while (*at && (*at)->map.bytes != m->bytes) at = &(*at)->next;
    if (m->bytes && *at) {
        struct mapping *old = *at;
        insist(old);
        *at = old->next;
        close(old->file);
        free(old);
    }
    if (m->bytes) munmap((void *)(uintptr_t)m->bytes, m->size);
    *m = (struct map){ 0 };
}
